"""Plots show every row once, and their findings say in words what can be counted."""

import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from tasks.reading.database import RunRows, read_run
from tasks.report.drawing import to_svg
from tasks.report.plots import (
    GROUPS,
    cost_plots,
    forest_plots,
    pareto_front,
    strata_plots,
    summarize_conditions,
)
from tests.published_rows import comparison
from tests.report.conftest import Published


@pytest.fixture
def rows(published: Published) -> RunRows:
    return read_run("abc123")


def made(status: str = "complete", nlls: dict[str, dict[str, float]] | None = None, **tables: Any) -> RunRows:
    return RunRows(run={"status": status}, tables=tables, nlls=nlls or {})


def compared(arm: str = "static/routed", reference: str = "baseline/document", **changes: Any) -> dict[str, Any]:
    row = comparison(arm, reference, **changes)
    return {name: getattr(row, name) for name in row.__slots__}


# --- forest plots ---


def test_every_comparison_of_a_run_is_drawn_once(rows: RunRows, query: Any) -> None:
    svgs = [to_svg(plot) for plot in forest_plots(rows)]
    assert len(svgs) == len(GROUPS)
    found = query("SELECT comparison, improvement_mean FROM comparison WHERE run_id = 'abc123'")
    assert len(found) > 20
    for name, mean in found:
        assert sum(f">{name}</text>" in svg for svg in svgs) == 1, name
        assert any(f">{mean:.{digits}f}".replace("-", "−") in svg for svg in svgs for digits in (1, 2, 3)), name


def test_the_finding_counts_the_sides_of_zero() -> None:
    """By hand: one above (3 to 7), one below, one that includes zero and lies within the margin of 1."""
    rows = made(
        comparison=[
            compared(),
            compared("generated/routed", improvement_mean=-5.0, answer_low=-9.0, answer_high=-2.0),
            compared("other/routed", improvement_mean=0.0, answer_low=-0.1, answer_high=0.2),
        ]
    )
    (plot,) = forest_plots(rows)
    assert plot.finding.startswith(
        "Of 3 intervals that answers read (thin) 1 lie above zero, 1 below, 1 include it; 1 lie wholly within the "
        "margin of ±1."
    )
    assert "static/routed vs baseline, 5.000 (4.000 to 6.000)" in plot.finding


def test_an_oracle_is_hollow_and_not_counted() -> None:
    """It is better by construction, and its size must not flatten the others."""
    plain = compared(kind="routing")
    oracle = compared("static/oracle", kind="oracle", is_optimistic=True, improvement_high=500.0, answer_low=None)
    (alone,), (both,) = forest_plots(made(comparison=[plain])), forest_plots(made(comparison=[plain, oracle]))
    assert both.finding.startswith("Of 1 intervals that answers read")
    assert "better by construction" in both.finding
    assert both.figure.axes[0].get_xlim() == alone.figure.axes[0].get_xlim()


def test_panels_share_one_scale_and_all_hold_the_margin() -> None:
    plots = forest_plots(made(comparison=[compared(), compared("static/a", kind="single", improvement_low=-30.0)]))
    limits = {plot.figure.axes[0].get_xlim() for plot in plots}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low < -30.0
    assert high > 6.0


@pytest.mark.parametrize("missing", ["improvement_low", "improvement_mean"])
def test_a_comparison_without_an_interval_is_drawn_without(missing: str) -> None:
    unknown: dict[str, Any] = {missing: None}
    plots = forest_plots(made(comparison=[compared(**unknown)]))
    assert len(plots) == (missing == "improvement_low")
    for plot in plots:
        assert ">5.000</text>" in to_svg(plot)


def test_a_dot_says_its_numbers_when_it_is_pointed_at(rows: RunRows) -> None:
    svgs = "".join(to_svg(plot) for plot in [*forest_plots(rows), *strata_plots(rows)])
    for said in ("generated routed vs static routed: ", "all samples: "):
        assert re.search(f"<title>[^<]*{said}[^<]*[0-9][^<]*</title>", svgs), said
    assert "value: " not in svgs


def test_a_constant_difference_of_zero_can_be_drawn() -> None:
    zero: dict[str, Any] = dict.fromkeys(
        ("improvement_mean", "improvement_low", "improvement_high", "answer_low", "answer_high"), 0.0
    )
    (plot,) = forest_plots(made(comparison=[compared(**zero, equivalence_margin=0.0)]))
    assert "0 (0 to 0)" in to_svg(plot)


