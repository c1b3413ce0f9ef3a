"""The NLL of every condition: its mean, and how it is spread over samples.

In: the NLLs of every condition. Out: their summaries, for a table, and one plot of them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from tasks.pages.numbers import number
from tasks.reading.database import RunRows
from tasks.report.plots.colors import LIGHT, role_of
from tasks.report.plots.drawing import SMALL_POINTS, Plot, new_figure, styled

_FAMILY_ORDER = ("baseline", "static", "generated", "control")
_ROW_POINTS = 14.0
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True)
class ArmSummary:
    """How one condition reads the answers."""

    condition: str
    """An arm, or a routed family."""
    n: int
    """Samples with an NLL."""
    mean: float
    """Mean NLL, nats per answer token."""
    quantiles: tuple[float, ...]
    """The NLL below which 5, 25, 50, 75 and 95 % of the samples lie (linear between samples)."""


def summarize_arms(rows: RunRows) -> list[ArmSummary]:
    """Return a summary of each condition that has NLLs, by family and then by mean.

    Sums are exact before they are rounded, so that the order of rows changes no digit.

    Source: numpy.quantile.
    """
    summaries = [
        ArmSummary(
            condition=condition,
            n=len(nlls),
            mean=math.fsum(nlls.values()) / len(nlls),
            quantiles=tuple(np.quantile(list(nlls.values()), _QUANTILES).tolist()),
        )
        for condition, nlls in rows.nlls.items()
    ]
    return sorted(summaries, key=lambda arm: (_family_place(arm.condition), arm.mean, arm.condition))


def arm_plot(summaries: Sequence[ArmSummary]) -> Plot | None:
    """Return the plot of all conditions, grouped by family; None where nothing is scored."""
    if not summaries:
        return None
    lines = list(_lines(summaries))
    with styled():
        figure, axes = new_figure(_ROW_POINTS * len(lines) + 46.0, left=142.0, bottom=38.0)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlim(0, 1.05 * max(max(arm.mean, arm.quantiles[-1]) for arm in summaries) or 1.0)
        axes.locator_params(axis="x", nbins=4)
        axes.spines["left"].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.set_yticks([])
        for place, (label, arm) in enumerate(lines):
            _draw_line(axes, place, label, arm)
        axes.set_xlabel("NLL, nats per answer token (lower is better)")
    return Plot("nll", "Mean, median and spread", _finding(summaries), figure)


def _draw_line(axes: Axes, place: int, label: str, arm: ArmSummary | None) -> None:
    """Draw a condition with its name, or the name of a family alone."""
    axes.text(
        -0.03,
        place,
        label,
        transform=axes.get_yaxis_transform(),
        ha="right",
        va="center",
        clip_on=False,
        fontsize=SMALL_POINTS,
        color=LIGHT["ink" if arm else "muted"],
        fontweight="normal" if arm else "bold",
    )
    if arm is None:
        return
    least, lower, middle, upper, most = arm.quantiles
    color = LIGHT[role_of(arm.condition)]
    axes.plot([least, most], [place] * 2, color=color, linewidth=1.0, alpha=0.7)
    axes.plot([lower, upper], [place] * 2, color=color, linewidth=5.0, solid_capstyle="butt", alpha=0.45)
    axes.plot([middle], [place], "|", color=LIGHT["ink"], markersize=7)
    axes.plot([arm.mean], [place], "o", color=color, markersize=4.5)


def _lines(summaries: Sequence[ArmSummary]) -> Iterator[tuple[str, ArmSummary | None]]:
    """Return a line for each family's name and one for each of its conditions."""
    family = ""
    for arm in summaries:
        name, _, key = arm.condition.partition("/")
        if name != family:
            family = name
            yield name, None
        yield key, arm


def _family_place(condition: str) -> int:
    family = condition.partition("/")[0]
    return _FAMILY_ORDER.index(family) if family in _FAMILY_ORDER else len(_FAMILY_ORDER)


def _finding(summaries: Sequence[ArmSummary]) -> str:
    best, worst = (choose(summaries, key=lambda arm: arm.mean) for choose in (min, max))
    words = f"Lowest mean: {best.condition}, {number(best.mean)}; highest: {worst.condition}, {number(worst.mean)}."
    baseline = next((arm for arm in summaries if arm.condition == "baseline/document"), None)
    if baseline:
        better = sum(arm.mean < baseline.mean for arm in summaries)
        words += f" The baseline has {number(baseline.mean)}; {better} of {len(summaries) - 1} others have less."
    return words + " Dot: mean; tick: median; thick: middle half; thin: 5 to 95 %."
