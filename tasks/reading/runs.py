"""Which run is meant: an id, the beginning of one, or the newest.

In: what a user typed. Out: the id of a published run, or an error of one line that lists those there are.
"""

from tasks.priming.errors import UsageError
from tasks.reading.database import Row, open_runs, rows_of

LATEST = "latest"
"""Stands for the newest run; where runs are compared, for the newest complete one."""

PREVIOUS = "previous"
"""Stands for the complete run before the newest complete one."""

_SHOWN_RUNS = 8


def list_runs() -> dict[str, Row]:
    """Return run_id -> run_id, profile, status and drawn_count of every published run, the newest first."""
    statement = "SELECT run_id, profile, status, drawn_count FROM run ORDER BY started_at DESC NULLS LAST, run_id"
    with open_runs() as connection:
        return {row["run_id"]: row for row in rows_of(connection, statement)}


def find_run(text: str) -> str:
    """Return the id of the run that a text means.

    Args:
        text: A run id, the beginning of exactly one, or LATEST.

    Raises:
        UsageError: As in open_runs, or not exactly one run is meant.
    """
    runs = list_runs()
    if text == LATEST:
        found = list(runs)[:1]
    else:
        found = [text] if text in runs else [run_id for run_id in runs if text and run_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    happened = f"{text!r} is the beginning of {len(found)} runs" if found else f"There is no run {text!r}"
    known = [_described(row) for run_id, row in runs.items() if not found or run_id in found]
    more = f" and {len(known) - _SHOWN_RUNS} more" if len(known) > _SHOWN_RUNS else ""
    raise UsageError(
        f"{happened}. Runs, newest first: {', '.join(known[:_SHOWN_RUNS]) or 'none yet'}{more}. Give one of their ids, "
        f"the beginning of one, or {LATEST}; to make one: python -m flows run --profile demo"
    )


def find_complete_run(text: str) -> str:
    """Return the id of the complete run that a text means.

    Args:
        text: A run id, the beginning of exactly one, LATEST or PREVIOUS.

    Raises:
        UsageError: As in find_run, or the run is not complete.
    """
    statuses = {run_id: row["status"] for run_id, row in list_runs().items()}
    complete = [run_id for run_id, status in statuses.items() if status == "complete"]
    if text in (LATEST, PREVIOUS):
        number = (LATEST, PREVIOUS).index(text)
        if number < len(complete):
            return complete[number]
        raise UsageError(
            f"There is no {text} complete run: {len(complete) or 'none'} of {len(statuses)} runs is complete. Make "
            "another one, for example: python -m flows run --profile demo --seed 7"
        )
    run_id = find_run(text)
    if statuses[run_id] != "complete":
        raise UsageError(
            f"Run {run_id} is {statuses[run_id]}; only complete runs can be compared: {', '.join(complete) or 'none'}. "
            "To complete it, start it again with the same settings: finished work is not computed again."
        )
    return run_id


def _described(run: Row) -> str:
    samples = "" if run["drawn_count"] is None else f", {run['drawn_count']:,} samples"
    return f"{run['run_id']} ({run['profile']}, {run['status']}{samples})"
