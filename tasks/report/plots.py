"""The plots of a report, by section.

In: a run's rows. Out: figures, each with its finding in words; nothing is concluded from a run that is not complete.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from tasks.pages.html import LIGHT
from tasks.pages.numbers import interval, number, ratio
from tasks.reading.database import Row, RunRows, read_run
from tasks.report.drawing import SMALL_POINTS, VALUE, WIDTH, Plot, new_figure, to_png
from tasks.report.tables import BASELINE, FAMILIES, label_of, role_of
from tasks.store import artifacts

GROUPS: tuple[tuple[str, str, tuple[str | None, ...]], ...] = (
    (
        "decisive",
        "What the chief answers rest on",
        ("does_priming_help", "is_generated_better_than_static", "is_generation_worth_its_compute"),
    ),
    (
        "controls",
        "What a gain is made of",
        (
            "does_the_content_matter",
            "does_the_framing_matter",
            "where_does_a_gain_arise",
            "should_the_surrogate_be_dropped",
            "does_reading_twice_help",
            "could_a_gain_be_seen",
        ),
    ),
    ("arms", "Each condition alone", ("should_i_prime",)),
    ("routing", "Routing, and what is explored", ("does_routing_help", None)),
)
"""Name, title and questions of the comparisons of each forest plot; None: those on which no answer rests."""

_DECISIVE = ("routed", "between_families")
_QUANTILES = {"lower": 0.25, "median": 0.5, "upper": 0.75}
_COST_HEIGHT = 300.0
_LABEL_POINTS = 11.5

Plots = Mapping[str, list[Plot]]
"""Section -> its plots."""


def plots_of(rows: RunRows) -> Plots:
    """Return the plots of each section that a run's rows allow; a section without any has an empty list."""
    return {section: draw(rows) for section, (_, draw) in _SECTIONS.items()}


def plot_pngs(plots: Plots, most: int | None = None) -> dict[str, bytes]:
    """Return plots as PNG by a title that is unique within the run: the first `most` in the report's order, or all."""
    shown = ((section, plot) for section, found in plots.items() for plot in found)
    return {f"{_SECTIONS[section][0]}: {plot.title}": to_png(plot) for section, plot in itertools.islice(shown, most)}


def write_plots(run_id: str, folder: Path) -> list[Path]:
    """Write each plot of a published run into a folder as PNG, and return their paths.

    Raises:
        UsageError: As in read_run.
        OSError: The folder cannot be written.
    """
    plots = [plot for found in plots_of(read_run(run_id)).values() for plot in found]
    paths = [folder / f"{plot.name}.png" for plot in plots]
    for path, plot in zip(paths, plots, strict=True):
        artifacts.write_atomically(path, to_png(plot))
    return paths


# --- comparisons: intervals in panels that share one scale ---


def forest_plots(rows: RunRows) -> list[Plot]:
    """Return a forest plot of each group of comparisons that has any; comparisons with oracles are drawn hollow."""
    known = [row for row in rows.tables["comparison"] if row["improvement_mean"] is not None]
    groups = [(name, title, [row for row in known if row["question"] in asked]) for name, title, asked in GROUPS]
    return [_forest(f"forest-{name}", title, found, _limits(known)) for name, title, found in groups if found]


def _limits(rows: Sequence[Row]) -> tuple[float, float]:
    """Return a scale that holds zero, the margin, and the unadjusted intervals, but of oracles and given answers."""
    fair = [row for row in rows if row["kind"] not in ("oracle", "assay")] or list(rows)
    ends = [row[name] for row in fair for name in ("improvement_low", "improvement_mean", "improvement_high")]
    margins = [side * row["equivalence_margin"] * 1.15 for row in rows for side in (-1, 1)]
    ends = [end for end in ends if end is not None] + margins + [0.0]
    low, high = min(ends), max(ends)
    room = 0.04 * (high - low or 1.0)
    return low - room, high + room


def _forest(name: str, title: str, rows: Sequence[Row], limits: tuple[float, float]) -> Plot:
    with new_figure(32.0 * len(rows) + 50.0, left=10.0, right=144.4, bottom=42.0) as (figure, axes):
        axes.set_xlim(*limits)
        axes.set_ylim(len(rows) - 0.35, -0.85)
        axes.set_yticks([])
        axes.locator_params(axis="x", nbins=5)
        _shade_margin(axes, rows[0]["equivalence_margin"])
        for place, row in enumerate(rows):
            _draw_comparison(axes, place, row, limits)
        axes.set_xlabel("← worse\u2003points\u2003better →")
    return Plot(name, title, _forest_finding(rows), figure)


