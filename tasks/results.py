"""Stage 6, publishing: the manifests and parquet files of all runs -> artifacts/results.duckdb.

In: what is under artifacts/, no arguments. Out: a database that is built under another name and then renamed, so that
readers of the old one neither wait nor make anyone wait, a killed publisher leaves the old one whole, and a lost
database costs seconds. Its tables are made from the records (tasks/store/tables.py); its views stand in results.sql, or
are made from the questions (tasks/priming/statistics/contrasts.py).

Nothing is cached: publishing must be able to rebuild. A run whose artifact is missing or damaged is published without
it and without what belongs to it, as incomplete, and says so in table run_check.
"""

import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
from filelock import FileLock

from tasks.priming.statistics.contrasts import QUESTIONS
from tasks.store import artifacts
from tasks.store.manifests import LOCK_SECONDS, AttemptRecord, Manifest, RecordedReference, read_manifests
from tasks.store.receipts import note_publication
from tasks.store.tables import TABLES, Table, create_statements

# Extensions are never fetched, and a missing table is never taken for a Python variable of its name.
_HARDENED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "python_enable_replacements": False,
}
# All chunks of a large table together would take as much memory as the database.
_CHUNKS_AT_ONCE = 300
# The oldest supported clients read it; DuckDB 2's own default shuts out every 1.x.
_STORAGE_VERSION = "v1.4.0"
_NEVER = datetime.max.replace(tzinfo=UTC)
# Without a log: a file whose writer dies is thrown away, and a log beside it would outlive it.
_OPTIONS = f"STORAGE_VERSION '{_STORAGE_VERSION}', RECOVERY_MODE 'no_wal_writes'"
_VIEWS = Path(__file__).with_suffix(".sql")
_NEWEST_RUN = "SELECT run_id FROM run WHERE status = 'complete' ORDER BY started_at DESC NULLS LAST, run_id LIMIT 1"
_ANSWER_COLUMNS = """
    run_id, subject, answer, sentence, comparison, n, improvement_mean, answer_low, answer_high, answer_p,
    samples_for_precision, improvement_low, improvement_high, p_value, interval_method, win_rate, tie_rate, cohens_d,
    margin_improvement_mean, margin_answer_low, margin_answer_high, equivalence_margin, rests_on, verdict"""
# Rows break a rule of their table; any other error of DuckDB is one of the machine, such as a full disk.
_REFUSED = (duckdb.IntegrityError, duckdb.DataError, duckdb.ProgrammingError, pa.ArrowException, OverflowError)
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunRow:
    """One experiment: settings and inputs, however often it was executed."""

    run_id: str
    """Hash of the settings, the inputs and the code."""
    profile: str
    """Profile that the settings started from."""
    status: Literal["running", "complete", "failed", "interrupted", "incomplete"]
    """interrupted: it was stopped, or its process died; incomplete: it completed, but an artifact has gone since (see
    table run_check, and start the run again). Conclusions come from complete runs only."""
    seed: int | None
    """Seed of every random draw."""
    sample_count: int | None
    """Samples asked for."""
    look: int
    """Which look at a growing run this is, from 1: one more than the complete runs before it with the same inputs, code
    and settings but the number of samples."""
    looks_before: str | None
    """The numbers of samples of the earlier ones, e.g. "200, 400"; None at the first look."""
    data: str | None
    """Data set: a known name, an id on the hub or a file."""
    language_model: str | None
    """The model that scores answers, and writes surrogates unless another one does: a hub id or a folder."""
    embedding_model: str | None
    """The sentence-embedding model that routes."""
    parameter_count: int | None
    """Parameters of the language model."""
    dtype: str | None
    """Number format of the language model's weights, or of its arithmetic where they are quantised."""
    quantization: str | None
    """none, or how the language model's weights are quantised."""
    first_token: str | None
    """The token that every context begins with; None if there is none, or before scoring was checked."""
    answer_delimiter: str | None
    """What stands between the query prompt and the answer; None before scoring was checked."""
    device: str | None
    """Where the models ran."""
    numeric_path: str | None
    """How the numbers were computed: what decides whether bits repeat."""
    row_count: int | None
    """Rows of the data set that were read."""
    eligible_count: int | None
    """Rows that could be samples."""
    drawn_count: int | None
    """Samples that were drawn."""
    seconds: float | None
    """What the computations of all stages took (seconds), remembered ones included."""
    started_at: datetime | None
    """Start of the latest attempt (UTC)."""
    ended_at: datetime | None
    """End of the latest attempt (UTC); None while it runs or if it was killed."""
    settings: str
    """All settings (JSON)."""
    versions: str
    """Version of each library that numbers depend on (JSON)."""
    data_identity: str
    """What identifies the data set, e.g. revision or sha256 (JSON)."""
    language_model_identity: str
    """What identifies the language model, e.g. revision or sha256 (JSON)."""
    embedding_model_identity: str
    """What identifies the embedding model, e.g. revision or sha256 (JSON)."""
    writer_model_identity: str
    """What identifies the model that wrote surrogates (JSON); empty if it is the language model."""
    funnel: str | None
    """How rows became samples, with the number of rejected rows by reason (JSON)."""


