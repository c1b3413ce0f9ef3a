"""Progress of a run: a progress artifact per stage in the UI, log lines, and callbacks.

Artifacts, log lines and watchers in this process, e.g. a terminal, are updated by a separate thread, so that a slow or
missing server delays no computation.
"""

import contextvars
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeAlias, Union
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.pages.numbers import duration

_Logger: TypeAlias = Union[logging.Logger, "logging.LoggerAdapter[logging.Logger]"]

_PAUSE_SECONDS = 1.0  # interval between updates, which is little for a server that takes fifty task runs per second
_LOG_SECONDS = 10.0  # interval between log lines

_TIMEOUT_SECONDS = 5.0
_LAST_WORD_SECONDS = 3.0  # time that the end of a run waits for the last update

_logger = logging.getLogger(__name__)


@dataclass
class Part:
    """A part of a stage: the work of one task, e.g. a chunk."""

    size: float  # amount of work, in any unit
    share: float = 0.0  # fraction that is done
    is_computed: bool = False  # whether it is computed, at least in part, rather than cached

    def tell(self, share: float) -> None:
        """Record its progress, from 0 to 1."""
        self.is_computed = True
        self.share = max(self.share, min(share, 1.0))


@dataclass
class Stage:
    """A stage and its progress."""

    name: str
    parts: dict[str, Part]  # its parts by name, at least one
    count: int  # what is counted, e.g. scores
    unit: str  # the unit of `count`, e.g. "scores"; "" where parts are counted
    shown: str | None = None  # the description last shown in the UI
    artifact_id: UUID | None = None
    _seconds: float = 0.0
    _since: float | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time within the context as the stage's."""
        self._since = time.monotonic()
        try:
            yield
        finally:
            self._seconds, self._since = self.seconds, None

    @property
    def seconds(self) -> float:
        """How long it has run, without the stages between its chunks."""
        return self._seconds + (time.monotonic() - self._since if self._since is not None else 0.0)

    @property
    def share(self) -> float:
        """Fraction of the work that is done."""
        parts = self.parts.values()
        return sum(part.size * part.share for part in parts) / sum(part.size for part in parts)

    @property
    def is_done(self) -> bool:
        """Whether all parts are done."""
        return all(part.share == 1.0 for part in self.parts.values())

    @property
    def amount(self) -> str:
        """Its progress, e.g. "120 of 3,680 scores"."""
        done = self.count if self.is_done else min(int(self.share * self.count), self.count - 1)
        return f"{done:,} of {self.count:,} {self.unit}".rstrip()

    @property
    def time_left(self) -> str:
        """The remaining time in words, at the pace of what was computed so far; "" if unknown.

        Cached results are available at once and do not count.
        """
        computed = sum(part.size * part.share for part in self.parts.values() if part.is_computed)
        if self.is_done or not computed:
            return ""
        left = sum(part.size * (1.0 - part.share) for part in self.parts.values())
        return f"about {duration(left * self.seconds / computed)} left"

    @property
    def description(self) -> str:
        """Name, progress and remaining time in words."""
        return ", ".join(filter(None, (f"{self.name[0].upper()}{self.name[1:]}: {self.amount}", self.time_left)))


Watcher: TypeAlias = Callable[[Stage | str], None]

_watchers: list[Watcher] = []  # callbacks for changes of stages, and for remarks


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Within the context, call `watcher` with each stage of a run in this process as it advances, and each remark."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


class Progress:
    """The stages of a run; nothing is shown until `shown` runs."""

    def __init__(self) -> None:
        """Start without stages."""
        self._stages: dict[str, Stage] = {}
        self._current: Stage | None = None
        self._ended = threading.Event()

    def add(
        self, name: str, sizes: Mapping[str, float] = MappingProxyType({"all": 1.0}), count: int = 0, unit: str = ""
    ) -> None:
        """Add a stage, which has not begun.

        `sizes` are the work of each part, in any unit; if all are 0, parts count equally. `count` and `unit` are what
        is shown, e.g. 500 scores; by default the number of parts.
        """
        parts = {part: Part(size if any(sizes.values()) else 1.0) for part, size in sizes.items()}
        self._stages[name] = Stage(name, parts, count or len(parts), unit if count else "")

    def is_partly_computed(self, name: str) -> bool:
        """Whether some of a stage was computed rather than cached, and some is to come."""
        stage = self._stages[name]
        return not stage.is_done and any(part.is_computed for part in stage.parts.values())

    @contextmanager
    def running(self, name: str) -> Iterator[Stage]:
        """Within the context, a stage runs: the time counts as its own, and the log reports it."""
        self._current = stage = self._stages[name]
        with stage.running():
            self.tell(stage)
            yield stage
        self.tell(stage)

    def finish(self, stage: Stage, part: str) -> None:
        """Note that a part of a stage is finished, computed or cached."""
        stage.parts[part].share = 1.0
        self.tell(stage)

    def tell(self, news: Stage | str) -> None:
        """Tell the watchers how far a stage is, or a remark."""
        for watcher in tuple(_watchers):
            watcher(news)

    @contextmanager
    def shown(self, flow_run_id: str | None, logger: _Logger | None = None) -> Iterator[None]:
        """Within the context, show the stages as they advance: to watchers, in the UI and in a log."""
        # In a copy of this thread's context, which has the server's address.
        arguments = (self._keep_showing, flow_run_id, logger)
        thread = threading.Thread(target=contextvars.copy_context().run, args=arguments, name="progress", daemon=True)
        thread.start()
        waits_for_last_word = False  # an interrupted run does not wait
        try:
            yield
            waits_for_last_word = True
        except Exception:
            waits_for_last_word = True  # a thread that outlived a failed run would end with a traceback
            raise
        finally:
            self._ended.set()
            if waits_for_last_word:
                thread.join(_LAST_WORD_SECONDS)

    def _keep_showing(self, flow_run_id: str | None, logger: _Logger | None) -> None:
        with ExitStack() as stack:
            show: Callable[[], None] = lambda: None  # noqa: E731
            if flow_run_id is not None:
                stack.enter_context(temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}))
                client = stack.enter_context(get_client({"timeout": _TIMEOUT_SECONDS}, sync_client=True))
                show = partial(self._show, client, UUID(flow_run_id))
            next_line = time.monotonic() + _LOG_SECONDS
            while not self._ended.wait(_PAUSE_SECONDS):
                show()
                if stage := self._current:
                    self.tell(stage)
                    if logger and time.monotonic() >= next_line and not stage.is_done:
                        next_line = time.monotonic() + _LOG_SECONDS
                        logger.info("%s", stage.description)
            show()

    def _show(self, client: SyncPrefectClient, flow_run_id: UUID) -> None:
        """Update what has changed; what the server does not accept is shown the next time."""
        for stage in tuple(self._stages.values()):
            description = stage.description
            if description == stage.shown or not (stage.share or stage is self._current):
                continue
            percent = round(100.0 * stage.share, 1)
            try:
                if stage.artifact_id is None:
                    artifact = ArtifactCreate(
                        key=f"progress-{stage.name.replace(' ', '-')}",
                        type="progress",
                        description=description,
                        data=percent,
                        flow_run_id=flow_run_id,
                    )
                    stage.artifact_id = client.create_artifact(artifact).id
                else:
                    client.update_artifact(stage.artifact_id, ArtifactUpdate(data=percent, description=description))
            except Exception as error:  # of the network, the server or Prefect, none of which a run depends on
                _logger.debug("progress is not shown: %s", error)
                return
            stage.shown = description