def _draw_comparison(axes: Axes, place: int, row: Row, limits: tuple[float, float]) -> None:
    """Draw one comparison: its name, below it the interval, and the numbers at the right."""
    mean, intervals = row["improvement_mean"], [("answer", 0.8), ("improvement", 2.2)]
    color = LIGHT["oracle" if row["is_optimistic"] else role_of(row["arm"])]
    left, right = limits
    centred: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "va": "center", "clip_on": False}
    axes.text(0.0, place - 0.39, label_of(row["comparison"]), **centred)
    edge = (WIDTH - 20.0) / (WIDTH - 154.4)  # of the figure, in widths of the axes
    axes.text(edge, place, _improvement(row), ha="right", fontsize=SMALL_POINTS, color=LIGHT["muted"], **centred)
    axes.plot([0, 0], [place - 0.2, place + 0.2], color=LIGHT["muted"], linewidth=0.8)  # leaves out the name
    for name, width in intervals:
        low, high = row[f"{name}_low"], row[f"{name}_high"]
        if low is not None and high is not None:
            ends = [max(low, left), min(high, right)]
            axes.plot(ends, [place] * 2, color=color, linewidth=width, solid_capstyle="butt")
            for end, is_cut, marker in ((left, low < left, "<"), (right, high > right, ">")):
                if is_cut:
                    axes.plot([end], [place], marker, color=color, markersize=5, clip_on=False)
    if left <= mean <= right:
        face = LIGHT["paper"] if row["is_optimistic"] else color
        said = f"{VALUE}{label_of(row['comparison'])}: {_improvement(row)}"
        axes.plot([mean], [place], "o", color=color, markerfacecolor=face, markersize=5.5, gid=said)


def _forest_finding(rows: Sequence[Row]) -> str:
    judged = [row for row in rows if row["answer_low"] is not None]
    margin = rows[0]["equivalence_margin"]
    above = sum(row["answer_low"] > 0 for row in judged)
    below = sum(row["answer_high"] < 0 for row in judged)
    inside = sum(-margin < row["answer_low"] and row["answer_high"] < margin for row in judged)
    words = (
        f"Of {len(judged)} intervals that answers read (thin) {above} lie above zero, {below} below, "
        f"{len(judged) - above - below} include it; {inside} lie wholly within the margin of ±{margin:g}."
    )
    if judged:
        largest = max(judged, key=lambda row: abs(row["improvement_mean"]))
        words += f" The largest: {label_of(largest['comparison'])}, {_improvement(largest)}."
    if any(row["is_optimistic"] for row in rows):
        words += " Hollow: known only afterwards, and so better by construction."
    return words


def strata_plots(rows: RunRows) -> list[Plot]:
    """Return, for each comparison that answers rest on, a plot of the fifths of the samples from easiest to hardest."""
    fifths = [row for row in rows.tables["who_gains"] if row["stratified_by"] == "difficulty"]
    plots: list[Plot] = []
    for comparison in rows.tables["comparison"]:
        name = comparison["comparison"]
        levels = [row for row in fifths if row["comparison"] == name and row["improvement_mean"] is not None]
        if levels and comparison["kind"] in _DECISIVE and "random_words" not in comparison["reference"]:
            plots.append(_strata(f"difficulty-{len(plots)}", comparison, levels))
    return plots


def _strata(name: str, comparison: Row, levels: Sequence[Row]) -> Plot:
    color, shown = LIGHT[role_of(comparison["arm"])], [*levels, {**comparison, "level": "all samples"}]
    labels = [str(row["level"]).replace(": ", ". ", 1) for row in shown]
    with new_figure(19.0 * len(shown) + 52.0, left=128.0, bottom=40.0) as (figure, axes):
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_yticks(range(len(shown)), labels, color=LIGHT["ink"], fontsize=SMALL_POINTS)
        axes.tick_params(axis="y", length=0)
        _shade_margin(axes, comparison["equivalence_margin"])
        axes.axvline(0, color=LIGHT["muted"], linewidth=0.8, zorder=1)
        axes.axhline(len(levels) - 0.5, color=LIGHT["line"], linewidth=0.8)
        axes.locator_params(axis="x", nbins=4)
        for place, row in enumerate(shown):
            if row["improvement_low"] is not None and row["improvement_high"] is not None:
                ends = [row["improvement_low"], row["improvement_high"]]
                axes.plot(ends, [place] * 2, color=color, linewidth=1.8, solid_capstyle="butt")
            said = f"{VALUE}{row['level']}: {_improvement(row)}"
            axes.plot([row["improvement_mean"]], [place], "o", color=color, markersize=5, gid=said)
        axes.set_xlabel("improvement, points")
    finding = (
        f"Improvement in the easiest fifth {_improvement(levels[0])}, in the hardest {_improvement(levels[-1])}; over "
        f"all {number(levels[0]['overall_improvement_mean'])}. Difficulty is what the answer's probability lacks to "
        "100 %, the mean of both sides."
    )
    return Plot(name, label_of(comparison["comparison"]), finding, figure)


