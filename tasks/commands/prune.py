"""The verb `prune`: lists the files that no run needs any more; with --remove they are removed.

In: the manifests of all runs, finished or not, and the files of the stages. Out: the files that no manifest names, and
what killed processes left half-written. To forget a run, first delete its manifest artifacts/runs/<run_id>.json.
Reports, the database and files that this project did not write are left alone: its own are known by their names,
and parquet files by their content too.

While it removes files no run can start, and while a run is in progress it removes nothing: the manifest of that run may
not yet name the cached results that the run uses.
"""

import argparse
import json
import re
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.filesize import decimal

from tasks.loading.redaction import printable
from tasks.priming.errors import UsageError
from tasks.store import artifacts
from tasks.store.artifacts import file_sha256, is_reference
from tasks.store.manifests import is_alive, locked_manifests, read_manifest, read_manifests
from tasks.store.sealing import sealed_text

STAGE_FOLDERS = ("sampling", "surrogates", "routing", "scoring", "answers", "checks", "statistics")
"""Folders of artifacts/ whose files are named by their content."""

_RECORDS = "stages"
_SHOWN_FILES = 20

_RECEIPTS = ".receipts"
_WRITTEN = ("", "bench", "reports", "runs", _RECEIPTS, *STAGE_FOLDERS)
"""Folders in which files are written under a temporary name first; of a stage also those within."""

# As tasks/store/artifacts.py, caching.py, receipts.py and manifests.py name files.
_ARTIFACT = re.compile(r"[0-9a-f]{32}\.parquet")
_RECORD = re.compile(r"[0-9a-f]{32}")
_RECEIPT = re.compile(r"[0-9a-f]{32}\.json")
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp")
_ATTEMPT = re.compile(r"[0-9a-f]{12}")

_WRITING_SECONDS = 3600.0
"""A file that was touched within the last hour may still be being written, e.g. by a command that is no run."""


@dataclass(frozen=True, slots=True)
class Litter:
    """A file that no run needs."""

    path: Path
    """Where it is."""
    size: int
    """Its length (bytes)."""
    reason: str
    """Why it is not needed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add whether to remove."""
    parser.add_argument("--remove", action="store_true", help="Remove the files; without it they are only listed.")


def execute(options: argparse.Namespace) -> int:
    """List the files, the largest twenty by name, and remove them if asked to."""
    litter = remove_litter() if options.remove else find_litter()
    if not litter:
        sys.stdout.write("Every file is needed by a run: there is nothing to remove.\n")
        return 0
    for part in litter[:_SHOWN_FILES]:
        shown = printable(str(part.path.relative_to(artifacts.ARTIFACTS)))
        sys.stdout.write(f"{decimal(part.size):>10}  {shown}  ({part.reason})\n")
    if len(litter) > _SHOWN_FILES:
        sys.stdout.write(f"... and {len(litter) - _SHOWN_FILES:,} more\n")
    done = "were removed." if options.remove else "are needed by no run. To remove them: make prune APPLY=1"
    sys.stdout.write(f"{len(litter):,} files, {decimal(sum(part.size for part in litter))}, {done}\n")
    return 0


def find_litter() -> list[Litter]:
    """Return the files that no run needs, largest first.

    Raises:
        UsageError: A manifest is damaged, so that it cannot be told what its run needs.
    """
    needed = _needed_paths()
    found = [*_unnamed_artifacts(needed), *_useless_records(needed), *_receipts_of_none(), *_half_written()]
    return sorted(found, key=lambda litter: (-litter.size, litter.path))


def remove_litter() -> list[Litter]:
    """Remove the files that no run needs, and return them.

    Raises:
        UsageError: A run is in progress, or a manifest is damaged.
    """
    with locked_manifests():  # a run that starts now waits
        alive = {
            attempt.attempt_id: manifest.run_id
            for manifest in read_manifests()
            for attempt in manifest.attempts
            if attempt.status == "running" and is_alive(attempt.attempt_id)
        }
        if alive:
            raise UsageError(
                f"Run {', '.join(sorted(set(alive.values())))} is in progress and may be about to use what no manifest "
                "names yet. Nothing was removed. Wait until it has ended, or stop it; then: make prune APPLY=1"
            )
        litter = find_litter()
        for part in litter:
            _remove(part.path)
    return litter


