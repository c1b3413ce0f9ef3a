"""What a run is and which artifacts it has made so far: one JSON manifest per run, artifacts/runs/<run_id>.json.

In: facts and references, as the stages of the run produce them. Out: a file that always holds complete JSON, a
`Manifest` and its sha256, from which the database is rebuilt; prune keeps every file that a manifest names. All
processes of a run may extend it at the same time.

A chunk that is recorded again replaces itself. A rerun starts a new attempt; what it has not recorded again by the time
it completes is dropped, so every attempt records all of its artifacts, cached ones included.

An attempt holds the lock artifacts/runs/.attempts/<attempt_id>, which the system frees when its process ends, however
it ends. The manifest of a killed process says "running" forever; `as_observed` distinguishes such a run from a live
one, on any machine that shares the folder and its locks.
"""

import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from tasks.loading.redaction import redacted
from tasks.priming.errors import UsageError
from tasks.priming.sampling import Funnel
from tasks.store import artifacts
from tasks.store.sealing import with_seal, without_seal
from tasks.store.tables import TABLES

LOCK_SECONDS = 600
"""How long to wait for a lock: a process that died no longer holds it, so one that still does is stuck."""

FORMAT: Final = 1
"""Of the manifests that this version writes, the latest that it reads."""

_ERROR_CHARACTERS = 2000
_PROBE_SECONDS = 0.05
"""Another process that probes the lock of an attempt holds it for less."""

_logger = logging.getLogger(__name__)
_held: dict[str, FileLock] = {}
"""The locks of this process's attempts."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RunDescription(_Frozen):
    """What is known of a run at its start; the rest follows with `extend_run`."""

    run_id: str = Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$")
    """Hash of the settings and the inputs: names the manifest and is the first part of every primary key."""
    name: str | None = None
    """The name that the user gave it; None for none."""
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
    writer_model: dict[str, Any] = {}
    """What identifies the model that wrote surrogates; empty if it is the language model."""
    chunk_size: int | None = None
    """Samples in each chunk of its artifacts; None before any is recorded."""


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


class AttemptRecord(BaseModel):
    """One execution of a run."""

    # As with the manifest: what a later version adds within this format is kept.
    model_config = ConfigDict(frozen=True, extra="allow")

    attempt_id: str
    """Random."""
    flow_run_id: str | None
    """Prefect's id of the execution, where it has one."""
    started_at: AwareDatetime
    """Start (UTC)."""
    ended_at: AwareDatetime | None = None
    """End (UTC); None while it runs or if it was killed."""
    status: Literal["running", "complete", "failed", "interrupted"] = "running"
    """interrupted: it was stopped, or its process died."""
    error: str | None = None
    """Why it failed."""


class Manifest(RunDescription):
    """All that is known of a run."""

    # What a later version adds within this format is kept when an earlier one rewrites the file.
    model_config = ConfigDict(frozen=True, extra="allow")

    format: Literal[1] = FORMAT
    """Raised when an earlier version could no longer read the file."""
    status: Literal["running", "complete", "failed", "interrupted"] = "running"
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
    died: tuple[str, ...] = ()
    """Prefect's ids of earlier executions whose process died: Prefect still shows them as running."""


_FACTS = {*RunDescription.model_fields, "funnel", "stage_seconds"} - {"run_id", "profile", "settings"}


def start_run(description: RunDescription, flow_run_id: str | None = None) -> Attempt:
    """Write the manifest of a new run, or start another attempt of a run that has one; its status is running again.

    The attempt is alive until it is ended or this process ends.

    Args:
        description: What is known at the start; what else an earlier attempt knew is kept.
        flow_run_id: Prefect's id of this execution.

    Raises:
        UsageError: A later version of this project has made this run.
    """
    attempt = AttemptRecord(attempt_id=uuid.uuid4().hex[:12], flow_run_id=flow_run_id, started_at=datetime.now(UTC))
    with locked_manifests():
        previous = read_manifest(description.run_id)
        _hold(attempt.attempt_id)
        known = previous.model_dump() if previous else {}
        known |= {name: value for name, value in description.model_dump().items() if value not in (None, {})}
        earlier = previous.attempts if previous else ()
        dead = [record for record in earlier if _is_dead(record)]
        known |= {"status": "running", "attempts": [*map(_as_observed, earlier), attempt]}
        _write(Manifest.model_validate(known))
        for record in dead:
            _let_go(record.attempt_id)
    died = tuple(record.flow_run_id for record in dead if record.flow_run_id)
    return Attempt(run_id=description.run_id, attempt_id=attempt.attempt_id, died=died)


