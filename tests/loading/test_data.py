"""Rows come from files as they are; a file that cannot be read is refused by name, line and what to do."""

import gzip
import hashlib
import json
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import constants

from tasks.loading.data import SetupError, identify_data, load_rows, local_path
from tasks.priming.sampling import Funnel, RowProblem, draw_samples
from tasks.priming.settings import DataSettings, SamplingSettings

ROWS: list[dict[str, Any]] = [
    {
        "query": "cashier pay",
        "query_id": 7,
        "query_type": "numeric",
        "answers": ["15,000 dollars."],
        "wellFormedAnswers": [],
        "passages": {"passage_text": ["Not this.", "שלום 😀"], "is_selected": [0, 1], "url": ["a", "b"]},
    },
    {
        "query": "{braces} </s>",
        "query_id": 8,
        "query_type": "description",
        "answers": [],
        "wellFormedAnswers": ["Well formed."],
        "passages": {"passage_text": ["Only one."], "is_selected": [1], "url": [None]},
    },
]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def rows_of(path: Path) -> list[Any]:
    return list(load_rows(identify_data(DataSettings(data=str(path)))))


READ = [row | {"query_id": None} for row in ROWS]  # of parquet files, columns that nothing uses are not read


def parquet(path: Path, rows: list[dict[str, Any]] = ROWS) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, write_page_checksum=True)
    return path


def json_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines or map(json.dumps, ROWS)), encoding="utf-8")
    return path


def test_rows_of_a_parquet_file_come_in_order(tmp_path: Path) -> None:
    many = [READ[n % 2] | {"query_type": str(n)} for n in range(5000)]
    assert rows_of(parquet(tmp_path / "rows.parquet")) == READ
    assert rows_of(parquet(tmp_path / "many.parquet", many)) == many


PLAIN = [{"passage": "p, 'q'", "query": "a\nb", "answer": "1675"}, {"passage": "שלום", "query": '"x"', "answer": ""}]


@pytest.mark.parametrize(
    "name", ["rows.json", "lines.json", "rows.csv", "rows.jsonl.gz", "rows.json.gz", "rows.csv.gz"]
)
def test_other_text_files_give_the_same_rows(tmp_path: Path, name: str) -> None:
    """A number in a .csv file is text, as all that it holds; written by pandas, as a user would."""
    frame = pd.DataFrame(PLAIN)
    if ".csv" in name:
        frame.to_csv(tmp_path / name, index=False, encoding="utf-8-sig")
    else:
        frame.to_json(
            tmp_path / name, orient="records", lines=not name.startswith("rows.json.") and name != "rows.json"
        )
    assert rows_of(tmp_path / name) == PLAIN


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("rows.json", b'[{"query": "a"}', "as json from row 1 on .*Expecting"),
        ("rows.json", b"[" * 100_000, "as json from row 1 on .*recursion"),
        ("rows.json", b'["' + b"x" * 50_000_000, r"as json from row 1 on \(more than 50\.0 MB, .* a \.jsonl file"),
        ("rows.jsonl", b"{}\n" + b" " * 10_000_001, r"as jsonl from row 2 on \(a line of more than 10\.0 MB\)"),
        (
            "rows.jsonl.gz",
            gzip.compress(b"{}\n" + b" " * 10_000_001, mtime=0),
            "as jsonl from row 2 on .a line of more than 10.0 MB",
        ),
        ("rows.jsonl.gz", gzip.compress(b'{"query": "a"}\n', mtime=0)[:-9], "as jsonl from row 2 on .*ended before"),
        ("rows.csv.gz", b"query\na\n", "as csv from row 1 on .*Not a gzipped file"),
        ("rows.csv", b'query\na\n"b" c\n', "as csv from row 2 on .*expected after"),
        ("rows.csv", b"query\n\xff\n", "as csv from row 1 on .*can't decode byte 0xff"),
        ("rows.csv", b'query\n"' + b"x\n" * 200_000, "as csv from row 1 on .*field larger than field limit"),
    ],
)
def test_a_text_file_that_is_damaged_or_too_large_is_named(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SetupError, match=f"{name} cannot be read {problem}.*Write the file again"):
        rows_of(tmp_path / name)


