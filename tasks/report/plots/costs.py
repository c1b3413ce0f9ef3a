"""What each condition costs beside what it gains, and which are worth considering.

In: rows of view what_does_it_cost. Out: one plot, with the front of those that nothing beats at no more cost.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from tasks.pages.numbers import number, ratio
from tasks.reading.database import Row
from tasks.report.plots.colors import LIGHT, role_of
from tasks.report.plots.drawing import SMALL_POINTS, Plot, new_figure, styled

_BASELINE = "baseline/document"
_LABEL_POINTS = 11.5
_HEIGHT = 300.0


def cost_plot(costs: Sequence[Row]) -> Plot | None:
    """Return the plot of operations against improvement; None where no costs are known."""
    baseline = next((row for row in costs if row["condition"] == _BASELINE), None)
    known = [row for row in costs if row["improvement_mean"] is not None and row["index_flops"]]
    if baseline is None or not baseline["index_flops"] or not known:
        return None
    points = [(row, row["index_flops"] / baseline["index_flops"], row["improvement_mean"]) for row in known]
    front = pareto_front([(x, y) for _, x, y in points])
    with styled():
        figure, axes = new_figure(_HEIGHT, left=50.0, bottom=38.0, top=10.0)
        box = axes.get_position()
        axes.set_position((box.x0, box.y0, box.width - 0.36, box.height))
        axes.set_xscale("log")
        axes.axhline(0, color=LIGHT["line"], linewidth=0.8)
        steps = np.array(front)
        axes.step(steps[:, 0], steps[:, 1], where="post", color=LIGHT["muted"], linewidth=1.0, linestyle=(0, (3, 2)))
        for row, x, y in points:
            color = LIGHT[role_of(row["condition"])]
            face = LIGHT["paper"] if row["is_dominated"] else color
            marker = "D" if row["condition"].endswith("/routed") else "o"
            axes.plot([x], [y], marker, color=color, markerfacecolor=face, markersize=5.5)
        _set_ticks(axes, [x for _, x, _ in points])
        axes.set_xlabel("operations to index a document, × baseline")
        axes.set_ylabel("improvement, nats per token")
        _label(axes, [(row["condition"], x, y) for row, x, y in points if _is_named(row)])
    return Plot("cost", "Operations against improvement", _finding(known, baseline), figure)


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points with more gain than any that costs no more, by cost.

    Example:
        >>> pareto_front([(1.0, 0.0), (2.0, 0.3), (3.0, 0.2), (2.0, 0.1)])
        [(1.0, 0.0), (2.0, 0.3)]
    """
    front: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not front or gain > front[-1][1]:
            front.append((cost, gain))
    return front


def _is_named(row: Row) -> bool:
    return not row["is_dominated"] or row["condition"] == _BASELINE or row["condition"].endswith("/routed")


def _set_ticks(axes: Axes, ratios: Sequence[float]) -> None:
    ticks = [tick for tick in (0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200) if min(ratios) * 0.8 <= tick <= max(ratios) * 1.2]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(min(ratios) * 0.88, max(ratios) * 1.15)


def _label(axes: Axes, named: Sequence[tuple[str, float, float]]) -> None:
    """Name points in a column at the right, each beside its height and never over another, with a line to it."""
    height = axes.get_position().height * _HEIGHT
    low, high = axes.get_ylim()
    wanted = sorted((((y - low) / (high - low) * height, name, x, y) for name, x, y in named), reverse=True)
    place = height + _LABEL_POINTS
    for above, (own, name, x, y) in enumerate(wanted):
        left_below = (len(wanted) - above - 1) * _LABEL_POINTS
        place = min(place - _LABEL_POINTS, max(own, left_below))
        axes.annotate(
            name.replace("control/", ""),
            xy=(x, y),
            xytext=(1.04, place / height),
            textcoords="axes fraction",
            va="center",
            fontsize=SMALL_POINTS - 0.5,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": LIGHT["line"], "linewidth": 0.7, "shrinkA": 0, "shrinkB": 3},
        )


def _finding(costs: Sequence[Row], baseline: Row) -> str:
    front = [row for row in costs if not row["is_dominated"]]
    best = max(costs, key=lambda row: float(row["improvement_mean"]))
    return (
        f"The best of all, {best['condition']}, improves by {number(best['improvement_mean'])} at "
        f"{ratio(best['index_flops'] / baseline['index_flops'])} times the baseline's operations. Filled: nothing "
        f"beats it at no more operations, bytes and attended tokens ({len(front)} of {len(costs)}). Dashed: the most "
        "that can be had for so many operations. Diamonds: routed families, which keep the caches of all their keys."
    )