@dataclass(frozen=True, slots=True)
class StageTime:
    """What the computation of an artifact took, when it was computed."""

    stage: str
    """The table that it filled, e.g. score."""
    entry: str
    """The family, or control, e.g. static or control/random_words; empty where a stage has no such parts."""
    chunk: str
    """The chunk of samples, e.g. 0000; all, or what was checked."""
    seconds: float
    """Seconds."""


RUN_TABLES = {
    "run": Table(RunRow, "run_id", before={}),
    "attempt": Table(AttemptRecord, "attempt_id"),
    "stage_time": Table(StageTime, "stage, entry, chunk"),
    **TABLES,
}
"""The tables with rows of runs, in the order in which they are created and filled."""


def rebuild_database() -> dict[str, Any]:
    """Rebuild artifacts/results.duckdb from the manifests of all runs.

    Returns:
        {"path": of the database, "runs": count, "rows": count over all tables of records}.

    Raises:
        filelock.Timeout: Another process has been publishing for LOCK_SECONDS.
        duckdb.Error, OSError: The disk is full or cannot be written; the old database is left as it was.
    """
    folder = artifacts.ARTIFACTS
    folder.mkdir(parents=True, exist_ok=True)
    database, unfinished = folder / "results.duckdb", folder / ".results.duckdb.new"
    with FileLock(folder / ".publish.lock", timeout=LOCK_SECONDS):
        unfinished.unlink(missing_ok=True)  # left by a publisher that was killed
        try:
            counts = build_database(unfinished, _load_everything)
            _sync(unfinished)
            # A log that a writer left next to the old database would be replayed into the new one.
            database.with_name("results.duckdb.wal").unlink(missing_ok=True)
            os.replace(unfinished, database)
            _sync(folder)
            note_publication(database)
        finally:
            unfinished.unlink(missing_ok=True)
    return {"path": str(database), **counts}


@contextmanager
def open_results() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database to be read, on a connection that can reach nothing else.

    A view's name alone means the view that answers for the newest complete run; all_runs.NAME answers for every run.

    Raises:
        FileNotFoundError: Nothing has been published yet.
        duckdb.Error: The file is no database.
    """
    path = artifacts.ARTIFACTS / "results.duckdb"
    if not path.is_file():
        raise FileNotFoundError(f"There is no database {path} yet. Start a run: it publishes one.")
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(attached(path, "READ_ONLY"))
        except duckdb.IOException as error:
            if "WAL does not match database file" not in str(error):
                raise
            # A session that has an earlier database open, replaced since, has written to it: its log lies next to this
            # one, which never has a log of its own.
            path.with_name(f"{path.name}.wal").unlink(missing_ok=True)
            connection = stack.enter_context(attached(path, "READ_ONLY"))
        connection.execute("SET search_path = 'results.latest,results.main,results.all_runs'")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
        yield connection


@contextmanager
def attached(path: Path, options: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database file, as the current database of a connection.

    Attached to a connection of its own: connecting to a path that this process already has open would return the file
    that it was then, even if another has been renamed into its place since.
    """
    with duckdb.connect(":memory:", config=_HARDENED) as connection:
        _attach(connection, path, options)
        yield connection


def _attach(connection: duckdb.DuckDBPyConnection, path: Path, options: str) -> None:
    connection.execute(f"ATTACH {_quoted(str(path.resolve()))} AS results ({options})")
    connection.execute("USE results")


