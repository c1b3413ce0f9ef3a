"""An exported run holds what may be passed on and nothing else, and verifying it finds every cell that was altered."""

import argparse
import json
import math
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tasks import results
from tasks.commands.export import export_run
from tasks.commands.verify import execute, read_bundle
from tasks.priming.errors import UsageError
from tasks.priming.records import Distractor, Reject
from tasks.priming.statistics.all_statistics import STATISTICS
from tasks.store import artifacts, manifests
from tests.places import GOLDEN
from tests.published_rows import record
from tests.report.conftest import Words, make_evidence, unpacked

BUNDLE = GOLDEN / "bundle"
"""A first look of 10 samples at the example corpus with SmolLM2-135M-Instruct, exported without texts."""

WORDS = Words(
    passage="Quagmire farms keep geese",
    query="who keeps quagmires",
    answer="zither",
    surrogate="quagmire",
    token="zither",
)
SAID = ("quagmire", "zither")
"""What the texts of the data and of the model contain, and nothing else does."""


def publish(folder: Path, data: str) -> None:
    """Publish a run of local files, after an attempt that failed with a text of the data."""
    evidence = make_evidence(WORDS, 4)
    ids = [sample.sample_id for sample in evidence.samples]
    settings = {
        "seed": 42,
        "data": {"data": data},
        "language_model": {"language_model": f"{folder}/models/my model"},
        "embedding": {"embedding_model": "packaged/all-MiniLM-L6-v2"},
        "statistics": {},
    }
    description = manifests.RunDescription(
        run_id="abc123",
        profile="demo",
        settings=settings,
        data={"data": data, "sha256": "1" * 64},
        language_model={"language_model": f"{folder}/models/my model", "sha256": "2" * 64},
        embedding_model={"embedding_model": "packaged/all-MiniLM-L6-v2", "sha256": "3" * 64},
    )
    manifests.fail_run(manifests.start_run(description), f"ValueError: {folder}/x.jsonl: quagmire")
    attempt = manifests.start_run(description)
    manifests.extend_run(attempt, {}, {"funnel": {"rows": 9, "eligible": 8, "drawn": 4, "rejected": {"no answer": 1}}})
    for table in ("sample", "surrogate", "route", "score"):
        record(attempt, table, getattr(evidence, f"{table}s"))
    record(attempt, "distractor", [Distractor(name, 0, "zither", "f" * 32, "other_passage") for name in ids])
    record(attempt, "reject", [Reject(5, "no answer", "zither of")])
    manifests.finish_run(attempt)
    results.rebuild_database()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An export of a run of MS MARCO, without texts as its licence demands, next to the artifacts."""
    path = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", path / "artifacts")
        publish(path, "msmarco-v1.1")
        assert not export_run("abc123", path / "out")
        yield path / "out"


@pytest.fixture
def copied(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the export and of the artifacts, to be changed."""
    shutil.copytree(folder.parent, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path / "artifacts")
    return tmp_path / "out"


