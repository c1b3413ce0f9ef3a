"""What the UI shows of a finished run: a page with its answers and plots, and a table of each question.

In: a run that is published; its plots as PNG, if there are any. Out: one markdown artifact and one table artifact a
question. Pictures are in the page itself (the browser may load nothing else), and nothing that is NaN or infinite is
sent, at which the page would break.
"""

import base64
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias, cast

from prefect import get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.states import Completed

from tasks.pages.blocks import Block, Heading, Quoted, Table, paragraph
from tasks.pages.markdown import to_markdown
from tasks.pages.numbers import ratio
from tasks.reading.answers import Row, headline_of, summary_blocks
from tasks.reading.database import QUERIES, rows_of
from tasks.results import open_results

Tables: TypeAlias = Mapping[str, Sequence[Row]]
"""View -> rows of one run."""

_DIGITS = 6
"""Significant digits of numbers in tables; the database has all of them."""

_QUESTIONS = """
    SELECT view_name, comment FROM duckdb_views()
    WHERE schema_name = 'all_runs' AND view_name NOT IN ('outcome', 'compare_runs')"""
"""All views of a run but that of its samples, and what each says."""


def show_results(run_id: str, plots: Mapping[str, bytes] | None = None) -> None:
    """Show a published run's results in the UI; an error there does not affect the results.

    Called by the flow rather than a task of it, so that they stand among the artifacts of the run itself. Plots are
    title -> PNG.
    """
    try:
        questions, tables, checks = read_tables(run_id)
        page = results_page(tables, checks, plots or {})
        create_markdown_artifact(page, key="results", description=f"What run {run_id} found.")
        for view, said in questions.items():
            if rows := question_table(tables[view]):
                create_table_artifact(rows, key=view.replace("_", "-"), description=f"{said} Run {run_id}.")
    except Exception as error:  # of the network, the server or Prefect, at the very end of what may be hours
        get_run_logger().warning("the UI does not show the results (%s); they are in the database", error)


def concluded(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a run that is published as the run's final state, whose message is the headline.

    The headline is the last line of the log too. Whoever calls the flow gets the result alone, which has a "run_id".
    """
    with open_results() as connection:
        (summary,) = rows_of(connection, QUERIES["run_summary"], result["run_id"])
        headline = headline_of(summary, rows_of(connection, QUERIES["what_did_it_find"], result["run_id"]))[1]
    get_run_logger().info("%s", headline)
    return cast(dict[str, Any], Completed(message=headline, data=result))


def read_tables(run_id: str) -> tuple[dict[str, str], Tables, Sequence[Row]]:
    """Return the question views with what each asks, their rows for one run, and its checks, failed ones first."""
    with open_results() as connection:
        questions = dict(connection.execute(_QUESTIONS).fetchall())
        tables = {
            view: rows_of(connection, f"SELECT * FROM all_runs.{view} WHERE run_id = $run_id", run_id)
            for view in questions
        }
        return questions, tables, rows_of(connection, QUERIES["run_check"], run_id)


def results_page(tables: Tables, checks: Sequence[Row], plots: Mapping[str, bytes]) -> str:
    """Return the answers, the checks of itself and the plots (title -> PNG) of a complete run as markdown."""
    (summary,) = tables["run_summary"]
    page = to_markdown([*summary_blocks(summary, tables["what_did_it_find"]), *_check_blocks(checks)])
    for name, png in plots.items():
        heading = to_markdown([Heading(name)])
        title = heading.removeprefix("## ").strip()
        page += f"\n{heading}\n![{title}](data:image/png;base64,{base64.b64encode(png).decode('ascii')})\n"
    return page


def question_table(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return the rows of a question view for a table artifact: what JSON can say, without the run's id."""
    return [{name: _json_value(value) for name, value in row.items() if name != "run_id"} for row in rows]


def _check_blocks(checks: Sequence[Row]) -> Iterator[Block]:
    """Yield what the run's checks of itself found, with the failed ones."""
    passed, failed = (sum(row["passed"] is result for row in checks) for result in (True, False))
    recorded = len(checks) - passed - failed
    yield paragraph(
        f"The run checked itself: {passed} checks passed, {failed} failed, {recorded} were recorded only."
        + (" Do not believe the answers before you know why:" if failed else "")
    )
    if failed:
        rows = tuple(
            (row["name"], Quoted(row["detail"]), ratio(row["value"]), ratio(row["limit_value"]))
            for row in checks
            if row["passed"] is False
        )
        yield Table(("failed check", "detail", "value", "limit"), rows, text_columns=2)


def _json_value(value: object) -> Any:  # noqa: ANN401 - what JSON can say
    """Return a value of the database as JSON can say it: no NaN, no clock objects, numbers rounded."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return value if value is None or isinstance(value, bool | int | str) else str(value)