def test_a_csv_row_with_more_cells_than_names_is_a_problem_and_one_with_fewer_has_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("query,answer\na,b,c\nd\n")
    first, second = load_rows(identify_data(DataSettings(data=str(tmp_path / "rows.csv"))))
    assert isinstance(first, RowProblem)
    assert (str(first), first.detail) == ("more cells than the first line has names", "['c']")
    assert second == {"query": "d", "answer": None}


# --- columns of other names ---

SQUAD = {"doc": "p", "question": "q", "answers": {"text": ["one", "1"], "answer_start": [3, 9]}}
LISTED = SQUAD | {"answers": [{"text": "one"}, {"text": "1"}, {"start": 1}]}


@pytest.mark.parametrize("row", [SQUAD, LISTED])
@pytest.mark.parametrize("write", ["parquet", "jsonl"])
def test_columns_of_other_names_and_nested_ones_are_read(tmp_path: Path, row: dict[str, Any], write: str) -> None:
    path = parquet(tmp_path / "rows.parquet", [row]) if write == "parquet" else tmp_path / "rows.jsonl"
    if write == "jsonl":
        json_lines(path, json.dumps(row))
    data = DataSettings(data=str(path), columns=("passage=doc", "query=question", "answers=answers.text"))
    (sample,) = draw_samples(load_rows(identify_data(data)), SamplingSettings(min_words=1), 42).samples
    assert (sample.passage, sample.query, sample.answers) == ("p", "q", ("one", "1"))


def test_other_names_of_columns_are_other_data(tmp_path: Path) -> None:
    path = str(json_lines(tmp_path / "rows.jsonl"))
    identities = [identify_data(DataSettings(data=path, columns=columns)) for columns in ((), ("query=url",))]
    assert identities[1] == identities[0] | {"columns": {"query": "url"}}


def test_a_column_that_no_row_has_is_refused_with_those_there_are(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "rows.jsonl", '{"passages": 1, "question": "q"}', '{"note": 1}')
    data = DataSettings(data=str(path), columns=("query=question", "passage=passage"))
    said = "in the column 'passage', which --columns takes for `passage`. The columns are passages, question, note"
    with pytest.raises(SetupError, match=rf"{said}\. Did you mean passages\? Name one of them"):
        list(load_rows(identify_data(data)))


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'\xef\xbb\xbf{"query": "a"}\r\n{"query": "b"}\r\n')
    assert rows_of(tmp_path / "rows.jsonl") == [{"query": "a"}, {"query": "b"}]


def test_both_formats_give_the_same_samples(tmp_path: Path) -> None:
    settings = SamplingSettings(sample_count=2, min_words=1, max_words=9)
    drawn = [
        draw_samples(rows_of(path), settings, 42)
        for path in (parquet(tmp_path / "rows.parquet"), json_lines(tmp_path / "rows.jsonl"))
    ]
    assert drawn[0] == drawn[1]
    assert drawn[0].funnel == Funnel(rows=2, eligible=2, drawn=2, rejected={})


