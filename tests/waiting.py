"""Waiting for what another process or thread does: for what can be seen of it, not for a time that should be enough."""

import pprint
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import psutil
import pytest

PATIENCE = 600.0
"""Seconds after which a wait is given up. Only what hangs takes that long, however busy the machine is."""

_SHOWN_CHARACTERS = 10_000

Seen = TypeVar("Seen")


def wait_for(
    what: str,
    look: Callable[[], Seen],
    *,
    enough: Callable[[Seen], Any] = bool,
    during: "subprocess.Popen[Any] | None" = None,
    patience: float = PATIENCE,
) -> Seen:
    """Look again and again until what is seen is enough, and return that.

    Args:
        what: What is waited for, as the failure says it.
        look: Returns what there is to see at the moment.
        enough: Tells whether it is what is waited for; without it, anything true is.
        during: A process that must not end before.
        patience: Seconds after which to give up.

    Raises:
        Failed: Time is up, or the process has ended; the message says what was waited for and what was seen last.
    """
    start = time.monotonic()
    while True:
        status = None if during is None else during.poll()  # before looking: what it said last is seen
        seen = look()
        if enough(seen):
            return seen
        if status is not None:
            pytest.fail(f"The process ended with status {status} before {what}. Seen last:\n{_shown(seen)}")
        if time.monotonic() - start > patience:
            pytest.fail(f"Waited {patience:g} s for {what}. Seen last:\n{_shown(seen)}")
        time.sleep(0.02)


def wait_for_ends(processes: Sequence[psutil.Process]) -> None:
    """Wait until processes have ended, children of this one or not."""
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    assert alive == [], f"Waited {PATIENCE:g} s for the end of these."


def _shown(seen: object) -> str:
    """Return the end of what was seen."""
    return (seen if isinstance(seen, str) else pprint.pformat(seen, width=120))[-_SHOWN_CHARACTERS:]
