"""The report of a run: artifacts/reports/<run_id>.html, one file that needs nothing else.

In: a published run's rows. Out: HTML with plots and samples inside; equal rows give equal bytes.
"""

from pathlib import Path

from markupsafe import Markup

from tasks.pages.html import render_page, write_page
from tasks.reading.database import RunRows, read_run
from tasks.report import tables, verdicts
from tasks.report.drawing import to_svg
from tasks.report.facts import facts_of
from tasks.report.plots import Plots, plots_of, summarize_conditions
from tasks.report.samples import pack_samples


def write_report(run_id: str, output: Path | None = None) -> Path:
    """Write the report of a published run, whatever its status, and return where it is.

    Args:
        run_id: The run.
        output: The file; None: artifacts/reports/<run_id>.html.

    Raises:
        UsageError: As in read_run.
        OSError: The file cannot be written; an earlier file is left unchanged.
    """
    return write_page(run_id, render_report(read_run(run_id)), output)


def render_report(rows: RunRows, plots: Plots | None = None) -> str:
    """Return the report as HTML.

    Args:
        rows: The run's.
        plots: The run's, if they were drawn already.
    """
    shown = plots or plots_of(rows)
    scored = [row for row in rows.tables["comparison"] if row["arm"] in rows.nlls and row["reference"] in rows.nlls]
    compared = min(scored, key=lambda row: row["kind"] != "routed", default=None)
    pair = (compared["arm"], compared["reference"]) if compared else (next(iter(rows.nlls), ""), tables.BASELINE)
    return render_page(
        "report.html.jinja",
        run=rows.run,
        headline=verdicts.make_headline(rows),
        cards=verdicts.make_cards(rows),
        answer_tables=tables.answer_tables(rows),
        facts=facts_of(rows),
        tables=tables.tables_of(rows, summarize_conditions(rows)),
        checks=tables.check_counts(rows),
        plots={name: [(plot, Markup(to_svg(plot))) for plot in found] for name, found in shown.items()},
        samples=pack_samples({"": rows}, *pair) if rows.nlls else None,
        sample_count=rows.tables["run_summary"][0]["sample_count"],
    )
