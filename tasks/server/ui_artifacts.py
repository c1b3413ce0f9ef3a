"""What the UI shows of a finished run: a page with its answers and plots, and a table of each question.

In: a run that is published; its plots as PNG, if there are any. Out: one markdown artifact and one table artifact a
question. Pictures are in the page itself (the browser may load nothing else), and nothing that is NaN or infinite is
sent, at which the page would break.
"""

import base64
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.pages.numbers import percent
from tasks.reading.answers import Row, by_question, headline_of, improvement_of, name_of
from tasks.reading.database import QUERIES, rows_of
from tasks.results import open_results

Tables: TypeAlias = Mapping[str, Sequence[Row]]
"""View -> rows of one run."""

_DIGITS = 6
"""Significant digits of numbers in tables; the database has all of them."""

_CELL_CHARACTERS = 30
"""Of a line in a cell of the page's tables."""

_QUESTIONS = """
    SELECT view_name, comment FROM duckdb_views()
    WHERE schema_name = 'all_runs' AND view_name NOT IN ('outcome', 'compare_runs')"""
"""All views of a run but that of its samples, and what each says."""

_RUN_FACTS = {
    "profile": "profile",
    "data": "data",
    "language model": "language_model",
    "embedding model": "embedding_model",
    "device": "device",
    "samples": "drawn_count",
    "of eligible rows": "eligible_count",
    "scores": "score_count",
    "scores that are missing": "score_missing_count",
    "seconds of computation": "seconds",
}
"""What the page says of the run: heading -> column of run_summary."""


def show_results(run_id: str, plots: Mapping[str, bytes] | None = None) -> None:
    """Show a published run's results in the UI; the results themselves are safe whatever the UI says.

    Called by the flow rather than a task of it, so that they stand among the artifacts of the run itself.

    Args:
        run_id: The run.
        plots: Title -> PNG.
    """
    try:
        questions, tables, checks = read_tables(run_id)
        page = results_page(run_id, tables, checks, plots or {})
        create_markdown_artifact(page, key="results", description=f"What run {run_id} found.")
        for view, said in questions.items():
            if rows := question_table(tables[view]):
                create_table_artifact(rows, key=view.replace("_", "-"), description=f"{said} Run {run_id}.")
    except Exception as error:  # of the network, the server or Prefect, at the very end of what may be hours
        get_run_logger().warning("the UI does not show the results (%s); they are in the database", error)


def read_tables(run_id: str) -> tuple[dict[str, str], Tables, Sequence[Row]]:
    """Return the question views with what each asks, their rows for one run, and its checks, failed ones first."""
    with open_results() as connection:
        questions = dict(connection.execute(_QUESTIONS).fetchall())
        tables = {
            view: rows_of(connection, f"SELECT * FROM all_runs.{view} WHERE run_id = $run_id", run_id)
            for view in questions
        }
        return questions, tables, rows_of(connection, QUERIES["run_check"], run_id)


def results_page(run_id: str, tables: Tables, checks: Sequence[Row], plots: Mapping[str, bytes]) -> str:
    """Return a run's answers, checks and plots as markdown.

    Args:
        run_id: A run that is published and complete.
        tables: The rows of each question view.
        checks: What the run verified about itself.
        plots: Title -> PNG.
    """
    (facts,) = tables["run_summary"]
    answers = tables["what_did_it_find"]
    parts = [
        f"# {_escaped(facts['profile'])}, {_plain(facts['drawn_count'])} samples",
        f"**{_escaped(headline_of(facts, answers)[1])}**",
        f"Run `{run_id}`. Improvements are in nats per answer token over what is named second; positive is better.",
        _check_line(checks),
    ]
    for title, rows in by_question(answers).items():
        parts += [f"## {title}", _answer_table(rows)]
    parts += [f"## {_escaped(title)}\n\n![{_escaped(title)}]({_data_uri(png)})" for title, png in plots.items()]
    values = [f"- {heading}: {_escaped(_plain(facts[column]))}" for heading, column in _RUN_FACTS.items()]
    parts += ["## The run", "\n".join(values)]
    parts += [f"All results: `SELECT * FROM all_runs.outcome WHERE run_id = '{run_id}'` in `artifacts/results.duckdb`."]
    return "\n\n".join(parts) + "\n"


def question_table(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the rows of a question view for a table artifact: what JSON can say, without the run's id."""
    return [{name: _json_value(value) for name, value in row.items() if name != "run_id"} for row in rows]


def _check_line(checks: Sequence[Row]) -> str:
    """Return what the run's checks of itself found, with the failed ones."""
    passed, failed = (sum(row["passed"] is result for row in checks) for result in (True, False))
    line = f"The run checked itself: {passed} checks passed, {failed} failed, {len(checks) - passed - failed} "
    line += "were recorded only."
    if not failed:
        return line
    rows = [
        [_wrapped(row["name"]), _plain(row["value"]), _plain(row["limit_value"]), _wrapped(row["detail"] or "-")]
        for row in checks
        if row["passed"] is False
    ]
    return f"{line} **Do not believe the answers before you know why:**\n\n" + _markdown_table(
        ("failed check", "value", "limit", "detail"), rows
    )


def _answer_table(answers: Sequence[Row]) -> str:
    """Return a question's answers as a table that fits the page; the table artifacts have all columns."""
    cells = [
        [
            _wrapped(name_of(row)),
            _plain(row["n"]),
            "<br>".join(improvement_of(row)),
            percent(row["win_rate"]),
            _wrapped(row["sentence"]),
        ]
        for row in answers
    ]
    return _markdown_table(("comparison", "n", "improvement (interval)", "wins", "answer"), cells)


def _markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are markdown already."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *rows))


def _wrapped(text: str) -> str:
    """Return escaped text in short lines: the page breaks none in a table, and would hide what follows."""
    return "<br>".join(map(_escaped, textwrap.wrap(text, _CELL_CHARACTERS)))


def _escaped(text: str) -> str:
    """Return text that markdown shows as it is, on one line: names of data and models are anyone's text."""
    return re.sub(r"([\\`*_\[\]<>|#!&$])", r"\\\1", " ".join(text.split()))


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _plain(value: object) -> str:
    shown = _json_value(value)
    if shown is None:
        return "-"
    return f"{shown:,}" if isinstance(shown, int | float) and not isinstance(shown, bool) else str(shown)


def _json_value(value: object) -> Any:  # noqa: ANN401 - what JSON can say
    """Return a value of the database as JSON can say it: no NaN, no clock objects, numbers rounded."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return value if value is None or isinstance(value, bool | int | str) else str(value)
