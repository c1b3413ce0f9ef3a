"""All plots of a report, by the section that they stand in.

In: a run's rows. Out: plots; and, for places other than a page of their own, each as PNG.
"""

from collections.abc import Mapping
from itertools import islice

from tasks.report.arms import arm_plot, summarize_arms
from tasks.report.confusion import confusion_plots
from tasks.report.costs import cost_plot
from tasks.report.drawing import Plot, to_png
from tasks.report.forest import forest_plots
from tasks.report.improvements import improvement_plots
from tasks.report.reading import RunRows, read_run
from tasks.report.similarity import similarity_plots
from tasks.report.strata import strata_plots

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


def plots_of(rows: RunRows) -> Mapping[str, list[Plot]]:
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


def plot_pngs(run_id: str, most: int | None = None) -> dict[str, bytes]:
    """Return plots of a run as PNG on white, by a title that is unique within the run.

    Args:
        run_id: A published run.
        most: How many, in the report's order; None: all.

    Raises:
        UsageError: Nothing is published yet, the run is unknown, or another version published the database.
    """
    plots = ((section, plot) for section, found in plots_of(read_run(run_id)).items() for plot in found)
    return {f"{_SECTIONS[section]}: {plot.title}": to_png(plot) for section, plot in islice(plots, most)}
