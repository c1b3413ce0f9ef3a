"""Rows of data sets, from the hub or from disk.

In: settings. Out: rows, each under the names that sampling reads, or in place of a row what is wrong with it; and an
identity: the hash of a local file or the commit of a data set on the hub, which is part of the key of the sampling
stage. Whatever the user can fix raises a SetupError. Files are not trusted: nothing in them is run, and except for a
.json file, whose size is limited, only some rows at a time are in memory.
"""

import codecs
import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from rich.filesize import decimal

from tasks.loading.hub import hub_commit
from tasks.loading.redaction import brief, presentable, printable
from tasks.priming.errors import SetupError as SetupError  # re-exported: raised by everything here
from tasks.priming.errors import did_you_mean
from tasks.priming.sampling import COLUMNS, DATASETS, Row, RowProblem
from tasks.priming.settings import DATA_FILES, DataSettings
from tasks.store.artifacts import ROOT, file_sha256

Identity: TypeAlias = dict[str, Any]  # what is loaded, as plain JSON

_BATCH_ROWS = 1000
"""Rows of a parquet file that are unpacked at a time: a text shared by all rows takes memory once per row."""

_LINE_BYTES = 10_000_000
"""The longest line of a text file: a small .gz file may hold one that fills the memory."""

_WHOLE_BYTES = 50_000_000
"""The largest .json file: it is read whole, and takes up to twenty times as much memory."""

_DAMAGE = (
    *(pa.ArrowException, csv.Error, zlib.error, EOFError, OSError, MemoryError, RecursionError),
    # Values that Python cannot represent: invalid UTF-8, a date before the year 1.
    *(ValueError, OverflowError),
)
"""What readers raise for a file that is not what its name says."""


def identify_data(settings: DataSettings) -> Identity:
    """Return which rows the settings select: the hash of a local file, or the commit of a data set on the hub."""
    source = DATASETS.get(settings.data)
    location = source.location if source else settings.data
    path = _local_file(location)
    named = {"columns": settings.column_names} if settings.columns else {}
    if path is not None:
        try:
            return {"data": settings.data, "file": path.name, "sha256": file_sha256(path), **named}
        except OSError as error:
            raise unreadable(path, error) from None
    return {
        "data": location,
        "config": settings.data_config or (source.config if source else None),
        "split": settings.data_split or (source.split if source else None) or "validation",
        "revision": hub_commit(location, settings.data_revision, "dataset"),
        **named,
    }


def load_rows(identity: Identity) -> Iterator[Row]:
    """Yield the rows of an identified data set in its order; in place of one that cannot be read, its problem.

    Raises:
        SetupError: A file is damaged or, after the last row, found to have changed since it was identified; the hub's
            data set lacks the configuration or split; or no row has a column that the settings name.
    """
    source = DATASETS.get(identity["data"])
    columns = identity.get("columns", {})
    path = _local_file(source.location if source else identity["data"]) if "sha256" in identity else None
    if path is None:
        yield from _with_names(_hub_rows(identity), columns)
        return
    try:
        with path.open("rb") as file:
            yield from _with_names(_file_rows(file, path, columns.values()), columns)
            # Hash the file that was read: another one may have its name by now.
            file.seek(0)
            is_same = hashlib.file_digest(file, "sha256").hexdigest() == identity["sha256"]
    except OSError as error:
        raise unreadable(path, error) from None
    if not is_same:
        raise SetupError(
            f"{path} has changed since the run identified it. Nothing of it was used. Leave the file alone while a run "
            "starts, and start the same command again."
        )


def local_path(location: str) -> Path:
    """Return a location as a path with ~ expanded, whether or not it exists."""
    try:
        path = Path(location).expanduser()
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, RuntimeError, ValueError) as error:  # ValueError: NUL or another character that no name can have
        raise SetupError(
            f"{printable(location)} cannot be looked up on this machine: {printable(str(error))}. Give a path that "
            "you may read, or a hub id."
        ) from None
    return path


def _local_file(location: str) -> Path | None:
    """Return the file of a location, or None if it is an id on the hub."""
    path = local_path(location)
    path = path if path.is_absolute() or path.is_file() else ROOT / path
    shown = printable(location)
    if _kind(path):
        if path.is_file():
            return path.resolve()
        raise SetupError(f"There is no file {shown}. Give the path of a {DATA_FILES}, or a hub id.")
    if path.exists() or location.startswith((".", "/", "~")):
        raise SetupError(
            f"{shown} is no data file that can be read. Allowed are a {DATA_FILES}, the known data sets "
            f"{', '.join(DATASETS)}, and data set ids on the hub."
        )
    return None


def _kind(path: Path) -> str:
    """Return what a file's name says that it holds, e.g. ".csv" of both rows.csv and rows.csv.gz; "" if nothing."""
    kind = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    return kind if kind in _TEXT_READERS or path.suffix == ".parquet" else ""


