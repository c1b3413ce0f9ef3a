"""Artifacts: what is written is read back, nothing is ever half-written, and nothing else than was written is read."""

import dataclasses
import hashlib
import json
import os
import resource
import subprocess
import sys
import types
import typing
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.priming import records
from tasks.priming.records import Check, Sample, Score
from tasks.store.artifacts import (
    DamagedArtifactError,
    Reference,
    UnwrittenError,
    chunks_of,
    digest,
    file_sha256,
    is_intact,
    is_reference,
    read_rows,
    read_table,
    write_atomically,
    write_rows,
)
from tests.places import ROOT

RECORDS = [kind for kind in vars(records).values() if isinstance(kind, type) and dataclasses.is_dataclass(kind)]
TEXTS = ["", "plain", "{braces} %s", "</s>", "a\r\nb\t\x01", "שלום 😀 𝒳", "x" * 10_000]
FULL: dict[object, list[Any]] = {
    str: TEXTS,
    int: [0, 1, -1, 2**63 - 1],
    float: [0.1, -0.0, 1e-308, 1e308, 2.9583],
    bool: [True, False],
    tuple[str, ...]: [(), ("one",), ("", "שלום", "</s>")],
    tuple[float, ...]: [(), (0.5,), (1.25, -3.0, 0.0)],  # exact in float32, in which they are stored
}


def rows_of(kind: Any, count: int) -> list[Any]:
    """Return rows with every field full, then rows with None in every field that may lack a value."""
    hints = typing.get_type_hints(kind)

    def value(annotation: Any, number: int) -> Any:
        if isinstance(annotation, types.UnionType):
            if number >= count:
                return None
            annotation = next(a for a in typing.get_args(annotation) if a is not type(None))
        values = typing.get_args(annotation) if typing.get_origin(annotation) is typing.Literal else FULL[annotation]
        return values[number % len(values)]

    return [kind(**{name: value(hint, n) for name, hint in hints.items()}) for n in range(2 * count)]


def checks(count: int) -> list[Check]:
    return [Check(f"check {number}", number / 8, None, True, "detail") for number in range(count)]


@pytest.fixture
def written(artifacts_folder: Path) -> Reference:
    return write_rows(checks(3), Check, "checks")


