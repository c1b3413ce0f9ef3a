"""What a comparison of runs reads of each: its row, its answers, and its NLLs by condition and sample.

In: which run is meant. Out: one frozen RunRows, read from artifacts/results.duckdb. Only complete runs can be compared.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from tasks.priming.errors import UsageError
from tasks.reading.database import QUERIES, Row, read_nlls, rows_of
from tasks.reading.runs import LATEST, find_run, unreadable
from tasks.results import open_results

PREVIOUS = "previous"
"""Stands for the complete run before the latest one."""

_IDENTITIES = {
    "data": "data_identity",
    "language model": "language_model_identity",
    "embedding model": "embedding_model_identity",
    "version": "versions",
}


@dataclass(frozen=True, slots=True)
class RunRows:
    """One complete run."""

    run_id: str
    """Its id."""
    facts: Mapping[str, Any]
    """Its row of table run."""
    settings: Mapping[str, Any]
    """Flat name -> value, as they are given to an experiment."""
    identity: Mapping[str, Any]
    """What its numbers come from beside the settings: hashes, commits, device, versions."""
    answers: Sequence[Row]
    """Its rows of what_did_it_find."""
    nlls: Mapping[str, Mapping[str, float]]
    """Condition -> sample_id -> NLL."""
    passages: Mapping[str, str]
    """sample_id -> passage_id."""
    answer_token_counts: Mapping[str, int]
    """sample_id -> tokens of the answer."""
    surrogates: Mapping[tuple[str, str, str], str]
    """(sample_id, family, key) -> text."""


def find_complete_run(text: str) -> str:
    """Return the id of the complete run that a text means.

    Args:
        text: A run id, the beginning of exactly one, "latest" or "previous": the newest complete run, the one before.

    Raises:
        UsageError: Nothing is published yet, not exactly one run is meant, or it is not complete.
    """
    statuses = _statuses()
    complete = [run_id for run_id, status in statuses.items() if status == "complete"]
    if text in (LATEST, PREVIOUS):
        number = (LATEST, PREVIOUS).index(text)
        if number < len(complete):
            return complete[number]
        raise UsageError(
            f"There is no {text} complete run: {len(complete) or 'none'} of {len(statuses)} runs is complete. Make "
            "another one, for example: python -m flows.experiment --profile demo --seed 7"
        )
    run_id = find_run(text)
    if statuses[run_id] != "complete":
        raise UsageError(
            f"Run {run_id} is {statuses[run_id]}; only complete runs can be compared: {', '.join(complete) or 'none'}. "
            "To complete it, start it again with the same settings: what is finished is remembered."
        )
    return run_id


def read_rows_of_run(run_id: str) -> RunRows:
    """Read what is compared of a complete run.

    Raises:
        UsageError: The database is not one that this version published.
    """
    try:
        with open_results() as connection:
            facts = rows_of(connection, "SELECT * FROM run WHERE run_id = $run_id", run_id)[0]
            nlls = read_nlls(connection, run_id)
            samples = rows_of(connection, "SELECT sample_id, passage_id FROM sample WHERE run_id = $run_id", run_id)
            counts = rows_of(
                connection, "SELECT DISTINCT sample_id, answer_token_count FROM score WHERE run_id = $run_id", run_id
            )
            surrogates = rows_of(
                connection, "SELECT sample_id, family, key, text FROM surrogate WHERE run_id = $run_id", run_id
            )
            answers = rows_of(connection, QUERIES["answer"], run_id)
    except duckdb.Error as error:
        raise unreadable(error) from None
    return RunRows(
        run_id=run_id,
        facts=facts,
        settings=_flat_settings(json.loads(facts["settings"])),
        identity=_identity(facts),
        answers=answers,
        nlls=nlls,
        passages={row["sample_id"]: row["passage_id"] for row in samples},
        answer_token_counts={row["sample_id"]: row["answer_token_count"] for row in counts},
        surrogates={(row["sample_id"], row["family"], row["key"]): row["text"] for row in surrogates},
    )


def _statuses() -> dict[str, str]:
    """Return each run's status, the newest run first."""
    try:
        with open_results() as connection:
            statement = "SELECT run_id, status FROM run ORDER BY started_at DESC NULLS LAST, run_id"
            return dict(connection.execute(statement).fetchall())
    except FileNotFoundError:
        raise UsageError(
            "No run is published yet, so there is nothing to compare. To make one: "
            "python -m flows.experiment --profile demo"
        ) from None
    except duckdb.Error as error:
        raise unreadable(error) from None


def _flat_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings by the flat names of the command line's flags."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= value if isinstance(value, dict) else {name: value}
    return flat


def _identity(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run's numbers come from, by readable names; a library's version stands once."""
    found: dict[str, Any] = {}
    for name, column in _IDENTITIES.items():
        for part, value in json.loads(facts[column]).items():
            if part != "versions":
                found[f"{name}: {part}"] = value
    return found
