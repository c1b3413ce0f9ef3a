"""Rows of data sets, from the hub or from disk; with loading.py the only place that reads either.

In: settings. Out: rows as the data set gives them, and an identity: the hash of a local file or the commit of a data
set on the hub, which enters the key of the sampling stage.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.artifacts import ROOT, file_sha256
from tasks.priming.errors import UsageError
from tasks.priming.sampling import DATASETS
from tasks.priming.settings import DataSettings

Identity: TypeAlias = dict[str, Any]
"""What was loaded, as JSON can say it."""


class SetupError(UsageError):
    """Something the user's machine or settings lack; the message says what to do."""


def identify_data(settings: DataSettings) -> Identity:
    """Return what rows the settings mean: the hash of a local file, or the commit of a data set on the hub.

    Raises:
        SetupError: The file does not exist, or the hub does not know the data set or cannot be reached.
    """
    source = DATASETS.get(settings.data)
    location = source.location if source else settings.data
    path = _local_file(location)
    if path is not None:
        return {"data": settings.data, "file": path.name, "sha256": file_sha256(path)}
    return {
        "data": location,
        "config": settings.data_config or (source.config if source else None),
        "split": settings.data_split or (source.split if source else None) or "validation",
        "revision": hub_commit(location, settings.data_revision, "dataset"),
    }


def load_rows(settings: DataSettings, identity: Identity) -> Iterator[dict[str, Any]]:
    """Yield the rows of a data set in its order.

    Raises:
        SetupError: A file is damaged, or the hub's data set lacks the configuration or split.
    """
    source = DATASETS.get(settings.data)
    path = _local_file(source.location if source else settings.data)
    if path is None:
        yield from _hub_rows(identity)
    elif path.suffix == ".parquet":
        yield from _parquet_rows(path)
    else:
        yield from _json_rows(path)


def local_path(location: str) -> Path:
    """Return a location as a path, ~ expanded, whether there is something or not.

    Raises:
        SetupError: It cannot even be looked up: an unknown user's ~, a name that is too long, no permission.
    """
    try:
        path = Path(location).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:
        raise SetupError(
            f"{location} cannot be looked up on this machine: {error}. Give a path that you may read, or a hub id."
        ) from None
    return path


def _local_file(location: str) -> Path | None:
    """Return the file that a location names, or None if it is an id on the hub.

    Raises:
        SetupError: It looks like a file, and there is none.
    """
    path = local_path(location)
    path = path if path.is_absolute() or path.is_file() else ROOT / path
    if path.suffix in (".parquet", ".jsonl"):
        if path.is_file():
            return path.resolve()
        raise SetupError(f"There is no file {location}. Give the path of a .parquet or .jsonl file, or a hub id.")
    if path.exists() or location.startswith((".", "/", "~")):
        raise SetupError(
            f"{location} is no data file that can be read. Allowed are .parquet and .jsonl files, the known data sets "
            f"{', '.join(DATASETS)}, and data set ids on the hub."
        )
    return None


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read as parquet ({error}). Write the file again.") from None


def _json_rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SetupError(f"{path}, line {number} is not JSON ({error}). Mend or remove the line.") from None
            if not isinstance(row, dict):
                raise SetupError(f"{path}, line {number} is not a JSON object. Each line must hold one row.")
            yield row


def _hub_rows(identity: Identity) -> Iterator[dict[str, Any]]:
    import datasets

    try:
        rows = datasets.load_dataset(
            identity["data"], identity["config"], split=identity["split"], revision=identity["revision"]
        )
    except Exception as error:  # the library raises many kinds for a wrong name, split or connection
        raise SetupError(
            f"The data set {identity['data']} (configuration {identity['config']}, split {identity['split']}) cannot "
            f"be loaded: {error}. Check the names on the hub, or give a local .parquet or .jsonl file with --data."
        ) from error
    yield from rows


def hub_commit(name: str, revision: str | None, kind: str) -> str:
    """Return the commit hash that a revision means now; offline, the newest one that was downloaded.

    Raises:
        SetupError: The hub does not know the name, or cannot be reached and nothing was downloaded.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    downloaded = Path(constants.HF_HUB_CACHE) / f"{kind}s--{name.replace('/', '--')}"
    try:
        information = HfApi().repo_info(name, revision=revision, repo_type=kind, timeout=20)
        return str(information.sha)
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError) as error:
        raise SetupError(f"The hub knows no {kind} {name!r} at {revision or 'main'}: {error}") from None
    except Exception as error:  # offline, a proxy, the hub itself: the client raises many kinds
        # A commit stands under its own name; what a branch or tag meant when it was downloaded stands in a file.
        if re.fullmatch("[0-9a-f]{40}", revision or "") and (downloaded / "snapshots" / str(revision)).is_dir():
            return str(revision)
        if (reference := downloaded / "refs" / (revision or "main")).is_file():
            return reference.read_text(encoding="ascii").strip()
        raise SetupError(
            f"The {kind} {name} is not on this machine and the hub cannot be reached ({type(error).__name__}). Give a "
            f"local path instead, or run what needs no network: python -m flows.experiment --profile demo"
        ) from None