def extend_run(
    attempt: Attempt,
    references: Mapping[str, Mapping[str, Mapping[str, Any]]],
    facts: Mapping[str, object] = {},
) -> None:
    """Add finished artifacts, and what became known since the start, in one go.

    Args:
        attempt: From start_run.
        references: Table, a name in TABLES, to chunk, e.g. "static/0003", to reference. A chunk that is there already
            is replaced, so its name must not depend on the attempt.
        facts: E.g. {"stage_seconds": {"sampling": 1.5}}: a dict is merged into the one that is there; anything else
            replaces it.

    Raises:
        ValueError: There is no such table or fact, or a value has the wrong type.
        UsageError: Another attempt of the run is in progress and has recorded another content for a chunk.
        DamagedArtifactError: The manifest has gone.
    """
    if unknown := facts.keys() - _FACTS:
        raise ValueError(f"Unknown facts {sorted(unknown)}. Known facts: {', '.join(sorted(_FACTS))}.")
    if unknown := references.keys() - TABLES.keys():
        raise ValueError(f"Unknown tables {sorted(unknown)}. Tables with artifacts: {', '.join(TABLES)}.")

    def extended(manifest: Manifest) -> Manifest:
        if facts.get("chunk_size", manifest.chunk_size) != manifest.chunk_size:
            # Chunks of another size hold the same samples, so all are recorded again.
            manifest = manifest.model_copy(update={"artifacts": {}, "stage_seconds": {}})
        tables = {
            table: _with_chunks(manifest.artifacts.get(table, {}), chunks, attempt)
            for table, chunks in references.items()
        }
        manifest = manifest.model_copy(update={"artifacts": manifest.artifacts | tables})
        return _with_facts(manifest, facts) if facts else manifest

    _change(attempt, extended)


def finish_run(attempt: Attempt) -> None:
    """Mark the run complete, and drop the artifacts of earlier attempts that this one did not record.

    Raises:
        DamagedArtifactError: The manifest has gone; so for the two functions below.
    """
    _end(attempt, "complete", None)


def fail_run(attempt: Attempt, error: str) -> None:
    """Mark the run failed; its artifacts stay, so that a rerun continues from them."""
    _end(attempt, "failed", redacted(error)[:_ERROR_CHARACTERS])  # before it is cut: half a secret is not recognised


def interrupt_run(attempt: Attempt, reason: str) -> None:
    """Mark the run interrupted: it was stopped, and a rerun continues from its artifacts."""
    _end(attempt, "interrupted", reason[:_ERROR_CHARACTERS])


def as_observed(manifest: Manifest) -> Manifest:
    """Return a manifest that calls interrupted what it calls running though the process has died."""
    attempts = tuple(map(_as_observed, manifest.attempts))
    is_running = any(record.status == "running" for record in attempts)
    status = "interrupted" if manifest.status == "running" and not is_running else manifest.status
    return manifest.model_copy(update={"status": status, "attempts": attempts})


def read_manifests() -> list[Manifest]:
    """Return the manifests of all runs by run id; one that cannot be read is skipped with a warning that names it."""
    manifests = []
    for path in sorted(_folder().glob("*.json")):
        try:
            manifests.append(read_manifest(path.stem))
        except UsageError as error:
            _logger.warning("skipped a run: %s", error)
    return [manifest for manifest in manifests if manifest]


def read_manifest(run_id: str) -> Manifest | None:
    """Return the manifest of one run; None if there is none, or a damaged one, which a warning then names.

    Raises:
        UsageError: A later version of this project wrote it.
    """
    path = _path(run_id)
    try:
        content = json.loads(path.read_bytes())
        _refuse_later_format(path, content)
        # Read back as JSON: only there is a list of JSON a tuple.
        manifest = Manifest.model_validate_json(json.dumps(without_seal(content)))
        if manifest.run_id != run_id:
            raise ValueError(f"it is of run {manifest.run_id}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # a ValidationError is a ValueError
        reason = "; ".join(_problems(error)) if isinstance(error, ValidationError) else str(error)
        _logger.warning("skipped the damaged manifest %s (%s); start its run again to rewrite it", path, reason)
        return None
    return manifest


@contextmanager
def locked_manifests() -> Iterator[None]:
    """Within the context, no other process can start, extend or end a run."""
    _folder().mkdir(parents=True, exist_ok=True)
    with FileLock(_folder() / ".lock", timeout=LOCK_SECONDS):
        yield


def is_alive(attempt_id: str) -> bool:
    """Tell whether the process of an attempt still runs it."""
    path = _attempt_path(attempt_id)
    if not path.exists():  # it has ended
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_PROBE_SECONDS, poll_interval=_PROBE_SECONDS / 5)
    except Timeout:
        return True
    lock.release()
    return False


