"""How runs are read from artifacts/results.duckdb: each table of a run in a fixed order, and its NLLs.

Questions are answered by the views, which have rows of complete runs only; anything else is read from the tables.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from typing import Any, TypeAlias

import duckdb

from tasks.priming.errors import UsageError
from tasks.results import open_results
from tasks.store import artifacts
from tasks.store.manifests import Manifest
from tasks.store.receipts import is_as_published

Row: TypeAlias = dict[str, Any]

MOST_SAMPLES = 2_500
"""Samples that a page shows one by one."""

_ORDERS = {
    "all_runs.what_did_it_find": "position",
    "all_runs.is_generation_worth_its_compute": "comparison",
    "all_runs.does_the_measure_matter": "measure, comparison",
    "all_runs.who_gains": "comparison, stratified_by, rank",
    "all_runs.should_i_prime": "cost_rank",
    "all_runs.what_does_it_cost": "probability_mean DESC NULLS LAST, condition",
    "all_runs.run_summary": "run_id",
    "attempt": "started_at, attempt_id",
    "comparison": "rowid",
    "correlation": "family, key",
    "routing_choice": "family, routed_key, best_key",
    "routing_agreement": "family",
    "text_summary": "condition",
    "run_check": "CASE WHEN passed THEN 1 WHEN NOT passed THEN 0 ELSE 2 END, chunk, name",
}
"""Tables and views that are read whole -> the order of their rows."""

# sample_id is a hash of the text, so the first ones are drawn independently of any result.
_SHOWN = f"(SELECT sample_id FROM sample WHERE run_id = $run_id ORDER BY sample_id LIMIT {MOST_SAMPLES})"

SAMPLE_QUERIES: dict[str, str] = {
    "sample": f"""
        SELECT sample_id, passage, query, answer, answers, query_type FROM sample
        WHERE run_id = $run_id AND sample_id IN {_SHOWN} ORDER BY sample_id""",
    "surrogate": f"""
        SELECT surrogate.sample_id, surrogate.family, surrogate.key, text, finish, is_over_word_limit, is_query,
            has_stray_marks, similarity, is_routed
        FROM surrogate LEFT JOIN route ON route.run_id = $run_id AND route.sample_id = surrogate.sample_id
            AND route.family = surrogate.family AND route.key = surrogate.key
        WHERE surrogate.run_id = $run_id AND surrogate.sample_id IN {_SHOWN}
        ORDER BY surrogate.sample_id, surrogate.family, surrogate.key""",
    "written": f"""
        SELECT sample_id, text, f1,
            family || '/' || key || if(treatment = 'kept', '', '+' || treatment) AS condition
        FROM answer_text WHERE run_id = $run_id AND status = 'ok' AND sample_id IN {_SHOWN}
        ORDER BY sample_id, condition""",
    "reading": f"""
        SELECT score.sample_id, score.family, score.key, token_nlls, answer_tokens
        FROM score LEFT JOIN route ON route.run_id = $run_id AND route.sample_id = score.sample_id
            AND route.family = score.family AND route.key = score.key
        WHERE score.run_id = $run_id AND treatment = 'kept' AND nll IS NOT NULL AND score.sample_id IN {_SHOWN}
            AND (score.family = 'baseline' OR is_routed)
        ORDER BY score.sample_id, score.family, score.key""",
}
"""What a page shows of single samples: name -> statement. A reading is an answer's NLLs, token by token."""

QUERIES: dict[str, str] = {
    **{
        name.removeprefix("all_runs."): f"SELECT * FROM {name} WHERE run_id = $run_id ORDER BY {order}"
        for name, order in _ORDERS.items()
    },
    "stage_time": """
        SELECT stage, count(*) AS artifacts, list(seconds ORDER BY entry, chunk) AS seconds
        FROM stage_time WHERE run_id = $run_id GROUP BY stage ORDER BY min(rowid)""",
    "flag": """
        SELECT family, key, count(*) AS surrogates,
            count(*) FILTER (text = '') AS empty, count(*) FILTER (is_over_word_limit) AS over_word_limit,
            count(*) FILTER (is_query) AS equals_query, count(*) FILTER (has_stray_marks) AS stray_marks,
            count(*) FILTER (finish = 'length') AS cut_off, avg(token_count) AS tokens
        FROM surrogate WHERE run_id = $run_id AND finish <> 'fixed'
        GROUP BY family, key ORDER BY family, key""",
    **SAMPLE_QUERIES,
}
"""What a report reads: name -> statement, each with an order of its own."""

