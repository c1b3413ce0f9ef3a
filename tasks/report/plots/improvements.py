"""How the improvements of single samples are distributed: few large ones, or many small ones?

In: the NLLs of every condition. Out: one histogram a comparison, of all samples. The axis is linear near zero and
logarithmic beyond, since single samples gain or lose many times what most do.
"""

import numpy as np
from numpy.typing import NDArray

from tasks.pages.numbers import count, number, percent
from tasks.reading.database import RunRows
from tasks.report.plots.colors import LIGHT, role_of
from tasks.report.plots.drawing import SMALL_POINTS, Plot, new_figure, signed_ticks, styled
from tasks.report.plots.forest import label_of

_REFERENCES = ("baseline/document", "control/bare_document")
_BINS_A_SIDE = 24
_SMALLEST_SCALE = 1e-4
"""Differences below it (nats per token) are drawn on a linear axis whatever the data are."""


def improvement_plots(rows: RunRows) -> list[Plot]:
    """Return a histogram for each routed family against the baseline and the bare document, and between families."""
    plots: list[Plot] = []
    for comparison in rows.tables["comparison"]:
        is_between = comparison["kind"] == "between_families"
        if not is_between and not (comparison["kind"] == "routed" and comparison["reference"] in _REFERENCES):
            continue
        values = improvements(rows, comparison["arm"], comparison["reference"])
        if values.size:
            plots.append(_draw(comparison["comparison"], role_of(comparison["arm"]), values, len(plots)))
    return plots


def improvements(rows: RunRows, arm: str, reference: str) -> NDArray[np.float64]:
    """Return NLL(reference) - NLL(arm) of the samples that have both, in ascending order; none where one is unknown."""
    of_arm, of_reference = rows.nlls.get(arm, {}), rows.nlls.get(reference, {})
    pairs = [of_reference[sample] - nll for sample, nll in of_arm.items() if sample in of_reference]
    return np.sort(np.array(pairs, dtype=np.float64))


def _draw(comparison: str, role: str, values: NDArray[np.float64], place: int) -> Plot:
    scale = max(_SMALLEST_SCALE, float(np.quantile(np.abs(values), 0.5)))
    with styled():
        figure, axes = new_figure(150.0, left=34.0, bottom=38.0, top=14.0)
        axes.set_xscale("asinh", linear_width=scale)
        edges = _edges(values, scale)
        counts, _ = np.histogram(values, edges)
        is_gain = edges[:-1] >= 0
        for part, color in ((is_gain, LIGHT[role]), (~is_gain, LIGHT["baseline"])):
            axes.stairs(np.where(part, counts, 0), edges, fill=True, color=color, alpha=0.85)
        axes.axvline(0, color=LIGHT["ink"], linewidth=0.8)
        mean = float(np.mean(values))
        axes.plot([mean], [counts.max() * 1.08], "v", color=LIGHT["ink"], markersize=5, clip_on=False)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(0, counts.max() * 1.12)
        axes.locator_params(axis="y", nbins=4, integer=True)
        axes.set_xticks(*signed_ticks(scale, float(np.max(np.abs(values)))))
        axes.set_xticks([], minor=True)
        axes.set_xlabel("improvement, nats per token (▼ mean)", fontsize=SMALL_POINTS)
    return Plot(f"improvements-{place}", label_of(comparison), _finding(values), figure)


def _edges(values: NDArray[np.float64], scale: float) -> NDArray[np.float64]:
    """Return edges at equal distances on the drawn axis, zero among them, so that no bar holds gains and losses."""
    reach = np.arcsinh(max(float(np.max(np.abs(values))), scale) * 1.001 / scale)
    return np.asarray(scale * np.sinh(np.linspace(-reach, reach, 2 * _BINS_A_SIDE + 1)), dtype=np.float64)


def _finding(values: NDArray[np.float64]) -> str:
    low, median, high = np.quantile(values, (0.05, 0.5, 0.95)).tolist()
    return (
        f"Of {count(values.size)} samples {percent(float(np.mean(values > 0)))} gain, "
        f"{percent(float(np.mean(values < 0)))} lose, {percent(float(np.mean(values == 0)))} are equal; median "
        f"{number(median)}, mean {number(float(np.mean(values)))}, nine in ten between {number(low)} and "
        f"{number(high)}."
    )
