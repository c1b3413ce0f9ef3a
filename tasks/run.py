"""One run from its settings to its end: what it reads, its id, and its manifest as it grows.

In: a profile and settings. Out: a `Run` that the flow records each finished artifact with. The run id is a hash of the
settings, of everything that is read and of the code that computes, so the same experiment has the same id wherever and
however often it runs, and another version of the code is another run.
"""

import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import partial
from itertools import islice
from typing import Any

from prefect import Task, get_run_logger
from prefect.exceptions import TerminationSignal
from prefect.runtime import flow_run

from tasks.answers import answers_at_most, groups_to_ask
from tasks.loading.data import Identity, identify_data
from tasks.loading.models import identify_embedding_model, identify_language_model, writer_settings
from tasks.priming.arms.arms import ArmGroup
from tasks.priming.records import Sample
from tasks.priming.settings import (
    PLACEMENT,
    ExperimentSettings,
    LanguageModelSettings,
    SettingsError,
    flat_settings,
    resolve_settings,
)
from tasks.scoring import characters_to_read, condition_count
from tasks.server.processes import is_interrupted, note_interruption, terminations_noted
from tasks.server.progress import Progress
from tasks.server.run_states import quiet_run_logs, report_crashed, tag_flow_run
from tasks.statistics import statistics_by_table
from tasks.store.artifacts import Reference, digest, read_rows
from tasks.store.caching import Batch, essence
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
from tasks.store.receipts import RECORDED_VERSIONS, installed_version
from tasks.surrogates import lines_to_write
from tasks.workers.chunking import choose_chunk_size
from tasks.workers.processes import in_order, sensible_count, worker_count, working

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
    """The model that scores, and on what it runs."""
    embedding_model: Identity
    """The model that routes."""
    other_writer: Identity | None = None
    """The model that writes; None if it is the one that scores."""

    def identity_for(self, group: ArmGroup) -> Identity:
        """Return the model that a group's writer uses, if it uses one: only what is written is the other one's."""
        return self.other_writer if self.other_writer and group.is_written else self.language_model

    def process_count(self, given: int | None) -> int | None:
        """Return the number of processes that was given, or as many as suit both models; None: as suit the only one."""
        if given or self.other_writer is None:
            return given
        return min(sensible_count(model) for model in (self.language_model, self.other_writer))


