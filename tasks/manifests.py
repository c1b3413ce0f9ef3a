"""What a run is and which artifacts it has made so far: one JSON manifest a run, artifacts/runs/<run_id>.json.

In: facts and references, as the run's stages come by them. Out: a file that always holds whole JSON, from which the
database is rebuilt and which keeps the files of unfinished runs from being taken for litter. The processes of a run
may all extend it at once.

Manifest (format 1): {"format", "run_id", "status", "profile", "settings", "versions", "device", "numeric_path", "data",
"language_model", "embedding_model", "funnel", "stage_seconds", "artifacts": {table: {chunk: reference}}, "attempts"}.
A chunk that is recorded again replaces itself. A rerun starts a new attempt; what it has not recorded again by the time
it completes is dropped, so every attempt records all of its artifacts, those that were remembered included.
"""

import json
import logging
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from tasks import artifacts
from tasks.priming.records import (
    Check,
    Comparison,
    Correlation,
    Cost,
    Distractor,
    Route,
    RoutingAgreement,
    RoutingChoice,
    Sample,
    Score,
    Stratum,
    Surrogate,
    Variant,
)

TABLES: dict[str, type] = {
    "sample": Sample,
    "distractor": Distractor,
    "surrogate": Surrogate,
    "route": Route,
    "score": Score,
    "comparison": Comparison,
    "variant": Variant,
    "stratum": Stratum,
    "correlation": Correlation,
    "routing_choice": RoutingChoice,
    "routing_agreement": RoutingAgreement,
    "cost": Cost,
    "check": Check,
}
"""The tables whose rows come from artifacts, and the record of each."""

LOCK_SECONDS = 600
"""How long to wait for another process that holds a lock: one that died has let go of it, so this one is stuck."""

_ERROR_CHARACTERS = 2000
_logger = logging.getLogger(__name__)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunDescription(_Frozen):
    """What is known of a run at its start; the rest follows with `record_facts`."""

    run_id: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$")
    """Hash of the settings and the inputs: names the manifest and is the first part of every primary key."""
    profile: str
    """Name of the profile that the settings started from."""
    settings: dict[str, Any]
    """The ExperimentSettings, as JSON."""
    versions: dict[str, str] = {}
    """Version of each library that numbers depend on."""
    device: str | None = None
    """Where the models ran, in words."""
    numeric_path: str | None = None
    """How the numbers were computed: what decides whether bits repeat."""
    data: dict[str, Any] = {}
    """What identifies the data set."""
    language_model: dict[str, Any] = {}
    """What identifies the language model: revision or sha256, parameter_count, dtype, quantization."""
    embedding_model: dict[str, Any] = {}
    """What identifies the embedding model."""


class Funnel(_Frozen):
    """How rows of the data set became samples."""

    rows: int
    """Rows that were read."""
    eligible: int
    """Rows that could be samples."""
    drawn: int
    """Samples."""
    rejected: dict[str, int]
    """Rows that were dropped, by reason."""


class RecordedReference(BaseModel):
    """A reference to an artifact, with what else its stage reported, and which attempts recorded it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    path: str
    """Relative to artifacts/."""
    sha256: str
    """Of the file."""
    rows: int
    """Rows in the file."""
    recorded_by: tuple[str, ...] = ()
    """Ids of attempts, oldest first."""


class AttemptRecord(_Frozen):
    """One execution of a run."""

    attempt_id: str
    """Random."""
    flow_run_id: str | None
    """Prefect's id of the execution, where it has one."""
    started_at: AwareDatetime
    """UTC."""
    ended_at: AwareDatetime | None = None
    """UTC; None while it runs and for an attempt that was killed."""
    status: Literal["running", "complete", "failed", "interrupted"] = "running"
    """interrupted: still running when the next attempt started, so presumably killed."""
    error: str | None = None
    """Why it failed."""


class Manifest(RunDescription):
    """All that is known of a run."""

    # What a later version adds within this format is kept when an earlier one rewrites the file.
    model_config = ConfigDict(frozen=True, extra="allow")

    format: Literal[1] = 1
    """Raised when an earlier version could no longer read the file."""
    status: Literal["running", "complete", "failed"] = "running"
    """Of the attempt that started or ended last."""
    funnel: Funnel | None = None
    """None until the samples are drawn."""
    stage_seconds: dict[str, float] = {}
    """What each stage's computation took (seconds)."""
    artifacts: dict[str, dict[str, RecordedReference]] = {}
    """Table -> chunk -> reference."""
    attempts: tuple[AttemptRecord, ...] = ()
    """Oldest first."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a process needs to extend the manifest of its run; may be handed to other processes."""

    run_id: str
    """The run."""
    attempt_id: str
    """Its execution."""


_FACTS = {*RunDescription.model_fields, "funnel", "stage_seconds"} - {"run_id", "profile", "settings"}


def start_run(description: RunDescription, flow_run_id: str | None = None) -> Attempt:
    """Write the manifest of a new run, or start another attempt of a run that has one; its status is running again.

    Args:
        description: What is known at the start; what an earlier attempt knew beyond it is kept.
        flow_run_id: Prefect's id of this execution.

    Returns:
        The attempt, to be given to the other functions.
    """
    attempt = AttemptRecord(attempt_id=uuid.uuid4().hex[:12], flow_run_id=flow_run_id, started_at=datetime.now(UTC))
    with _lock():
        previous = _read_if_whole(_path(description.run_id))
        known = previous.model_dump() if previous else {}
        known |= {name: value for name, value in description.model_dump().items() if value not in (None, {})}
        # A killed attempt cannot say so itself; one that is still alive puts this right when it ends.
        attempts = [
            earlier.model_copy(update={"status": "interrupted"}) if earlier.status == "running" else earlier
            for earlier in (previous.attempts if previous else ())
        ]
        known |= {"status": "running", "attempts": [*attempts, attempt]}
        _write(Manifest.model_validate(known))
    return Attempt(run_id=description.run_id, attempt_id=attempt.attempt_id)


