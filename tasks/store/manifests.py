"""What a run is and which artifacts it has made so far: one JSON manifest a run, artifacts/runs/<run_id>.json.

In: facts and references, as the run's stages come by them. Out: a file that always holds whole JSON, from which the
database is rebuilt and which keeps the files of unfinished runs from being taken for litter. The processes of a run
may all extend it at once.

Manifest (format 1): {"format", "run_id", "status", "profile", "settings", "versions", "device", "numeric_path", "data",
"language_model", "embedding_model", "funnel", "stage_seconds", "artifacts": {table: {chunk: reference}}, "attempts",
"sha256" of all others}.
A chunk that is recorded again replaces itself. A rerun starts a new attempt; what it has not recorded again by the time
it completes is dropped, so every attempt records all of its artifacts, those that were remembered included. A process
that was killed leaves "running" behind; `as_observed` tells such a run from one that runs.
"""

import json
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock
from pydantic import ValidationError

from tasks.loading.redaction import redacted
from tasks.priming.errors import UsageError
from tasks.store import artifacts, liveness
from tasks.store.manifest_records import FORMAT, TABLES, AttemptRecord, Manifest, RecordedReference, RunDescription
from tasks.store.sealing import with_seal, without_seal

__all__ = [
    "LOCK_SECONDS", "TABLES", "Attempt", "Manifest", "RecordedReference", "RunDescription", "as_observed", "extend_run",
    "fail_run", "finish_run", "interrupt_run", "locked_manifests", "read_manifest", "read_manifests",
    "record_artifacts", "record_facts", "start_run",
]  # fmt: skip

LOCK_SECONDS = 600
"""How long to wait for another process that holds a lock: one that died has let go of it, so this one is stuck."""

_ERROR_CHARACTERS = 2000
_logger = logging.getLogger(__name__)


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

    The attempt lives until it is ended or this process ends.

    Args:
        description: What is known at the start; what an earlier attempt knew beyond it is kept.
        flow_run_id: Prefect's id of this execution.

    Returns:
        The attempt, to be given to the other functions.

    Raises:
        UsageError: A later version of this project has made this run.
    """
    attempt = AttemptRecord(attempt_id=uuid.uuid4().hex[:12], flow_run_id=flow_run_id, started_at=datetime.now(UTC))
    with _lock():
        previous = _read_if_whole(_path(description.run_id))
        liveness.hold(attempt.attempt_id)
        known = previous.model_dump() if previous else {}
        known |= {name: value for name, value in description.model_dump().items() if value not in (None, {})}
        earlier = previous.attempts if previous else ()
        dead = [record for record in earlier if record.status == "running" and not liveness.is_alive(record.attempt_id)]
        attempts = [_as_dead(record) if record in dead else record for record in earlier]
        known |= {"status": "running", "attempts": [*attempts, attempt]}
        _write(Manifest.model_validate(known))
        for record in dead:
            liveness.forget(record.attempt_id)
    died = tuple(record.flow_run_id for record in dead if record.flow_run_id)
    return Attempt(run_id=description.run_id, attempt_id=attempt.attempt_id, died=died)


def record_facts(attempt: Attempt, **facts: object) -> None:
    """Add what became known since the start, e.g. funnel={...} or stage_seconds={"sampling": 1.5}.

    A dict is merged into the one that is there; anything else replaces it.

    Raises:
        ValueError: A name is not a fact of the manifest, or its value has the wrong type.
        DamagedArtifactError: The manifest has gone.
    """
    extend_run(attempt, {}, facts)


def record_artifacts(attempt: Attempt, table: str, references: Mapping[str, Mapping[str, Any]]) -> None:
    """Add finished artifacts of a table, one reference a chunk; a chunk that is there already is replaced.

    Args:
        attempt: From start_run.
        table: A name in TABLES.
        references: Chunk name, e.g. "static/0003", to reference. The name must not depend on the attempt.

    Raises:
        ValueError: There is no such table, or a value is not a reference.
        UsageError: Another attempt of the run is in progress and has recorded another content for a chunk.
        DamagedArtifactError: The manifest has gone.
    """
    extend_run(attempt, {table: references}, {})


def extend_run(
    attempt: Attempt, references: Mapping[str, Mapping[str, Mapping[str, Any]]], facts: Mapping[str, object]
) -> None:
    """Add both artifacts, by table and chunk, and facts in one go; see record_artifacts and record_facts.

    Raises:
        ValueError, UsageError, DamagedArtifactError: As there.
    """
    if unknown := facts.keys() - _FACTS:
        raise ValueError(f"Unknown facts {sorted(unknown)}. Known facts: {', '.join(sorted(_FACTS))}.")
    if unknown := references.keys() - TABLES.keys():
        raise ValueError(f"Unknown tables {sorted(unknown)}. Tables with artifacts: {', '.join(TABLES)}.")

    def extended(manifest: Manifest) -> Manifest:
        if facts.get("chunk_size", manifest.chunk_size) != manifest.chunk_size:
            # Chunks of another size hold the same samples: what was remembered of them is recorded anew.
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
        DamagedArtifactError: The manifest has gone.
    """

    def finished(manifest: Manifest) -> Manifest:
        kept = {
            table: {name: chunk for name, chunk in chunks.items() if attempt.attempt_id in chunk.recorded_by}
            for table, chunks in manifest.artifacts.items()
        }
        return _ended(manifest.model_copy(update={"artifacts": kept}), attempt, "complete", None)

    _end(attempt, finished)