def build_database(
    path: Path, load: Callable[[duckdb.DuckDBPyConnection], int], *, is_small: bool = False
) -> dict[str, int]:
    """Write a whole database file and return how many runs, and rows of records, it holds.

    Args:
        path: The file, which must not exist.
        load: Fills the tables, and returns how many rows of records it inserted.
        is_small: Whether to write small blocks, and no indexes, by which keys are enforced: half the size for a file of
            one run that is only read.
    """
    try:
        with closing(_empty_database(with_keys=not is_small).cursor()) as connection:
            _attach(connection, path, f"{_OPTIONS}, BLOCK_SIZE 16384" if is_small else _OPTIONS)
            connection.execute("COPY FROM DATABASE memory TO results")
            rows = load(connection)
            for (run_id,) in connection.execute(_NEWEST_RUN).fetchall():
                connection.execute(f"CREATE OR REPLACE MACRO newest_run() AS {_quoted(run_id)}")
            runs = connection.execute("SELECT count(*) FROM run").fetchall()[0][0]
            connection.execute("CHECKPOINT results")
            connection.execute("USE memory")
            connection.execute("DETACH results")
    except BaseException:
        _empty_database.cache_clear()  # and with it what is attached
        raise
    return {"runs": runs, "rows": rows}


@cache
def _empty_database(*, with_keys: bool) -> duckdb.DuckDBPyConnection:
    """Return a database in memory that has all tables and views and no rows.

    A process makes it once: its 1,100 comments take half a second, and a copy of them nearly nothing.
    """
    connection = duckdb.connect(":memory:", config=_HARDENED)
    for name, table in RUN_TABLES.items():
        connection.execute(create_statements(name, table, with_keys=with_keys))
    connection.execute(_VIEWS.read_text(encoding="utf-8"))
    _create_question_views(connection)
    _complete_views(connection)
    return connection


def _create_question_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Make a view of the answers to each question that has none in results.sql, and say of all what their rows are."""
    for name, question in QUESTIONS.items():
        answers = f"SELECT {_ANSWER_COLUMNS} FROM all_runs.what_did_it_find WHERE question = '{name}'"
        connection.execute(f"CREATE VIEW IF NOT EXISTS all_runs.{name} AS {answers}")
        connection.execute(f"COMMENT ON VIEW all_runs.{name} IS {_quoted(question.rows)}")


def _complete_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Pass comments on to the columns of views, and make of each view of a run one of the newest complete run.

    A column without a comment of its own gets that of the table or view that it comes from, or one of the same name.
    """
    # Asked once, not for each view: to tell the columns of any, DuckDB binds all.
    told = "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal ORDER BY column_index"
    all_columns = connection.execute(told).fetchall()
    comments = {(table, column): comment for table, column, comment in all_columns if comment}
    views = "SELECT view_name, sql, comment FROM duckdb_views() WHERE schema_name = 'all_runs' ORDER BY view_oid"
    # A constant to the planner, unlike a query: a view of the newest run reads that run's rows alone.
    statements = ["CREATE MACRO newest_run() AS ''"]
    for view, definition, said in connection.execute(views).fetchall():
        columns = [column for table, column, _ in all_columns if table == view]
        read = re.findall(r'(?:FROM|JOIN) \(*(?:all_runs\.)?"?(\w+)', definition)
        schemas = ["all_runs"]
        if columns[0] == "run_id":
            schemas.append("latest")
            listed = ", ".join(f'"{column}"' for column in columns[1:])
            statements += [
                f"CREATE VIEW latest.{view} AS SELECT {listed} FROM all_runs.{view} WHERE run_id = main.newest_run()",
                f"COMMENT ON VIEW latest.{view} IS {_quoted(said)}",
            ]
        for column in columns:
            sources = [view, *re.findall(rf'\b(\w+)\."?{column}\b', definition), *read]
            passed_on = next((comments[source, column] for source in sources if (source, column) in comments), None)
            text = passed_on or next((known for (_, name), known in comments.items() if name == column), None)
            for schema in schemas[: 1 if column == "run_id" else None]:
                statements.append(f'COMMENT ON COLUMN {schema}.{view}."{column}" IS {_quoted(text)}')
            comments[view, column] = text
    connection.execute("; ".join(statements))


