"""Rows of data sets, from the hub or from disk.

In: settings. Out: rows, and an identity: the hash of a local file or the commit of a data set on the hub, which is part
of the key of the sampling stage. Whatever the user can fix raises a SetupError.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.loading.hub import hub_commit
from tasks.loading.redaction import brief, presentable, printable
from tasks.priming.errors import SetupError as SetupError  # re-exported: raised by everything here
from tasks.priming.sampling import COLUMNS, DATASETS
from tasks.priming.settings import DataSettings
from tasks.store.artifacts import ROOT, file_sha256

Identity: TypeAlias = dict[str, Any]  # what is loaded, as plain JSON

_BATCH_ROWS = 1000
"""Rows of a parquet file that are unpacked at a time: a text shared by all rows takes memory once per row."""


def identify_data(settings: DataSettings) -> Identity:
    """Return which rows the settings select: the hash of a local file, or the commit of a data set on the hub."""
    source = DATASETS.get(settings.data)
    location = source.location if source else settings.data
    path = _local_file(location)
    if path is not None:
        try:
            return {"data": settings.data, "file": path.name, "sha256": file_sha256(path)}
        except OSError as error:
            raise unreadable(path, error) from None
    return {
        "data": location,
        "config": settings.data_config or (source.config if source else None),
        "split": settings.data_split or (source.split if source else None) or "validation",
        "revision": hub_commit(location, settings.data_revision, "dataset"),
    }


def load_rows(identity: Identity) -> Iterator[dict[str, Any]]:
    """Yield the rows of an identified data set in its order.

    Raises:
        SetupError: A file is damaged or, after the last row, found to have changed since it was identified; or the
            hub's data set lacks the configuration or split.
    """
    source = DATASETS.get(identity["data"])
    path = _local_file(source.location if source else identity["data"]) if "sha256" in identity else None
    if path is None:
        yield from _hub_rows(identity)
        return
    try:
        with path.open("rb") as file:
            yield from _parquet_rows(file, path) if path.suffix == ".parquet" else _json_rows(file, path)
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
    if path.suffix in (".parquet", ".jsonl"):
        if path.is_file():
            return path.resolve()
        raise SetupError(f"There is no file {shown}. Give the path of a .parquet or .jsonl file, or a hub id.")
    if path.exists() or location.startswith((".", "/", "~")):
        raise SetupError(
            f"{shown} is no data file that can be read. Allowed are .parquet and .jsonl files, the known data sets "
            f"{', '.join(DATASETS)}, and data set ids on the hub."
        )
    return None


def _parquet_rows(file: BinaryIO, path: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
            names = parquet.schema_arrow.names
            # Other columns may have any content and size; their names are kept for messages.
            others = dict.fromkeys(name for name in names if name not in COLUMNS)
            known = [name for name in names if name in COLUMNS]
            for batch in parquet.iter_batches(_BATCH_ROWS, columns=known):
                for row in batch.to_pylist():
                    yield others | row
                    number += 1
    # Besides Arrow's errors, values that Python cannot represent: invalid UTF-8, a date before the year 1.
    except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError) as error:
        raise SetupError(
            f"{path} cannot be read as parquet from row {number} on ({brief(error)}). Write the file again."
        ) from None


def _json_rows(file: BinaryIO, path: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(file, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SetupError(
                f"{path}, line {number} is not JSON ({brief(error)}). Correct or remove the line."
            ) from None
        if not isinstance(row, dict):
            raise SetupError(f"{path}, line {number} is not a JSON object. Each line must hold one row.")
        yield row


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
            f"be loaded: {brief(error)}. Check the names on the hub, or give a local .parquet or .jsonl "
            "file with --data."
        ) from presentable(error)
    yield from rows