def record_facts(attempt: Attempt, **facts: object) -> None:
    """Add what became known since the start, e.g. funnel={...} or stage_seconds={"sampling": 1.5}.

    A dict is merged into the one that is there; anything else replaces it.

    Raises:
        ValueError: A name is not a fact of the manifest, or its value has the wrong type.
        DamagedArtifactError: The manifest has gone.
    """
    if unknown := facts.keys() - _FACTS:
        raise ValueError(f"Unknown facts {sorted(unknown)}. Known facts: {', '.join(sorted(_FACTS))}.")

    def with_facts(manifest: Manifest) -> Manifest:
        known = manifest.model_dump()
        for name, value in facts.items():
            known[name] = (known[name] or {}) | value if isinstance(value, dict) else value
        return Manifest.model_validate(known)

    _change(attempt, with_facts)


def record_artifacts(attempt: Attempt, table: str, references: Mapping[str, Mapping[str, Any]]) -> None:
    """Add finished artifacts of a table, one reference a chunk; a chunk that is there already is replaced.

    Args:
        attempt: From start_run.
        table: A name in TABLES.
        references: Chunk name, e.g. "static/0003", to reference. The name must not depend on the attempt.

    Raises:
        ValueError: There is no such table, or a value is not a reference.
        DamagedArtifactError: The manifest has gone.
    """
    if table not in TABLES:
        raise ValueError(f"Unknown table {table!r}. Tables with artifacts: {', '.join(TABLES)}.")

    def with_artifacts(manifest: Manifest) -> Manifest:
        chunks = dict(manifest.artifacts.get(table, {}))
        for name, reference in references.items():
            earlier = chunks[name].recorded_by if name in chunks else ()
            recorded_by = tuple(dict.fromkeys((*earlier, attempt.attempt_id)))
            chunks[name] = RecordedReference.model_validate({**reference, "recorded_by": recorded_by})
        return manifest.model_copy(update={"artifacts": manifest.artifacts | {table: chunks}})

    _change(attempt, with_artifacts)


def finish_run(attempt: Attempt) -> None:
    """Mark the run complete, and drop the artifacts of earlier attempts that this one did not record.

    Raises:
        DamagedArtifactError: The manifest has gone.
    """

    def finished(manifest: Manifest) -> Manifest:
        kept = {
            table: {name: chunk for name, chunk in chunks.items() if attempt.attempt_id in chunk.recorded_by}
            for table, chunks in manifest.artifacts.items()
        }
        return _ended(manifest.model_copy(update={"artifacts": kept}), attempt, "complete", None)

    _change(attempt, finished)


def fail_run(attempt: Attempt, error: str) -> None:
    """Mark the run failed; its artifacts stay, so that a rerun goes on from them.

    Raises:
        DamagedArtifactError: The manifest has gone.
    """
    _change(attempt, lambda manifest: _ended(manifest, attempt, "failed", error[:_ERROR_CHARACTERS]))


def read_manifests() -> list[Manifest]:
    """Return the manifests of all runs by run id; a damaged one is skipped with a warning that names it."""
    manifests = [_read_if_whole(path) for path in sorted(_folder().glob("*.json"))]
    return [manifest for manifest in manifests if manifest]


def _ended(manifest: Manifest, attempt: Attempt, status: str, error: str | None) -> Manifest:
    end = {"status": status, "error": error, "ended_at": datetime.now(UTC)}
    attempts = tuple(
        record.model_copy(update=end) if record.attempt_id == attempt.attempt_id else record
        for record in manifest.attempts
    )
    return manifest.model_copy(update={"status": status, "attempts": attempts})


def _folder() -> Path:
    return artifacts.ARTIFACTS / "runs"


def _path(run_id: str) -> Path:
    return _folder() / f"{run_id}.json"


def _lock() -> FileLock:
    """Return the lock around read, change and write; the system frees it when its process dies."""
    _folder().mkdir(parents=True, exist_ok=True)
    return FileLock(_folder() / ".lock", timeout=LOCK_SECONDS)


def _change(attempt: Attempt, change: Callable[[Manifest], Manifest]) -> None:
    path = _path(attempt.run_id)
    with _lock():
        manifest = _read_if_whole(path)
        if manifest is None:
            raise artifacts.DamagedArtifactError(
                f"The manifest {path} is missing or damaged. Start the run again: what is finished is remembered."
            )
        _write(change(manifest))


def _write(manifest: Manifest) -> None:
    content = json.dumps({"format": manifest.format, **manifest.model_dump(mode="json")}, indent=1, allow_nan=False)
    artifacts.write_atomically(_path(manifest.run_id), content.encode())


def _read_if_whole(path: Path) -> Manifest | None:
    try:
        manifest = Manifest.model_validate_json(path.read_bytes())
        if manifest.run_id != path.stem:
            raise ValueError(f"it is of run {manifest.run_id}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # a ValidationError is a ValueError
        reason = "; ".join(_problems(error)) if isinstance(error, ValidationError) else str(error)
        _logger.warning("skipped the damaged manifest %s (%s); start its run again to write it anew", path, reason)
        return None
    return manifest


def _problems(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, problem['loc'])) or 'file'}: {problem['msg']}" for problem in error.errors()[:3]]