class Run:
    """A run in progress: what it reads, how far it is, and what it has recorded."""

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
        self._batch_count = 0
        self.progress.add("draw samples", {"sample/all": 1.0})

    def chunk_size(self, given: int | None, sample_count: int) -> int:
        """Return how many samples a chunk has: as many as are asked for, or as fit the model's speed."""
        size = given or choose_chunk_size(self.run_id, self.inputs.language_model, sample_count)
        self._facts["chunk_size"] = size
        return size

    def plan(self, groups: Mapping[str, ArmGroup], chunks: Sequence[Mapping[str, Any]], answers: str) -> None:
        """Tell progress of the stages that follow the draw, and how much work each of their parts is."""
        named = named_chunks(chunks)
        lines: dict[str, float] = {}
        texts: dict[str, float] = {}
        characters: dict[str, float] = {}
        for number, chunk in named.items():
            samples = read_rows(chunk["samples"], Sample)
            for name, group in groups.items():
                characters[f"score/{name}/{number}"] = characters_to_read(group, samples)
                if group.write:
                    lines[f"surrogate/{name}/{number}"] = lines_to_write(group, len(samples))
            for name in groups_to_ask(groups, answers):
                texts[f"answer_text/{name}/{number}"] = answers_at_most({name: groups[name]}, answers) * len(samples)
        sample_count = sum(chunk["samples"]["stop"] - chunk["samples"]["start"] for chunk in chunks)
        conditions = sum(map(condition_count, groups.values()))
        if lines:
            self.progress.add("write surrogates", lines, int(sum(lines.values())), "lines")
        self.progress.add("route queries", {f"route/{number}": 1.0 for number in named})
        self.progress.add("score contexts", characters, sample_count * conditions, "scores")
        if texts:
            self.progress.add("answer queries", texts)
        self.progress.add("check scoring", {"run_check/scoring": 1.0})
        self.progress.add("compute statistics", {f"{table}/all": 1.0 for table in statistics_by_table()})
        self.progress.add("publish results")

    def batches(self, chunks: Sequence[Mapping[str, Any]]) -> Iterator[Batch]:
        """Yield the chunks by name, as many at a time as there are workers: one for each."""
        remaining = iter(named_chunks(chunks).items())
        while batch := dict(islice(remaining, worker_count())):
            yield batch
            self._batch_count += 1

    def written_with(self, batch: Batch, chunks: Sequence[Mapping[str, Any]]) -> Batch:
        """Return the chunks for which texts are written before a batch is scored: its own.

        Where another model writes they are all of them, before the first batch, so that the models take no turns.
        """
        if self.inputs.other_writer is None:
            return batch
        return {} if self._batch_count else named_chunks(chunks)

    @property
    def is_preliminary(self) -> bool:
        """Whether the first of several batches has just been computed, not remembered."""
        return self._batch_count == 0 and self.progress.is_partly_computed("score contexts")

    def remark(self, text: str) -> None:
        """Say something to whoever watches, and in the log."""
        get_run_logger().info("%s", text)
        self.progress.tell(text)

    def stage(self, table: str, task: Task[..., Any], calls: Mapping[str, Mapping[str, Any]]) -> dict[str, Reference]:
        """Run a stage's task for some of its parts, in order, and record what comes out.

        Args:
            table: The table that the rows belong to.
            task: The task; its name is the stage's.
            calls: Its arguments by the name of the part, which must not depend on the attempt, e.g. "static/0003".

        Returns:
            The references by the names of the parts.
        """
        found: dict[str, Reference] = {}
        with self.progress.running(task.name) as stage:
            results = in_order(task, ((arguments, stage.parts[f"{table}/{part}"]) for part, arguments in calls.items()))
            for part, reference in zip(calls, results, strict=True):
                found[part] = reference
                self.record(table, part, reference)
                self.progress.finish(stage, f"{table}/{part}")
        return found

    def record(self, table: str, part: str, reference: Reference) -> None:
        """Add a finished artifact to the run's manifest."""
        self._references.setdefault(table, {})[part] = reference
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
            self._facts.setdefault("stage_seconds", {})[f"{table}/{part}"] = reference["seconds"]
        if time.monotonic() >= self._next_flush:
            self.flush()

    def flush(self) -> None:
        """Write what was recorded into the manifest."""
        if not self._references:
            return
        start = time.monotonic()
        extend_run(self._attempt, self._references, self._facts)
        self._references, self._facts = {}, {}
        end = time.monotonic()
        self._next_flush = end + max(_FLUSH_SECONDS, (end - start) / _FLUSH_SHARE)


def named_chunks(chunks: Sequence[Mapping[str, Any]]) -> Batch:
    """Return chunks by name; a name does not depend on how many there are."""
    return {f"{number:04}": chunk for number, chunk in enumerate(chunks)}


def identify_inputs(settings: ExperimentSettings, ray_address: str | None = None) -> RunInputs:
    """Return what the settings read.

    Args:
        settings: The run's.
        ray_address: The cluster on whose machines language models compute; None: on this one.

    Raises:
        SetupError: Something does not exist, cannot be reached or does not fit this machine.
    """
    identify: Callable[[LanguageModelSettings], Identity] = identify_language_model
    if ray_address:
        from tasks.workers.ray import identify_on_cluster

        identify = partial(identify_on_cluster, ray_address)
    writer = writer_settings(settings)
    return RunInputs(
        data=identify_data(settings.data),
        language_model=identify(settings.language_model),
        embedding_model=identify_embedding_model(settings.embedding),
        other_writer=identify(writer) if writer else None,
    )


_handed_over: list[tuple[ExperimentSettings, RunInputs]] = []  # what a command identified before its flow begins


@contextmanager
def inputs_handed_over(settings: ExperimentSettings, inputs: RunInputs) -> Iterator[None]:
    """Within the context, a run in this process with the same settings takes these inputs and identifies none."""
    _handed_over.append((settings, inputs))
    try:
        yield
    finally:
        _handed_over.pop()


