"""Which run is meant: an id, the unique beginning of one, or "latest".

In: what a user typed. Out: the id of a published run, or one clear error that lists those there are.
"""

import duckdb

from tasks.priming.errors import UsageError
from tasks.results import open_results

LATEST = "latest"
"""Stands for the run that started last."""

_SHOWN_RUNS = 8


def find_run(text: str) -> str:
    """Return the id of the run that a text means.

    Args:
        text: A run id, the beginning of exactly one, or LATEST.

    Raises:
        UsageError: Nothing is published yet, the database is not one of this version, or not exactly one run is meant.
    """
    runs = _published_runs()
    if text == LATEST:
        found = [run_id for run_id, _ in runs[:1]]
    else:
        found = [run_id for run_id, _ in runs if run_id == text] or [
            run_id for run_id, _ in runs if text and run_id.startswith(text)
        ]
    if len(found) == 1:
        return found[0]
    happened = f"{text!r} is the beginning of {len(found)} runs" if found else f"There is no run {text!r}"
    known = [f"{run_id} ({said})" for run_id, said in runs if not found or run_id in found]
    more = f" and {len(known) - _SHOWN_RUNS} more" if len(known) > _SHOWN_RUNS else ""
    raise UsageError(
        f"{happened}. Runs, newest first: {', '.join(known[:_SHOWN_RUNS]) or 'none yet'}{more}. Give one of their ids, "
        f"the beginning of one, or {LATEST}; to make one: python -m flows.experiment --profile demo"
    )


def _published_runs() -> list[tuple[str, str]]:
    """Return each run's id and what it is, the newest first."""
    statement = "SELECT run_id, profile, status, drawn_count FROM run ORDER BY started_at DESC NULLS LAST, run_id"
    try:
        with open_results() as connection:
            rows = connection.execute(statement).fetchall()
    except FileNotFoundError:
        raise UsageError(
            "No run is published yet, so there is nothing to report. To make one: "
            "python -m flows.experiment --profile demo"
        ) from None
    except duckdb.Error as error:
        raise unreadable(error) from None
    return [
        (run_id, f"{profile}, {status}" + (f", {drawn:,} samples" if drawn is not None else ""))
        for run_id, profile, status, drawn in rows
    ]


def unreadable(error: duckdb.Error) -> UsageError:
    """Return what to say where the database is not one that this version published."""
    return UsageError(
        f"artifacts/results.duckdb cannot be read: {str(error).partition(chr(10))[0]} It must be a database that this "
        "version published; any run publishes it anew: python -m flows.experiment --profile demo"
    )
