"""Processes that end with the one that started them, even if that one is killed; and commands that end when asked.

In: this process. Out: a mark in its environment, which every process inherits that it starts from then on, and a
guardian: a small process that waits for this one to end, and if it was killed ends all that bear the mark. Nothing is
ended by its name, and a process that somebody else started never bears the mark.
"""

import atexit
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil

MARK = "SURROGATE_OWNER"
"""Name of the environment variable that says to whom a process belongs."""

_ROOT = Path(__file__).resolve().parents[2]  # tasks.store.artifacts would load libraries that the guardian needs not
_PATIENCE_SECONDS = 5.0
"""How long a process may take to end by itself before it is killed."""

_REPEAT_SECONDS = 0.7
"""After how long a signal that had no effect is repeated."""

_GOODBYE = b"goodbye"


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP came: ends a command just as Ctrl-C does."""


def leave_no_orphans() -> str:
    """Mark what this process starts from now on, and have it ended should this one be killed.

    One that ends by itself ends its own children, as Prefect does with its temporary server.

    Returns:
        The mark.
    """
    mark = uuid.uuid4().hex
    guardian = subprocess.Popen(  # before the mark is set, so that it does not bear it
        [sys.executable, "-m", "tasks.server.processes", mark],
        cwd=_ROOT,
        stdin=subprocess.PIPE,  # no other process holds its writing end, which the system closes with this one
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal goes to all of its session
    )
    os.environ[MARK] = mark
    # Registered first, so it is done last: after Prefect has ended its server.
    atexit.register(_dismiss, guardian)
    return mark


@contextmanager
def ended_by_signals(seconds: float) -> Iterator[None]:
    """Within the context, take SIGTERM and SIGHUP as Ctrl-C, and end within `seconds` of any of them.

    Whoever still waits by then, e.g. for a server that the same Ctrl-C has ended, is waited for no longer.
    """
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    earlier = {number: signal.signal(number, _ending.interrupt) for number in signals}
    _ending.seconds = seconds
    try:
        yield
    finally:
        _ending.is_noticed = True
        for number, handler in earlier.items():
            signal.signal(number, handler)


def note_interruption() -> None:
    """Say that this process winds up: a further signal would only disturb it, and the time that it has runs."""
    _ending.is_noticed = True
    _ending.start_clock(signal.SIGTERM)  # whoever took over the signal did not


@contextmanager
def terminations_noted() -> Iterator[None]:
    """Within the context, note SIGTERM before whoever took it over (Prefect, within a flow) handles it."""
    handler = signal.getsignal(signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return

    def note(number: int, frame: FrameType | None) -> None:
        _ending.start_clock(number)
        handler(number, frame)

    signal.signal(signal.SIGTERM, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def is_interrupted() -> bool:
    """Return whether this command was asked to end.

    An error that follows is none of its own: an interrupt that comes while a library is imported turns into an
    ImportError, one that comes while Prefect awaits its server into an error of the connection.
    """
    return _ending.has_clock


class _Ending:
    """How this process ends once it was asked to."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.is_noticed = False
        self.has_clock = False
        self._has_raised = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: interrupt what runs, unless it winds up already."""
        self.start_clock(number)
        # Prefect takes SIGTERM for itself, winds up, and sends it on: that one ends the command.
        if not (self.is_noticed and self._has_raised):
            self._has_raised = True
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def start_clock(self, number: int) -> None:
        """End this process in so many seconds; the first call counts."""
        if self.seconds is None or self.has_clock:
            return
        self.has_clock = True
        threading.Thread(target=self._run_out, args=(number, self.seconds), name="deadline", daemon=True).start()

    def _run_out(self, number: int, seconds: float) -> None:
        time.sleep(_REPEAT_SECONDS)
        # An interrupt is lost if it comes while a library runs a destructor or a callback: Python only prints it.
        if not self.is_noticed:
            os.kill(os.getpid(), number)
        time.sleep(max(0.0, seconds - _REPEAT_SECONDS))
        os.write(2, b"\nInterrupted, and not waited any longer. Start the same command again: it goes on.\n")
        os._exit(128 + number)


_ending = _Ending()


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that bear a mark, without this one."""
    found = []
    for process in psutil.process_iter():
        # Another user's process, or one that has just ended, cannot be asked.
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end_all(processes: Sequence[psutil.Process], number: signal.Signals = signal.SIGTERM) -> None:
    """Ask processes to end, kill those that do not within five seconds, and wait until all have ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it compares start times: a number that was given anew is never hit
            process.send_signal(number)
    _, alive = psutil.wait_procs(processes, timeout=_PATIENCE_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_PATIENCE_SECONDS)


def _dismiss(guardian: "subprocess.Popen[bytes]") -> None:
    with suppress(OSError):  # it may have been killed
        guardian.communicate(_GOODBYE, timeout=_PATIENCE_SECONDS)


def _guard(mark: str) -> None:
    """Wait until whoever holds the other end of stdin has ended; without a goodbye, end all that bear the mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == _GOODBYE:
        return
    while processes := marked(mark):  # again, for what was being started meanwhile
        end_all(processes)


if __name__ == "__main__":
    _guard(sys.argv[1])
