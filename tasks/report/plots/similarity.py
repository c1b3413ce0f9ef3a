"""Does a surrogate that is more similar to the query gain more?

In: similarity and improvement of each routed sample. Out: a scatter plot a routed family.
"""

import numpy as np

from tasks.pages.numbers import count, interval
from tasks.reading.database import Row, RunRows
from tasks.report.plots.colors import LIGHT, role_of
from tasks.report.plots.drawing import Plot, new_figure, signed_ticks, styled

_MOST_POINTS = 800
"""Points that are drawn; rows come in the order of a hash of their text, so the first ones are a fair draw."""

_SMALLEST_SCALE = 1e-4
"""As in tasks/report/plots/improvements.py."""


def similarity_plots(rows: RunRows) -> list[Plot]:
    """Return a plot for each routed family that has similarities and improvements."""
    families = sorted({row["family"] for row in rows.tables["point"]})
    return [_draw(family, rows) for family in families]


def _draw(family: str, rows: RunRows) -> Plot:
    points = [row for row in rows.tables["point"] if row["family"] == family]
    shown = points[:_MOST_POINTS]
    x = np.array([row["similarity"] for row in shown], dtype=np.float64)
    y = np.array([row["improvement"] for row in shown], dtype=np.float64)
    scale = max(_SMALLEST_SCALE, float(np.quantile(np.abs(y), 0.5)))
    with styled():
        figure, axes = new_figure(210.0, left=52.0, bottom=36.0, top=10.0)
        axes.set_yscale("asinh", linear_width=scale)
        axes.axhline(0, color=LIGHT["muted"], linewidth=0.8)
        color = LIGHT[role_of(family)]
        axes.plot(x, y, "o", color=color, markersize=3.6, markeredgewidth=0, alpha=0.5)
        axes.set_yticks(*signed_ticks(scale, float(np.max(np.abs(y)))))
        axes.set_yticks([], minor=True)
        axes.set_xlabel("cosine similarity of query and routed surrogate")
        axes.set_ylabel("improvement, nats per token")
        axes.locator_params(axis="x", nbins=5)
    correlation = next(
        (row for row in rows.tables["correlation"] if (row["family"], row["key"]) == (family, "routed")), None
    )
    return Plot(f"similarity-{family}", f"{family}, routed", _finding(correlation, len(shown), rows), figure)


def _finding(correlation: Row | None, shown: int, rows: RunRows) -> str:
    words = f"{count(shown)} samples are shown."
    if correlation is None or correlation["pearson_r"] is None:
        return f"{words} No correlation could be computed."
    low, high = correlation["pearson_low"], correlation["pearson_high"]
    words += f" Correlation over {count(correlation['n'])}: {interval(correlation['pearson_r'], low, high)}"
    if not rows.is_complete or low is None or high is None:
        return f"{words}."
    if low <= 0 <= high:
        return f"{words}: that similarity predicts the gain is not shown."
    return f"{words}: more similar surrogates gain {'more' if low > 0 else 'less'}."
