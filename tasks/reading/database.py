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

_EXAMPLES = 4
_EXTREMES_EACH = 3
_FLAGGED = 8

# sample_id is a hash of the text, so the first few are drawn independently of any result.
_CHOSEN = f"""
    SELECT sample_id, passage, query, answer, answers FROM sample WHERE run_id = $run_id
    QUALIFY row_number() OVER (PARTITION BY passage_id ORDER BY sample_id) = 1
    ORDER BY sample_id LIMIT {_EXAMPLES}"""

_EXTREME_SAMPLES = """
    SELECT sample.sample_id, sample.passage, sample.query, sample.answer, outcome.family, outcome.key,
        outcome.improvement, outcome.similarity, surrogate.text AS surrogate,
        reference.nll AS reference_nll, reference.token_nlls AS reference_token_nlls,
        score.nll AS arm_nll, score.token_nlls AS arm_token_nlls, score.answer_tokens
    FROM all_runs.outcome
    JOIN sample ON sample.run_id = $run_id AND sample.sample_id = outcome.sample_id
    JOIN score ON score.run_id = $run_id AND score.sample_id = outcome.sample_id
        AND score.family = outcome.family AND score.key = outcome.key AND score.treatment = outcome.treatment
    JOIN score AS reference ON reference.run_id = $run_id AND reference.sample_id = outcome.sample_id
        AND reference.family = 'baseline' AND reference.key = 'document' AND reference.treatment = 'kept'
    LEFT JOIN surrogate ON surrogate.run_id = $run_id AND surrogate.sample_id = outcome.sample_id
        AND surrogate.family = outcome.family AND surrogate.key = outcome.key
    WHERE outcome.run_id = $run_id AND outcome.is_routed AND outcome.improvement IS NOT NULL
        AND outcome.treatment = 'kept'
        AND outcome.family = (SELECT min(family) FROM route WHERE run_id = $run_id)
    ORDER BY outcome.improvement {order}, sample.sample_id
    LIMIT {limit}"""
"""The samples that gain most, or least, over the baseline by the first routed family."""

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

QUERIES: dict[str, str] = {
    **{
        name.removeprefix("all_runs."): f"SELECT * FROM {name} WHERE run_id = $run_id ORDER BY {order}"
        for name, order in _ORDERS.items()
    },
    "stage_time": """
        SELECT stage, count(*) AS artifacts, list(seconds ORDER BY entry, chunk) AS seconds
        FROM stage_time WHERE run_id = $run_id GROUP BY stage ORDER BY min(rowid)""",
    "point": """
        SELECT family, similarity, improvement FROM all_runs.outcome
        WHERE run_id = $run_id AND is_routed AND similarity IS NOT NULL AND improvement IS NOT NULL
            AND treatment = 'kept'
        ORDER BY family, sample_id""",
    "flag": """
        SELECT family, key, count(*) AS surrogates,
            count(*) FILTER (text = '') AS empty, count(*) FILTER (is_over_word_limit) AS over_word_limit,
            count(*) FILTER (is_query) AS equals_query, count(*) FILTER (has_stray_marks) AS stray_marks,
            count(*) FILTER (finish = 'length') AS cut_off, avg(token_count) AS tokens
        FROM surrogate WHERE run_id = $run_id AND finish <> 'fixed'
        GROUP BY family, key ORDER BY family, key""",
    "example": f"""
        WITH chosen AS ({_CHOSEN})
        SELECT chosen.*, surrogate.* EXCLUDE (run_id, sample_id), outcome.similarity, outcome.is_routed,
            outcome.improvement
        FROM chosen JOIN surrogate ON surrogate.run_id = $run_id AND surrogate.sample_id = chosen.sample_id
        LEFT JOIN all_runs.outcome ON outcome.run_id = $run_id AND outcome.sample_id = surrogate.sample_id
            AND outcome.family = surrogate.family AND outcome.key = surrogate.key AND outcome.treatment = 'kept'
        WHERE surrogate.family IN (SELECT family FROM route WHERE run_id = $run_id)
        ORDER BY chosen.sample_id, surrogate.family, surrogate.key""",
    "written": f"""
        WITH chosen AS ({_CHOSEN})
        SELECT chosen.query, chosen.answers, answer_text.* EXCLUDE (run_id, sample_id), chosen.sample_id,
            family || '/' || key || CASE treatment WHEN 'kept' THEN '' ELSE '+' || treatment END AS condition
        FROM chosen JOIN answer_text ON answer_text.run_id = $run_id AND answer_text.sample_id = chosen.sample_id
        WHERE status = 'ok'
        ORDER BY chosen.sample_id, family <> 'baseline', family, key, treatment""",
    "flagged": f"""
        SELECT surrogate.*, sample.query FROM surrogate
        JOIN sample ON sample.run_id = surrogate.run_id AND sample.sample_id = surrogate.sample_id
        WHERE surrogate.run_id = $run_id AND surrogate.family IN (SELECT family FROM route WHERE run_id = $run_id)
            AND (is_over_word_limit OR is_query OR has_stray_marks OR text = '' OR finish = 'length')
        ORDER BY surrogate.sample_id, surrogate.family, surrogate.key LIMIT {_FLAGGED}""",
    "best": _EXTREME_SAMPLES.format(order="DESC", limit=_EXTREMES_EACH),
    "worst": _EXTREME_SAMPLES.format(order="ASC", limit=_EXTREMES_EACH),
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
}
"""What is compared of the samples of two runs: name -> statement of pairs (name, value)."""

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
