"""What Prefect shows of runs that did not reach their end: killed ones Crashed, those that were asked to end Cancelled.

In: Prefect's ids of executions whose process is known to have died (tasks/store/manifests.py), or the run that is being
stopped. Without this the first would be shown as running forever and the second as Crashed. A server that does not know
them or does not answer is left alone.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from prefect import Flow
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.runtime import flow_run as current_run
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Crashed

from tasks.priming.errors import UsageError
from tasks.server.processes import is_interrupted
from tasks.store.manifests import as_observed, read_manifests

_TIMEOUT_SECONDS = 5.0
_NEWEST = 100  # executions per request

_logger = logging.getLogger(__name__)


def report_crashed(flow_run_ids: Iterable[str]) -> int:
    """Report dead executions to the server; return how many it did not know to be dead."""
    own = current_run.get_id()  # of an execution that died and was started again under the same id
    identifiers = [UUID(identifier) for identifier in flow_run_ids if identifier != own]
    state: State[None] = Crashed(message="Its process was killed. Start the run again: finished results are cached.")
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=identifiers))
    running = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=[StateType.RUNNING])))
    reported = []

    def report(client: SyncPrefectClient) -> None:
        runs = client.read_flow_runs(flow_run_filter=wanted)
        for task_run in client.read_task_runs(flow_run_filter=wanted, task_run_filter=running):
            client.set_task_run_state(task_run.id, state, force=True)
        for run in runs:
            if run.state and not run.state.is_final():
                client.set_flow_run_state(run.id, state, force=True)
                reported.append(run)

    if identifiers:
        _tell_server(report)
    return len(reported)


def report_all_crashed() -> int:
    """Report every ended execution of all manifests to the server; return how many it did not know to have ended."""
    attempts = [attempt for manifest in read_manifests() for attempt in as_observed(manifest).attempts]
    ended = sorted(
        (attempt for attempt in attempts if attempt.status != "running" and attempt.flow_run_id),
        key=lambda attempt: attempt.started_at,
    )
    return report_crashed(str(attempt.flow_run_id) for attempt in ended[-_NEWEST:])


def tag_flow_run(tags: Sequence[str]) -> None:
    """Add tags to the run in progress, by which the UI finds runs of one profile, model or data set."""
    own, known = UUID(current_run.get_id()), current_run.get_tags()
    _tell_server(lambda client: client.update_flow_run(own, tags=sorted({*known, *tags})))


def report_stopped(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Show a run that was asked to end as Cancelled; Prefect calls this when it has called the run Crashed or Failed.

    It is Failed where the request came while a library turned every error into one of its own.
    """
    stopped: State[None] = Cancelled(message="It was stopped. Start the run again: finished results are cached.")
    if is_interrupted():
        _tell_server(lambda client: client.set_flow_run_state(flow_run.id, stopped, force=True))


def quiet_run_logs() -> None:
    """Let Prefect log no crash in this process once it was asked to end, and no traceback of an error of usage."""
    for name in ("prefect.flow_runs", "prefect.task_runs", "prefect.engine"):  # the last before a run has its own
        logging.getLogger(name).addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    if record.exc_info and isinstance(record.exc_info[1], UsageError):
        record.exc_info = None  # its message says all: it is not about this code
    return not (is_interrupted() and "Crash" in record.getMessage())


def _tell_server(tell: Callable[[SyncPrefectClient], object]) -> None:
    """Tell the server something, with a client that gives up soon."""
    try:
        with (
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
            get_client({"timeout": _TIMEOUT_SECONDS}, sync_client=True) as client,
        ):
            tell(client)
    except Exception as error:  # of the network, the server or Prefect, none of which a run depends on
        _logger.debug("the server was not told: %s", error)
