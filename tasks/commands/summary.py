"""What a command prints when a run is complete: what it comes to, the comparisons by question, where the rest is.

In: a published run. Out: a page of 80 columns on standard output. No number is computed here.
"""

import json
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.loading.redaction import printable
from tasks.pages.blocks import Block, Heading, Part, Quoted, Table, paragraph
from tasks.pages.numbers import duration
from tasks.pages.terminal import print_blocks
from tasks.priming.settings import PROFILES, flat_settings
from tasks.reading.answers import TITLES, answers_of, read_questions
from tasks.reading.database import QUERIES, RunRows
from tasks.report.verdicts import make_headline
from tasks.results import open_results

_BEHIND_THE_HEADLINE = ("check", "comparison", "does_priming_help", "is_generation_worth_its_compute", "run_summary")
_GROWTH = 10
"""How many times as many samples are suggested where something is undecided: intervals a third as wide."""

_RUN = "SELECT * FROM run WHERE run_id = $run_id"


def print_summary(run_id: str, *, report: str | None, path: str) -> None:
    """Print what a run found.

    Args:
        run_id: The run.
        report: Where its report is; None if none was written.
        path: Where the database is.
    """
    rows = read_summary_rows(run_id)
    answers = answers_of(read_questions(run_id, TITLES))
    print_blocks(_summary(rows, answers))
    # Commands and paths are not wrapped, so that they can be copied.
    if any(row["answer"].startswith("undecided") for found in answers.values() for row in found):
        sys.stdout.write(f"More:    {_continuation(rows.run)}\n")
    sys.stdout.write(f"Report:  {report or 'not written; make it by python -m flows.report ' + run_id}\n")
    sys.stdout.write(f"Results: {path}\nIn SQL:  make sql\n")


def _summary(rows: RunRows, answers: Mapping[str, Sequence[dict[str, str]]]) -> Iterator[Block]:
    run = rows.run
    yield Heading(make_headline(rows).text)
    yield paragraph(
        f"Run {run['run_id']}: {run['drawn_count']:,} samples of ",
        Quoted(run["data"]),
        ", language model ",
        Quoted(run["language_model"]),
        f" on {run['device']}, {duration(run['seconds'])} of computation.",
    )
    counts = sorted({int(row["n"]) for rows_of_view in answers.values() for row in rows_of_view})
    if not counts:
        return
    pairs = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    yield paragraph(
        f"Improvements are in nats per answer token, positive is better; each is the mean of {pairs} pairs, with its "
        f"{rows.tables['comparison'][0]['confidence_level']:.0%} interval. Effect sizes, p-values, strata, costs and "
        "checks are in the report."
    )
    for view, found in answers.items():
        yield _table(TITLES[view], found)


def _continuation(run: Mapping[str, Any]) -> str:
    """Say what may decide what is undecided: a larger draw of the same data, or, where it is exhausted, other data."""
    drawn, eligible = run["drawn_count"], run["eligible_count"]
    if drawn >= eligible:
        return (
            f"All {eligible:,} rows that qualify were drawn: what is undecided needs other data, best your own, by "
            "--data FILE (docs/own_data.md)."
        )
    larger = min(eligible, _GROWTH * drawn)
    return printable(f"python -m flows.experiment {' '.join(_flags(run))} --sample-count {larger}")


def _flags(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield the flags by which a run's settings differ from its profile's, the number of samples left out."""
    profile = str(run["profile"])
    yield f"--profile {profile}"
    standard = flat_settings(PROFILES[profile].model_dump(mode="json")) if profile in PROFILES else {}
    for name, value in flat_settings(json.loads(run["settings"])).items():
        if name != "sample_count" and value is not None and value != standard.get(name):
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            yield f"--{name.replace('_', '-')} {shlex.quote(text)}"


def _table(title: str, rows: Sequence[dict[str, str]]) -> Table:
    """Return the comparisons of one question."""
    cells: list[tuple[Part, ...]] = [
        (row["comparison"], row["answer"], f"{row['improvement']} ({row['interval']})") for row in rows
    ]
    return Table((title, "answer", "improvement (interval)"), tuple(cells), text_columns=2)


def read_summary_rows(run_id: str) -> RunRows:
    """Read what the headline needs, and none of the rows of samples, of which there may be millions."""
    statements = {"run": _RUN} | {name: QUERIES[name] for name in _BEHIND_THE_HEADLINE}
    tables = {}
    with open_results() as connection:
        for name, statement in statements.items():
            answer = connection.execute(statement, {"run_id": run_id})
            columns = [column[0] for column in answer.description]
            tables[name] = [dict(zip(columns, row, strict=True)) for row in answer.fetchall()]
    (run,) = tables.pop("run")
    return RunRows(run=run, tables=tables, nlls={})
