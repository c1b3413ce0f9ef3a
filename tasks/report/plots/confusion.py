"""What the router chose, beside what turned out best.

In: rows of tables routing_choice and routing_agreement. Out: a table of counts a routed family, drawn as a plot.
"""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from tasks.pages.numbers import count, percent
from tasks.reading.database import Row, RunRows
from tasks.report.plots.colors import LIGHT, role_of
from tasks.report.plots.drawing import SMALL_POINTS, Plot, new_figure, styled

_CELL_POINTS = 30.0
_DARKEST = 0.6
"""Opacity of the fullest cell: the number in it must be readable on light and dark pages."""


def confusion_plots(rows: RunRows) -> list[Plot]:
    """Return a plot for each routed family that has choices."""
    families = sorted({row["family"] for row in rows.tables["routing_choice"]})
    return [_draw(family, rows) for family in families]


def _draw(family: str, rows: RunRows) -> Plot:
    choices = [row for row in rows.tables["routing_choice"] if row["family"] == family]
    keys = sorted({row[name] for row in choices for name in ("routed_key", "best_key")})
    counts = {(row["routed_key"], row["best_key"]): row["count"] for row in choices}
    with styled():
        figure, axes = new_figure(_CELL_POINTS * len(keys) + 92.0, left=122.0, right=58.0, bottom=10.0, top=82.0)
        axes.set_xlim(-0.5, len(keys) - 0.5)
        axes.set_ylim(len(keys) - 0.5, -0.5)
        for row, routed in enumerate(keys):
            for column, best in enumerate(keys):
                _draw_cell(axes, (row, column), counts.get((routed, best), 0), (max(counts.values()), role_of(family)))
        axes.set_yticks(range(len(keys)), keys, color=LIGHT["ink"], fontsize=SMALL_POINTS)
        axes.set_xticks(range(len(keys)), keys, color=LIGHT["ink"], fontsize=SMALL_POINTS, rotation=38, ha="left")
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        corner: dict[str, Any] = {"ha": "right", "va": "bottom", "fontsize": SMALL_POINTS, "color": LIGHT["muted"]}
        axes.text(-0.62, -0.62, "routed ↓\u2002best →", **corner)
    agreement = next((row for row in rows.tables["routing_agreement"] if row["family"] == family), None)
    return Plot(f"confusion-{family}", family, _finding(agreement, choices, rows), figure)


def _draw_cell(axes: Axes, place: tuple[int, int], samples: int, scale: tuple[int, str]) -> None:
    """Draw how often a key was routed where another was best; the diagonal is framed."""
    row, column = place
    most, role = scale
    axes.add_patch(
        Rectangle(
            (column - 0.47, row - 0.47), 0.94, 0.94, linewidth=0, facecolor=LIGHT[role], alpha=_DARKEST * samples / most
        )
    )
    if row == column:
        axes.add_patch(
            Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, linewidth=1.2, facecolor="none", edgecolor=LIGHT["ink"])
        )
    color = LIGHT["ink" if samples else "muted"]
    axes.text(column, row, count(samples), ha="center", va="center", fontsize=SMALL_POINTS, color=color)


def _finding(agreement: Row | None, choices: Sequence[Row], rows: RunRows) -> str:
    if agreement is None or agreement["agreement_rate"] is None:
        return f"{count(sum(row['count'] for row in choices))} samples; agreement could not be computed."
    words = (
        f"The router chose the key with the lowest NLL in {percent(agreement['agreement_rate'])} of "
        f"{count(agreement['n'])} samples; chance would give {percent(agreement['chance_rate'])}."
    )
    low, high = agreement["kappa_low"], agreement["kappa_high"]
    if not rows.is_complete or low is None or high is None:
        return words
    said = "better than chance" if low > 0 else "worse than chance" if high < 0 else "not shown to differ from chance"
    return f"{words} Agreement is {said}."