def test_columns_that_are_not_used_are_not_read(tmp_path: Path) -> None:
    """48 kB once took 4 GB: a text that all rows share is stored once. And a date of no year ended the run."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array(["x" * 200_000]))
    plain = {name: pa.array([f"{name} {n}" for n in range(20_000)]) for name in ("passage", "query", "answer")}
    odd = {"note": text, "crawled": pa.array([-(2**62)] * 20_000, pa.timestamp("us"))}
    pq.write_table(pa.table(plain | odd), tmp_path / "rows.parquet", compression="zstd")
    assert (tmp_path / "rows.parquet").stat().st_size < 1e6
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = rows_of(tmp_path / "rows.parquet")
    assert rows[19_999]["query"] == "query 19999"
    assert rows[0].keys() == plain.keys() | odd.keys()  # their names are there for messages
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


def test_the_real_rows_are_read_whole(shared_data: Path) -> None:
    rows = rows_of(shared_data / "data" / "msmarco_v1.1_sample.parquet")
    assert len(rows) == 251  # README.md of the shared data: 251 real MS MARCO v1.1 rows
    assert rows[0]["query"] == "walgreens store sales average"  # walkthrough, output of cell 6


def test_a_known_data_set_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    settings = DataSettings(data="example")
    first = next(iter(load_rows(identify_data(settings))))
    assert not isinstance(first, RowProblem)
    assert {"query", "answers", "passages"} <= first.keys()


def test_a_relative_path_is_taken_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    json_lines(tmp_path / "rows.jsonl")
    monkeypatch.chdir(tmp_path)
    assert rows_of(Path("rows.jsonl")) == ROWS


# --- identity ---


def test_the_identity_of_a_file_is_its_content(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "rows.jsonl")
    identity = identify_data(DataSettings(data=str(path)))
    assert identity == {
        "data": str(path),
        "file": "rows.jsonl",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def test_a_file_is_the_same_however_its_path_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, artifacts_folder: Path
) -> None:
    """Absolute and relative paths once gave different keys and run ids."""
    from tasks.store.caching import StageCache

    json_lines(tmp_path / "rows.jsonl")
    shutil.copytree(tmp_path, tmp_path / "elsewhere")
    monkeypatch.chdir(tmp_path)
    written = ["rows.jsonl", "./rows.jsonl", str(tmp_path / "rows.jsonl"), "elsewhere/../rows.jsonl"]
    identities = [identify_data(DataSettings(data=name)) for name in [*written, "elsewhere/rows.jsonl"]]
    policy = StageCache(stage="sampling", computation="tasks.priming.sampling:draw_samples")
    keys = {policy.compute_key(None, {"identity": identity}, {}) for identity in identities}  # type: ignore[arg-type]
    assert len(keys) == 1
    json_lines(tmp_path / "rows.jsonl", '{"query": "another"}')
    other = policy.compute_key(None, {"identity": identify_data(DataSettings(data="rows.jsonl"))}, {})  # type: ignore[arg-type]
    assert other not in keys


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("is_renamed", [True, False])
@pytest.mark.parametrize("is_begun", [True, False])
def test_a_file_that_is_replaced_before_it_is_read_is_refused(
    tmp_path: Path, suffix: str, is_renamed: bool, is_begun: bool
) -> None:
    """The database once named the hash of the old file beside samples of the new one."""
    old, new = (tmp_path / f"{name}.{suffix}" for name in ("old", "new"))
    for path, rows in ((old, ROWS), (new, ROWS[::-1])):
        parquet(path, rows) if suffix == "parquet" else json_lines(path, *map(json.dumps, rows))
    identity = identify_data(DataSettings(data=str(old)))
    assert len(list(load_rows(identity))) == 2
    rows_left = load_rows(identity)
    if is_begun:
        next(rows_left)
    if is_renamed:
        os.replace(new, old)
    else:
        shutil.copyfile(new, old)
    if is_renamed and is_begun:  # the file that was opened is read to its end
        assert len(list(rows_left)) == 1
    else:
        with pytest.raises(SetupError, match=r"old\.\w+ has changed since .* start the same command again"):
            list(rows_left)


# --- files that cannot be read ---


@pytest.mark.parametrize(
    ("line", "problem", "detail"),
    [
        (b"{'query': 'a'}", "not JSON", "Expecting property name enclosed in double quotes at character 2"),
        (b'{"query": "a"', "not JSON", "Expecting ',' delimiter at character 1"),
        (b"", "not JSON", "Expecting value at character 2"),
        (b"[" * 100_000, "not JSON", "maximum recursion depth exceeded"),
        (b'{"a": ' + b"1" * 5000 + b"}", "not JSON", "Exceeds the limit (4300 digits)"),
        (b'{"query": "\xff"}', "not JSON", "'utf-8' codec can't decode byte 0xff"),
        *((line, "not a JSON object", line.decode()[:1]) for line in (b"[1]", b"5")),
        (b"null", "not a JSON object", "None"),
    ],
    ids=["quotes", "cut", "blank", "deep", "long number", "not UTF-8", "list", "number", "null"],
)
def test_a_broken_line_is_a_problem_of_its_row_alone(tmp_path: Path, line: bytes, problem: str, detail: str) -> None:
    (tmp_path / "rows.jsonl").write_bytes(b'{"query": "a"}\n' + line + b'\n{"query": "b"}\n')
    first, second, third = load_rows(identify_data(DataSettings(data=str(tmp_path / "rows.jsonl"))))
    assert (first, third) == ({"query": "a"}, {"query": "b"})
    assert isinstance(second, RowProblem)
    assert str(second) == problem
    assert second.detail.startswith(detail)


def test_a_flipped_bit_anywhere_in_a_parquet_files_pages_is_found(tmp_path: Path) -> None:
    """Read with page checksums, none of 20 flipped bytes passed; plain, 18 did."""
    texts = [{"query": f"a query that fills pages {n * n}"} for n in range(2000)]
    whole = parquet(tmp_path / "rows.parquet", texts).read_bytes()
    metadata = pq.ParquetFile(tmp_path / "rows.parquet").metadata.row_group(0).column(0)
    first, size = metadata.dictionary_page_offset, metadata.total_compressed_size
    for position in range(first + 40, first + size, size // 20):
        (tmp_path / "flipped.parquet").write_bytes(
            whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :]
        )
        with pytest.raises(SetupError, match=r"flipped.parquet cannot be read as parquet"):
            rows_of(tmp_path / "flipped.parquet")


def test_parquet_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """It once ended the run with a UnicodeDecodeError."""
    offsets = pa.array([0, 2], pa.int32()).buffers()[1]
    column = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff\xfe")])
    pq.write_table(pa.table({"query": column}), tmp_path / "rows.parquet")
    with pytest.raises(SetupError, match=r"rows.parquet cannot be read as parquet .*can't decode byte 0xff"):
        rows_of(tmp_path / "rows.parquet")


@pytest.mark.parametrize("name", ["missing.parquet", "missing.jsonl", "/nope/missing.parquet"])
def test_a_missing_file_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(SetupError, match=rf"There is no file {name}\. Give the path of a \.parquet, \.jsonl, "):
        identify_data(DataSettings(data=name))


@pytest.mark.parametrize("name", ["rows.txt", "folder.parquet", "./nope", "/nope", "~/nope"])
def test_what_is_no_data_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.txt").write_text("query,answer\n")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(SetupError, match=r"There is no file folder\.parquet|is no data file .* \.parquet, \.jsonl"):
        identify_data(DataSettings(data=str(tmp_path / name) if name == "rows.txt" else name))


@pytest.mark.parametrize("name", ["~no-such-user/rows.parquet", "a" * 300 + ".parquet", "x" * 300, "a\0b"])
def test_a_name_that_cannot_be_looked_up_is_a_usage_error(name: str) -> None:
    """These once ended in a RuntimeError and an OSError."""
    with pytest.raises(SetupError, match=r"cannot be looked up on this machine: .*Give a path that you may read"):
        identify_data(DataSettings(data=name))


def test_a_local_path_expands_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert local_path("~/rows.parquet") == tmp_path / "rows.parquet"


# --- the hub, which cannot be reached ---


@pytest.mark.parametrize("name", ["ms_marco", "nobody/nothing"])
def test_an_unknown_data_set_without_network_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(SetupError, match=f"dataset {name} is not on this machine and the hub cannot .*--profile demo"):
        identify_data(DataSettings(data=name))


@pytest.mark.parametrize("name", ["a/b/c", "a b", "-x", "a..b", "a\x1b[2Jb"])
def test_a_name_that_no_data_set_can_have_is_refused(name: str) -> None:
    with pytest.raises(SetupError, match=r"The hub knows no dataset .* at main: .*Check the name and the revision"):
        identify_data(DataSettings(data=name))


def test_rows_of_a_data_set_that_is_not_there_are_refused_with_its_configuration_and_split() -> None:
    identity = {"data": "nobody/nothing", "config": "v1", "split": "test", "revision": COMMIT}
    with pytest.raises(SetupError, match=r"nobody/nothing \(configuration v1, split test\) cannot be loaded: .*--data"):
        next(iter(load_rows(identity)))


def test_the_hubs_coordinates_of_ms_marco_are_the_published_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    references = tmp_path / "datasets--microsoft--ms_marco" / "refs"
    references.mkdir(parents=True)
    (references / "main").write_text(COMMIT)
    (references.parent / "snapshots" / COMMIT).mkdir(parents=True)
    assert identify_data(DataSettings()) == {
        "data": "microsoft/ms_marco",
        "config": "v1.1",
        "split": "validation",
        "revision": COMMIT,
    }
