"""The forest plot: every comparison of a run with its interval, in panels that share one scale.

In: rows of table comparison. Out: a plot for each group of kinds, controls beside arms; the equivalence margin is
shaded. Oracles are drawn hollow, since they are better by construction.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes

from tasks.pages.numbers import interval, number
from tasks.reading.database import Row
from tasks.report.plots.colors import LIGHT, role_of
from tasks.report.plots.drawing import SMALL_POINTS, Plot, new_figure, styled

GROUPS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("decisive", "What the verdicts rest on", ("routed", "between_families", "worth")),
    ("controls", "What a gain is made of", ("control",)),
    ("arms", "Each surrogate alone", ("fixed_arm",)),
    ("routing", "Routing, and the best key known afterwards", ("routing", "oracle")),
)
"""Name, title, and kinds of comparison of each panel."""

_ROW_POINTS = 32.0
_NUMBERS_SHARE = 0.42
"""Of the width, for the numbers at the right."""


def forest_plots(comparisons: Sequence[Row]) -> list[Plot]:
    """Return one plot for each group that has comparisons with a mean."""
    known = [row for row in comparisons if row["improvement_mean"] is not None]
    low, high = _limits(known)
    plots = []
    for name, title, kinds in GROUPS:
        rows = [row for row in known if row["kind"] in kinds]
        if rows:
            plots.append(_draw(f"forest-{name}", title, rows, (low, high)))
    return plots


def label_of(comparison: str) -> str:
    """Return a comparison's name without the family of controls, which says nothing that its keys do not."""
    return comparison.replace("control/", "").replace("baseline/document", "baseline")


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Return a scale that holds every interval but those of oracles, zero and the margin."""
    fair = [row for row in rows if not row["is_optimistic"]] or list(rows)
    ends = [row[name] for row in fair for name in ("improvement_low", "improvement_mean", "improvement_high")]
    margins = [side * row["equivalence_margin"] * 1.15 for row in rows for side in (-1, 1)]
    ends = [end for end in ends if end is not None] + margins + [0.0]
    low, high = min(ends), max(ends)
    room = 0.04 * (high - low or 1.0)
    return low - room, high + room


def _draw(name: str, title: str, rows: Sequence[Row], limits: tuple[float, float]) -> Plot:
    with styled():
        figure, axes = new_figure(_ROW_POINTS * len(rows) + 50.0, left=10.0, bottom=42.0)
        box = axes.get_position()
        axes.set_position((box.x0, box.y0, box.width * (1 - _NUMBERS_SHARE), box.height))
        axes.set_xlim(*limits)
        axes.set_ylim(len(rows) - 0.35, -0.85)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.locator_params(axis="x", nbins=5)
        margin = rows[0]["equivalence_margin"]
        axes.axvspan(-margin, margin, color=LIGHT["shade"], linewidth=0, zorder=0)
        for place, row in enumerate(rows):
            _draw_row(axes, place, row, limits)
        axes.set_xlabel("← worse\u2003nats per token\u2003better →")
    return Plot(name, title, _finding(rows), figure)


def _draw_row(axes: Axes, place: int, row: Row, limits: tuple[float, float]) -> None:
    """Draw one comparison: its name, below it the interval, and the numbers at the right."""
    mean, low, high = row["improvement_mean"], row["improvement_low"], row["improvement_high"]
    color = LIGHT["oracle" if row["is_optimistic"] else role_of(row["arm"])]
    across = axes.get_yaxis_transform()
    axes.text(0.0, place - 0.39, label_of(row["comparison"]), transform=across, va="center", clip_on=False)
    axes.text(
        1.0 / (1 - _NUMBERS_SHARE),
        place,
        interval(mean, low, high),
        transform=across,
        ha="right",
        va="center",
        fontsize=SMALL_POINTS,
        color=LIGHT["muted"],
        clip_on=False,
    )
    left, right = limits
    axes.plot([0, 0], [place - 0.2, place + 0.2], color=LIGHT["muted"], linewidth=0.8)  # leaves out the name
    if low is not None and high is not None:
        axes.plot([max(low, left), min(high, right)], [place] * 2, color=color, linewidth=1.8, solid_capstyle="butt")
        for end, is_cut, marker in ((left, low < left, "<"), (right, high > right, ">")):
            if is_cut:
                axes.plot([end], [place], marker, color=color, markersize=5, clip_on=False)
    if left <= mean <= right:
        face = LIGHT["paper"] if row["is_optimistic"] else color
        axes.plot([mean], [place], "o", color=color, markerfacecolor=face, markersize=5.5)


def _finding(rows: Sequence[Row]) -> str:
    """Say on which sides the intervals lie."""
    judged = [row for row in rows if row["improvement_low"] is not None and not row["is_optimistic"]]
    above = sum(row["improvement_low"] > 0 for row in judged)
    below = sum(row["improvement_high"] < 0 for row in judged)
    inside = sum(
        -row["equivalence_margin"] <= row["improvement_low"] and row["improvement_high"] <= row["equivalence_margin"]
        for row in judged
    )
    words = (
        f"Of {len(judged)} intervals {above} lie above zero, {below} below, {len(judged) - above - below} include it; "
        f"{inside} lie whole within the margin of ±{number(rows[0]['equivalence_margin'])}."
    )
    if judged:
        largest = max(judged, key=lambda row: abs(row["improvement_mean"]))
        words += f" The largest: {label_of(largest['comparison'])}, {_numbers(largest)}."
    if len(judged) < len(rows):
        words += " Hollow: known only afterwards, and so better by construction."
    return words


def _numbers(row: Row) -> str:
    return interval(row["improvement_mean"], row["improvement_low"], row["improvement_high"])