def _load_everything(connection: duckdb.DuckDBPyConnection) -> int:
    """Load all runs, and return how many rows of records the runs have."""
    manifests = [*read_manifests()]
    looks = looks_of(manifests)
    return sum(_load_run(connection, manifest, looks[manifest.run_id]) for manifest in manifests)


def looks_of(manifests: Sequence[Manifest]) -> dict[str, list[int]]:
    """Return run_id -> the numbers of samples of the earlier looks at it, the oldest first.

    Runs are looks at one another where they differ in nothing but the number of samples: settings, inputs, code.
    """
    looks: dict[str, list[int]] = {}
    earlier: dict[str, list[int]] = {}
    for manifest in sorted(manifests, key=lambda each: each.attempts[0].started_at if each.attempts else _NEVER):
        settings = json.loads(json.dumps(manifest.settings))
        sampling = settings.get("sampling")
        count = sampling.pop("sample_count", None) if isinstance(sampling, dict) else None
        made_from = (settings, manifest.versions, manifest.data, manifest.language_model, manifest.embedding_model)
        before = earlier.setdefault(_json(made_from), [])
        looks[manifest.run_id] = [*before]
        if manifest.status == "complete":
            before.append(count or 0)
    return looks


def _load_run(connection: duckdb.DuckDBPyConnection, manifest: Manifest, looks_before: Sequence[int]) -> int:
    """Load one run, without what is damaged, and return how many rows of records it has."""
    connection.begin()
    try:
        _insert_manifest(connection, manifest, looks_before)
        connection.commit()
    except _REFUSED as error:
        connection.rollback()
        _logger.warning(
            "skipped run %s, whose manifest has a value that is not allowed: %s",
            manifest.run_id,
            str(error).partition("\n")[0],
        )
        return 0
    unknown = "this version has no such table: another version of the project wrote it. Start the run again"
    row_count, problems = 0, [_problem(table, unknown) for table in manifest.artifacts if table not in TABLES]
    for table in (name for name in TABLES if name in manifest.artifacts):
        loaded, damaged = _load_table(connection, manifest.run_id, table, manifest.artifacts[table])
        row_count += loaded
        problems += damaged
    for problem in problems:
        _logger.warning("run %s: %s: %s", manifest.run_id, problem["chunk"], problem["detail"])
    if problems:
        insert_rows(connection, "run_check", pa.Table.from_pylist(problems), run_id=manifest.run_id)
    if problems and manifest.status == "complete":  # of a run that is not, its own status says more
        connection.execute("UPDATE run SET status = 'incomplete' WHERE run_id = ?", [manifest.run_id])
    return row_count


def _load_table(
    connection: duckdb.DuckDBPyConnection, run_id: str, table: str, chunks: dict[str, RecordedReference]
) -> tuple[int, list[dict[str, Any]]]:
    """Load the artifacts of one table of a run; return the count of its rows, and a check row for each that failed."""
    expected, problems = 0, []
    names = iter(chunks)
    try:
        while some := list(islice(names, _CHUNKS_AT_ONCE)):
            parts = []
            for chunk in some:
                try:
                    parts.append(_read_chunk(table, chunk, chunks[chunk]))
                except (artifacts.DamagedArtifactError, pa.ArrowException, OSError) as error:
                    problems.append(_problem(f"{table}/{chunk}", str(error)))
            if parts:
                insert_rows(connection, table, pa.concat_tables(parts), run_id=run_id)
            expected += sum(part.num_rows for part in parts)
    except _REFUSED as error:
        connection.execute(f"DELETE FROM {table} WHERE run_id = ?", [run_id])
        return 0, [*problems, _problem(table, f"its rows were refused: {str(error).partition(chr(10))[0]}")]
    found = connection.execute(f"SELECT count(*) FROM {table} WHERE run_id = ?", [run_id]).fetchall()[0][0]
    assert found == expected, f"{table} of run {run_id} has {found} rows instead of {expected}"
    return expected, problems


def _read_chunk(table: str, chunk: str, reference: RecordedReference) -> pa.Table:
    rows = artifacts.read_table(reference.model_dump())
    if rows.num_rows != reference.rows:
        raise artifacts.DamagedArtifactError(
            f"artifacts/{reference.path} has {rows.num_rows} rows, but {reference.rows} were recorded. "
            "Start the run again: it is recomputed."
        )
    if table == "run_check":  # the only record that does not say what part of the run it speaks of
        rows = rows.append_column("chunk", pa.array([chunk] * rows.num_rows, pa.string()))
    return rows


