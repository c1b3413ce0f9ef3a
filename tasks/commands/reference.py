"""The command that compares a run with the published table: `python -m tasks.commands.reference RUN_ID`.

In: a complete run's rows in artifacts/results.duckdb. Out: a printed table, and what is known to differ.

Status 0: printed. 2: what was given cannot be used.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from typing import Any, TypeVar

import duckdb
from rich.console import Console
from rich.table import Table

from tasks.commands.guard import guarded
from tasks.priming.errors import UsageError
from tasks.priming.records import Route, Sample, Score
from tasks.priming.statistics.reference import (
    CONFIDENCE_LEVEL,
    KNOWN_DIFFERENCES,
    Published,
    Reproduction,
    other_inputs,
    read_published,
    reproduce,
)
from tasks.priming.statistics.run_data import RunData
from tasks.results import open_results

Record = TypeVar("Record")

_COLUMNS = 100
_SHOWN_RUNS = 5
_VERDICTS = {True: "yes", False: "no", None: "-"}


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a run compared with the published table, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.commands.reference", description="Compare a run with the published table."
    )
    parser.add_argument("run_id", metavar="RUN_ID", help="A complete run; `python -m flows.experiment` prints its id.")
    values = parser.parse_args(arguments)
    inputs, run = read_run(values.run_id)
    published = read_published()
    _print(values.run_id, reproduce(published, run), published, other_inputs(published, inputs))
    return 0


def read_run(run_id: str) -> tuple[dict[str, Any], RunData]:
    """Return what a complete run was computed from, and the rows that its table is computed from.

    Raises:
        UsageError: Nothing is published yet, the run is unknown or not complete, or an earlier version published it.
    """
    try:
        with open_results() as connection:
            inputs = _read_inputs(connection, run_id)
            samples = _read_records(connection, "sample", Sample, run_id)
            routes = _read_records(connection, "route", Route, run_id)
            scores = _read_records(connection, "score", Score, run_id)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from None
    except duckdb.Error as error:
        raise UsageError(
            f"artifacts/results.duckdb cannot be read: {str(error).partition(chr(10))[0]} It must be a database that "
            "this version published; any run publishes it anew: python -m flows.experiment --profile demo"
        ) from None
    return inputs, RunData(samples=samples, routes=routes, scores=scores, surrogates=[])


def _read_inputs(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, Any]:
    """Return a run's inputs by the names of published ones; refuse a run that is unknown or not complete."""
    found = connection.execute("SELECT run_id, status FROM run ORDER BY started_at DESC").fetchall()
    statuses = dict(found)
    if statuses.get(run_id) != "complete":
        happened = f"Run {run_id} is {statuses[run_id]}" if run_id in statuses else f"There is no run {run_id}"
        complete = [known for known, status in found if status == "complete"]
        raise UsageError(
            f"{happened}; only a complete run can be compared. Latest complete runs: "
            f"{', '.join(complete[:_SHOWN_RUNS]) or 'none yet'}. "
            "To complete one, start it (again): python -m flows.experiment --profile mistral-7b"
        )
    model, data, settings = connection.execute(
        "SELECT language_model, data_identity, settings FROM run WHERE run_id = ?", [run_id]
    ).fetchall()[0]
    identity, sampling = json.loads(data), json.loads(settings).get("sampling", {})
    return {
        "language_model": model,
        "data": identity.get("data"),
        "data_config": identity.get("config"),
        "min_words": sampling.get("min_words"),
        "max_words": sampling.get("max_words"),
    }


def _read_records(connection: duckdb.DuckDBPyConnection, table: str, record: type[Record], run_id: str) -> list[Record]:
    """Return the rows of a table for a run; a list in a column becomes the tuple that records hold."""
    names = [field.name for field in dataclasses.fields(record)]  # type: ignore[arg-type]  # all records are dataclasses
    columns = ", ".join(f'"{name}"' for name in names)
    rows = connection.execute(f'SELECT {columns} FROM "{table}" WHERE run_id = ?', [run_id]).fetchall()
    return [record(*(tuple(value) if isinstance(value, list) else value for value in row)) for row in rows]


def _print(run_id: str, rows: Sequence[Reproduction], published: Published, warnings: Sequence[str]) -> None:
    console = Console(width=_COLUMNS, highlight=False, markup=False, soft_wrap=False)
    for warning in warnings:
        console.print(f"Warning: {warning}: whether numbers agree says nothing about the published result.")
    console.print(f"Run {run_id} compared with {published['source']}.")
    console.print(_table(rows))
    judged = [row for row in rows if row.agrees is not None]
    by_chance = (1 - CONFIDENCE_LEVEL) * len(judged)
    console.print(
        f"{sum(row.agrees is True for row in judged)} of {len(judged)} quantities with a standard error agree; if all "
        f"did, about {by_chance:.0f} would not by chance. NLLs are in nats per answer token, the first token unscored; "
        "positive improvements are better."
    )
    console.print("Known differences:")
    for difference in KNOWN_DIFFERENCES:
        console.print(f"- {difference}")


def _table(rows: Sequence[Reproduction]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("quantity")
    for column in ("published", "ours", "joint 95 %"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("agrees", no_wrap=True)
    table.add_column("note")
    for row in rows:
        form = ".0f" if row.quantity == "samples" else (".1f" if "%" in row.quantity else ".4f")
        interval = "-" if row.low is None or row.high is None else f"{row.low:{form}} to {row.high:{form}}"
        ours = "-" if row.ours is None else f"{row.ours:{form}}"
        table.add_row(row.quantity, f"{row.published:{form}}", ours, interval, _VERDICTS[row.agrees], row.note)
    return table


if __name__ == "__main__":
    sys.exit(main())
