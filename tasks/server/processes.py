"""Processes that end with the one that started them, even if that one is killed; and commands that end on request.

This process gets a mark in its environment, which every process that it starts inherits, and a guardian: a small
process that waits for this one to end, and if it was killed ends everything with the mark. Nothing is ended by its
name, and a process that somebody else started never has the mark.
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
from types import FrameType

import psutil

from tasks.store.code import ROOT

MARK = "SURROGATE_OWNER"  # environment variable that says to whom a process belongs
_PATIENCE_SECONDS = 5.0  # time for a process to end by itself before it is killed
_REPEAT_SECONDS = 0.7  # time after which a signal that had no effect is repeated

_GOODBYE = b"goodbye"


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP arrived: ends a command as Ctrl-C does."""


def leave_no_orphans() -> str:
    """Mark what this process starts from now on, to be ended if this process is killed, and return the mark.

    A process that is not killed ends its own children, as Prefect does with its temporary server.
    """
    mark = uuid.uuid4().hex
    guardian = subprocess.Popen(  # before the mark is set, so that it does not get it
        [sys.executable, "-m", "tasks.server.processes", mark],
        cwd=ROOT,
        stdin=subprocess.PIPE,  # only this process has its writing end, which closes with it
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C in a terminal goes to the whole session
    )
    os.environ[MARK] = mark
    # Registered first, so it runs last: after Prefect has ended its server.
    atexit.register(_dismiss, guardian)
    return mark


@contextmanager
def ended_by_signals(seconds: float) -> Iterator[None]:
    """Within the context, treat SIGTERM and SIGHUP as Ctrl-C, and end at the latest `seconds` after any of them.

    By then the process may still wait, e.g. for a server that the same Ctrl-C has ended.
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
    """Declare that this process is ending: further signals are ignored, and its deadline is set."""
    _ending.is_noticed = True
    _ending.start_clock(signal.SIGTERM)  # another handler of the signal did not


@contextmanager
def terminations_noted() -> Iterator[None]:
    """Within the context, note SIGTERM before its current handler (Prefect's, within a flow) runs."""
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

    Errors that follow are consequences: an interrupt during an import becomes an ImportError, one while Prefect waits
    for its server a connection error.
    """
    return _ending.has_clock


class _Ending:
    """How this process ends once it is asked to."""

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.is_noticed = False
        self.has_clock = False
        self._has_raised = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: interrupt what runs, unless it is already ending."""
        self.start_clock(number)
        # Prefect handles SIGTERM, cleans up, and sends it again: that one ends the command.
        if not (self.is_noticed and self._has_raised):
            self._has_raised = True
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated

    def start_clock(self, number: int) -> None:
        """Start the deadline of this process; only the first call counts."""
        if self.seconds is None or self.has_clock:
            return
        self.has_clock = True
        threading.Thread(target=self._run_out, args=(number, self.seconds), name="deadline", daemon=True).start()

    def _run_out(self, number: int, seconds: float) -> None:
        time.sleep(_REPEAT_SECONDS)
        # An interrupt during a library's destructor or callback is lost: Python only prints it.
        if not self.is_noticed:
            os.kill(os.getpid(), number)
        time.sleep(max(0.0, seconds - _REPEAT_SECONDS))
        os.write(2, b"\nInterrupted before everything had ended. Start the same command again: it goes on.\n")
        os._exit(128 + number)


_ending = _Ending()


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes with a mark, except this one."""
    found = []
    for process in psutil.process_iter():
        # Other users' processes, and those that have just ended, cannot be inspected.
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                found.append(process)
    return found


def end_all(processes: Sequence[psutil.Process]) -> None:
    """Ask processes to end, kill those that do not within five seconds, and wait until all have ended."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # psutil compares start times: a reused number is never signalled
            process.terminate()
    _, alive = psutil.wait_procs(processes, timeout=_PATIENCE_SECONDS)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=_PATIENCE_SECONDS)


def _dismiss(guardian: "subprocess.Popen[bytes]") -> None:
    with suppress(OSError):  # it may have been killed
        guardian.communicate(_GOODBYE, timeout=_PATIENCE_SECONDS)


def _guard(mark: str) -> None:
    """Wait until stdin closes; without a goodbye before, end all processes with the mark."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if sys.stdin.buffer.read() == _GOODBYE:
        return
    while processes := marked(mark):  # again, for processes started meanwhile
        end_all(processes)


if __name__ == "__main__":
    _guard(sys.argv[1])
