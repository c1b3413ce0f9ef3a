"""What a report is made of: one run's rows, read from artifacts/results.duckdb in one go and in a fixed order.

In: a run id. Out: `RunRows`, plain dicts by table. Questions are answered by the views, which answer for complete runs
alone; what there is of any other run is read from the tables.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import duckdb

from tasks.priming.errors import UsageError
from tasks.reading.runs import unreadable
from tasks.results import open_results

Row: TypeAlias = Mapping[str, Any]

EXAMPLE_COUNT = 4
"""Samples whose surrogates are shown."""

EXTREME_COUNT = 3
"""Samples that gain most, and as many that lose most."""

FLAGGED_COUNT = 8
"""Flagged surrogates that are shown."""

_EXTREMES = """
    SELECT sample.sample_id, sample.passage, sample.query, sample.answer, outcome.family, outcome.key,
        outcome.improvement, outcome.similarity, surrogate.text AS surrogate,
        reference.nll AS reference_nll, reference.token_nlls AS reference_token_nlls,
        score.nll AS arm_nll, score.token_nlls AS arm_token_nlls, score.answer_tokens
    FROM all_runs.outcome
    JOIN sample ON sample.run_id = $run_id AND sample.sample_id = outcome.sample_id
    JOIN score ON score.run_id = $run_id AND score.sample_id = outcome.sample_id
        AND score.family = outcome.family AND score.key = outcome.key
    JOIN score AS reference ON reference.run_id = $run_id AND reference.sample_id = outcome.sample_id
        AND reference.family = 'baseline' AND reference.key = 'document'
    LEFT JOIN surrogate ON surrogate.run_id = $run_id AND surrogate.sample_id = outcome.sample_id
        AND surrogate.family = outcome.family AND surrogate.key = outcome.key
    WHERE outcome.run_id = $run_id AND outcome.is_routed AND outcome.improvement IS NOT NULL
        AND outcome.family = (SELECT min(family) FROM route WHERE run_id = $run_id)
    ORDER BY outcome.improvement {order}, sample.sample_id
    LIMIT {limit}"""
"""The samples at one end of what the first routed family gains over the baseline."""

QUERIES: dict[str, str] = {
    "answer": "SELECT * FROM all_runs.what_did_it_find WHERE run_id = $run_id ORDER BY position",
    "is_generation_worth_its_compute": """
        SELECT * FROM all_runs.is_generation_worth_its_compute WHERE run_id = $run_id ORDER BY comparison""",
    "does_the_measure_matter": """
        SELECT * FROM all_runs.does_the_measure_matter WHERE run_id = $run_id ORDER BY measure, comparison""",
    "who_gains": "SELECT * FROM all_runs.who_gains WHERE run_id = $run_id ORDER BY comparison, stratified_by, rank",
    "what_does_it_cost": """
        SELECT * FROM all_runs.what_does_it_cost WHERE run_id = $run_id ORDER BY nll_mean NULLS LAST, condition""",
    "run_summary": "SELECT * FROM all_runs.run_summary WHERE run_id = $run_id",
    "attempt": "SELECT * FROM attempt WHERE run_id = $run_id ORDER BY started_at, attempt_id",
    "stage_time": """
        SELECT stage, count(*) AS artifacts, list(seconds ORDER BY entry, chunk) AS seconds
        FROM stage_time WHERE run_id = $run_id GROUP BY stage ORDER BY min(rowid)""",
    "comparison": "SELECT * FROM comparison WHERE run_id = $run_id ORDER BY rowid",
    "correlation": "SELECT * FROM correlation WHERE run_id = $run_id ORDER BY family, key",
    "routing_choice": "SELECT * FROM routing_choice WHERE run_id = $run_id ORDER BY family, routed_key, best_key",
    "routing_agreement": "SELECT * FROM routing_agreement WHERE run_id = $run_id ORDER BY family",
    "run_check": """
        SELECT * FROM run_check WHERE run_id = $run_id
        ORDER BY CASE WHEN passed THEN 1 WHEN NOT passed THEN 0 ELSE 2 END, chunk, name""",
    "point": """
        SELECT family, similarity, improvement FROM all_runs.outcome
        WHERE run_id = $run_id AND is_routed AND similarity IS NOT NULL AND improvement IS NOT NULL
        ORDER BY family, sample_id""",
    "flag": """
        SELECT family, key, count(*) AS surrogates,
            count(*) FILTER (text = '') AS empty, count(*) FILTER (is_over_word_limit) AS over_word_limit,
            count(*) FILTER (is_query) AS equals_query, count(*) FILTER (has_stray_marks) AS stray_marks,
            count(*) FILTER (finish = 'length') AS cut_off, avg(token_count) AS tokens
        FROM surrogate WHERE run_id = $run_id AND finish <> 'fixed'
        GROUP BY family, key ORDER BY family, key""",
    # sample_id is a hash of the text, so the first few are a draw that no result had a say in.
    "example": f"""
        WITH chosen AS (
            SELECT sample_id, passage, query, answer FROM sample WHERE run_id = $run_id
            QUALIFY row_number() OVER (PARTITION BY passage_id ORDER BY sample_id) = 1
            ORDER BY sample_id LIMIT {EXAMPLE_COUNT})
        SELECT chosen.*, surrogate.* EXCLUDE (run_id, sample_id), outcome.similarity, outcome.is_routed,
            outcome.improvement
        FROM chosen JOIN surrogate ON surrogate.run_id = $run_id AND surrogate.sample_id = chosen.sample_id
        LEFT JOIN all_runs.outcome ON outcome.run_id = $run_id AND outcome.sample_id = surrogate.sample_id
            AND outcome.family = surrogate.family AND outcome.key = surrogate.key
        WHERE surrogate.family IN (SELECT family FROM route WHERE run_id = $run_id)
        ORDER BY chosen.sample_id, surrogate.family, surrogate.key""",
    "flagged": f"""
        SELECT surrogate.*, sample.query FROM surrogate
        JOIN sample ON sample.run_id = surrogate.run_id AND sample.sample_id = surrogate.sample_id
        WHERE surrogate.run_id = $run_id AND surrogate.family IN (SELECT family FROM route WHERE run_id = $run_id)
            AND (is_over_word_limit OR is_query OR has_stray_marks OR text = '' OR finish = 'length')
        ORDER BY surrogate.sample_id, surrogate.family, surrogate.key LIMIT {FLAGGED_COUNT}""",
    "best": _EXTREMES.format(order="DESC", limit=EXTREME_COUNT),
    "worst": _EXTREMES.format(order="ASC", limit=EXTREME_COUNT),
}
"""Name -> statement, every one with an order of its own."""

NLLS = """
    SELECT family || '/' || key AS condition, sample_id, nll FROM score
    WHERE run_id = $run_id AND nll IS NOT NULL
    UNION ALL
    SELECT family || '/routed' AS condition, sample_id, nll FROM all_runs.outcome
    WHERE run_id = $run_id AND nll IS NOT NULL AND is_routed
    ORDER BY condition, sample_id"""
"""Every condition's NLLs, a routed family being the arm that the router chose for each sample."""

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class RunRows:
    """One run as the database has it."""

    run: Row
    """Its row of table run; JSON columns as objects."""
    tables: Mapping[str, Sequence[Row]]
    """Name in QUERIES -> rows."""
    nlls: Mapping[str, Mapping[str, float]]
    """Condition -> sample_id -> NLL, both in alphabetical order."""

    @property
    def is_complete(self) -> bool:
        """Whether conclusions may be drawn from it."""
        return bool(self.run["status"] == "complete")


