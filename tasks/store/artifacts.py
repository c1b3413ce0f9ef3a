"""Files under artifacts/: atomic, verified parquet, and the references that stages hand to each other.

In: records. Out: one parquet file named by its content, and a reference to it, a plain dict. Parquet is the truth of a
run; whatever else there is (the database, reports) can be rebuilt from it.
"""

import hashlib
import json
import os
import secrets
import time
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.store.stored_rows import StoredRows, records_of

ROOT = Path(__file__).resolve().parents[2]
# One folder may serve several checkouts or machines; tests use one of their own. A variable that is set to nothing is
# not set: it would mean the working folder, whatever is in it.
ARTIFACTS = Path(os.environ.get("SURROGATE_ARTIFACTS") or ROOT / "artifacts").absolute()

Reference: TypeAlias = dict[str, Any]
"""{"path": relative to ARTIFACTS, "sha256": of the file, "rows": count} and what else the stage reports."""

Row = TypeVar("Row")

_GROUP_ROWS = 10_000
"""Rows of a file that are packed together, and read together where a range is asked for."""

_SETTLED_SECONDS = 2.0
"""After so long without a change, one more cannot leave the time of the last one as it is, however coarse the clock."""


class DamagedArtifactError(RuntimeError):
    """A file under artifacts/ is missing or is not the one that was written."""


class UnwrittenError(OSError):
    """A file could not be written: the disk is full, or the folder must not be written into."""

    def __str__(self) -> str:
        """Return what happened and what to do, without the number that the system has for it."""
        return str(self.strerror)


def digest(value: object) -> str:
    """Return the sha256 of a value's canonical JSON (keys sorted, no NaN)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that its name only ever stands for whole content, also after a power cut.

    Raises:
        UnwrittenError: The folder cannot be written or the disk is full; nothing is left under the final name.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write_and_rename(path, content)
    except OSError as error:
        raise UnwrittenError(
            error.errno,
            f"{path} could not be written: {error.strerror or error}. Nothing is left under its name, and what was "
            "finished before is whole. Make room, or let the folder be written into, and start the same command again.",
        ) from error


def _write_and_rename(path: Path, content: bytes) -> None:
    # Not by tempfile, whose files nobody else may read: a report is there to be shown.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)  # the rename itself is safe only once the folder is on disk
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def schema_of(record: type) -> pa.Schema:
    """Return the parquet schema of a record class, from its annotations; X | None is nullable."""
    kinds = {name: kind_of(annotation) for name, annotation in typing.get_type_hints(record).items()}
    return pa.schema(
        pa.field(name, _ARROW_TYPES[kind], nullable=optional) for name, (kind, _, optional) in kinds.items()
    )


def kind_of(annotation: Any) -> tuple[Any, tuple[Any, ...], bool]:  # noqa: ANN401 - any annotation
    """Return the type of an annotation's values, the values that a Literal names, and whether they may be None."""
    parts = typing.get_args(annotation)
    is_optional = type(None) in parts
    kind = parts[0] if is_optional else annotation
    if typing.get_origin(kind) is typing.Annotated:
        kind = typing.get_args(kind)[0]
    names = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else ()
    return type(names[0]) if names else kind, names, is_optional


_ARROW_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    tuple[float, ...]: pa.list_(pa.float32()),
    tuple[str, ...]: pa.list_(pa.string()),
}


def write_rows(rows: Sequence[object], record: type, stage: str) -> Reference:
    """Write records to one parquet file under artifacts/<stage>/, named by its content.

    Equal rows give an equal file and name, so two runs that compute the same at once do not disturb each other.

    Returns:
        The reference {"path", "sha256", "rows"}.
    """
    schema = schema_of(record)
    columns = [[getattr(row, name) for row in rows] for name in schema.names]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    sink = pa.BufferOutputStream()
    table = pa.Table.from_arrays(arrays, schema=schema)
    pq.write_table(table, sink, compression="zstd", row_group_size=_GROUP_ROWS)
    content = sink.getvalue().to_pybytes()
    sha256 = hashlib.sha256(content).hexdigest()
    path = f"{stage}/{sha256[:32]}.parquet"
    write_atomically(ARTIFACTS / path, content)
    return {"path": path, "sha256": sha256, "rows": len(rows)}


