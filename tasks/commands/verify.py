"""The verb `verify`: are the statistics and answers of an exported run what its scores give?

In: a folder that tasks/commands/export.py wrote. Out: one line per table: the same, what differs, or what cannot be
recomputed from the folder. No model is loaded, and nothing is read but the folder.

Floats are compared bit by bit. On another processor or BLAS the last bits of sums may differ; such a table counts as
the same to 1e-12, relative to the larger value, and the largest difference is shown. Values below a thousandth are
compared as if they were one: an interval's bound comes near 0 by subtraction, of which only last bits are left.

Status 0: nothing differs. 1: something does. 2: a file is missing, has another shape or is of a later version.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from tasks.commands.export import BUNDLE, DATABASE, FORMAT
from tasks.loading.redaction import printable
from tasks.pages.blocks import Block, Heading, Quoted, Table, paragraph
from tasks.pages.terminal import print_blocks
from tasks.priming.errors import UsageError
from tasks.priming.records import AnswerText, Distractor, Route, Sample, Score, Surrogate
from tasks.priming.settings import StatisticsSettings
from tasks.results import RUN_TABLES, attached
from tasks.store.artifacts import StoredRows
from tasks.store.code import package_digest
from tasks.store.tables import create_statements

TOLERANCE = 1e-12
"""Relative difference of two floats that another order of additions explains."""

_LEAST = 1e-3
"""What smaller values are compared relative to."""

_COMPUTED_ALL = "all"
"""The part of table run_check that is computed from rows; the others were observed while the model ran."""

_OF_TEXTS = ("surrogates_obey_their_template", "surrogates_equal_to_the_query")
"""Checks that speak of texts."""

_NEEDED = {
    "sample": "texts and the data set",
    "reject": "texts and the data set",
    "distractor": "texts and the data set",
    "surrogate": "texts and the language model",
    "route": "texts and the embedding model",
    "answer_text": "texts and the language model",
}
"""Table -> what it could be computed from."""

_SHOWN_ROWS = 5
_AGAIN = "Export the run again: python -m flows export RUN FOLDER"

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Bundle:
    """An exported run as it was read."""

    run: Mapping[str, Any]
    """Its row of table run."""
    with_texts: bool
    """Whether the texts of the data are in it."""
    model: Mapping[str, Any] | None
    """The fields of the model's ModelFacts."""
    tables: Mapping[str, pa.Table]
    """Name -> rows."""

    def rows(self, name: str, record: Callable[..., R]) -> Sequence[R]:
        """Return the records of a table."""
        return StoredRows(record, [self.tables[name]])


@dataclass(frozen=True, slots=True)
class Found:
    """What was found about one table."""

    table: str
    """Its name, or that of a file."""
    row_count: int
    """Its rows in the folder."""
    text: str
    """Whether they are the same, or why that is unknown."""
    differing: tuple[str, ...] = ()
    """Which rows differ, and how."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which folder."""
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="What `python -m flows export` wrote.")


def execute(options: argparse.Namespace) -> int:
    """Print what was found; return 1 if anything differs."""
    bundle = read_bundle(options.folder)
    found = list(verify(bundle))
    if bundle.with_texts:
        found.append(_verify_database(options.folder / DATABASE, bundle))
    print_blocks(_page(bundle, found))
    return int(any(table.differing for table in found))


def read_bundle(folder: Path) -> Bundle:
    """Read an exported run.

    Raises:
        UsageError: A file is missing, has another shape or is of a later version.
    """
    try:
        content = json.loads((folder / BUNDLE).read_text(encoding="utf-8"))
        version, with_texts, model = content["format"], bool(content["with_texts"]), content["model"]
    except FileNotFoundError:
        raise UsageError(f"{folder / BUNDLE} is missing, so this is no exported run. {_AGAIN}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{folder / BUNDLE} cannot be read: {printable(repr(error))}. {_AGAIN}") from None
    if version != FORMAT:
        raise UsageError(
            f"{folder} has format {printable(repr(version))}; this version reads format {FORMAT}. A later version of "
            "the project wrote it: verify it with that one, or export the run again with this one."
        )
    with duckdb.connect() as connection:
        for name, table in RUN_TABLES.items():
            connection.execute(create_statements(name, table))
        schemas = {name: connection.sql(f"FROM {name}").to_arrow_table().schema for name in RUN_TABLES}
    tables = {name: _read_table(folder / f"{name}.parquet", schema) for name, schema in schemas.items()}
    runs = tables["run"].to_pylist()
    if len(runs) != 1:
        raise UsageError(f"{folder / 'run.parquet'} has {len(runs)} rows; an exported run has one. {_AGAIN}")
    return Bundle(runs[0], with_texts, model, tables)


