"""One run from its settings to its end: what it reads, its id, and its manifest as it grows.

In: a profile and settings. Out: a `Run` that the flow records each finished artifact with. The run id is a hash of the
settings, of everything that is read and of the code that computes, so the same experiment has the same id wherever and
however often it runs, and another version of the code is another run.
"""

import importlib.metadata
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect import get_run_logger
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run

from tasks.loading.data import Identity, identify_data
from tasks.loading.models import identify_embedding_model, identify_language_model
from tasks.priming.settings import ExperimentSettings, SettingsError, resolve_settings
from tasks.server.crashed_runs import report_crashed
from tasks.server.processes import is_interrupted, note_interruption, terminations_noted
from tasks.server.progress import Progress
from tasks.store.artifacts import Reference, digest
from tasks.store.caching import essence
from tasks.store.code import package_digest
from tasks.store.manifests import (
    Attempt,
    RunDescription,
    extend_run,
    fail_run,
    finish_run,
    interrupt_run,
    read_manifest,
    start_run,
)
from tasks.workers.chunking import choose_chunk_size

_RECORDED_VERSIONS = (
    "accelerate", "bitsandbytes", "datasets", "duckdb", "numpy", "prefect", "pyarrow", "scikit-learn", "scipy",
    "sentence-transformers", "statsmodels", "tokenizers", "torch", "transformers",
)  # fmt: skip

_FLUSH_SECONDS = 1.0
"""How much of what is finished a killed run may leave out of its manifest; the files and their records are there."""

_FLUSH_SHARE = 0.05
"""The largest share of a run's time that rewriting its manifest takes, however long that grows."""

_SHOWN_CHARACTERS = 40
_SHOWN_DIGITS = 12  # of the code's hash, among the versions


@dataclass(frozen=True, slots=True)
class RunInputs:
    """What a run reads, identified: hashes and commits rather than names."""

    data: Identity
    """The rows."""
    language_model: Identity
    """The model that writes and scores, and on what it runs."""
    embedding_model: Identity
    """The model that routes."""


class Run:
    """A run in progress."""

    def __init__(self, run_id: str, inputs: RunInputs, attempt: Attempt) -> None:
        """Note what the run is called, what it reads, and which execution of it this is."""
        self.run_id = run_id
        """Names it in the database."""
        self.inputs = inputs
        """What it reads."""
        self.progress = Progress()
        """How far its stages are."""
        self._attempt = attempt
        self._references: dict[str, dict[str, Reference]] = {}
        self._facts: dict[str, Any] = {}
        self._next_flush = 0.0

    def chunk_size(self, given: int | None, sample_count: int) -> int:
        """Return how many samples a chunk has: as many as are asked for, or as fit the model's speed."""
        size = given or choose_chunk_size(self.run_id, self.inputs.language_model, sample_count)
        self._facts["chunk_size"] = size
        return size

    def record(self, table: str, chunk: str, reference: Reference) -> Reference:
        """Add a finished artifact to the run's manifest and return its reference."""
        self._references.setdefault(table, {})[chunk] = reference
        if "funnel" in reference:
            self._facts["funnel"] = reference["funnel"]
        if "model" in reference:
            facts = reference["model"]
            self._facts["language_model"] = {
                "parameter_count": facts["parameter_count"],
                "contexts_begin_with": facts["first_token"],  # `first_token` is the setting
                "answer_delimiter": facts["answer_delimiter"],
            }
        if "seconds" in reference:
            self._facts.setdefault("stage_seconds", {})[f"{table}/{chunk}"] = reference["seconds"]
        if time.monotonic() >= self._next_flush:
            self.flush()
        self.progress.advance()
        return reference

    def flush(self) -> None:
        """Write what was recorded into the manifest."""
        if not self._references:
            return
        start = time.monotonic()
        extend_run(self._attempt, self._references, self._facts)
        self._references, self._facts = {}, {}
        end = time.monotonic()
        self._next_flush = end + max(_FLUSH_SECONDS, (end - start) / _FLUSH_SHARE)


def identify_inputs(settings: ExperimentSettings) -> RunInputs:
    """Return what the settings read.

    Raises:
        SetupError: Something does not exist, cannot be reached or does not fit this machine.
    """
    return RunInputs(
        data=identify_data(settings.data),
        language_model=identify_language_model(settings.language_model),
        embedding_model=identify_embedding_model(settings.embedding),
    )


_INPUT_NAMES = {"data": {"data"}, "language_model": {"language_model"}, "embedding": {"embedding_model"}}
"""Settings that name an input: what it is known by is in its identity, however its path is written."""


def name_run(settings: ExperimentSettings, inputs: RunInputs) -> str:
    """Return the run's id, 16 hexadecimal digits: a hash of the settings, of what is read, and of what computes."""
    parts: dict[str, Any] = {
        "settings": settings.model_dump(mode="json", exclude=_INPUT_NAMES),
        "inputs": [essence(part) for part in (inputs.data, inputs.language_model, inputs.embedding_model)],
        "code": package_digest(),
    }
    return digest(parts)[:16]


def is_complete(settings: ExperimentSettings, inputs: RunInputs) -> bool:
    """Tell whether an earlier attempt has completed the run; what it left may have been altered since."""
    manifest = read_manifest(name_run(settings, inputs))
    return manifest is not None and manifest.status == "complete"


def name_flow_run() -> str:
    """Return what the UI calls a run: its profile, the number of samples and the language model."""
    parameters = flow_run.get_parameters()
    profile = str(parameters["profile"])
    try:
        settings = resolve_settings(**parameters)
    except SettingsError:  # the flow itself says what is wrong
        return profile
    model = settings.language_model.language_model
    shown = model if len(model) <= _SHOWN_CHARACTERS else f"...{model[-_SHOWN_CHARACTERS:]}"
    return f"{profile}, {settings.sampling.sample_count:,} samples, {shown}"


@contextmanager
def recorded_run(profile: str, settings: ExperimentSettings, inputs: RunInputs) -> Iterator[Run]:
    """Keep the manifest of a run: running within the context, then complete, failed or interrupted."""
    run_id = name_run(settings, inputs)
    attempt = start_run(_describe(run_id, profile, settings, inputs), flow_run.get_id())
    report_crashed(attempt.died)
    run = Run(run_id, inputs, attempt)
    try:
        with terminations_noted(), run.progress.shown(flow_run.get_id(), get_run_logger()):
            yield run
            run.flush()
    except BaseException as error:
        was_stopped = isinstance(error, KeyboardInterrupt | TerminationSignal) or is_interrupted()
        if was_stopped:
            note_interruption()
        run.flush()
        if was_stopped:
            interrupt_run(attempt, f"stopped by {type(error).__name__}")
        else:
            fail_run(attempt, f"{type(error).__name__}: {error}")
        raise
    finish_run(attempt)


def _describe(run_id: str, profile: str, settings: ExperimentSettings, inputs: RunInputs) -> RunDescription:
    return RunDescription(
        run_id=run_id,
        profile=profile,
        settings=settings.model_dump(mode="json"),
        versions={name: importlib.metadata.version(name) for name in _RECORDED_VERSIONS}
        | {"python": platform.python_version(), "tasks.priming": package_digest()[:_SHOWN_DIGITS]},
        device=inputs.language_model["device_name"],
        numeric_path=inputs.language_model["numeric_path"],
        data=inputs.data,
        language_model=inputs.language_model,
        embedding_model=inputs.embedding_model,
    )
