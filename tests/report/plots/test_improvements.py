"""The histograms hold every sample once, and gains and losses in different bars."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.patches import StepPatch
from numpy.typing import NDArray

from tasks.reading.database import RunRows, read_run
from tasks.report.plots.drawing import Plot
from tasks.report.plots.improvements import improvement_plots, improvements
from tests.report.conftest import Published


def test_the_mean_of_the_improvements_is_that_of_the_comparison(published: Published) -> None:
    """Computed two ways: from the NLLs of the samples, and by the statistics of the run."""
    rows = read_run("abc123")
    compared = 0
    for comparison in rows.tables["comparison"]:
        values = improvements(rows, comparison["arm"], comparison["reference"])
        if values.size and comparison["kind"] in ("routed", "fixed_arm", "control"):
            assert np.mean(values) == pytest.approx(comparison["improvement_mean"], abs=1e-12), comparison
            assert values.size == comparison["n"]
            compared += 1
    assert compared >= 10


def test_each_plot_holds_every_sample(published: Published) -> None:
    plots = improvement_plots(read_run("abc123"))
    assert [plot.title for plot in plots] == [
        "generated routed vs baseline",
        "static routed vs baseline",
        "generated routed vs bare_document",
        "static routed vs bare_document",
        "generated routed vs static routed",
    ]
    for plot in plots:
        assert sum(heights.sum() for heights in bars(plot)) == 24
        assert plot.finding.startswith("Of 24 samples")


def test_the_finding_says_what_can_be_counted(published: Published) -> None:
    """By hand: improvements of -1, 0, 0, 2 and 4 nats."""
    rows = made(
        {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0, "e": 1.0}, {"a": 2.0, "b": 1.0, "c": 1.0, "d": -1.0, "e": -3.0}
    )
    (plot,) = improvement_plots(rows)
    assert plot.finding.startswith(
        "Of 5 samples 40.0\u00a0% gain, 20.0\u00a0% lose, 40.0\u00a0% are equal; median 0, mean 1.000,"
    )
    gains, losses = bars(plot)
    assert losses.sum() == 1
    assert gains.sum() == 4  # those that are equal stand at zero, in the first bar to the right


def test_improvements_that_are_all_zero_can_be_drawn() -> None:
    assert len(improvement_plots(made({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": 2.0}))) == 1


def test_only_samples_that_have_both_scores_count() -> None:
    rows = made({"a": 1.0, "b": 1.0}, {"b": 0.5, "c": 0.1})
    assert improvements(rows, "static/routed", "baseline/document").tolist() == [0.5]
    assert improvements(rows, "unknown/arm", "baseline/document").size == 0


def bars(plot: Plot) -> list[NDArray[np.float64]]:
    """Return the heights of the bars of gains, and of those of losses."""
    return [part.get_data()[0] for part in plot.figure.axes[0].patches if isinstance(part, StepPatch)]


def made(baseline: dict[str, float], static: dict[str, float]) -> RunRows:
    compared = {
        "comparison": "static routed vs baseline", "kind": "routed",
        "arm": "static/routed", "reference": "baseline/document",
    }  # fmt: skip
    rows = RunRows(run={"status": "complete"}, tables={"comparison": [compared]}, nlls={})
    return replace(rows, nlls={"baseline/document": baseline, "static/routed": static})
