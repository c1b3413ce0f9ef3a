"""Whether an attempt's process still lives: a lock that the system frees when its process ends, however it ends.

In: an attempt's id. Out: a lock on artifacts/runs/.attempts/<id>, held as long as the attempt runs. So a run that died
is told apart from one that runs, on any machine that shares the folder and its locks, and after the power went.
"""

from pathlib import Path

from filelock import FileLock, Timeout

from tasks.store import artifacts

_PROBE_SECONDS = 0.05
"""A lock that is held for longer than another prober needs is held by its attempt."""

_held: dict[str, FileLock] = {}
"""The locks of this process's attempts."""


def hold(attempt_id: str) -> None:
    """Mark an attempt as alive until it is let go or this process ends."""
    path = _path(attempt_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    lock.acquire()
    _held[attempt_id] = lock


def let_go(attempt_id: str) -> None:
    """Mark an attempt as ended; nothing happens if it is none of this process."""
    if lock := _held.pop(attempt_id, None):
        lock.release()
        _path(attempt_id).unlink(missing_ok=True)


def is_alive(attempt_id: str) -> bool:
    """Tell whether the process of an attempt still runs it."""
    path = _path(attempt_id)
    if not path.exists():  # ended, or of a version that held no lock
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_PROBE_SECONDS, poll_interval=_PROBE_SECONDS / 5)
    except Timeout:
        return True
    lock.release()
    return False


def forget(attempt_id: str) -> None:
    """Remove what an attempt that died left behind."""
    _path(attempt_id).unlink(missing_ok=True)


def _path(attempt_id: str) -> Path:
    return artifacts.ARTIFACTS / "runs" / ".attempts" / attempt_id
