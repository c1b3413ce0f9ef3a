"""Who gains is drawn from the strata of the run."""

from typing import Any

from tasks.reading.database import read_run
from tasks.report.plots.drawing import to_svg
from tasks.report.plots.strata import strata_plots
from tests.report.conftest import Published


def test_each_fifth_is_drawn_and_the_ends_are_said(published: Published, query: Any) -> None:
    rows = read_run("abc123")
    plots = strata_plots(rows)
    assert [plot.title for plot in plots][:2] == ["generated routed vs baseline", "static routed vs baseline"]
    found = query(
        "SELECT level, improvement_mean, difficulty_arm FROM stratum WHERE run_id = 'abc123' "
        "AND comparison = 'generated routed vs baseline' AND stratified_by = 'difficulty' ORDER BY rank"
    )
    assert len(found) == 5
    svg = to_svg(plots[0])
    for level, _, _ in found:
        assert level.partition(": ")[2] in svg
    for end in (0, -1):
        assert f"{found[end][1]:.3f}" in plots[0].finding
    assert f"Difficulty is the NLL of {found[0][2]}" in plots[0].finding


def test_a_run_without_answers_has_none(published: Published) -> None:
    assert strata_plots(read_run("abd456")) == []