# --- strata ---


def test_each_fifth_is_drawn_and_the_ends_are_said(rows: RunRows, query: Any) -> None:
    plots = strata_plots(rows)
    assert [plot.title for plot in plots][:2] == ["generated routed vs baseline", "generated routed vs bare_document"]
    found = query(
        "SELECT level, improvement_mean FROM stratum WHERE run_id = 'abc123' "
        "AND comparison = 'generated routed vs baseline' AND stratified_by = 'difficulty' ORDER BY rank"
    )
    assert len(found) == 5
    svg = to_svg(plots[0])
    for level, _ in found:
        assert level.partition(": ")[2] in svg
    for end in (0, -1):
        assert any(f" {found[end][1]:.{digits}f} (" in plots[0].finding for digits in (1, 2, 3))
    assert "the mean of both sides" in plots[0].finding


# --- conditions ---


def test_means_and_quantiles_are_those_of_sql(rows: RunRows, query: Any) -> None:
    summaries = {row["condition"]: row for row in summarize_conditions(rows)}
    found = query(
        "SELECT family || '/' || key, count(*), avg(nll), quantile_cont(nll, [0.25, 0.5, 0.75]) "
        "FROM score WHERE run_id = 'abc123' GROUP BY ALL"
    )
    assert len(found) == 8
    for condition, n, mean, quantiles in found:
        assert summaries[condition]["n"] == n
        assert summaries[condition]["mean"] == pytest.approx(mean, abs=1e-12)
        names = ("lower", "median", "upper")
        assert [summaries[condition][name] for name in names] == pytest.approx(quantiles, abs=1e-12)


def test_conditions_come_by_family_and_then_by_mean() -> None:
    nlls = {"control/x": {"a": 0.1}, "static/a": {"a": 3.0}, "static/b": {"a": 2.0}, "baseline/document": {"a": 9.0}}
    conditions = [row["condition"] for row in summarize_conditions(made(nlls=nlls))]
    assert conditions == ["baseline/document", "static/b", "static/a", "control/x"]


# --- costs ---


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1))
def test_the_front_is_what_no_other_point_beats(points: list[tuple[float, float]]) -> None:
    """Computed two ways: by going up the costs, and by comparing every two points."""
    unbeaten = {
        point
        for point in points
        if not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
    }
    assert pareto_front(points) == sorted(unbeaten)


def cost(condition: str, flops: float, gain: float | None, *, is_dominated: bool = False) -> dict[str, Any]:
    return {"condition": condition, "index_flops": flops, "improvement_mean": gain, "is_dominated": is_dominated}


def test_names_at_one_height_are_drawn_below_each_other() -> None:
    costs = [cost("baseline/document", 1e9, 0.0), *(cost(f"static/{key}", 2e9, 0.1) for key in "abcdef")]
    (plot,) = cost_plots(made(what_does_it_cost=costs))
    figure = plot.figure
    figure.draw_without_rendering()
    names = [text for text in figure.axes[0].texts if text.get_text()]
    assert len(names) == 7
    boxes = [Text.get_window_extent(text) for text in names]  # without the line to the point
    assert not any(one.y0 < other.y1 - 1 and other.y0 < one.y1 - 1 for one, other in itertools.combinations(boxes, 2))
    assert all(box.y0 >= 0 and box.y1 <= figure.bbox.height for box in boxes)


def test_the_finding_names_the_best_and_its_price() -> None:
    """By hand: twice the operations of the baseline for 0.25 nats."""
    costs = [cost("baseline/document", 1e9, 0.0, is_dominated=True), cost("static/routed", 2e9, 0.25)]
    (plot,) = cost_plots(made(what_does_it_cost=costs))
    assert plot.finding.startswith(
        "The best of all, static/routed, improves by 0.250 at 2 times the baseline's operations."
    )
    assert "(1 of 2)" in plot.finding


# --- runs in which there is nothing to draw ---


def test_nothing_to_draw_is_no_plot(published: Published) -> None:
    nothing = made(comparison=[], what_does_it_cost=[])
    assert forest_plots(nothing) == cost_plots(nothing) == []
    assert cost_plots(made(what_does_it_cost=[cost("static/a", 1e9, 0.1)])) == []  # compared with nothing
    assert strata_plots(read_run("abd456")) == []