def _read_table(path: Path, schema: pa.Schema) -> pa.Table:
    try:
        table = pq.ParquetFile(path, page_checksum_verification=True).read()
    except FileNotFoundError:
        raise UsageError(f"{path} is missing. {_AGAIN}") from None
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} cannot be read as parquet: {printable(str(error))}. {_AGAIN}") from None
    given, expected = ({field.name: _kind(field.type) for field in known} for known in (table.schema, schema))
    if given != expected:
        names = sorted(name for name in given.keys() | expected.keys() if given.get(name) != expected.get(name))
        raise UsageError(
            f"{path} has not the columns of its table: {printable(', '.join(names))} are missing, unknown or of "
            f"another type. Another version of the project wrote it, or it was altered. {_AGAIN}"
        )
    return table.cast(schema)


def _kind(kind: pa.DataType) -> str:
    """Return a type's name; writers name the elements of lists differently."""
    return f"list of {kind.value_type}" if pa.types.is_list(kind) else str(kind)


def verify(bundle: Bundle) -> Iterator[Found]:
    """Yield what is found about every table: recompute the statistics, and what the rows of a table say twice.

    Raises:
        UsageError: Nothing can be computed from the rows, e.g. since a sample is given twice.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it ships no type information

    from tasks.priming.statistics.all_statistics import STATISTICS
    from tasks.priming.statistics.run_data import ModelFacts, RunData

    try:
        settings = json.loads(bundle.run["settings"])
        how, seed = StatisticsSettings(**settings["statistics"]), settings["seed"]
        data = RunData(
            bundle.rows("sample", Sample),
            bundle.rows("route", Route),
            bundle.rows("score", Score),
            bundle.rows("surrogate", Surrogate),
            ModelFacts(**bundle.model) if bundle.model else None,
            bundle.rows("distractor", Distractor),
            bundle.rows("answer_text", AnswerText),
        )
        with threadpool_limits(1, user_api="blas"):  # as in a run: several threads would share a sum
            computed = {name: statistic.compute(data, how, seed) for name, statistic in STATISTICS.items()}
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise UsageError(f"The statistics cannot be computed: {printable(str(error))}. {_AGAIN}") from None
    for name, table in bundle.tables.items():
        if name in computed:
            yield _compare_statistic(name, table, computed[name], bundle.with_texts)
        elif name == "score":
            yield _verify_scores(data.scores)
        else:
            needed = f" without {_NEEDED[name]}" if name in _NEEDED else ": the run recorded it"
            yield Found(name, table.num_rows, f"not recomputed{needed}")


def _compare_statistic(name: str, table: pa.Table, computed: Sequence[Any], with_texts: bool) -> Found:
    stored, rows = table.to_pylist(), [dataclasses.asdict(row) for row in computed]
    if name != "run_check":
        return _compare(name, RUN_TABLES[name].key, stored, rows)
    of_rows = [row for row in stored if row["chunk"] == _COMPUTED_ALL]
    found = _compare(name, RUN_TABLES[name].key, of_rows, [{"chunk": _COMPUTED_ALL, **row} for row in rows])
    unknown = f"{len(stored) - len(of_rows)} without the model"
    if not with_texts:  # that they agree with what the run noted about each text says nothing of the texts
        unknown += f", {sum(row['name'] in _OF_TEXTS for row in of_rows)} without texts"
    return dataclasses.replace(found, row_count=len(stored), text=f"{found.text}; not recomputed: {unknown}")


def _verify_scores(scores: Sequence[Score]) -> Found:
    """Compute the means of token NLLs again; those of distractors are stored with fewer bits than margins come from."""
    differing = []
    for score in scores:
        nlls = score.token_nlls if score.status == "ok" and score.token_nlls else ()
        means = {
            "nll": sum(nlls) / len(nlls) if nlls else None,
            "nll_notebook": sum(nlls[1:]) / (len(nlls) - 1) if len(nlls) > 1 else None,
        }
        place = f"{score.sample_id}, {score.family}, {score.key}, {score.treatment}"
        differing += [
            _differs(place, c, getattr(score, c), mean) for c, mean in means.items() if getattr(score, c) != mean
        ]
    text = f"{_counted(differing)} for means; NLLs of tokens not recomputed without the model"
    return Found("score", len(scores), text, tuple(differing))


def _compare(name: str, key: str, stored: Iterable[Mapping[str, Any]], computed: Iterable[Mapping[str, Any]]) -> Found:
    """Compare rows by their keys, in every column that was computed."""
    columns = key.split(", ")
    left, right = ({tuple(row[c] for c in columns): row for row in rows} for rows in (stored, computed))
    differing, largest = [], 0.0
    for place in [*left, *(place for place in right if place not in left)]:
        shown = ", ".join(map(str, place))
        if place not in left or place not in right:
            differing.append(f"{shown}: {'missing' if place in right else 'not computed'}")
            continue
        for column, value in right[place].items():
            given = left[place][column]
            difference = _difference(given, value)
            largest = max(largest, difference if difference <= TOLERANCE else 0.0)
            if difference > TOLERANCE:
                differing.append(_differs(shown, column, given, value))
    text = _counted(differing) + (f" to {TOLERANCE:g} (largest difference {largest:.1g})" if largest else "")
    return Found(name, len(left), text, tuple(differing))


def _differs(place: str, column: str, given: object, computed: object) -> str:
    return f"{place}: {column} is {given!r}, recomputed {computed!r}"


def _counted(differing: Sequence[str]) -> str:
    """Return whether everything is the same, or how much is not."""
    return (
        f"{len(differing):,} {'value differs' if len(differing) == 1 else 'values differ'}" if differing else "the same"
    )


def _difference(given: object, computed: object) -> float:
    """Return how far two values are apart: 0 if they are the same, infinity if they are not two unequal floats."""
    if isinstance(given, float) and isinstance(computed, float) and math.isfinite(given) and math.isfinite(computed):
        return abs(given - computed) / max(abs(given), abs(computed), _LEAST) if given != computed else 0.0
    return 0.0 if given == computed or (given != given and computed != computed) else math.inf


def _verify_database(path: Path, bundle: Bundle) -> Found:
    """Compare the tables of the DuckDB file with the parquet files."""
    if not path.is_file():
        raise UsageError(f"{path} is missing. {_AGAIN}")
    differing, count = [], 0
    try:
        with attached(path, "READ_ONLY") as connection:
            connection.execute("SET enable_external_access = false")
            for name, rows in bundle.tables.items():
                connection.register("given", rows)
                key = RUN_TABLES[name].key
                statement = f"FROM {name} EXCEPT ALL FROM given", f"FROM given EXCEPT ALL FROM {name}"
                found = connection.execute(
                    f"SELECT DISTINCT {key} FROM (({statement[0]}) UNION ALL ({statement[1]})) ORDER BY ALL"
                ).fetchall()
                differing += [f"{name} {', '.join(map(str, place))}: not as in {name}.parquet" for place in found]
                count += rows.num_rows
    except duckdb.Error as error:
        raise UsageError(f"{path} cannot be read: {printable(str(error).partition(chr(10))[0])}. {_AGAIN}") from None
    text = f"{len(differing):,} rows differ" if differing else "the same rows"
    return Found(DATABASE, count, text, tuple(differing))


def _page(bundle: Bundle, found: Sequence[Found]) -> Iterator[Block]:
    run = bundle.run
    is_same = not any(table.differing for table in found)
    yield Heading("What was recomputed is the same" if is_same else "Not what the scores give")
    yield paragraph(f"Run {run['run_id']}: ", Quoted(run["language_model"]), " on ", Quoted(run["data"]), ".")
    yield Table(
        ("table", "rows", "recomputed"),
        tuple((table.table, f"{table.row_count:,}", table.text) for table in found),
        text_columns=(0, 2),
    )
    for table in (table for table in found if table.differing):
        more = len(table.differing) - _SHOWN_ROWS
        for difference in table.differing[:_SHOWN_ROWS]:
            yield paragraph(f"{table.table}: ", Quoted(difference))
        if more > 0:
            yield paragraph(f"{table.table}: and {more:,} more.")
    code = json.loads(run["versions"]).get("tasks.priming")
    if not is_same and code and not package_digest().startswith(code):
        yield paragraph(
            f"The run was made by other code (tasks.priming {code}) than what recomputed it; differences may come from "
            "that alone."
        )