def _needed_paths() -> set[str]:
    """Return the paths, relative to artifacts/, of all files that a manifest names."""
    needed: set[str] = set()
    for path in sorted((artifacts.ARTIFACTS / "runs").glob("*.json")):
        manifest = read_manifest(path.stem)
        if manifest:
            needed.update(_paths_in(manifest.model_dump()))
        elif path.exists():
            raise UsageError(
                f"The manifest {path} is damaged, so what its run needs cannot be told. Nothing was removed. Start the "
                "run again, which rewrites it, or delete the file to forget the run; then prune again."
            )
    return needed


def _paths_in(value: Any) -> Iterator[str]:  # noqa: ANN401 - what JSON can say
    """Yield the paths of all references within a value, however deep."""
    if is_reference(value):
        yield value["path"]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        yield from _paths_in(part)


def _unnamed_artifacts(needed: set[str]) -> Iterator[Litter]:
    for path, size in _files(STAGE_FOLDERS, _ARTIFACT):
        if path.relative_to(artifacts.ARTIFACTS).as_posix() in needed:
            continue
        with suppress(FileNotFoundError):
            if file_sha256(path).startswith(path.stem):
                yield Litter(path, size, "no run names it")


def _useless_records(needed: set[str]) -> Iterator[Litter]:
    """Yield the records of stages that lead to a file which no run needs, or to none: failed tasks leave such."""
    for path, size in _files([_RECORDS], _RECORD):
        try:
            paths = set(_paths_in(json.loads(sealed_text(json.loads(path.read_text(encoding="utf-8"))["result"]))))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            paths = set()
        if not paths:
            yield Litter(path, size, "it refers to no file")
        elif not paths <= needed:
            yield Litter(path, size, "it refers to files that no run names")


def _receipts_of_none() -> Iterator[Litter]:
    """Yield the receipts by which runs would be recognised whose manifests were deleted."""
    for path, size in _files([_RECEIPTS], _RECEIPT):
        with suppress(OSError, ValueError, KeyError, TypeError):
            run_id = json.loads(path.read_bytes())["run_id"]
            if not (artifacts.ARTIFACTS / "runs" / f"{run_id}.json").exists():
                yield Litter(path, size, "its run was forgotten")


def _half_written() -> Iterator[Litter]:
    """Yield what processes left that were killed while writing."""
    for path, size in _files(_WRITTEN, _TEMPORARY):
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _WRITING_SECONDS:
                yield Litter(path, size, "it was being written when its process was killed")
    for path, size in _files(["runs/.attempts"], _ATTEMPT):
        if not is_alive(path.name):
            yield Litter(path, size, "its process has ended")


def _files(folders: Iterable[str], name: re.Pattern[str]) -> Iterator[tuple[Path, int]]:
    """Yield the files of such a name and their sizes (bytes); of the folders of stages also those further within."""
    for folder in folders:
        top = artifacts.ARTIFACTS / folder
        for path in sorted(top.rglob("*") if folder in (*STAGE_FOLDERS, _RECORDS) else top.glob("*")):
            if name.fullmatch(path.name) and not path.is_symlink():
                with suppress(FileNotFoundError):  # a run that ends meanwhile removes its own
                    status = path.stat()
                    if stat.S_ISREG(status.st_mode):
                        yield path, status.st_size


def _remove(path: Path) -> None:
    """Remove a file, and the folders that it leaves empty."""
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder.parent == artifacts.ARTIFACTS or artifacts.ARTIFACTS not in folder.parents:
            return
        try:
            folder.rmdir()
        except OSError:  # it is not empty
            return