def fail_run(attempt: Attempt, error: str) -> None:
    """Mark the run failed; its artifacts stay, so that a rerun goes on from them.

    Raises:
        DamagedArtifactError: The manifest has gone.
    """
    said = redacted(error)[:_ERROR_CHARACTERS]  # before it is cut: half a secret is not recognised
    _end(attempt, lambda manifest: _ended(manifest, attempt, "failed", said))


def interrupt_run(attempt: Attempt, reason: str) -> None:
    """Mark the run interrupted: it was stopped, and a rerun goes on from its artifacts.

    Raises:
        DamagedArtifactError: The manifest has gone.
    """
    _end(attempt, lambda manifest: _ended(manifest, attempt, "interrupted", reason[:_ERROR_CHARACTERS]))


def as_observed(manifest: Manifest) -> Manifest:
    """Return a manifest that calls interrupted what it calls running though the process has died."""
    attempts = tuple(
        _as_dead(record) if record.status == "running" and not liveness.is_alive(record.attempt_id) else record
        for record in manifest.attempts
    )
    is_running = any(record.status == "running" for record in attempts)
    status = "interrupted" if manifest.status == "running" and not is_running else manifest.status
    return manifest.model_copy(update={"status": status, "attempts": attempts})


def read_manifests() -> list[Manifest]:
    """Return the manifests of all runs by run id; one that cannot be read is skipped with a warning that names it."""
    manifests = []
    for path in sorted(_folder().glob("*.json")):
        try:
            manifests.append(_read_if_whole(path))
        except UsageError as error:
            _logger.warning("skipped a run: %s", error)
    return [manifest for manifest in manifests if manifest]


def read_manifest(run_id: str) -> Manifest | None:
    """Return the manifest of one run; None if there is none, or a damaged one, which a warning then names.

    Raises:
        UsageError: A later version of this project wrote it.
    """
    return _read_if_whole(_path(run_id))


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
            if any(liveness.is_alive(other) for other in earlier if other != attempt.attempt_id):
                raise UsageError(
                    f"Another process computes run {attempt.run_id} at this moment and has other numbers in {name}. "
                    "The numbers of both are kept apart, and this process ends. Wait until the other has ended, then "
                    "start the same command again."
                )
            earlier = ()
        recorded_by = tuple(dict.fromkeys((*earlier, attempt.attempt_id)))
        chunks[name] = RecordedReference.model_validate({**reference, "recorded_by": recorded_by})
    return chunks


def _as_dead(record: AttemptRecord) -> AttemptRecord:
    return record.model_copy(update={"status": "interrupted"})


@contextmanager
def locked_manifests() -> Iterator[None]:
    """Within the context, no process can start, extend or end a run."""
    with _lock():
        yield


def _ended(manifest: Manifest, attempt: Attempt, status: str, error: str | None) -> Manifest:
    end = {"status": status, "error": error, "ended_at": datetime.now(UTC)}
    attempts = tuple(
        record.model_copy(update=end) if record.attempt_id == attempt.attempt_id else record
        for record in manifest.attempts
    )
    return manifest.model_copy(update={"status": status, "attempts": attempts})


def _end(attempt: Attempt, change: Callable[[Manifest], Manifest]) -> None:
    try:
        _change(attempt, change)
    finally:
        liveness.let_go(attempt.attempt_id)


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
    sealed = with_seal({"format": manifest.format, **manifest.model_dump(mode="json")})
    content = json.dumps(sealed, indent=1, allow_nan=False)
    artifacts.write_atomically(_path(manifest.run_id), content.encode())


def _read_if_whole(path: Path) -> Manifest | None:
    try:
        content = json.loads(path.read_bytes())
        _refuse_later_format(path, content)
        # Read back as JSON: only there is a list of JSON a tuple.
        manifest = Manifest.model_validate_json(json.dumps(without_seal(content)))
        if manifest.run_id != path.stem:
            raise ValueError(f"it is of run {manifest.run_id}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # a ValidationError is a ValueError
        reason = "; ".join(_problems(error)) if isinstance(error, ValidationError) else str(error)
        _logger.warning("skipped the damaged manifest %s (%s); start its run again to write it anew", path, reason)
        return None
    return manifest


def _refuse_later_format(path: Path, content: object) -> None:
    """Refuse what this version cannot read and so must not write anew, whatever its hash is made of."""
    found = content.get("format") if isinstance(content, dict) else None
    if isinstance(found, int) and found > FORMAT:
        raise UsageError(
            f"The manifest {path} is of format {found}, which a later version of this project wrote; this one reads "
            f"format {FORMAT}. It was left as it is. Bring this checkout up to date (git pull), or work in another "
            "folder: export SURROGATE_ARTIFACTS=/some/folder"
        )


def _problems(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, problem['loc'])) or 'file'}: {problem['msg']}" for problem in error.errors()[:3]]