@contextmanager
def small_files_only(byte_count: int) -> Iterator[None]:
    """Let the system refuse to write more than so many bytes to a file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


# --- round trip ---


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_rows_of_every_record_come_back_as_they_were(artifacts_folder: Path, kind: Any) -> None:
    rows = rows_of(kind, 7)
    reference = write_rows(rows, kind, "stage")
    assert read_rows(reference, kind) == rows
    assert repr(read_rows(reference, kind)) == repr(rows)  # types and -0.0 too, which == does not tell


def test_every_record_is_tested() -> None:
    names = {kind.__name__ for kind in RECORDS}
    assert {"Sample", "Surrogate", "Route", "Score", "Comparison", "Check"} <= names


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_no_rows_come_back_as_no_rows_with_the_schema(artifacts_folder: Path, kind: Any) -> None:
    reference = write_rows([], kind, "stage")
    assert reference["rows"] == 0
    assert read_rows(reference, kind) == []
    assert read_table(reference).schema.names == [field.name for field in dataclasses.fields(kind)]


def test_another_reader_of_parquet_sees_the_same_values(artifacts_folder: Path) -> None:
    rows = rows_of(Score, 4)
    reference = write_rows(rows, Score, "scoring/static")
    seen = pq.read_table(artifacts_folder / reference["path"]).to_pylist()  # pyarrow itself
    expected = [dataclasses.asdict(row) for row in rows]
    for row in expected:
        for name in ("token_nlls", "answer_tokens", "distractor_nlls"):
            row[name] = None if row[name] is None else list(row[name])
    assert seen == expected


def test_a_missing_value_stays_missing_and_nan_stays_nan(artifacts_folder: Path) -> None:
    rows = [dataclasses.replace(checks(1)[0], value=value) for value in (None, float("nan"), float("inf"), 0.0)]
    found = [row.value for row in read_rows(write_rows(rows, Check, "checks"), Check)]
    assert repr(found) == "[None, nan, inf, 0.0]"


def test_columns_are_nullable_exactly_where_the_record_says_so(written: Reference) -> None:
    nullable = {field.name: field.nullable for field in read_table(written).schema}
    # by hand from records.Check: value, limit and passed are "| None"
    assert nullable == {"name": False, "value": True, "limit_value": True, "passed": True, "detail": False}


def test_token_nlls_are_stored_in_single_precision(artifacts_folder: Path) -> None:
    field = read_table(write_rows([], Score, "scoring/static")).schema.field("token_nlls")
    assert field.type == pa.list_(pa.float32())  # from a float32 log-softmax


def test_a_reference_names_the_files_hash_and_row_count(artifacts_folder: Path, written: Reference) -> None:
    content = (artifacts_folder / written["path"]).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    assert written == {"path": f"checks/{sha256[:32]}.parquet", "sha256": sha256, "rows": 3}
    assert json.loads(json.dumps(written)) == written  # plain JSON: Prefect would silently not store anything else
    assert file_sha256(artifacts_folder / written["path"]) == sha256


def test_equal_rows_are_one_file_and_other_rows_another(artifacts_folder: Path, written: Reference) -> None:
    assert write_rows(checks(3), Check, "checks") == written
    assert write_rows(checks(4), Check, "checks")["path"] != written["path"]
    assert len(list((artifacts_folder / "checks").iterdir())) == 2


@pytest.mark.parametrize(
    ("row", "kind", "error"),
    [
        (dataclasses.replace(checks(1)[0], name=typing.cast(str, None)), pa.ArrowInvalid, "non-nullable"),
        (dataclasses.replace(checks(1)[0], name=typing.cast(str, 5)), pa.ArrowTypeError, "bytes"),
        (dataclasses.replace(checks(1)[0], detail="\ud800"), UnicodeEncodeError, "surrogates not allowed"),
    ],
    ids=["None where a value must be", "wrong type", "half a surrogate pair"],
)
def test_rows_that_cannot_be_stored_leave_nothing(
    artifacts_folder: Path, row: Check, kind: type[Exception], error: str
) -> None:
    with pytest.raises(kind, match=error):
        write_rows([*checks(2), row], Check, "checks")
    assert list(artifacts_folder.rglob("*")) == []


# --- chunks ---


def test_a_range_of_a_reference_reads_its_rows_alone(artifacts_folder: Path) -> None:
    rows = checks(7)
    reference = write_rows(rows, Check, "checks")
    chunks = chunks_of(reference, [row.name for row in rows], 3)
    # 7 = 3 + 3 + 1
    assert [(chunk["start"], chunk["stop"]) for chunk in chunks] == [(0, 3), (3, 6), (6, 7)]
    assert [read_rows(chunk, Check) for chunk in chunks] == [rows[:3], rows[3:6], rows[6:]]
    assert all(is_reference(chunk) and chunk["path"] == reference["path"] for chunk in chunks)
    assert "start" not in reference


def test_a_chunk_is_known_by_its_rows_wherever_they_stand(artifacts_folder: Path) -> None:
    names = [f"id{number}" for number in range(6)]
    short = chunks_of({"path": "a", "sha256": "1", "rows": 3}, names[:3], 3)
    long = chunks_of({"path": "b", "sha256": "2", "rows": 6}, names, 3)
    assert short[0]["chunk"] == long[0]["chunk"] != long[1]["chunk"]
    assert chunks_of({"path": "b", "sha256": "2", "rows": 3}, names[2::-1], 3)[0]["chunk"] != short[0]["chunk"]


def test_no_rows_make_no_chunks() -> None:
    assert chunks_of({"path": "a", "sha256": "1", "rows": 0}, [], 3) == []


# --- atomic writing ---


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"old")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_file_may_be_read_by_whom_the_users_mask_lets(tmp_path: Path) -> None:
    for mask, expected in ((0o022, 0o644), (0o077, 0o600)):
        previous = os.umask(mask)
        try:
            write_atomically(tmp_path / "file", b"content")
        finally:
            os.umask(previous)
        assert (tmp_path / "file").stat().st_mode & 0o777 == expected


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with small_files_only(4096), pytest.raises(OSError, match="File too large"):
        write_atomically(path, b"n" * 100_000)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_no_artifact(artifacts_folder: Path) -> None:
    rows = [dataclasses.replace(checks(1)[0], detail=os.urandom(5000).hex()) for _ in range(5)]
    with small_files_only(4096), pytest.raises(OSError, match="File too large"):
        write_rows(rows, Check, "checks")
    assert list((artifacts_folder / "checks").iterdir()) == []


def test_a_failed_rename_leaves_no_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(UnwrittenError, match=r"taken could not be written: Is a directory\. Nothing .*Free disk"):
        write_atomically(tmp_path / "taken", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["taken"]


# --- only what was written is read ---


@pytest.mark.parametrize("byte", ["first", "middle", "last"])
def test_an_altered_file_is_refused(artifacts_folder: Path, written: Reference, byte: str) -> None:
    """DuckDB read 20 of 20 parquet files with a flipped bit without a word."""
    path = artifacts_folder / written["path"]
    content = bytearray(path.read_bytes())
    content[{"first": 0, "middle": len(content) // 2, "last": -1}[byte]] ^= 1
    path.write_bytes(content)
    assert not is_intact(written)
    with pytest.raises(DamagedArtifactError, match=f"artifacts/{written['path']} is missing or altered. Start the run"):
        read_rows(written, Check)


def test_a_file_in_place_of_another_is_refused(artifacts_folder: Path, written: Reference) -> None:
    other = write_rows(checks(5), Check, "checks")
    os.replace(artifacts_folder / other["path"], artifacts_folder / written["path"])
    with pytest.raises(DamagedArtifactError, match="is missing or altered"):
        read_table(written)


def test_a_missing_file_is_refused(artifacts_folder: Path, written: Reference) -> None:
    (artifacts_folder / written["path"]).unlink()
    assert not is_intact(written)
    with pytest.raises(DamagedArtifactError, match="is missing or altered"):
        read_table(written)


@pytest.mark.parametrize("route", ["above", "absolute", "link"])
def test_a_file_outside_the_artifacts_folder_is_refused(
    artifacts_folder: Path, written: Reference, tmp_path: Path, route: str
) -> None:
    outside = tmp_path / "outside.parquet"
    outside.write_bytes((artifacts_folder / written["path"]).read_bytes())  # its hash is right, its place is not
    (artifacts_folder / "link.parquet").symlink_to(outside)
    path = {"above": "../outside.parquet", "absolute": str(outside), "link": "link.parquet"}[route]
    assert (artifacts_folder / path).is_file()
    with pytest.raises(DamagedArtifactError, match="is missing or altered"):
        read_table(written | {"path": path})


def test_a_folder_is_no_artifact(artifacts_folder: Path, written: Reference) -> None:
    assert not is_intact(written | {"path": "checks"})


@pytest.mark.parametrize("value", [None, "text", [], {}, {"path": "a", "sha256": "b"}, {"path": "a", "rows": 1}])
def test_what_lacks_a_part_is_no_reference(value: object) -> None:
    assert not is_reference(value)


def test_the_digest_is_sha256_of_canonical_json() -> None:
    expected = hashlib.sha256(b'{"a":[1,null,true],"b":"\\u00e9"}').hexdigest()  # keys sorted, no space, ASCII
    assert digest({"b": "é", "a": [1, None, True]}) == expected
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"a": float("nan")})  # NaN would equal any other NaN


def test_a_samples_text_survives_the_round_trip_byte_for_byte(artifacts_folder: Path) -> None:
    rows = [Sample("id", 0, text, text, text, None, "p") for text in TEXTS]
    found = read_rows(write_rows(rows, Sample, "sampling"), Sample)
    assert [row.passage.encode() for row in found] == [text.encode() for text in TEXTS]


def test_an_empty_variable_counts_as_unset() -> None:
    """It would mean the working folder, in which prune would then look for files to remove."""
    program = "import tasks; from tasks.store.artifacts import ARTIFACTS; print(ARTIFACTS)"
    environment = os.environ | {"SURROGATE_ARTIFACTS": "", "PYTHONPATH": str(ROOT)}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout == f"{ROOT / 'artifacts'}\n"
