"""Runs that Prefect shows as running forever, because the process that would have reported their end was killed.

In: Prefect's ids of executions whose process is known to have died (tasks/store/manifests.py). Out: they and their
tasks are Crashed in the UI. A server that does not know them or does not answer is left alone.
"""

import logging
from collections.abc import Iterable
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Crashed

from tasks.store.manifests import as_observed, read_manifests

_TIMEOUT_SECONDS = 5.0
_NEWEST = 100  # executions per request

_logger = logging.getLogger(__name__)


def report_crashed(flow_run_ids: Iterable[str]) -> int:
    """Report dead executions to the server; return how many it did not know to be dead."""
    identifiers = [UUID(identifier) for identifier in flow_run_ids]
    if not identifiers:
        return 0
    settings = {PREFECT_CLIENT_MAX_RETRIES: 0}
    state: State[None] = Crashed(message="Its process was killed. Start the run again: finished results are cached.")
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=identifiers))
    running = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING])))
    try:
        with temporary_settings(settings), get_client({"timeout": _TIMEOUT_SECONDS}, sync_client=True) as client:
            crashed_runs = [
                found
                for found in client.read_flow_runs(flow_run_filter=wanted)
                if found.state and not found.state.is_final()
            ]
            for task_run in client.read_task_runs(flow_run_filter=wanted, task_run_filter=running):
                client.set_task_run_state(task_run.id, state, force=True)
            for crashed in crashed_runs:
                client.set_flow_run_state(crashed.id, state, force=True)
    except Exception as error:  # of the network, the server or Prefect, none of which a run depends on
        _logger.debug("crashed runs are not reported: %s", error)
        return 0
    return len(crashed_runs)


def report_all_crashed() -> int:
    """Report every ended execution of all manifests to the server; return how many it did not know to have ended."""
    attempts = [attempt for manifest in read_manifests() for attempt in as_observed(manifest).attempts]
    ended = sorted(
        (attempt for attempt in attempts if attempt.status != "running" and attempt.flow_run_id),
        key=lambda attempt: attempt.started_at,
    )
    return report_crashed(str(attempt.flow_run_id) for attempt in ended[-_NEWEST:])
