"""Every comparison is drawn once, with its numbers, and said in words."""

from typing import Any

import pytest

from tasks.report.plots.drawing import to_svg
from tasks.report.plots.forest import GROUPS, forest_plots
from tests.published_rows import comparison
from tests.report.conftest import Published


def row(arm: str = "static/routed", reference: str = "baseline/document", **changes: Any) -> dict[str, Any]:
    made = comparison(arm, reference, **changes)
    return {name: getattr(made, name) for name in made.__slots__}


def test_every_comparison_of_a_run_is_drawn_once(published: Published, query: Any) -> None:
    from tasks.reading.database import read_run

    svgs = [to_svg(plot) for plot in forest_plots(read_run("abc123").tables["comparison"])]
    assert len(svgs) == len(GROUPS)
    found = query("SELECT comparison, improvement_mean FROM comparison WHERE run_id = 'abc123'")
    assert len(found) > 20
    for name, mean in found:
        label = name.replace("control/", "").replace("baseline/document", "baseline")
        assert sum(f">{label}</text>" in svg for svg in svgs) == 1, name
        assert any(f">{mean:.3f}".replace("-", "−") in svg for svg in svgs), name


def test_the_finding_counts_the_sides_of_zero() -> None:
    """By hand: one above (0.3 to 0.7), one below, one that includes zero and lies within the margin of 0.026."""
    rows = [
        row(),
        row("generated/routed", improvement_mean=-0.5, improvement_low=-0.9, improvement_high=-0.2),
        row("other/routed", improvement_mean=0.0, improvement_low=-0.01, improvement_high=0.02),
    ]
    (plot,) = forest_plots(rows)
    assert plot.finding.startswith(
        "Of 3 intervals 1 lie above zero, 1 below, 1 include it; 1 lie whole within the margin of ±0.0260."
    )
    assert "static/routed vs baseline, 0.500 (0.300 to 0.700)" in plot.finding


def test_an_oracle_is_hollow_and_counts_for_nothing() -> None:
    """It is better by construction, and its size must not flatten the others."""
    plain, oracle = row(kind="routing"), row("static/oracle", kind="oracle", is_optimistic=True, improvement_high=50.0)
    (alone,), (both,) = forest_plots([plain]), forest_plots([plain, oracle])
    assert both.finding.startswith("Of 1 intervals")
    assert "better by construction" in both.finding
    assert both.figure.axes[0].get_xlim() == alone.figure.axes[0].get_xlim()


def test_panels_share_one_scale_and_all_hold_the_margin() -> None:
    plots = forest_plots([row(), row("static/a", kind="fixed_arm", improvement_low=-3.0)])
    limits = {plot.figure.axes[0].get_xlim() for plot in plots}
    assert len(limits) == 1
    low, high = limits.pop()
    assert low < -3.0
    assert high > 0.7


@pytest.mark.parametrize("missing", ["improvement_low", "improvement_mean"])
def test_a_comparison_without_an_interval_is_drawn_without(missing: str) -> None:
    unknown: dict[str, Any] = {missing: None}
    plots = forest_plots([row(**unknown)])
    assert len(plots) == (missing == "improvement_low")
    for plot in plots:
        assert ">0.500</text>" in to_svg(plot)


def test_a_constant_difference_of_zero_can_be_drawn() -> None:
    zero: dict[str, Any] = dict.fromkeys(("improvement_mean", "improvement_low", "improvement_high"), 0.0)
    (plot,) = forest_plots([row(**zero, equivalence_margin=0.0)])
    assert "0 (0 to 0)" in to_svg(plot)


def test_nothing_compared_is_no_plot() -> None:
    assert forest_plots([]) == []
