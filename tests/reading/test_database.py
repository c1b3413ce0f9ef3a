"""The rows of one run are read, in an order that depends only on the rows."""

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
    assert len(rows.tables["surrogate"]) == 24 * 4  # samples x surrogates
    assert len(rows.tables["reading"]) == 24 * 3  # the baseline, and what was routed of two families


def test_the_routed_condition_is_the_arm_that_the_router_chose(published: Published) -> None:
    rows = read_run("abc123")
    routed = {(route.sample_id, route.key) for route in published.evidence.routes if route.is_routed}
    expected = {
        score.sample_id: score.nll
        for score in published.evidence.scores
        if score.family == "generated" and (score.sample_id, score.key) in routed
    }
    assert rows.nlls["generated/routed"] == expected


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
