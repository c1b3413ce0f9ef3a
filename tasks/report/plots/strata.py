"""Who gains: a comparison within fifths of the samples, from the easiest to the hardest.

In: rows of view who_gains. Out: one plot a comparison that a verdict rests on.
"""

from collections.abc import Sequence

from tasks.pages.numbers import interval, number
from tasks.reading.database import Row, RunRows
from tasks.report.plots.colors import LIGHT, role_of
from tasks.report.plots.drawing import SMALL_POINTS, Plot, new_figure, styled
from tasks.report.plots.forest import label_of

_ROW_POINTS = 19.0
_KINDS = ("routed", "between_families", "worth")
_LEFT_OUT = ("control/random_words",)


def strata_plots(rows: RunRows) -> list[Plot]:
    """Return a plot of the fifths by difficulty for each comparison that is stratified by it."""
    plots: list[Plot] = []
    for comparison in rows.tables["comparison"]:
        if comparison["kind"] not in _KINDS or comparison["reference"] in _LEFT_OUT:
            continue
        name = comparison["comparison"]
        fifths = [row for row in rows.tables["who_gains"] if row["stratified_by"] == "difficulty"]
        levels = [row for row in fifths if row["comparison"] == name and row["improvement_mean"] is not None]
        if levels:
            plots.append(_draw(f"difficulty-{len(plots)}", comparison, levels))
    return plots


def _draw(name: str, comparison: Row, levels: Sequence[Row]) -> Plot:
    color, margin = LIGHT[role_of(comparison["arm"])], comparison["equivalence_margin"]
    shown = [*levels, {**comparison, "level": "all samples"}]
    with styled():
        figure, axes = new_figure(_ROW_POINTS * len(shown) + 52.0, left=128.0, bottom=40.0)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_yticks(range(len(shown)), [_level(row) for row in shown], color=LIGHT["ink"], fontsize=SMALL_POINTS)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.axvspan(-margin, margin, color=LIGHT["shade"], linewidth=0, zorder=0)
        axes.axvline(0, color=LIGHT["muted"], linewidth=0.8, zorder=1)
        axes.axhline(len(levels) - 0.5, color=LIGHT["line"], linewidth=0.8)
        axes.locator_params(axis="x", nbins=4)
        for place, row in enumerate(shown):
            low, high = row["improvement_low"], row["improvement_high"]
            if low is not None and high is not None:
                axes.plot([low, high], [place] * 2, color=color, linewidth=1.8, solid_capstyle="butt")
            axes.plot([row["improvement_mean"]], [place], "o", color=color, markersize=5)
        axes.set_xlabel("improvement, nats per token")
    title = label_of(comparison["comparison"])
    return Plot(name, title, _finding(levels), figure)


def _level(row: Row) -> str:
    """Return a level's name: its number and the NLLs that bound it."""
    return str(row["level"]).replace(": ", ". NLL ", 1)


def _finding(levels: Sequence[Row]) -> str:
    easiest, hardest = (_numbers(levels[end]) for end in (0, -1))
    arm = levels[0]["difficulty_arm"]
    return (
        f"Improvement in the easiest fifth {easiest}, in the hardest {hardest}; over all "
        f"{number(levels[0]['overall_improvement_mean'])}. Difficulty is the NLL of {arm}, which takes no part in the "
        "comparison."
    )


def _numbers(row: Row) -> str:
    return interval(row["improvement_mean"], row["improvement_low"], row["improvement_high"])
