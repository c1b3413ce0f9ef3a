"""The rows of one run are read, in an order that depends only on the rows."""

import math
from typing import Any

import pytest

from tasks.priming.errors import UsageError
from tasks.reading.database import QUERIES, read_run
from tests.report.conftest import KEYS, Published


def test_a_run_is_read_whole(published: Published) -> None:
    rows = read_run("abc123")
    assert rows.is_complete
    assert rows.run["settings"]["seed"] == 0
    arms = {f"{family}/{key}" for family, keys in KEYS.items() for key in keys}
    assert set(rows.nlls) == arms | {"static/routed", "generated/routed"}
    assert all(len(nlls) == 24 for nlls in rows.nlls.values())
    assert len(rows.tables["example"]) == 4 * 4  # samples x surrogates


def test_the_routed_condition_is_the_arm_that_the_router_chose(published: Published) -> None:
    rows = read_run("abc123")
    routed = {(route.sample_id, route.key) for route in published.evidence.routes if route.is_routed}
    expected = {
        score.sample_id: score.nll
        for score in published.evidence.scores
        if score.family == "generated" and (score.sample_id, score.key) in routed
    }
    assert rows.nlls["generated/routed"] == expected


def test_the_samples_shown_gain_and_lose_most(published: Published) -> None:
    rows = read_run("abc123")
    gains = {
        sample: math.exp(-nll) - math.exp(-rows.nlls["baseline/document"][sample])
        for sample, nll in rows.nlls["generated/routed"].items()
    }
    ordered = sorted(gains, key=lambda sample: gains[sample])
    assert [row["sample_id"] for row in rows.tables["worst"]] == ordered[:3]
    assert [row["sample_id"] for row in rows.tables["best"]] == ordered[:-4:-1]


def test_examples_are_of_different_passages(published: Published) -> None:
    passages = {row["sample_id"]: row["passage"] for row in read_run("abc123").tables["example"]}
    assert len(set(passages.values())) == len(passages) == 4


def test_a_run_that_failed_has_rows_but_no_answers(published: Published) -> None:
    rows = read_run("abd456")
    assert not rows.is_complete
    assert not rows.tables["what_did_it_find"]
    assert "baseline/document" in rows.nlls
    assert "control/bare_document" not in rows.nlls


def test_an_unknown_run_is_refused(published: Published) -> None:
    with pytest.raises(UsageError, match="There is no run 'abc'"):
        read_run("abc")


@pytest.mark.parametrize("name", QUERIES)
def test_no_statement_leaves_the_order_of_its_rows_open(name: str, query: Any) -> None:
    """Equal rows in another order would give another page."""
    assert "ORDER BY" in QUERIES[name]
    assert "$run_id" in QUERIES[name]