def _problem(chunk: str, detail: str) -> dict[str, Any]:
    return {"chunk": chunk, "name": "artifacts_are_intact", "passed": False, "detail": detail}


def _insert_manifest(connection: duckdb.DuckDBPyConnection, manifest: Manifest, looks_before: Sequence[int]) -> None:
    """Insert what the manifest itself says: the run, its attempts and its times."""
    attempts = [
        attempt.model_dump(include={*AttemptRecord.model_fields})
        | {"started_at": _utc(attempt.started_at), "ended_at": _utc(attempt.ended_at)}
        for attempt in manifest.attempts
    ]
    times = [
        StageTime(stage, *part.rpartition("/")[::2], seconds)
        for name, seconds in manifest.stage_seconds.items()
        for stage, _, part in [name.partition("/")]
    ]
    insert_rows(connection, "run", pa.Table.from_pylist([asdict(_run_row(manifest, looks_before))]))
    if attempts:
        insert_rows(connection, "attempt", pa.Table.from_pylist(attempts), run_id=manifest.run_id)
    if times:
        insert_rows(connection, "stage_time", pa.Table.from_pylist([*map(asdict, times)]), run_id=manifest.run_id)


def _run_row(manifest: Manifest, looks_before: Sequence[int]) -> RunRow:
    funnel, model = manifest.funnel, manifest.language_model
    latest = manifest.attempts[-1] if manifest.attempts else None
    return RunRow(
        run_id=manifest.run_id,
        profile=manifest.profile,
        status=manifest.status,
        seed=manifest.settings.get("seed"),
        sample_count=_setting(manifest, "sampling", "sample_count"),
        look=len(looks_before) + 1,
        looks_before=", ".join(map(str, looks_before)) or None,
        data=_setting(manifest, "data", "data"),
        language_model=_setting(manifest, "language_model", "language_model"),
        embedding_model=_setting(manifest, "embedding", "embedding_model"),
        parameter_count=model.get("parameter_count"),
        dtype=model.get("dtype"),
        quantization=model.get("quantization"),
        first_token=model.get("contexts_begin_with"),
        answer_delimiter=model.get("answer_delimiter"),
        device=manifest.device,
        numeric_path=manifest.numeric_path,
        row_count=funnel.rows if funnel else None,
        eligible_count=funnel.eligible if funnel else None,
        drawn_count=funnel.drawn if funnel else None,
        seconds=sum(manifest.stage_seconds.values()) if manifest.stage_seconds else None,
        started_at=_utc(latest.started_at) if latest else None,
        ended_at=_utc(latest.ended_at) if latest else None,
        settings=_json(manifest.settings),
        versions=_json(manifest.versions),
        data_identity=_json(manifest.data),
        language_model_identity=_json(model),
        embedding_model_identity=_json(manifest.embedding_model),
        writer_model_identity=_json(manifest.writer_model),
        funnel=_json(asdict(funnel)) if funnel else None,
    )


def _setting(manifest: Manifest, section: str, name: str) -> Any:  # noqa: ANN401 - whatever the manifest holds
    """Return one setting; None where an earlier version had no such setting."""
    values = manifest.settings.get(section)
    return values.get(name) if isinstance(values, dict) else None


def insert_rows(connection: duckdb.DuckDBPyConnection, table: str, rows: pa.Table, **before: str) -> None:
    """Insert rows into a table, with columns of one value before them."""
    columns = "".join(f"? AS {name}, " for name in before)
    connection.register("arrow_rows", rows)  # in place of what was refused before, which a transaction cannot remove
    connection.execute(f"INSERT INTO {table} BY NAME SELECT {columns}* FROM arrow_rows", list(before.values()))
    connection.unregister("arrow_rows")


def _quoted(text: str | None) -> str:
    """Return text as SQL writes it."""
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def _utc(moment: datetime | None) -> datetime | None:
    """Return the time in UTC and without a zone, which no client's own zone can shift."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment else None


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _sync(path: Path) -> None:
    """Bring a file's content, or a folder's names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