def inputs_of(settings: ExperimentSettings, ray_address: str | None = None) -> RunInputs:
    """Return the inputs that were handed over for these settings, or identify them; see identify_inputs."""
    known = [inputs for given, inputs in _handed_over if given == settings]
    return known[-1] if known else identify_inputs(settings, ray_address)


_INPUT_NAMES = {
    "data": {"data"},
    "language_model": {"language_model"},
    "embedding": {"embedding_model"},
    "writer": {"writer_model"},
}
"""Settings that name an input: what it is known by is in its identity, however its path is written."""


def name_run(settings: ExperimentSettings, inputs: RunInputs) -> str:
    """Return the run's id, 16 hexadecimal digits: a hash of the settings, of what is read, and of what computes."""
    parts: dict[str, Any] = {
        "settings": settings.model_dump(mode="json", exclude=_INPUT_NAMES),
        "inputs": [essence(part) for part in astuple(inputs)],
        "code": package_digest(),
    }
    return digest(parts)[:16]


def is_complete(settings: ExperimentSettings, inputs: RunInputs) -> bool:
    """Tell whether an earlier attempt has completed the run; what it left may have been altered since."""
    manifest = read_manifest(name_run(settings, inputs))
    return manifest is not None and manifest.status == "complete"


def name_flow_run() -> str:
    """Return what the UI calls a run: the name it was given, its profile, and what it sets otherwise than that."""
    given = {name: value for name, value in flow_run.get_parameters().items() if value is not None}
    profile, name = str(given.pop("profile", "")), given.pop("name", None)
    try:
        settings, standard = resolve_settings(profile, **given), resolve_settings(profile)
    except SettingsError:  # the flow itself says what is wrong
        return profile
    model = settings.language_model.language_model
    parts = [profile, f"{settings.sampling.sample_count:,} samples", model]
    values, usual = (flat_settings(each.model_dump()) for each in (settings, standard))
    for setting, value in given.items():
        if setting in (*PLACEMENT, "sample_count", "language_model") or values[setting] == usual[setting]:
            continue
        if setting == "arms":
            value = f"{len(value)} of its own"  # whole texts would hide all else
        words = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        parts.append(f"{setting.replace('_', ' ')} {words}")
    shown = [part if len(part) <= _SHOWN_CHARACTERS else f"...{part[-_SHOWN_CHARACTERS:]}" for part in parts]
    return ": ".join([*([str(name)] if name else []), ", ".join(shown)])


@contextmanager
def recorded_run(
    profile: str,
    settings: ExperimentSettings,
    *,
    name: str | None = None,
    workers: int | None = None,
    ray_address: str | None = None,
) -> Iterator[Run]:
    """Run within the context, with workers, and keep a manifest: running, then complete, failed or interrupted.

    Args:
        profile: The profile's name.
        settings: The run's settings.
        name: What it is called, besides.
        workers: Processes that compute; None: as many as suit.
        ray_address: The Ray cluster that they run on; None: this machine.

    Raises:
        SetupError: Something that the settings name does not exist, cannot be reached or does not fit this machine.
    """
    inputs = inputs_of(settings, ray_address)
    run_id = name_run(settings, inputs)
    count = workers if ray_address else inputs.process_count(workers)
    with working(count, inputs.language_model, ray_address):
        attempt = start_run(_describe(run_id, name, profile, settings, inputs), flow_run.get_id())
        report_crashed(attempt.died)
        quiet_run_logs()
        tag_flow_run([profile, settings.language_model.language_model, settings.data.data])
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


def _describe(
    run_id: str, name: str | None, profile: str, settings: ExperimentSettings, inputs: RunInputs
) -> RunDescription:
    return RunDescription(
        run_id=run_id,
        name=name,
        profile=profile,
        settings=settings.model_dump(mode="json"),
        versions={name: installed_version(name) for name in RECORDED_VERSIONS}
        | {"python": platform.python_version(), "tasks.priming": package_digest()[:_SHOWN_DIGITS]},
        device=inputs.language_model["device_name"],
        numeric_path=inputs.language_model["numeric_path"],
        data=inputs.data,
        language_model=inputs.language_model,
        embedding_model=inputs.embedding_model,
        writer_model=inputs.other_writer or {},
    )
