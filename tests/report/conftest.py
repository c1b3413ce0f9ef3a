"""Runs to report: an imagined one whose statistics are computed as in a real run, and one that failed half-way."""

import base64
import dataclasses
import json
import random
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tasks import results
from tasks.priming.records import Route, Score, Surrogate
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.all_statistics import STATISTICS
from tasks.priming.statistics.run_data import ModelFacts, RunData
from tasks.store import artifacts, manifests
from tests import run_rows
from tests.published_rows import record

KEYS = {
    "baseline": ("document",),
    "static": ("factual", "problem"),
    "generated": ("keyword_query", "target_question"),
    "control": ("bare_document", "blank_surrogate", "random_words"),
}
"""Family -> its arms in the imagined run."""

GAINS = {"static": 0.2, "generated": 0.4, "control": 0.1}
"""What a family's arms gain over the baseline on average."""


def unpacked(page: str) -> dict[str, Any]:
    """Return what a page knows of its samples."""
    (packed,) = re.findall(r'<template id="packed">([^<]*)</template>', page)
    data: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(packed)))
    return data


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of an imagined run, all of which anybody may have written."""

    passage: str = "The mill was built in 1675."
    query: str = "when was the mill built"
    answer: str = "in 1675"
    query_type: str = "numeric"
    surrogate: str = "age of the mill"
    token: str = "in"
    model: str = "an/imagined-model"
    data: str = "imagined.jsonl"
    note: str = "largest difference, nats per token"


@dataclass(frozen=True, slots=True)
class Published:
    """A database that holds an imagined run."""

    folder: Path
    """Stands for artifacts/."""
    run_id: str
    """The run."""
    evidence: RunData
    """The rows that it was made from."""


def make_evidence(words: Words, sample_count: int) -> RunData:
    """Return the rows of a run: two samples a passage, and arms that gain more or less by chance."""
    generator = random.Random(7)
    samples, routes, scores, surrogates = [], [], [], []
    for number in range(sample_count):
        sample_id = f"{number:04x}"
        samples.append(
            run_rows.sample(
                sample_id,
                f"passage {number // 2}",
                position=number,
                passage=f"{words.passage} ({number // 2})",
                query=f"{words.query} ({number})",
                answer=words.answer,
                query_type=words.query_type if number % 2 else "entity",
            )
        )
        difficulty = generator.expovariate(1.0)
        for family, keys in KEYS.items():
            similarities = {key: generator.random() for key in keys}
            for key in keys:
                gain = generator.gauss(GAINS.get(family, 0.0), 0.3)
                nll = max(0.01, 1.0 + difficulty - gain)
                scores.append(_score(sample_id, f"{family}/{key}", nll, words.token))
                if family in ("static", "generated"):
                    is_routed = similarities[key] == max(similarities.values())
                    routes.append(Route(sample_id, family, key, similarities[key], is_routed, is_tie=False))
                    surrogates.append(_surrogate(sample_id, (family, key), f"{words.surrogate} {key}", number))
    model = ModelFacts(
        1_000_000, 100_000, 4, 128, 2_048, is_batch_invariant=True, first_token="<s>", answer_delimiter=" "
    )
    return RunData(samples, routes, scores, surrogates, model)


def publish_run(run_id: str, words: Words, sample_count: int = 24) -> RunData:
    """Record and complete a run under artifacts/; the database is rebuilt by the caller."""
    evidence = make_evidence(words, sample_count)
    attempt = manifests.start_run(_description(run_id, words, sample_count))
    funnel = {"rows": 60, "eligible": 40, "drawn": sample_count, "rejected": {words.note: 15, "no answer": 5}}
    seconds = {"sample/all": 1.5, "score/static/0000": 62.0}
    manifests.extend_run(attempt, {}, {"funnel": funnel, "stage_seconds": seconds})
    for table in ("sample", "route", "score", "surrogate"):
        record(attempt, table, getattr(evidence, f"{table}s"))
    settings = StatisticsSettings(bootstrap_resamples=200)
    for table, statistic in STATISTICS.items():
        rows = statistic.compute(evidence, settings, 42)
        if table == "run_check":
            rows = [dataclasses.replace(row, detail=f"{row.detail} {words.note}") for row in rows]
        record(attempt, table, rows)
    manifests.finish_run(attempt)
    return evidence


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A complete run, and two that are not, published once for all tests that only read."""
    folder = tmp_path_factory.mktemp("reported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", folder)
        evidence = publish_run("abc123", Words())
        failed = manifests.start_run(_description("abd456", Words(), 24))
        record(failed, "sample", evidence.samples)
        record(failed, "score", [score for score in evidence.scores if score.family != "control"])
        manifests.fail_run(failed, "ValueError: the disk is full")
        manifests.start_run(_description("fff000", Words(), 24))
        results.rebuild_database()
    return Published(folder, "abc123", evidence)


@pytest.fixture
def published(shared_run: Published, monkeypatch: pytest.MonkeyPatch) -> Published:
    """The shared runs, with artifacts/ being their folder."""
    monkeypatch.setattr(artifacts, "ARTIFACTS", shared_run.folder)
    return shared_run


@pytest.fixture
def query(published: Published) -> Iterator[Any]:
    """Return a function that queries the shared database without the report's own code."""
    with duckdb.connect(published.folder / "results.duckdb", read_only=True) as connection:
        yield lambda statement, *values: connection.execute(statement, list(values)).fetchall()


def _description(run_id: str, words: Words, sample_count: int) -> manifests.RunDescription:
    settings: Mapping[str, Any] = {
        "seed": 0,
        "families": ["baseline", "static", "generated", "control"],
        "sampling": {"sample_count": sample_count, "min_words": 1, "max_words": 200, "draw": "nested"},
        "data": {"data": words.data},
        "language_model": {"language_model": words.model},
        "embedding": {"embedding_model": "packaged/all-MiniLM-L6-v2"},
        "generation": {"temperature": 0.3, "top_k": 50, "max_new_tokens": 45},
        "statistics": {"bootstrap_resamples": 200, "confidence_level": 0.95, "equivalence_margin": 1.0},
    }
    return manifests.RunDescription(
        run_id=run_id,
        profile="demo",
        settings=dict(settings),
        versions={"torch": "2.13.0"},
        device="cpu",
        numeric_path="cpu-float32",
        language_model={"parameter_count": 1_000_000, "dtype": "float32", "sha256": "0" * 64},
        data={"sha256": "1" * 64},
    )


def _score(sample_id: str, arm: str, nll: float, token: str) -> Score:
    """Return the score of a two-token answer whose second token is the harder one."""
    nlls: Sequence[float] = (nll / 2, 1.5 * nll)
    return run_rows.score(
        sample_id,
        arm,
        nll,
        token_nlls=tuple(nlls),
        answer_tokens=(token, f" {token}"),
        nll_notebook=nlls[1],
        context_token_count=100 + 20 * (arm.split("/")[0] != "baseline"),
        query_token_count=10,
    )


def _surrogate(sample_id: str, arm: tuple[str, str], text: str, number: int) -> Surrogate:
    family, key = arm
    is_written = family == "generated"
    return Surrogate(
        sample_id=sample_id,
        family=family,
        key=key,
        text=text if number != 3 or not is_written else "",
        raw_text=text,
        prompt_token_count=150 if is_written else 0,
        token_count=12 if is_written else 0,
        finish=("length" if number % 8 == 0 else "stop") if is_written else "fixed",
        is_over_word_limit=is_written and number % 6 == 0,
        is_query=is_written and number == 5,
        has_stray_marks=False,
    )
