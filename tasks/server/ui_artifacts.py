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
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.reading.answers import TITLES, Rows, answers_of, read_questions
from tasks.results import open_results

_DIGITS = 6
"""Significant digits of numbers in tables; the database has all of them."""

_FIRST_COLUMNS = (
    "question", "family", "instead", "comparison", "condition", "answer", "measure", "says", "stratified_by", "level",
    "n", "improvement_mean", "improvement_low", "improvement_high",
)  # fmt: skip
"""What a table begins with, where it has it: the others are reached by scrolling."""

_CELL_CHARACTERS = 30
"""Of a line in a cell of the page's tables."""

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
        questions = read_questions(run_id)
        page = results_page(run_id, questions, plots or {})
        create_markdown_artifact(page, key="results", description=f"What run {run_id} found.")
        for view, rows in questions.items():
            description = f"{_title(view)} Run {run_id}."
            if rows:
                create_table_artifact(question_table(rows), key=view.replace("_", "-"), description=description)
    except Exception as error:  # of the network, the server or Prefect, at the very end of what may be hours
        get_run_logger().warning("the UI does not show the results (%s); they are in the database", error)


def results_page(run_id: str, questions: Mapping[str, Rows], plots: Mapping[str, bytes]) -> str:
    """Return a run's answers, checks and plots as markdown.

    Args:
        run_id: A run that is published and complete.
        questions: The rows of each question view.
        plots: Title -> PNG.
    """
    (facts,) = questions["run_summary"]
    answers = answers_of(questions)
    parts = [
        f"# {_escaped(facts['profile'])}, {_plain(facts['drawn_count'])} samples",
        f"Run `{run_id}`. Improvements are in nats per answer token over what is named second; positive is better.",
        _check_line(run_id),
    ]
    for view, rows in answers.items():
        parts += [f"## {TITLES[view]}", _verdicts(rows), _comparisons(rows)]
    parts += [f"## {_escaped(title)}\n\n![{_escaped(title)}]({_data_uri(png)})" for title, png in plots.items()]
    values = [f"- {heading}: {_escaped(_plain(facts[column]))}" for heading, column in _RUN_FACTS.items()]
    parts += ["## The run", "\n".join(values)]
    parts += [f"All results: `SELECT * FROM outcome WHERE run_id = '{run_id}'` in `artifacts/results.duckdb`."]
    return "\n\n".join(parts) + "\n"


def question_table(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows of a question view for a table artifact: what JSON can say, without the run's id."""
    shown = []
    for row in rows:
        first = {name: row[name] for name in _FIRST_COLUMNS if name in row}
        values = first | {name: value for name, value in row.items() if name != "run_id"}
        shown.append({name: _json_value(value) for name, value in values.items()})
    return shown


def _check_line(run_id: str) -> str:
    """Return what the run's checks of itself found, failed ones first."""
    with open_results() as connection:
        found = connection.execute(
            "SELECT name, passed, value, limit_value, detail FROM run_check WHERE run_id = ? ORDER BY name", [run_id]
        ).fetchall()
    failed = [row for row in found if row[1] is False]
    passed = sum(row[1] is True for row in found)
    line = f"The run checked itself: {passed} checks passed, {len(failed)} failed, {len(found) - passed - len(failed)} "
    line += "were recorded only."
    rows = [
        [_wrapped(name), _plain(value), _plain(limit), _wrapped(text or "-")] for name, _, value, limit, text in failed
    ]
    if not rows:
        return line
    return f"{line} **Do not believe the answers before you know why:**\n\n" + _markdown_table(
        ("failed check", "value", "limit", "detail"), rows
    )


def _verdicts(rows: Sequence[Mapping[str, str]]) -> str:
    """Return the answers of a question as a list, one an answer."""
    by_answer: dict[str, list[str]] = {}
    for row in rows:
        by_answer.setdefault(row["answer"], []).append(row["comparison"])
    if len(rows) > 1 and len(by_answer) == 1:
        return f"**{_escaped(rows[0]['answer'])}**"
    return "\n".join(f"- **{_escaped(answer)}**: {_escaped('; '.join(names))}" for answer, names in by_answer.items())


def _comparisons(rows: Sequence[Mapping[str, str]]) -> str:
    """Return a question's comparisons as a table that fits the page; the table artifacts have all columns."""
    cells = [
        [
            _wrapped(row["comparison"]),
            row["n"],
            f"{row['improvement']}<br>({row['interval']})",
            row["win"],
            _wrapped(row["answer"]),
        ]
        for row in rows
    ]
    return _markdown_table(("comparison", "n", "improvement (interval)", "wins", "answer"), cells)


def _markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of cells that are markdown already."""
    return "\n".join(f"| {' | '.join(line)} |" for line in (headings, ["---"] * len(headings), *rows))


def _wrapped(text: str) -> str:
    """Return escaped text in short lines: the page breaks none in a table, and would hide what is behind."""
    return "<br>".join(map(_escaped, textwrap.wrap(text, _CELL_CHARACTERS)))


def _escaped(text: str) -> str:
    """Return text that markdown shows as it is, on one line: names of data and models are anyone's text."""
    return re.sub(r"([\\`*_\[\]<>|#!&$])", r"\\\1", " ".join(text.split()))


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _title(view: str) -> str:
    """Return a view's name as the question that it is."""
    return TITLES.get(view) or f"{view.replace('_', ' ').capitalize()}."


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