PAIRING_QUERIES: dict[str, str] = {
    "passage": "SELECT sample_id AS name, passage_id AS value FROM sample WHERE run_id = $run_id ORDER BY rowid",
    "answer_length": """
        SELECT DISTINCT sample_id AS name, answer_token_count AS value FROM score
        WHERE run_id = $run_id ORDER BY name""",
    "written_text": """
        SELECT sample_id || ' ' || key AS name, text AS value FROM surrogate
        WHERE run_id = $run_id AND family = 'generated' ORDER BY name""",
    "f1": """
        WITH answered AS (
            SELECT *, if(treatment = 'kept', '', '+' || treatment) AS rest FROM answer_text
            WHERE run_id = $run_id AND status = 'ok')
        SELECT family || '/' || key || rest AS condition, sample_id AS name, f1 AS value FROM answered
        UNION ALL SELECT family || '/routed' || rest, sample_id, f1 FROM answered WHERE is_routed
        ORDER BY condition, name""",
}
"""What is compared of the samples of two runs: name -> statement of pairs (name, value), for `f1` by condition."""

_NLLS = """
    SELECT condition, sample_id, nll FROM all_runs.outcome
    WHERE run_id = $run_id AND nll IS NOT NULL
    UNION ALL
    SELECT replace(condition, '/' || key, '/routed'), sample_id, nll FROM all_runs.outcome
    WHERE run_id = $run_id AND nll IS NOT NULL AND is_routed
    ORDER BY condition, sample_id"""
"""The NLLs of every condition; a routed family has, for each sample, that of the arm that the router chose."""

_JSON_COLUMNS = (
    "settings", "versions", "data_identity", "language_model_identity", "embedding_model_identity",
    "writer_model_identity", "funnel",
)  # fmt: skip
_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class RunRows:
    """One run as the database has it."""

    run: Row
    """Its row of table run; JSON columns as objects, {} where there is none."""
    tables: Mapping[str, list[Row]]
    """Name of a query -> rows."""
    nlls: Mapping[str, Mapping[str, float]]
    """Condition -> sample_id -> NLL, both in alphabetical order."""

    @property
    def is_complete(self) -> bool:
        """Whether conclusions may be drawn from it."""
        return bool(self.run["status"] == "complete")


@contextmanager
def open_runs() -> Iterator[duckdb.DuckDBPyConnection]:
    """Open the database of published runs for reading.

    Raises:
        UsageError: Nothing is published yet, or the database is not one that this version published.
    """
    try:
        with open_results() as connection:
            yield connection
    except FileNotFoundError:
        raise UsageError("No run is published yet. To make one: python -m flows run --profile demo") from None
    except duckdb.Error as error:
        raise UsageError(
            f"artifacts/results.duckdb cannot be read: {str(error).partition(chr(10))[0]} It must be a database that "
            "this version published; any run publishes it again: python -m flows run --profile demo"
        ) from None


def rows_of(connection: duckdb.DuckDBPyConnection, statement: str, run_id: str | None = None) -> list[Row]:
    """Return the rows of a query, each as column name -> value; $run_id in it stands for a run."""
    answer = connection.execute(statement, {"run_id": run_id} if run_id else {})
    names = [column[0] for column in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def read_run(run_id: str, queries: Mapping[str, str] = QUERIES, *, with_nlls: bool = True) -> RunRows:
    """Read a run.

    Args:
        run_id: A published run, whatever its status.
        queries: Name -> statement with the parameter $run_id.
        with_nlls: Whether to read the NLLs too, of which there may be millions.

    Raises:
        UsageError: The run is unknown, nothing is published yet, or another version published the database.
    """
    with open_runs() as connection:
        found = rows_of(connection, "SELECT * FROM run WHERE run_id = $run_id", run_id)
        if not found:
            raise UsageError(f"There is no run {run_id!r} in artifacts/results.duckdb. `latest` names the newest.")
        run = found[0] | {name: json.loads(found[0][name] or "{}") for name in _JSON_COLUMNS}
        tables = {name: rows_of(connection, statement, run_id) for name, statement in queries.items()}
        return RunRows(run, tables, _read_nlls(connection, run_id) if with_nlls else {})


def is_published(manifest: Manifest) -> bool:
    """Tell whether the database is untouched and holds a run whole, as its newest attempt left it."""
    latest = manifest.attempts[-1].ended_at
    if latest is None or not is_as_published(artifacts.ARTIFACTS / "results.duckdb"):
        return False
    with open_results() as connection:
        found = rows_of(connection, "SELECT status, ended_at FROM run WHERE run_id = $run_id", manifest.run_id)
    return found == [{"status": "complete", "ended_at": latest.astimezone(UTC).replace(tzinfo=None)}]


def _read_nlls(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, dict[str, float]]:
    answer = connection.execute(_NLLS, {"run_id": run_id})
    nlls: dict[str, dict[str, float]] = {}
    sample_ids: dict[str, str] = {}
    while rows := answer.fetchmany(_ROWS_AT_ONCE):
        for condition, sample_id, nll in rows:
            # All conditions of a sample share one string: there are millions of rows.
            nlls.setdefault(condition, {})[sample_ids.setdefault(sample_id, sample_id)] = nll
    return nlls
