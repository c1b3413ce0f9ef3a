"""The verb `reference`: the table fits its width, other inputs are warned of, and refusals are one clear line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest

from flows.__main__ import main
from tasks import results
from tasks.commands.reference import read_run
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, STATIC_SURROGATES
from tasks.priming.statistics.reference import KNOWN_DIFFERENCES
from tasks.store import artifacts, manifests
from tasks.store.tables import TABLES
from tests.run_rows import route, sample, score

ARMS = [
    "baseline/document",
    *(f"static/{key}" for key in STATIC_SURROGATES),
    *(f"generated/{key}" for key in GENERATION_INSTRUCTIONS),
]
SAMPLES = [sample(f"s{i}", position=i, passage="It's a [bold]passage") for i in range(6)]
ROUTES = [
    route(each.sample_id, arm, is_routed=arm in ("static/factual", "generated/keyword_query"))
    for each in SAMPLES
    for arm in ARMS[1:]
]
# By hand: sample i has i with the baseline and 0.5 less with every surrogate; the last has a one-token answer.
SCORES = [
    score(each.sample_id, arm, 1.0, token_nlls=(1.0,), answer_token_count=1)
    if each.position == 5
    else score(each.sample_id, arm, (1.0 + nll) / 2, token_nlls=(1.0, nll), nll_notebook=nll)
    for each in SAMPLES
    for arm in ARMS
    for nll in [each.position + (0.0 if arm == "baseline/document" else -0.5)]
]
MISTRAL = "mistralai/Mistral-7B-Instruct-v0.2"
MSMARCO = {"data": "microsoft/ms_marco", "config": "v1.1", "split": "validation", "revision": "abc"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path)
    return tmp_path


def record(run_id: str, *, model: str = MISTRAL, data: dict[str, Any] = MSMARCO, max_words: int = 300) -> None:
    """Complete a run with all rows that the table is computed from, and publish it."""
    settings = {
        "seed": 42,
        "sampling": {"sample_count": 6, "min_words": 50, "max_words": max_words},
        "data": {"data": "msmarco-v1.1"},
        "language_model": {"language_model": model},
        "embedding": {"embedding_model": "packaged/all-MiniLM-L6-v2"},
    }
    attempt = start(run_id, settings, data)
    tables: dict[str, Sequence[object]] = {"sample": SAMPLES, "route": ROUTES, "score": SCORES}
    for table, rows in tables.items():
        reference = artifacts.write_rows(rows, TABLES[table].record, table)
        manifests.extend_run(attempt, {table: {"all": reference}})
    manifests.finish_run(attempt)
    results.rebuild_database()


def start(run_id: str, settings: dict[str, Any], data: dict[str, Any]) -> manifests.Attempt:
    return manifests.start_run(
        manifests.RunDescription(run_id=run_id, profile="mistral-7b", settings=settings, data=data)
    )


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Return the one line that the command refuses with."""
    assert main(["reference", *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err


def test_the_table_fits_a_hundred_columns_and_names_the_differences(capsys: pytest.CaptureFixture[str]) -> None:
    record("abc")
    assert main(["reference", "abc"]) == 0
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines()) <= 100
    lines = [line.split() for line in printed.splitlines()]
    # by hand: (0 + 1 + 2 + 3 + 4 + 0) / 6, since the one-token answer counts as 0
    assert any(line[:5] == ["mean", "NLL,", "baseline", "1.4031", "1.6667"] for line in lines)
    assert any(line[:5] == ["samples", "2500", "6", "-", "-"] for line in lines)
    assert any(line[:5] == ["routed", "%,", "factual", "23.7", "100.0"] for line in lines)  # 592 of 2500
    flat = " ".join(printed.split())
    assert all(" ".join(difference.split()) in flat for difference in KNOWN_DIFFERENCES)
    assert "of 45 quantities with a standard error agree; if all did, about 2 would not by chance" in flat
    assert "Warning" not in flat


def test_another_model_and_other_data_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    record("abc", model="owner/[bold]model", data={"data": "demo", "file": "evaluation.jsonl"}, max_words=200)
    assert main(["reference", "abc"]) == 0
    flat = " ".join(capsys.readouterr().out.split())
    assert f"Warning: language_model is owner/[bold]model, published {MISTRAL}: whether numbers agree" in flat
    assert "Warning: data is demo, published microsoft/ms_marco" in flat
    assert "Warning: data_config is None, published v1.1" in flat
    assert "Warning: max_words is 200, published 300" in flat
    assert flat.count("Warning") == 4


def test_the_rows_are_the_records_that_the_run_made() -> None:
    record("abc")
    record("other")
    inputs, evidence = read_run("abc")
    assert inputs["language_model"] == MISTRAL
    assert sorted(evidence.samples, key=lambda sample: sample.position) == SAMPLES
    assert sorted(map(repr, evidence.routes)) == sorted(map(repr, ROUTES))
    assert sorted(map(repr, evidence.scores)) == sorted(map(repr, SCORES))


def test_a_database_of_an_earlier_version_is_refused(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    record("abc")
    with duckdb.connect(str(folder / "results.duckdb")) as connection:
        connection.execute("DROP VIEW IF EXISTS outcome")
        connection.execute("ALTER TABLE score RENAME COLUMN nll_notebook TO something_else")
    assert "It must be a database that this version published" in refusal(capsys, "abc")
