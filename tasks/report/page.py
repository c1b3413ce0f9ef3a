"""The report of a run: artifacts/reports/<run_id>.html, one file that needs nothing else.

In: a published run's rows. Out: HTML with its styles, script and plots inside; equal rows give equal bytes. A policy in
the page forbids every request and every script but its own, so that nothing in a passage can do harm.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.pages.html import table_html
from tasks.pages.numbers import count, number
from tasks.pages.texts import untrusted
from tasks.reading.database import RunRows, read_run
from tasks.report import samples, tables, verdicts
from tasks.report.drawing import DARK, LIGHT, css_variables, to_svg
from tasks.report.facts import facts_of
from tasks.report.plots import Plots, plots_of, summarize_conditions
from tasks.store import artifacts

_HERE = Path(__file__).parent


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


def write_page(run_id: str, page: str, output: Path | None = None) -> Path:
    """Write a rendered report and return where it is; see write_report."""
    path = output or artifacts.ARTIFACTS / "reports" / f"{run_id}.html"
    artifacts.write_atomically(path, page.encode())
    return path


def render_report(rows: RunRows, plots: Plots | None = None) -> str:
    """Return the report as HTML.

    Args:
        rows: The run's.
        plots: The run's, if they were drawn already.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"untrusted": untrusted, "number": number, "count": count, "html": table_html}
    return environment.get_template("report.html.jinja").render(_context(rows, plots or plots_of(rows)))


def _context(rows: RunRows, plots: Plots) -> dict[str, Any]:
    """Return everything that the template shows."""
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    return {
        "style": Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        "light": Markup(css_variables(LIGHT)),
        "dark": Markup(css_variables(DARK)),
        "script": Markup(script),
        "script_hash": Markup(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")),
        "run": rows.run,
        "headline": verdicts.make_headline(rows),
        "cards": verdicts.make_cards(rows),
        "answer_tables": tables.answer_tables(rows),
        "facts": facts_of(rows),
        "tables": tables.tables_of(rows, summarize_conditions(rows)),
        "checks": tables.check_counts(rows),
        "plots": {name: [(plot, Markup(to_svg(plot))) for plot in found] for name, found in plots.items()},
        "examples": samples.surrogate_examples(rows),
        "written": samples.written_examples(rows),
        "flagged": samples.flagged_examples(rows),
        "extremes": {
            "Gained most": samples.extreme_examples(rows.tables["best"]),
            "Lost most, or gained least": samples.extreme_examples(rows.tables["worst"]),
        },
    }
