"""Files under artifacts/: written atomically, verified when read, and referred to by plain dicts.

In: records. Out: one parquet file named by its content, and a reference to it that stages pass on. The parquet files of
a run are its primary data; the database and reports can be rebuilt from them. Reading a file that is missing, altered
or outside artifacts/ raises a DamagedArtifactError.
"""

import dataclasses
import hashlib
import json
import os
import secrets
import time
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar, cast, overload

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.store.code import ROOT as ROOT

# One folder may serve several checkouts or machines; tests use one of their own. An empty variable counts as unset: it
# would mean the working folder.
ARTIFACTS = Path(os.environ.get("SURROGATE_ARTIFACTS") or ROOT / "artifacts").absolute()

Reference: TypeAlias = dict[str, Any]
"""{"path": relative to ARTIFACTS, "sha256": of the file, "rows": count}, and further results of the stage."""

Row = TypeVar("Row")

_GROUP_ROWS = 10_000  # rows per row group of a file; ranges are read in row groups

_ROWS_AT_ONCE = 500
"""Records made at a time: enough for the speed of whole columns, and few for the garbage collector."""

_REPEATED = ("sample_id", "family", "key", "status", "finish")
"""Columns with few distinct texts: each text is kept once."""

_SETTLED_SECONDS = 2.0
"""A file unchanged for so long gets another time stamp if it is changed, however coarse the clock."""


class DamagedArtifactError(RuntimeError):
    """A file under artifacts/ is missing or altered."""


class UnwrittenError(OSError):
    """A file could not be written: the disk is full or the folder is read-only."""

    def __str__(self) -> str:
        """Return what happened and what to do, without the error number."""
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
    """Write a file such that its name always refers to complete content, even after a power cut.

    Raises:
        UnwrittenError: The disk is full or the folder is read-only; nothing is left under the final name.
    """
    # Not with tempfile, whose files only their owner can read: reports are meant for others too.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)  # the rename is durable once the folder is on disk
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise UnwrittenError(
            error.errno,
            f"{path} could not be written: {error.strerror or error}. Nothing is left under its name, and everything "
            "finished before is complete. Free disk space or make the folder writable, and start the same command "
            "again.",
        ) from error


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
    """Write records to one parquet file under artifacts/<stage>/, named by its content, and return its reference.

    Equal rows give the same file and name, so two runs may compute the same rows at once.
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
    """Read the parquet file of a reference."""
    return pq.read_table(_intact_file(reference))


def read_rows(reference: Mapping[str, Any], record: Callable[..., Row]) -> list[Row]:
    """Read the records of a reference; "start" and "stop" in it select a range of rows."""
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
    """Return the records of whole files, one after the other, kept as columns: for all rows of a run."""
    known = list(references)
    return StoredRows(record, (read_table(reference) for reference in known)) if known else []


def read_rows_of(
    sample_ids: Collection[str], references: Iterable[Mapping[str, Any]], record: Callable[..., Row]
) -> list[Row]:
    """Read the records of a few samples from whole files, file by file."""
    wanted = pa.array(sorted(sample_ids), pa.string())
    tables = (read_table(reference) for reference in references)
    return [row for table in tables for row in records_of(record, table.filter(pc.is_in(table["sample_id"], wanted)))]


def _intact_file(reference: Mapping[str, Any]) -> Path:
    if not is_intact(reference):
        raise DamagedArtifactError(
            f"artifacts/{reference['path']} is missing or altered. Start the run again: it is recomputed."
        )
    return ARTIFACTS / str(reference["path"])


# Thousands of chunks of a file are read one after the other: each row group is unpacked once. What a hash refers to
# never changes.
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
    """Tell whether the file of a reference exists under artifacts/ and has its hash."""
    try:
        path = (ARTIFACTS / reference["path"]).resolve()
        is_inside = path.is_relative_to(ARTIFACTS.resolve())
        return is_inside and path.is_file() and current_sha256(path) == str(reference["sha256"])
    except (OSError, RuntimeError, TypeError, ValueError):  # an invalid name, or a file that may not be read
        return False


def marks_of(path: Path) -> tuple[int, ...]:
    """Return what the file system changes whenever a file is written or replaced: size, times, inode."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def current_sha256(path: Path) -> str:
    """Return the sha256 of a file's bytes; they are read once until the file changes."""
    marks = marks_of(path)
    if time.time() - marks[2] / 1e9 < _SETTLED_SECONDS:
        return file_sha256(path)
    key: tuple[str | int, ...] = (str(path), *marks)
    if key not in _known_hashes:
        _known_hashes[key] = file_sha256(path)
    return _known_hashes[key]


