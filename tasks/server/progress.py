"""How far a run is while it runs: a progress artifact per stage in the UI, lines of the log, and who else watches.

In: the stages of a run, the parts of each and how much work each part is; how far each part is, while it is computed.
Out: artifacts of the flow run, lines of its log, and calls of watchers in this process, e.g. a terminal; all brought up
to date by a thread of its own, so that a server that is slow, or gone, holds up no computation.
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

_PAUSE_SECONDS = 1.0
"""Between two updates: the server takes in about fifty task runs a second, beside which this is nothing."""

_LOG_SECONDS = 10.0
"""Between two lines of the log."""

_TIMEOUT_SECONDS = 5.0
_LAST_WORD_SECONDS = 3.0
"""How long the end of a run waits for its last update."""

_logger = logging.getLogger(__name__)


@dataclass
class Part:
    """A part of a stage: what one task computes, e.g. a chunk."""

    size: float
    """Its share of the stage's work, in any unit."""
    share: float = 0.0
    """Which share of it is done."""
    is_computed: bool = False
    """Whether it was computed, at least in part, rather than remembered."""

    def tell(self, share: float) -> None:
        """Note how far its computation is, from 0 to 1."""
        self.is_computed = True
        self.share = max(self.share, min(share, 1.0))


@dataclass
class Stage:
    """A stage and how far it is."""

    name: str
    """E.g. "score contexts"."""
    parts: dict[str, Part]
    """What it is made of, by name; at least one."""
    count: int
    """What is counted, e.g. scores."""
    unit: str
    """What that is called, e.g. "scores"; "" where parts are counted."""
    shown: str | None = None
    """What of it the UI shows."""
    artifact_id: UUID | None = None
    """Where it shows it."""
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
        """How long it has run, the stages between its chunks left out."""
        return self._seconds + (time.monotonic() - self._since if self._since is not None else 0.0)

    @property
    def share(self) -> float:
        """Its share that is done, by work."""
        parts = self.parts.values()
        return sum(part.size * part.share for part in parts) / sum(part.size for part in parts)

    @property
    def is_done(self) -> bool:
        """Whether all of its parts are."""
        return all(part.share == 1.0 for part in self.parts.values())

    @property
    def done(self) -> int:
        """How much of `count` that is."""
        return self.count if self.is_done else min(int(self.share * self.count), self.count - 1)

    @property
    def percent(self) -> float:
        """Its share as the UI shows it."""
        return round(100.0 * self.share, 1)

    @property
    def seconds_left(self) -> float | None:
        """How long it will go on at the pace of what it has computed so far; None while there is none to go by.

        What was remembered is done at once and tells nothing about the rest.
        """
        computed = sum(part.size * part.share for part in self.parts.values() if part.is_computed)
        if not computed:
            return None
        left = sum(part.size * (1.0 - part.share) for part in self.parts.values())
        return left * self.seconds / computed

    @property
    def amount(self) -> str:
        """How far it is, e.g. "120 of 3,680 scores"."""
        return f"{self.done:,} of {self.count:,} {self.unit}".rstrip()

    @property
    def time_left(self) -> str:
        """How long it will go on, in words; "" if that is not known."""
        left = self.seconds_left
        return "" if self.is_done or left is None else f"about {duration(left)} left"

    @property
    def description(self) -> str:
        """All of it in words."""
        return ", ".join(filter(None, (f"{self.name[0].upper()}{self.name[1:]}: {self.amount}", self.time_left)))


Watcher: TypeAlias = Callable[[Stage | str], None]

_watchers: list[Watcher] = []
"""Who is told of each change, while there is anybody."""


@contextmanager
def watched_by(watcher: Watcher) -> Iterator[None]:
    """Within the context, have a watcher told of each stage in this process as it advances, and of each remark."""
    _watchers.append(watcher)
    try:
        yield
    finally:
        _watchers.remove(watcher)


class Progress:
    """How far the stages of a run are; nothing is shown until `shown` runs."""

    def __init__(self) -> None:
        """Start without stages."""
        self._stages: dict[str, Stage] = {}
        self._current: Stage | None = None
        self._ended = threading.Event()

    def add(
        self, name: str, sizes: Mapping[str, float] = MappingProxyType({"all": 1.0}), count: int = 0, unit: str = ""
    ) -> None:
        """Add a stage, which has not begun.

        Args:
            name: E.g. "score contexts".
            sizes: How much work each of its parts is, in any unit; where all are nothing, all are alike.
            count: What is counted of all of them, e.g. scores; 0: the parts.
            unit: What that is called.
        """
        parts = {part: Part(size if any(sizes.values()) else 1.0) for part, size in sizes.items()}
        self._stages[name] = Stage(name, parts, count or len(parts), unit if count else "")

    def is_partly_computed(self, name: str) -> bool:
        """Whether some of a stage was computed rather than remembered, and some is to come."""
        stage = self._stages[name]
        return not stage.is_done and any(part.is_computed for part in stage.parts.values())

    @contextmanager
    def running(self, name: str) -> Iterator[Stage]:
        """Within the context, a stage runs: the time is its own, and it is what the log tells of."""
        self._current = stage = self._stages[name]
        with stage.running():
            self.tell(stage)
            yield stage
        self.tell(stage)

    def finish(self, stage: Stage, part: str) -> None:
        """Note that a part of a stage is finished, be it computed or remembered."""
        stage.parts[part].share = 1.0
        self.tell(stage)

    def tell(self, news: Stage | str) -> None:
        """Tell the watchers how far a stage is, or a remark."""
        for watcher in tuple(_watchers):
            watcher(news)

    @contextmanager
    def shown(self, flow_run_id: str | None, logger: _Logger | None = None) -> Iterator[None]:
        """Within the context, show the stages to watchers as they advance, in the UI and in a log.

        Args:
            flow_run_id: The flow run whose progress they are; None: nothing is shown in the UI.
            logger: Where a line is written every ten seconds; None: nowhere.
        """
        # With the context of this thread, which knows the server's address.
        arguments = (self._keep_showing, flow_run_id, logger)
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
        """Bring up to date what has changed; what the server does not take is shown the next time."""
        for stage in tuple(self._stages.values()):
            description = stage.description
            if description == stage.shown or not (stage.share or stage is self._current):
                continue
            try:
                if stage.artifact_id is None:
                    artifact = ArtifactCreate(
                        key=f"progress-{stage.name.replace(' ', '-')}",
                        type="progress",
                        description=description,
                        data=stage.percent,
                        flow_run_id=flow_run_id,
                    )
                    stage.artifact_id = client.create_artifact(artifact).id
                else:
                    client.update_artifact(
                        stage.artifact_id, ArtifactUpdate(data=stage.percent, description=description)
                    )
            except Exception as error:  # of the network, the server or Prefect: a run needs none of them
                _logger.debug("progress is not shown: %s", error)
                return
            stage.shown = description