def read_run(run_id: str) -> RunRows:
    """Read a run's rows.

    Args:
        run_id: A published run, whatever its status.

    Raises:
        UsageError: Nothing is published yet, the run is unknown, or another version published the database.
    """
    try:
        with open_results() as connection:
            found = rows_of(connection, "SELECT * FROM run WHERE run_id = $run_id", run_id)
            if not found:
                raise UsageError(f"There is no run {run_id!r} in artifacts/results.duckdb. `latest` names the newest.")
            tables = {name: rows_of(connection, statement, run_id) for name, statement in QUERIES.items()}
            nlls = read_nlls(connection, run_id)
    except FileNotFoundError as error:
        raise UsageError(str(error)) from None
    except duckdb.Error as error:
        raise unreadable(error) from None
    return RunRows(run=_parsed(found[0]), tables=tables, nlls=nlls)


def read_nlls(connection: duckdb.DuckDBPyConnection, run_id: str) -> dict[str, dict[str, float]]:
    """Return condition -> sample_id -> NLL of a run, both in alphabetical order; a routed family is a condition."""
    answer = connection.execute(NLLS, {"run_id": run_id})
    nlls: dict[str, dict[str, float]] = {}
    sample_ids: dict[str, str] = {}
    while rows := answer.fetchmany(_ROWS_AT_ONCE):
        for condition, sample_id, nll in rows:
            # One text for all conditions of a sample: there are millions of rows.
            nlls.setdefault(condition, {})[sample_ids.setdefault(sample_id, sample_id)] = nll
    return nlls


def rows_of(connection: duckdb.DuckDBPyConnection, statement: str, run_id: str | None = None) -> list[Row]:
    """Return the rows that a statement gives, about $run_id if one is given, with their columns by name."""
    answer = connection.execute(statement, {"run_id": run_id} if run_id else {})
    names = [column[0] for column in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def _parsed(run: Row) -> Row:
    """Return the row of table run with its JSON columns as objects; {} where there is none."""
    names = ("settings", "versions", "data_identity", "language_model_identity", "embedding_model_identity", "funnel")
    return {**run, **{name: json.loads(run[name]) if run[name] else {} for name in names}}