def _shade_margin(axes: Axes, margin: float) -> None:
    axes.spines["left"].set_visible(False)
    axes.axvspan(-margin, margin, color=LIGHT["shade"], linewidth=0, zorder=0)


def _improvement(row: Row) -> str:
    return interval(row["improvement_mean"], row["improvement_low"], row["improvement_high"])


# --- conditions: their NLLs and costs ---


def summarize_conditions(rows: RunRows) -> list[Row]:
    """Return, for each condition with NLLs: condition, n, mean, lower, median, upper.

    The last three are the NLLs below which 25, 50 and 75 % of the samples lie (linear between samples). They come
    by family and then by mean. Sums are exact before they are rounded, so the order of rows changes no digit.

    Source: numpy.quantile.
    """
    order = {family: place for place, family in enumerate(FAMILIES)}
    found: list[Row] = []
    for condition, nlls in rows.nlls.items():
        quantiles = np.quantile(list(nlls.values()), list(_QUANTILES.values())).tolist()
        mean = {"condition": condition, "n": len(nlls), "mean": math.fsum(nlls.values()) / len(nlls)}
        found.append(mean | dict(zip(_QUANTILES, quantiles, strict=True)))
    return sorted(
        found,
        key=lambda row: (order.get(row["condition"].partition("/")[0], len(order)), row["mean"], row["condition"]),
    )


def cost_plots(rows: RunRows) -> list[Plot]:
    """Return one plot of operations against improvement; none where no costs are known."""
    costs = rows.tables["what_does_it_cost"]
    operations = next((row["index_flops"] for row in costs if row["condition"] == BASELINE), None)
    known = [row for row in costs if row["improvement_mean"] is not None and row["index_flops"]]
    if not operations or not known:
        return []
    points = [(row, row["index_flops"] / operations, row["improvement_mean"]) for row in known]
    longest = max(len(label_of(row["condition"])) for row in known)
    with new_figure(_COST_HEIGHT, left=50.0, right=18.0 + 5.0 * longest, bottom=38.0, top=10.0) as (figure, axes):
        axes.set_xscale("log")
        axes.axhline(0, color=LIGHT["line"], linewidth=0.8)
        front = np.array(pareto_front([(x, y) for _, x, y in points]))
        axes.step(front[:, 0], front[:, 1], where="post", color=LIGHT["muted"], linewidth=1.0, linestyle=(0, (3, 2)))
        for row, x, y in points:
            color = LIGHT[role_of(row["condition"])]
            face = LIGHT["paper"] if row["is_dominated"] else color
            marker = "D" if row["condition"].endswith("/routed") else "o"
            said = f"{VALUE}{row['condition']}: {number(y)} points, {ratio(x)} × baseline"
            axes.plot([x], [y], marker, color=color, markerfacecolor=face, markersize=5.5, gid=said)
        low, high = min(x for _, x, _ in points), max(x for _, x, _ in points)
        ticks = [tick for tick in (0.5, 1, 2, 3, 5, 10, 20, 50, 100, 200) if low * 0.8 <= tick <= high * 1.2]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set_xlim(low * 0.88, high * 1.15)
        axes.set_xlabel("operations to index a document, × baseline")
        axes.set_ylabel("improvement, points")
        _name_points(axes, [(row["condition"], x, y) for row, x, y in points if _is_named(row)])
    best, ratio_of_best, gain = max(points, key=lambda point: float(point[2]))
    finding = (
        f"The best of all, {best['condition']}, improves by {number(gain)} at {ratio(ratio_of_best)} times the "
        "baseline's operations. Filled: nothing cheaper is shown to be as good "
        f"({sum(not row['is_dominated'] for row in known)} of {len(known)}). Dashed: the largest improvement for that "
        "many operations or fewer. Diamonds: routed families, which keep the caches of all their keys."
    )
    return [Plot("cost", "Operations against improvement", finding, figure)]


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
    return not row["is_dominated"] or row["condition"] == BASELINE or row["condition"].endswith("/routed")


def _name_points(axes: Axes, named: Sequence[tuple[str, float, float]]) -> None:
    """Name points in a column at the right, each at its own height unless another name is there, with a line to it."""
    height = axes.get_position().height * _COST_HEIGHT
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


_SECTIONS: dict[str, tuple[str, Callable[[RunRows], list[Plot]]]] = {
    "comparisons": ("Comparisons", forest_plots),
    "difficulty": ("Who gains, by difficulty", strata_plots),
    "cost": ("Cost", cost_plots),
}
"""Section -> its name where plots are shown without the page, and what draws it."""