def read_table(reference: Mapping[str, Any]) -> pa.Table:
    """Read the parquet file of a reference.

    Raises:
        DamagedArtifactError: The file is missing, lies outside artifacts/ or is not the one that was written.
    """
    return pq.read_table(_intact_file(reference))


def read_rows(reference: Mapping[str, Any], record: Callable[..., Row]) -> list[Row]:
    """Read the records of a reference; a "start" and "stop" in it select a range of rows, which alone is read.

    Raises:
        DamagedArtifactError: As in read_table.
    """
    if "start" not in reference:
        return records_of(record, read_table(reference))
    path, start, stop = _intact_file(reference), reference["start"], reference["stop"]
    rows: list[Row] = []
    first = 0
    for number, count in enumerate(_group_sizes(path, reference["sha256"])):
        if first < stop and start < first + count:
            group = _row_group(path, reference["sha256"], number)
            low = max(start - first, 0)
            rows += records_of(record, group.slice(low, stop - first - low))
        first += count
    return rows


def open_rows(references: Iterable[Mapping[str, Any]], record: Callable[..., Row]) -> Sequence[Row]:
    """Return the records of whole files, one after the other, kept as columns: for what goes through all of a run.

    Raises:
        DamagedArtifactError: As in read_table.
    """
    known = list(references)
    return StoredRows(record, (read_table(reference) for reference in known)) if known else []


def read_rows_of(
    sample_ids: Collection[str], references: Iterable[Mapping[str, Any]], record: Callable[..., Row]
) -> list[Row]:
    """Read the records of a few samples from whole files, file by file.

    Raises:
        DamagedArtifactError: As in read_table.
    """
    wanted = pa.array(sorted(sample_ids), pa.string())
    tables = (read_table(reference) for reference in references)
    return [row for table in tables for row in records_of(record, table.filter(pc.is_in(table["sample_id"], wanted)))]


def _intact_file(reference: Mapping[str, Any]) -> Path:
    if not is_intact(reference):
        raise DamagedArtifactError(
            f"artifacts/{reference['path']} is missing or altered. Start the run again: it is recomputed."
        )
    return ARTIFACTS / str(reference["path"])


# Chunks of a file are read one after the other, some thousands of them: its rows are unpacked once. What a hash stands
# for never changes.
@lru_cache(maxsize=4)
def _row_group(path: Path, sha256: str, number: int) -> pa.Table:
    return pq.ParquetFile(path).read_row_group(number)


@lru_cache(maxsize=4)
def _group_sizes(path: Path, sha256: str) -> list[int]:
    metadata = pq.read_metadata(path)
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def is_reference(value: object) -> bool:
    """Tell whether a value is a reference to an artifact."""
    return isinstance(value, dict) and {"path", "sha256", "rows"} <= value.keys()


def is_intact(reference: Mapping[str, Any]) -> bool:
    """Tell whether the file of a reference exists under artifacts/ and has the hash it was written with."""
    try:
        path = (ARTIFACTS / reference["path"]).resolve()
        is_inside = path.is_relative_to(ARTIFACTS.resolve())
        return is_inside and path.is_file() and current_sha256(path) == str(reference["sha256"])
    except (OSError, RuntimeError, TypeError, ValueError):  # a name that no file has, or one that may not be read
        return False


def current_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes, which are read once for as long as nobody has touched the file."""
    status = path.stat()
    if time.time() - status.st_ctime < _SETTLED_SECONDS:
        return file_sha256(path)
    return _settled_sha256(path, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino)


# Each of thousands of chunks asks whether the file that it is a range of is intact.
@lru_cache(maxsize=100_000)
def _settled_sha256(path: Path, *touched: int) -> str:
    return file_sha256(path)


def chunks_of(reference: Reference, identifiers: Iterable[str], size: int) -> list[Reference]:
    """Split a reference into ranges of at most `size` rows, each known by the identifiers of its rows."""
    names = list(identifiers)
    return [
        reference | {"start": start, "stop": start + len(part), "chunk": digest(part)}
        for start in range(0, len(names), size)
        if (part := names[start : start + size])
    ]
