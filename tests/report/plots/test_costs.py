"""The front holds what nothing beats, and names never stand over each other."""

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text

from tasks.reading.database import read_run
from tasks.report.plots.costs import cost_plot, pareto_front
from tests.report.conftest import Published

POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1)


@given(POINTS)
def test_the_front_is_what_no_other_point_beats(points: list[tuple[float, float]]) -> None:
    """Computed two ways: by going up the costs, and by comparing every two points."""
    unbeaten = {
        point
        for point in points
        if not any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in points)
    }
    assert pareto_front(points) == sorted(unbeaten)


def row(condition: str, flops: float, gain: float | None, *, is_dominated: bool = False) -> dict[str, Any]:
    return {
        "condition": condition,
        "index_flops": flops,
        "improvement_mean": gain,
        "is_dominated": is_dominated,
    }


def test_names_at_one_height_stand_below_each_other() -> None:
    costs = [row("baseline/document", 1e9, 0.0), *(row(f"static/{key}", 2e9, 0.1) for key in "abcdef")]
    plot = cost_plot(costs)
    assert plot is not None
    figure = plot.figure
    figure.draw_without_rendering()
    names = [text for text in figure.axes[0].texts if text.get_text()]
    assert len(names) == 7
    boxes = [Text.get_window_extent(text) for text in names]  # without the line to the point
    assert not any(one.y0 < other.y1 - 1 and other.y0 < one.y1 - 1 for one, other in itertools.combinations(boxes, 2))
    assert all(box.y0 >= 0 and box.y1 <= figure.bbox.height for box in boxes)


def test_the_finding_names_the_best_and_its_price() -> None:
    """By hand: twice the operations of the baseline for 0.25 nats."""
    plot = cost_plot([row("baseline/document", 1e9, 0.0, is_dominated=True), row("static/routed", 2e9, 0.25)])
    assert plot is not None
    assert plot.finding.startswith(
        "The best of all, static/routed, improves by 0.250 at 2 times the baseline's operations."
    )
    assert "(1 of 2)" in plot.finding


def test_a_run_with_costs_has_a_plot_and_one_without_has_none(published: Published) -> None:
    assert cost_plot(read_run("abc123").tables["what_does_it_cost"]) is not None
    assert cost_plot([]) is None
    assert cost_plot([row("static/a", 1e9, 0.1)]) is None  # beside what?
