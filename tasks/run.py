"""One run from its settings to its end: what it reads, its id, and its manifest as it grows.

In: a profile and settings. Out: a `Run` that the flow records each finished artifact with. The run id is a hash of the
settings and of everything that is read, so the same experiment has the same id wherever and however often it runs.
"""

import importlib.metadata
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from prefect.runtime import flow_run

from tasks.artifacts import Reference, digest
from tasks.loading import identify_embedding_model, identify_language_model
from tasks.manifests import Attempt, RunDescription, fail_run, finish_run, record_artifacts, record_facts, start_run
from tasks.priming.settings import ExperimentSettings
from tasks.rows import Identity, identify_data

_RECORDED_VERSIONS = (
    "accelerate", "bitsandbytes", "datasets", "duckdb", "numpy", "prefect", "pyarrow", "scikit-learn", "scipy",
    "sentence-transformers", "statsmodels", "tokenizers", "torch", "transformers",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RunInputs:
    """What a run reads, identified: hashes and commits rather than names."""

    data: Identity
    """The rows."""
    language_model: Identity
    """The model that writes and scores, and on what it runs."""
    embedding_model: Identity
    """The model that routes."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run in progress."""

    run_id: str
    """Names it in the database."""
    inputs: RunInputs
    """What it reads."""
    attempt: Attempt
    """This execution of it."""

    def record(self, table: str, chunk: str, reference: Reference) -> Reference:
        """Add a finished artifact to the run's manifest and return its reference."""
        record_artifacts(self.attempt, table, {chunk: reference})
        if "funnel" in reference:
            record_facts(self.attempt, funnel=reference["funnel"])
        if "model" in reference:
            record_facts(self.attempt, language_model={"parameter_count": reference["model"]["parameter_count"]})
        if "seconds" in reference:
            record_facts(self.attempt, stage_seconds={f"{table}/{chunk}": reference["seconds"]})
        return reference


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


def name_run(settings: ExperimentSettings, inputs: RunInputs) -> str:
    """Return the run's id, 16 hexadecimal digits."""
    parts: dict[str, Any] = {
        "settings": settings.model_dump(mode="json"),
        "inputs": [inputs.data, inputs.language_model, inputs.embedding_model],
    }
    return digest(parts)[:16]


@contextmanager
def recorded_run(profile: str, settings: ExperimentSettings, inputs: RunInputs) -> Iterator[Run]:
    """Keep the manifest of a run: running within the context, then complete, or failed with the error."""
    run_id = name_run(settings, inputs)
    description = RunDescription(
        run_id=run_id,
        profile=profile,
        settings=settings.model_dump(mode="json"),
        versions={name: importlib.metadata.version(name) for name in _RECORDED_VERSIONS}
        | {"python": platform.python_version()},
        device=inputs.language_model["device_name"],
        numeric_path=inputs.language_model["numeric_path"],
        data=inputs.data,
        language_model=inputs.language_model,
        embedding_model=inputs.embedding_model,
    )
    attempt = start_run(description, flow_run.get_id())
    try:
        yield Run(run_id, inputs, attempt)
    except BaseException as error:
        fail_run(attempt, f"{type(error).__name__}: {error}")
        raise
    finish_run(attempt)