_known_hashes: dict[tuple[str | int, ...], str] = {}
"""(path, its marks) -> sha256; asked for each of thousands of chunks of a file."""


def hashes_outside() -> list[list[str | int]]:
    """Return what this process knows of files that are not under artifacts/, those of models, for `trusting`."""
    known = list(_known_hashes.items())
    return [[sha256, *key] for key, sha256 in known if not Path(str(key[0])).is_relative_to(ARTIFACTS)]


@contextmanager
def trusting(hashes: Iterable[Sequence[str | int]]) -> Iterator[None]:
    """Within the context, take the hashes of an earlier process for those of files that still have their marks.

    A change that leaves size, times and inode alone is not seen: a damaged disk, or a clock that was set back.
    """
    earlier: dict[tuple[str | int, ...], str] = {tuple(key): str(sha256) for sha256, *key in hashes}
    added = {key: sha256 for key, sha256 in earlier.items() if key not in _known_hashes}
    _known_hashes.update(added)
    try:
        yield
    finally:
        for key in added:
            del _known_hashes[key]


def chunks_of(reference: Reference, identifiers: Iterable[str], size: int) -> list[Reference]:
    """Split a reference into ranges of at most `size` rows, each identified by the identifiers of its rows."""
    names = list(identifiers)
    return [
        reference | {"start": start, "stop": start + len(part), "chunk": digest(part)}
        for start in range(0, len(names), size)
        if (part := names[start : start + size])
    ]


class StoredRows(Sequence[Row], Generic[Row]):
    """The records of tables, kept as columns; a record is made whenever it is accessed.

    Two million scores take 0.4 GB as columns and several times as much as records.
    """

    def __init__(self, record: Callable[..., Row], tables: Iterable[pa.Table]) -> None:
        """Take tables, at least one, with the record's columns; best from an iterator that reads them.

        Raises:
            KeyError: A column is missing.
        """
        self._record = record
        parts = []
        for table in tables:
            part = _ordered(record, table)
            for number, name in enumerate(part.column_names):
                if name in _REPEATED:
                    part = part.set_column(number, name, part.column(name).dictionary_encode())
            parts.append(part)
        self._table = pa.concat_tables(parts).unify_dictionaries().combine_chunks()
        # Thousands of small files leave scattered memory, which Arrow would keep for later.
        pa.default_memory_pool().release_unused()
        self._texts = {
            column.name: self._table.column(column.name).chunk(0).dictionary.to_pylist()
            for column in self._table.schema
            if pa.types.is_dictionary(column.type) and self._table.num_rows
        }

    def __len__(self) -> int:
        """Return the number of records."""
        return int(self._table.num_rows)

    def __iter__(self) -> Iterator[Row]:
        """Yield the records."""
        return self._records(self._table)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        """Return one record, or those of a slice."""
        if isinstance(place, slice):
            return [self[number] for number in range(len(self))[place]]
        return next(self._records(self._table.slice(range(len(self))[place], 1)))

    def _records(self, table: pa.Table) -> Iterator[Row]:
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            columns = zip(batch.schema.names, batch.columns, strict=True)
            yield from map(self._record, *(_values(column, self._texts.get(name)) for name, column in columns))


def records_of(record: Callable[..., Row], table: pa.Table) -> list[Row]:
    """Return all records of a table."""
    batches = _ordered(record, table).to_batches(max_chunksize=_ROWS_AT_ONCE)
    return [row for batch in batches for row in map(record, *map(_values, batch.columns))]


def _ordered(record: Callable[..., Any], table: pa.Table) -> pa.Table:
    """Return the record's columns in their order."""
    return table.select([field.name for field in dataclasses.fields(cast(Any, record))])


def _values(column: pa.Array, texts: Sequence[str] | None = None) -> Sequence[Any]:
    """Return a column's values as Python objects, lists as tuples.

    `texts` is the dictionary of a dictionary-encoded column: one object per text for all batches.
    """
    if texts is not None:
        return [texts[number] for number in column.indices.to_pylist()]
    values: list[Any] = column.to_pylist()
    return [value if value is None else tuple(value) for value in values] if pa.types.is_list(column.type) else values