def contents(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name of every file of a folder and all that it says, in lower case."""
    for path in sorted(folder.iterdir()):
        said = path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            said += repr(pq.read_table(path).to_pylist())
        if path.suffix == ".duckdb":
            with duckdb.connect(str(path), read_only=True) as connection:
                for name in results.RUN_TABLES:
                    said += repr(connection.execute(f"FROM {name}").fetchall())
        yield path.name, said.lower()


def test_no_text_survives_an_export_without_texts(folder: Path) -> None:
    found = dict(contents(folder))
    assert {name for name, said in found.items() if any(word in said for word in SAID)} == set()
    tables = {f"{name}.parquet" for name in results.RUN_TABLES}
    assert found.keys() == {*tables, "README.md", "bundle.json"}
    samples = pq.read_table(folder / "sample.parquet")
    assert samples["passage"].to_pylist() == ["- - - - -"] * 4  # the words can still be counted
    texts = pq.read_table(folder / "surrogate.parquet").to_pylist()
    assert {bool(row["text"]) for row in texts} == {True, False}  # and what is empty is still empty


@pytest.mark.slow
def test_texts_are_exported_if_asked_for_and_folders_never(copied: Path, tmp_path: Path) -> None:
    publish(tmp_path, f"{tmp_path}/mine.jsonl")
    assert export_run("abc123", copied)  # replaces the earlier one
    found = dict(contents(copied))
    found["samples"] = json.dumps(unpacked((copied / "report.html").read_text(encoding="utf-8"))).lower()
    assert all(word in found["sample.parquet"] and word in found["samples"] for word in SAID)
    assert {name for name, said in found.items() if str(tmp_path).lower() in said} == set()
    row = pq.read_table(copied / "run.parquet").to_pylist()[0]
    assert (row["data"], row["language_model"]) == ("mine.jsonl", "my model")
    assert json.loads(row["embedding_model_identity"])["embedding_model"] == "packaged/all-MiniLM-L6-v2"
    with duckdb.connect(str(copied / "results.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT drawn_count FROM latest.run_summary").fetchall() == [(4,)]
        comment = "SELECT comment FROM duckdb_columns() WHERE table_name = 'score' AND column_name = 'nll'"
        assert "nats per answer token" in connection.execute(comment).fetchall()[0][0]


def test_the_card_names_every_file(folder: Path) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    card = yaml.safe_load(text.split("---\n")[1])
    assert {part["data_files"] for part in card["configs"]} == {path.name for path in folder.glob("*.parquet")}
    assert (card["license"], card["license_name"]) == ("other", "ms_marco")
    assert (
        yaml.safe_load((BUNDLE / "README.md").read_text(encoding="utf-8").split("---\n")[1])["license"] == "apache-2.0"
    )


def test_what_cannot_be_exported_is_refused(copied: Path, tmp_path: Path) -> None:
    (copied / ".git").mkdir()
    with pytest.raises(UsageError, match="holds something that no export wrote"):
        export_run("abc123", copied)
    assert (copied / ".git").exists()
    manifests.start_run(manifests.RunDescription(run_id="fff000", profile="demo", settings={"seed": 1}))
    results.rebuild_database()
    with pytest.raises(UsageError, match="only a complete run can be exported"):
        export_run("fff000", tmp_path / "other")
    assert not (tmp_path / "other").exists()


# --- verify ---


def alter(path: Path, column: str, change: Any) -> None:
    """Change the first value in a column of a parquet file."""
    rows = pq.read_table(path)
    values = rows[column].to_pylist()
    values[0] = change(values[0])
    place, field = rows.schema.get_field_index(column), rows.schema.field(column)
    pq.write_table(rows.set_column(place, field, pa.array(values, field.type)), path)


def test_the_golden_folder_is_what_its_scores_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(argparse.Namespace(folder=BUNDLE)) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert all("the same" in lines[table] for table in (*STATISTICS, "score"))
    assert all("not recomputed" in lines[table] for table in results.RUN_TABLES.keys() - STATISTICS.keys() - {"score"})
    assert "without the model" in " ".join(lines.values())
    assert sum(path.stat().st_size for path in BUNDLE.iterdir()) < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("table", "column", "change"),
    [
        ("score", "nll", lambda value: value + 1e-9),
        ("comparison", "improvement_mean", lambda value: value * (1 + 1e-9)),
        ("answer", "answer", lambda value: "yes" if value != "yes" else "hurts"),
    ],
)
def test_an_altered_cell_is_found(
    table: str, column: str, change: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(BUNDLE, folder)
    alter(folder / f"{table}.parquet", column, change)
    key = pq.read_table(folder / f"{table}.parquet", columns=results.RUN_TABLES[table].key.split(", ")).to_pylist()[0]
    assert execute(argparse.Namespace(folder=folder)) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert f'{table}: "{", ".join(map(str, key.values()))}: {column} is' in shown


@pytest.mark.slow
def test_another_last_bit_is_told_and_forgiven(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(BUNDLE, folder)
    alter(folder / "comparison.parquet", "improvement_mean", lambda value: math.nextafter(value, math.inf))
    assert execute(argparse.Namespace(folder=folder)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"comparison \d+ the same to 1e-12 \(largest difference [1-9]e-1[5-9]\)", shown)


@pytest.mark.slow
def test_a_database_that_says_otherwise_than_the_files_is_found(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path, "mine.jsonl")
    assert export_run("abc123", copied)
    execute(argparse.Namespace(folder=copied))
    assert "the same rows" in capsys.readouterr().out
    alter(copied / "score.parquet", "margin", lambda _: 7.0)
    assert execute(argparse.Namespace(folder=copied)) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert 'results.duckdb: "score 0000, baseline, document, kept: not as in score.parquet"' in shown
    (copied / "results.duckdb").write_bytes(b"{}")
    with pytest.raises(UsageError, match=r"results\.duckdb cannot be read"):
        execute(argparse.Namespace(folder=copied))
    (copied / "results.duckdb").unlink()
    with pytest.raises(UsageError, match=r"results\.duckdb is missing"):
        execute(argparse.Namespace(folder=copied))


@pytest.mark.parametrize("name", ["bundle.json", "route.parquet"])
def test_a_missing_or_altered_file_is_one_clear_error(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(BUNDLE, folder)
    (folder / name).write_bytes(b"{}")
    with pytest.raises(UsageError, match=rf"{name} cannot be read"):
        execute(argparse.Namespace(folder=folder))
    (folder / name).unlink()
    with pytest.raises(UsageError, match=rf"{name} is missing"):
        execute(argparse.Namespace(folder=folder))


def test_another_shape_and_a_later_version_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(BUNDLE, folder)
    path = folder / "score.parquet"
    pq.write_table(pq.read_table(path).drop_columns("margin"), path)
    with pytest.raises(UsageError, match="has not the columns of its table: margin"):
        read_bundle(folder)
    (folder / "bundle.json").write_text('{"format": 2, "with_texts": false, "model": null}', encoding="utf-8")
    with pytest.raises(UsageError, match="has format 2; this version reads format 1"):
        read_bundle(folder)