def _with_names(rows: Iterable[Row], columns: Mapping[str, str]) -> Iterator[Row]:
    """Yield rows in which the values of columns also stand under our own names for them, where the row has any."""
    unseen = dict(columns)
    known: dict[str, None] = {}  # in the order of the file
    for row in rows:
        if columns and not isinstance(row, RowProblem):
            found = {name: value for name, at in columns.items() if (value := _value(row, at)) is not None}
            unseen = {name: at for name, at in unseen.items() if name not in found}
            known |= dict.fromkeys(map(str, row)) if unseen else {}
            row = row | found
        yield row
    if unseen and known:
        name, at = next(iter(unseen.items()))
        raise SetupError(
            f"No row has anything in the column {at!r:.100}, which --columns takes for `{name}`. The columns are "
            f"{printable(', '.join(known))[:300]}.{did_you_mean(at, known)} Name one of them, with a dot for what is "
            "inside another: answers=answers.text"
        )


def _value(value: Any, at: str) -> Any:  # noqa: ANN401 - any value that JSON can hold
    """Return what a row has in a column, or with dots inside one, of a list what each item has; None if nothing."""
    if isinstance(value, list):
        found = [part for part in (_value(item, at) for item in value) if part is not None]
        return found or None
    if not isinstance(value, Mapping):
        return None
    if at in value:
        return value[at]
    name, _, inside = at.partition(".")
    return _value(value.get(name), inside) if inside else None


def _file_rows(file: BinaryIO, path: Path, columns: Collection[str]) -> Iterator[Row]:
    """Yield the rows of a file; a damaged one is refused from the row on that cannot be read."""
    kind, number = _kind(path), 0
    stream: Any = gzip.GzipFile(fileobj=file) if path.suffix == ".gz" else file
    rows = _TEXT_READERS[kind](stream) if kind in _TEXT_READERS else _parquet_rows(file, columns)
    try:
        for row in rows:
            yield row
            number += 1
    except _DAMAGE as error:
        raise SetupError(
            f"{path} cannot be read as {kind[1:]} from row {number + 1} on ({brief(error)}). Write the file again."
        ) from None


def _parquet_rows(file: BinaryIO, columns: Collection[str]) -> Iterator[Row]:
    with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
        names = parquet.schema_arrow.names
        wanted = {*COLUMNS, *columns, *(name.partition(".")[0] for name in columns)}
        # Other columns may have any content and size; their names are kept for messages.
        others = dict.fromkeys(name for name in names if name not in wanted)
        for batch in parquet.iter_batches(_BATCH_ROWS, columns=[name for name in names if name in wanted]):
            for row in batch.to_pylist():
                yield others | row


def _lines(file: BinaryIO) -> Iterator[bytes]:
    while line := file.readline(_LINE_BYTES + 1):
        if len(line) > _LINE_BYTES:
            raise ValueError(f"a line of more than {decimal(_LINE_BYTES)}")
        yield line


def _json_lines(file: BinaryIO) -> Iterator[Row]:
    for line in _lines(file):
        try:
            yield _object(json.loads(line))
        except json.JSONDecodeError as error:  # its own text counts lines within this line
            yield RowProblem("not JSON", f"{error.msg} at character {error.pos + 1}")
        except (ValueError, RecursionError) as error:
            yield RowProblem("not JSON", brief(error))


def _json_rows(file: BinaryIO) -> Iterator[Row]:
    """Yield the items of one list, or as many files with this name have it, one object a line."""
    content = file.read(_WHOLE_BYTES + 1)
    if len(content) > _WHOLE_BYTES:
        raise ValueError(f"more than {decimal(_WHOLE_BYTES)}, which are for a .jsonl file: jq -c '.[]' IN > OUT.jsonl")
    if content.lstrip(codecs.BOM_UTF8 + b" \t\r\n").startswith(b"["):
        yield from map(_object, json.loads(content))
    else:
        yield from _json_lines(io.BytesIO(content))


def _object(value: object) -> Row:
    return value if isinstance(value, dict) else RowProblem("not a JSON object", ascii(value))


def _csv_rows(file: BinaryIO) -> Iterator[Row]:
    """Yield rows of texts, under the names of the first line."""
    for row in csv.DictReader(codecs.iterdecode(_lines(file), "utf-8-sig"), strict=True):
        extra = row.pop(None, None)  # the cells without a name
        yield row if extra is None else RowProblem("more cells than the first line has names", ascii(extra))


_TEXT_READERS = {".jsonl": _json_lines, ".json": _json_rows, ".csv": _csv_rows}


def unreadable(path: Path, error: OSError) -> SetupError:
    """Return the error for a file that the system does not let us read."""
    return SetupError(
        f"{path} cannot be read ({error.strerror or error}). Give a file that you may read, or change its permissions: "
        f"chmod u+r {path}"
    )


def _hub_rows(identity: Identity) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(
            identity["data"], identity["config"], split=identity["split"], revision=identity["revision"]
        )
    except Exception as error:  # the library raises many kinds for a wrong name, split or connection
        raise SetupError(
            f"The data set {identity['data']} (configuration {identity['config']}, split {identity['split']}) cannot "
            f"be loaded: {brief(error)}. Check the names on the hub, or give a local "
            f"{DATA_FILES} with --data."
        ) from presentable(error)
    yield from rows
