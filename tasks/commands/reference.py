"""The verb `reference`: a complete run compared with the published table, and what is known to differ."""

import argparse
import json
from collections.abc import Sequence
from typing import Any, TypeVar

import duckdb
from rich.console import Console
from rich.table import Table

from tasks.priming.records import Route, Sample, Score
from tasks.priming.statistics.reference import (
    CONFIDENCE_LEVEL,
    KNOWN_DIFFERENCES,
    Reproduction,
    other_inputs,
    read_published,
    reproduce,
)
from tasks.priming.statistics.run_data import RunData
from tasks.reading.database import open_runs
from tasks.reading.runs import LATEST, find_complete_run
from tasks.store.artifacts import records_of, schema_of

Record = TypeVar("Record")

_COLUMNS = 100
_VERDICTS = {True: "yes", False: "no", None: "-"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which run."""
    parser.add_argument("run", metavar="RUN", help=f"A run id, the beginning of one, or {LATEST}; a complete run.")


def execute(options: argparse.Namespace) -> int:
    """Print the comparison."""
    run_id = find_complete_run(options.run)
    inputs, run = read_run(run_id)
    published = read_published()
    rows = reproduce(published, run)
    console = Console(width=_COLUMNS, highlight=False, markup=False, soft_wrap=False)
    for warning in other_inputs(published, inputs):
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
    console.print("\n- ".join(["Known differences:", *KNOWN_DIFFERENCES]))
    return 0


def read_run(run_id: str) -> tuple[dict[str, Any], RunData]:
    """Return what a published run was computed from, and the rows that its table is computed from.

    Raises:
        UsageError: An earlier version published the database.
    """
    with open_runs() as connection:
        model, identity, settings = connection.execute(
            "SELECT language_model, data_identity, settings FROM run WHERE run_id = ?", [run_id]
        ).fetchall()[0]
        run = RunData(
            samples=_read_records(connection, "sample", Sample, run_id),
            routes=_read_records(connection, "route", Route, run_id),
            scores=_read_records(connection, "score", Score, run_id),
            surrogates=[],
        )
    data, sampling = json.loads(identity), json.loads(settings).get("sampling", {})
    words = {name: sampling.get(name) for name in ("min_words", "max_words")}
    return {"language_model": model, "data": data.get("data"), "data_config": data.get("config"), **words}, run


def _read_records(connection: duckdb.DuckDBPyConnection, table: str, record: type[Record], run_id: str) -> list[Record]:
    """Return the rows of a table for a run."""
    columns = ", ".join(f'"{name}"' for name in schema_of(record).names)
    statement = f'SELECT {columns} FROM "{table}" WHERE run_id = $run_id'
    return records_of(record, connection.sql(statement, params={"run_id": run_id}).to_arrow_table())


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
