"""All plots of a report, by the section that they stand in.

In: a run's rows. Out: plots; and, for places other than a page of their own, each as PNG.
"""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TypeAlias

from tasks.reading.database import RunRows, read_run
from tasks.report.plots.arms import arm_plot, summarize_arms
from tasks.report.plots.confusion import confusion_plots
from tasks.report.plots.costs import cost_plot
from tasks.report.plots.drawing import Plot, to_png
from tasks.report.plots.forest import forest_plots
from tasks.report.plots.improvements import improvement_plots
from tasks.report.plots.similarity import similarity_plots
from tasks.report.plots.strata import strata_plots
from tasks.store import artifacts

_SECTIONS = {
    "comparisons": "Comparisons",
    "improvements": "Improvements of single samples",
    "nll": "NLL of every condition",
    "difficulty": "Who gains, by difficulty",
    "similarity": "Similarity and improvement",
    "routing": "Routed and best key",
    "cost": "Cost",
}
"""Section -> what it is called where plots stand by themselves."""


Plots: TypeAlias = Mapping[str, list[Plot]]
"""Section -> its plots."""


def plots_of(rows: RunRows) -> Plots:
    """Return the plots of each section that its rows allow; a section without any has an empty list."""
    return {
        "comparisons": forest_plots(rows.tables["comparison"]),
        "improvements": improvement_plots(rows),
        "nll": [plot for plot in [arm_plot(summarize_arms(rows))] if plot],
        "difficulty": strata_plots(rows),
        "similarity": similarity_plots(rows),
        "routing": confusion_plots(rows),
        "cost": [plot for plot in [cost_plot(rows.tables["what_does_it_cost"])] if plot],
    }


def plot_pngs(plots: Plots, most: int | None = None) -> dict[str, bytes]:
    """Return plots as PNG on white, by a title that is unique within the run.

    Args:
        plots: A run's, from plots_of.
        most: How many, in the report's order; None: all.
    """
    shown = ((section, plot) for section, found in plots.items() for plot in found)
    return {f"{_SECTIONS[section]}: {plot.title}": to_png(plot) for section, plot in islice(shown, most)}


def write_plots(run_id: str, folder: Path) -> list[Path]:
    """Write each plot of a run as a PNG file, for slides and papers, and return where they are.

    Args:
        run_id: A published run.
        folder: It is made if it is not there; files of the same names are replaced.

    Raises:
        UsageError: Nothing is published yet, the run is unknown, or another version published the database.
        OSError: The folder cannot be written.
    """
    plots = [plot for found in plots_of(read_run(run_id)).values() for plot in found]
    paths = [folder / f"{plot.name}.png" for plot in plots]
    for path, plot in zip(paths, plots, strict=True):
        artifacts.write_atomically(path, to_png(plot))
    return paths