def _hold(attempt_id: str) -> None:
    """Mark an attempt as alive until it is let go or this process ends."""
    path = _attempt_path(attempt_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    _held[attempt_id] = FileLock(path)
    _held[attempt_id].acquire()


def _let_go(attempt_id: str) -> None:
    """Remove the mark of an attempt that has ended."""
    if lock := _held.pop(attempt_id, None):
        lock.release()
    _attempt_path(attempt_id).unlink(missing_ok=True)


def _with_facts(manifest: Manifest, facts: Mapping[str, object]) -> Manifest:
    known = manifest.model_dump()
    for name, value in facts.items():
        known[name] = (known[name] or {}) | value if isinstance(value, dict) else value
    return Manifest.model_validate(known)


def _with_chunks(
    known: Mapping[str, RecordedReference], references: Mapping[str, Mapping[str, Any]], attempt: Attempt
) -> dict[str, RecordedReference]:
    chunks = dict(known)
    for name, reference in references.items():
        earlier = chunks[name].recorded_by if name in chunks else ()
        if earlier and chunks[name].sha256 != reference["sha256"]:
            # What another process has gone on from must not change under it: its run would end with parts of two.
            if any(is_alive(other) for other in earlier if other != attempt.attempt_id):
                raise UsageError(
                    f"Another process computes run {attempt.run_id} at this moment and has other numbers in {name}. "
                    "The numbers of both are kept apart, and this process ends. Wait until the other has ended, then "
                    "start the same command again."
                )
            earlier = ()
        recorded_by = tuple(dict.fromkeys((*earlier, attempt.attempt_id)))
        chunks[name] = RecordedReference.model_validate({**reference, "recorded_by": recorded_by})
    return chunks


def _is_dead(record: AttemptRecord) -> bool:
    return record.status == "running" and not is_alive(record.attempt_id)


def _as_observed(record: AttemptRecord) -> AttemptRecord:
    return record.model_copy(update={"status": "interrupted"}) if _is_dead(record) else record


def _end(attempt: Attempt, status: str, error: str | None) -> None:
    end = {"status": status, "error": error, "ended_at": datetime.now(UTC)}

    def ended(manifest: Manifest) -> Manifest:
        attempts = tuple(
            record.model_copy(update=end) if record.attempt_id == attempt.attempt_id else record
            for record in manifest.attempts
        )
        kept = {
            table: {name: chunk for name, chunk in chunks.items() if attempt.attempt_id in chunk.recorded_by}
            for table, chunks in manifest.artifacts.items()
        }
        tables = kept if status == "complete" else manifest.artifacts
        return manifest.model_copy(update={"status": status, "attempts": attempts, "artifacts": tables})

    try:
        _change(attempt, ended)
    finally:
        _let_go(attempt.attempt_id)


def _folder() -> Path:
    return artifacts.ARTIFACTS / "runs"


def _path(run_id: str) -> Path:
    return _folder() / f"{run_id}.json"


def _attempt_path(attempt_id: str) -> Path:
    return _folder() / ".attempts" / attempt_id


def _change(attempt: Attempt, change: Callable[[Manifest], Manifest]) -> None:
    with locked_manifests():
        manifest = read_manifest(attempt.run_id)
        if manifest is None:
            raise artifacts.DamagedArtifactError(
                f"The manifest {_path(attempt.run_id)} is missing or damaged. Start the run again: finished "
                "work is not computed again."
            )
        _write(change(manifest))


def _write(manifest: Manifest) -> None:
    sealed = with_seal({"format": manifest.format, **manifest.model_dump(mode="json")})
    content = json.dumps(sealed, indent=1, allow_nan=False)
    artifacts.write_atomically(_path(manifest.run_id), content.encode())


def _refuse_later_format(path: Path, content: object) -> None:
    """Refuse what this version cannot read and therefore must not overwrite, whether or not its hash fits."""
    found = content.get("format") if isinstance(content, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise UsageError(
            f"The manifest {path} is of format {found}, which a later version of this project wrote; this one reads "
            f"format {FORMAT}. It was left as it is. Bring this checkout up to date (git pull), or work in another "
            "folder: export SURROGATE_ARTIFACTS=/some/folder"
        )


def _problems(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, problem['loc'])) or 'file'}: {problem['msg']}" for problem in error.errors()[:3]]
