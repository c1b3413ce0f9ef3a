"""The report of a run: artifacts/reports/<run_id>.html, one file that needs nothing else and asks for nothing.

In: a published run's rows. Out: HTML with its styles, script and plots inside. The same rows give the same bytes. A
policy in the page forbids every request and every script but its own, so that nothing in a passage can do harm.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.pages.numbers import count, number
from tasks.pages.texts import untrusted
from tasks.reading.database import RunRows, read_run
from tasks.report import facts, samples, sections, verdicts
from tasks.report.plots.all_plots import Plots, plots_of
from tasks.report.plots.arms import summarize_arms
from tasks.report.plots.colors import DARK, LIGHT, css_variables
from tasks.report.plots.drawing import to_svg
from tasks.store import artifacts

_HERE = Path(__file__).parent


def write_report(run_id: str, output: Path | None = None) -> Path:
    """Write the report of a published run, whatever its status, and return where it is.

    Args:
        run_id: The run.
        output: The file; None: artifacts/reports/<run_id>.html.

    Raises:
        UsageError: Nothing is published yet, the run is unknown, or another version published the database.
        OSError: The file cannot be written; what stood there before is left as it was.
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
        plots: Theirs, if they were drawn already.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"untrusted": untrusted, "number": number, "count": count}
    return environment.get_template("report.html.jinja").render(_context(rows, plots or plots_of(rows)))


def _context(rows: RunRows, plots: Plots) -> dict[str, Any]:
    """Return all that the template shows."""
    arms = summarize_arms(rows)
    return {
        **_assets(),
        "run": rows.run,
        "is_complete": rows.is_complete,
        "headline": verdicts.make_headline(rows),
        "cards": verdicts.make_cards(rows),
        "facts": facts.facts_of(rows),
        "versions": facts.versions_of(rows.run),
        "tables": {
            "answers": sections.answer_tables(rows),
            "measures": sections.measure_table(rows),
            "funnel": facts.funnel_table(rows),
            "attempts": facts.attempts_table(rows),
            "stages": facts.stage_table(rows),
            "comparisons": sections.comparison_table(rows),
            "arms": sections.arm_table(arms),
            "strata": sections.strata_table(rows),
            "correlations": sections.correlation_table(rows),
            "agreement": sections.agreement_table(rows),
            "front": sections.front_table(rows),
            "costs": sections.cost_table(rows),
            "flags": samples.flag_table(rows),
            "checks": sections.check_table(rows),
        },
        "checks": sections.verdict_counts(rows),
        "plots": {name: [(plot, Markup(to_svg(plot))) for plot in found] for name, found in plots.items()},
        "examples": samples.surrogate_examples(rows),
        "flagged": samples.flagged_examples(rows),
        "extremes": [
            ("Gained most", samples.extreme_examples(rows.tables["best"])),
            ("Lost most, or gained least", samples.extreme_examples(rows.tables["worst"])),
        ],
    }


def _assets() -> dict[str, Markup]:
    """Return styles and script, and the script's hash, which is all that the page's policy lets run."""
    script = (_HERE / "report.js").read_text(encoding="utf-8")
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return {
        "style": Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        "light": Markup(css_variables(LIGHT)),
        "dark": Markup(css_variables(DARK)),
        "script": Markup(script),
        "script_hash": Markup(script_hash),
    }
