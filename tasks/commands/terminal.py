"""Progress in the terminal while a run computes: one bar per stage, or lines where it goes to a file.

In: the stages of tasks/server/progress.py as they change, and log records. Out: on standard error, so that standard
output holds only results. The log of Prefect and notices of libraries are hidden; warnings of this project are shown.
"""

import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from tasks.loading.redaction import printable
from tasks.pages.numbers import duration
from tasks.server.progress import Stage, watched_by

Step: TypeAlias = Callable[[str], None]
"""Names what is being done before the first stage."""

_PREPARATION = "prepare"
"""Shown before the first stage, with the step that is being done."""

_SILENCE_SECONDS = 10.0
"""Where lines are written, about how long a stage goes on without one."""

_QUIET_ENVIRONMENT = {
    "DATASETS_VERBOSITY": "error",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
    "TRANSFORMERS_VERBOSITY": "error",
}
"""Read by libraries when they are first imported, here and in child processes."""

_TALKERS = ("", "fastapi", "prefect._internal", "uvicorn")
"""Loggers with handlers that write to the terminal, by Prefect's logging.yml."""

_TERMINAL_HANDLERS = ("console", "debug")


@contextmanager
def stages_shown(*, is_verbose: bool) -> Iterator[Step]:
    """Show the stages of a run in the terminal within the context, and the steps before that the caller names.

    Args:
        is_verbose: Show the log of Prefect and the libraries instead; the stages are in it.
    """
    if is_verbose:
        yield logging.getLogger("tasks").info
        return
    console = Console(stderr=True, highlight=False)
    with quietly(console), _bars(console) if console.is_terminal else _lines(console) as step:
        yield step


# --- bars ---


class _TimeColumn(ProgressColumn):
    """How long a stage took, or how much longer it will take."""

    def render(self, task: Task) -> Text:
        """Return it in words that distinguish the two."""
        if task.finished:
            return Text(duration(task.finished_time))
        return Text(task.fields.get("time_left") or f"{task.elapsed or 0.0:.0f} s so far", style="cyan")


@contextmanager
def _bars(console: Console) -> Iterator[Step]:
    columns = (
        SpinnerColumn(finished_text="✓"),
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[amount]}"),
        _TimeColumn(),
    )
    with Bars(*columns, console=console) as bars:
        console.show_cursor()  # a killed process could not show it again
        preparation = bars.add_task(_PREPARATION, total=None, amount="")
        shown: dict[str, TaskID] = {}

        def show(stage: Stage | str) -> None:
            if isinstance(stage, str):
                bars.print(stage, markup=False)
                return
            bars.update(preparation, description=_PREPARATION, total=1, completed=1)
            if stage.name not in shown:
                shown[stage.name] = bars.add_task(stage.name, total=1.0, amount=stage.amount)
            # Only a finished stage has a share of 1.0, which stops its clock.
            share = 1.0 if stage.is_done else min(stage.share, 0.9999)
            bars.update(shown[stage.name], completed=share, amount=stage.amount, time_left=stage.time_left)

        with watched_by(show):
            yield lambda step: bars.update(preparation, description=f"{_PREPARATION}: {step}", refresh=True)


# --- lines ---


@contextmanager
def _lines(console: Console) -> Iterator[Step]:
    last_line = time.monotonic()
    named: set[str] = set()
    ended: set[str] = set()

    def show(stage: Stage | str) -> None:
        nonlocal last_line
        now = time.monotonic()
        if isinstance(stage, str):
            said = stage
        elif stage.is_done and stage.name not in ended:
            ended.add(stage.name)
            said = f"{stage.name}: {stage.amount}, {duration(stage.seconds)}"
        elif stage.name not in named:
            said = f"{stage.name}: {stage.amount}"
        elif not stage.is_done and now - last_line >= _SILENCE_SECONDS:
            said = ", ".join((f"{stage.name}: {stage.amount}", stage.time_left or f"{stage.seconds:.0f} s so far"))
        else:
            return
        if isinstance(stage, Stage):
            named.add(stage.name)
        last_line = now
        console.print(said, soft_wrap=True, markup=False)

    with watched_by(show):
        yield lambda step: console.print(f"{_PREPARATION}: {step}", soft_wrap=True, markup=False)


# --- logs and warnings of others ---


class _Warnings(logging.Handler):
    """Shows the warnings of this project's stages; errors are reported once, by the command."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a warning above the bars."""
        if record.levelno == logging.WARNING:
            self._console.print(f"warning: {printable(record.getMessage())}", soft_wrap=True, markup=False)


@contextmanager
def quietly(console: Console | None = None) -> Iterator[None]:
    """Hide Prefect's log and the libraries' notices within the context; a server still gets its log.

    Args:
        console: Where warnings of this project are shown; None: standard error.
    """
    handler = _Warnings(console or Console(stderr=True, highlight=False))
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name, value in _QUIET_ENVIRONMENT.items():
            if name not in os.environ:
                os.environ[name] = value
                stack.callback(os.environ.pop, name, None)
        for talker in _TALKERS:
            for other in logging.getLogger(talker).handlers:
                if other.name in _TERMINAL_HANDLERS:
                    # Never restored: Prefect still logs while this process ends.
                    other.setLevel(logging.CRITICAL + 1)
        for name in ("prefect.flow_runs", "prefect.task_runs", "tasks"):
            logging.getLogger(name).addHandler(handler)
            stack.callback(logging.getLogger(name).removeHandler, handler)
        yield
