"""Rows that are kept as columns are the records that were written, however often and from wherever they are read."""

import dataclasses
import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from tasks.priming.records import Check, Score
from tasks.store import artifacts
from tasks.store.artifacts import (
    DamagedArtifactError,
    StoredRows,
    chunks_of,
    open_rows,
    read_rows,
    records_of,
    write_rows,
)
from tests import run_rows


def scores(first: int, count: int) -> list[Score]:
    rows = [run_rows.score(f"{number % 7:04}", "static/factual", number / 8) for number in range(first, count)]
    lists = ((0.5, 1.25), (), None)
    return [dataclasses.replace(row, token_nlls=lists[n % 3], answer_tokens=("a", "é")) for n, row in enumerate(rows)]


def checks(count: int) -> list[Check]:
    return [Check(f"check {number}", number / 8, None, True, "detail") for number in range(count)]


@pytest.mark.usefixtures("artifacts_folder")
def test_rows_of_several_files_are_one_sequence() -> None:
    parts = [scores(0, 600), scores(600, 600), scores(600, 1300)]  # more than are made at once, and none
    written = [row for part in parts for row in part]
    found = open_rows([write_rows(part, Score, "scoring") for part in parts], Score)
    assert len(found) == 1300
    assert [repr(row) for row in found] == [repr(row) for row in written]
    assert list(found) == list(found)  # as often as one likes
    assert (found[0], found[-1], found[601:603]) == (written[0], written[-1], written[601:603])
    with pytest.raises(IndexError):
        found[1300]


@pytest.mark.usefixtures("artifacts_folder")
def test_a_text_that_recurs_is_one_object() -> None:
    parts = [scores(0, 600), scores(600, 1300)]
    found = open_rows([write_rows(part, Score, "scoring") for part in parts], Score)
    assert len({id(row.sample_id) for row in found}) == 7


@pytest.mark.usefixtures("artifacts_folder")
def test_no_files_and_empty_files_have_no_rows() -> None:
    assert list(open_rows([], Score)) == []
    assert list(open_rows([write_rows([], Score, "scoring")], Score)) == []


def test_a_file_that_was_altered_is_not_opened(artifacts_folder: Path) -> None:
    reference = write_rows(scores(0, 5), Score, "scoring")
    (artifacts_folder / reference["path"]).write_bytes(b"PAR1")
    with pytest.raises(DamagedArtifactError, match="is missing or altered"):
        open_rows([reference], Score)


def test_columns_are_found_by_their_names() -> None:
    rows = checks(3)
    table = pa.table({name: [getattr(row, name) for row in rows] for name in ("detail", "name", "value")})
    table = table.append_column("passed", pa.array([True] * 3)).append_column(
        "limit_value", pa.array([None] * 3, pa.float64())
    )
    assert records_of(Check, table) == rows
    assert list(StoredRows(Check, [table])) == rows
    with pytest.raises(KeyError, match="limit_value"):
        records_of(Check, table.drop_columns("limit_value"))


# --- ranges of a file ---


@pytest.mark.usefixtures("artifacts_folder")
def test_ranges_across_packed_groups_are_their_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_GROUP_ROWS", 10)
    rows = checks(47)
    reference = write_rows(rows, Check, "checks")
    for size in (3, 10, 25, 47):
        chunks = chunks_of(reference, [row.name for row in rows], size)
        assert [read_rows(chunk, Check) for chunk in chunks] == [rows[n : n + size] for n in range(0, 47, size)]
    assert read_rows(reference | {"start": 20, "stop": 20}, Check) == []


def test_a_range_of_a_file_that_was_altered_is_refused(artifacts_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hash of a file that nobody touched is remembered, and its rows too: neither may outlive a change."""
    reference = write_rows(checks(5), Check, "checks") | {"start": 1, "stop": 3}
    path = artifacts_folder / reference["path"]
    settle(path, monkeypatch)
    assert read_rows(reference, Check) == checks(5)[1:3]
    content, status = bytearray(path.read_bytes()), path.stat()
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if it had not been touched
    with pytest.raises(DamagedArtifactError, match="is missing or altered"):
        read_rows(reference, Check)


def test_a_file_is_hashed_once_while_nobody_touches_it(artifacts_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = write_rows(checks(5), Check, "checks")
    path = artifacts_folder / reference["path"]
    hashed: list[Path] = []

    def noted(path: Path) -> str:
        hashed.append(path)
        return str(reference["sha256"])

    monkeypatch.setattr(artifacts, "file_sha256", noted)
    for _ in range(2):
        assert artifacts.is_intact(reference)
    assert len(hashed) == 2  # written a moment ago: the clock of files could hide another write
    settle(path, monkeypatch)
    for _ in range(3):
        assert artifacts.is_intact(reference)
    assert len(hashed) == 3


def settle(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait until a file's last change lies far enough back, which is a little less here."""
    monkeypatch.setattr(artifacts, "_SETTLED_SECONDS", 0.05)
    while time.time() - path.stat().st_ctime < 0.1:
        time.sleep(0.02)
