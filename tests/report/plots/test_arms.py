"""The NLL of a condition is summarised as SQL and numpy's documentation say."""

from typing import Any

import pytest

from tasks.reading.database import RunRows, read_run
from tasks.report.plots.arms import arm_plot, summarize_arms
from tests.report.conftest import Published


def test_means_and_quantiles_are_those_of_sql(published: Published, query: Any) -> None:
    summaries = {arm.condition: arm for arm in summarize_arms(read_run("abc123"))}
    found = query(
        "SELECT family || '/' || key, count(*), avg(nll), quantile_cont(nll, [0.05, 0.25, 0.5, 0.75, 0.95]) "
        "FROM score WHERE run_id = 'abc123' GROUP BY ALL"
    )
    assert len(found) == 8
    for condition, n, mean, quantiles in found:
        assert summaries[condition].n == n
        assert summaries[condition].mean == pytest.approx(mean, abs=1e-12)
        assert summaries[condition].quantiles == pytest.approx(quantiles, abs=1e-12)


def test_conditions_stand_by_family_and_then_by_mean() -> None:
    nlls = {"control/x": {"a": 0.1}, "static/a": {"a": 3.0}, "static/b": {"a": 2.0}, "baseline/document": {"a": 9.0}}
    rows = RunRows(run={}, tables={}, nlls=nlls)
    assert [arm.condition for arm in summarize_arms(rows)] == ["baseline/document", "static/b", "static/a", "control/x"]


def test_the_finding_names_the_best_the_worst_and_the_baseline() -> None:
    """By hand."""
    nlls = {"baseline/document": {"a": 2.0, "b": 4.0}, "static/a": {"a": 1.0}, "static/b": {"a": 4.0}}
    plot = arm_plot(summarize_arms(RunRows(run={}, tables={}, nlls=nlls)))
    assert plot is not None
    assert plot.finding.startswith(
        "Lowest mean: static/a, 1.000; highest: static/b, 4.000. The baseline has 3.000; 1 of 2 others have less."
    )


def test_nothing_scored_is_no_plot() -> None:
    assert arm_plot([]) is None
