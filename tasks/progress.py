"""How far a run is while it runs: a progress artifact per stage in the UI, and whoever else watches, e.g. a terminal.

In: which stage has begun, and each chunk that is finished. Out: artifacts of the flow run, brought up to date once a
second whatever the number of chunks, by a thread of its own: a server that is slow, or gone, holds up no computation.
Watchers in this process are told of every change at once.
"""

import contextvars
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

_PAUSE_SECONDS = 1.0
"""Between two updates: the server takes in about fifty task runs a second, beside which this is nothing."""

_TIMEOUT_SECONDS = 5.0
_LAST_WORD_SECONDS = 3.0
"""How long the end of a run waits for its last update."""

_logger = logging.getLogger(__name__)


@dataclass
class Stage:
    """A stage and how far it is."""

    name: str
    """E.g. "score contexts"."""
    count: int
    """Its chunks."""
    done: int = 0
    """Those that are finished."""
    shown: int | None = None
    """What of `done` the UI shows."""
    artifact_id: UUID | None = None
    """Where it shows it."""

    @property
    def percent(self) -> float:
        """Its share that is finished, as the UI shows it."""
        return round(100.0 * self.done / self.count, 1) if self.count else 100.0

    @property
    def description(self) -> str:
        """How far it is, in words."""
        return f"{self.name[0].upper()}{self.name[1:]}: {self.done} of {self.count} done"


_watchers: list[Callable[[Stage], None]] = []
"""Who is told of each change, while there is anybody."""


@contextmanager
def watched_by(watcher: Callable[[Stage], None]) -> Iterator[None]:
    """Within the context, have each stage of a run in this process told as it begins and advances."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


class Progress:
    """How far the stages of a run are; nothing is shown until `shown` runs."""

    def __init__(self) -> None:
        """Start without stages."""
        self._stages: list[Stage] = []
        self._changed = threading.Event()
        self._ended = threading.Event()

    def begin(self, name: str, count: int) -> None:
        """Begin a stage, e.g. "score contexts", of so many chunks; the one before counts as done."""
        for stage in self._stages[-1:]:
            if stage.done < stage.count:
                self._move(stage, stage.count)
        self._stages.append(Stage(name, count))
        self._move(self._stages[-1], 0)

    def advance(self) -> None:
        """Note that one more chunk of the stage is finished."""
        if self._stages:
            self._move(self._stages[-1], min(self._stages[-1].done + 1, self._stages[-1].count))

    def _move(self, stage: Stage, done: int) -> None:
        stage.done = done
        self._changed.set()
        for watcher in _watchers:
            watcher(stage)

    @contextmanager
    def shown(self, flow_run_id: str | None) -> Iterator[None]:
        """Within the context, show the stages in the UI as progress of a flow run; without an id show nothing."""
        if flow_run_id is None:
            yield
            return
        # With the context of this thread, which knows the server's address.
        arguments = (self._keep_showing, UUID(flow_run_id))
        thread = threading.Thread(target=contextvars.copy_context().run, args=arguments, name="progress", daemon=True)
        thread.start()
        waits_for_last_word = False  # whoever stops a run waits for nothing
        try:
            yield
            waits_for_last_word = True
        except Exception:
            waits_for_last_word = True  # a thread that outlived a failed run would break off with a traceback
            raise
        finally:
            self._ended.set()
            self._changed.set()
            if waits_for_last_word:
                thread.join(_LAST_WORD_SECONDS)

    def _keep_showing(self, flow_run_id: UUID) -> None:
        settings = {PREFECT_CLIENT_MAX_RETRIES: 0}
        with temporary_settings(settings), get_client({"timeout": _TIMEOUT_SECONDS}, sync_client=True) as client:
            while not self._ended.is_set():
                self._changed.wait()
                self._changed.clear()
                self._show(client, flow_run_id)
                self._ended.wait(_PAUSE_SECONDS)
            self._show(client, flow_run_id)

    def _show(self, client: SyncPrefectClient, flow_run_id: UUID) -> None:
        """Bring up to date what has changed; what the server does not take is shown the next time."""
        for stage in tuple(self._stages):
            done = stage.done
            if done == stage.shown:
                continue
            try:
                if stage.artifact_id is None:
                    artifact = ArtifactCreate(
                        key=f"progress-{stage.name.replace(' ', '-')}",
                        type="progress",
                        description=stage.description,
                        data=stage.percent,
                        flow_run_id=flow_run_id,
                    )
                    stage.artifact_id = client.create_artifact(artifact).id
                else:
                    update = ArtifactUpdate(data=stage.percent, description=stage.description)
                    client.update_artifact(stage.artifact_id, update)
            except Exception as error:  # of the network, the server or Prefect: a run needs none of them
                _logger.debug("progress is not shown: %s", error)
                return
            stage.shown = done
