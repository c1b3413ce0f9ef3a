"""Similarity and gain are shown sample by sample, and their correlation is the run's own."""

from typing import Any

import numpy as np
import pytest

from tasks.reading.database import RunRows, read_run
from tasks.report.plots.similarity import similarity_plots
from tests.report.conftest import Published


def test_each_routed_sample_is_a_point(published: Published, query: Any) -> None:
    plots = similarity_plots(read_run("abc123"))
    assert [plot.name for plot in plots] == ["similarity-generated", "similarity-static"]
    ((r,),) = query(
        "SELECT pearson_r FROM correlation WHERE run_id = 'abc123' AND family = 'generated' AND key = 'routed'"
    )
    assert f"{r:.2f}".replace("-", "−") in plots[0].finding
    points = plots[0].figure.axes[0].lines[-1]
    assert np.asarray(points.get_xdata()).size == 24


@pytest.mark.parametrize(
    ("low", "high", "said"), [(0.1, 0.3, "gain more"), (-0.3, -0.1, "gain less"), (-0.1, 0.1, "is not shown")]
)
def test_the_finding_follows_the_interval(low: float, high: float, said: str) -> None:
    assert said in finding("complete", low, high)
    assert said not in finding("failed", low, high)


def test_of_very_many_samples_some_are_drawn_and_all_counted() -> None:
    (plot,) = similarity_plots(made("complete", 0.1, 0.3, points=1_500))
    assert plot.finding.startswith("800 samples are shown. Correlation over 1,500:")


def finding(status: str, low: float, high: float) -> str:
    (plot,) = similarity_plots(made(status, low, high, points=3))
    return plot.finding


def made(status: str, low: float, high: float, points: int) -> RunRows:
    point = {"family": "static", "similarity": 0.5, "improvement": 0.25}
    correlation = {
        "family": "static", "key": "routed", "n": points,
        "pearson_r": 0.2, "pearson_low": low, "pearson_high": high,
    }  # fmt: skip
    return RunRows(run={"status": status}, tables={"point": [point] * points, "correlation": [correlation]}, nlls={})
