"""Commands in a process of their own without a network, and how often they tried to reach one.

Python's own attempts are noted and refused by an audit hook (no_network/sitecustomize.py). Where the system lets us,
the process also lives in a network of its own that has the loopback alone, in which the kernel counts whatever is sent
elsewhere, also by native code.
"""

import os
import pty
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.places import ROOT
from tests.waiting import PATIENCE

HOOK = Path(__file__).parent / "no_network"

# Starts the loopback, runs what follows, and writes down what the kernel counted.
_ALONE = (
    'ip link set lo up && "$@"; status=$?; '
    'cat /proc/net/snmp /proc/net/snmp6 > "$SURROGATE_TEST_COUNTERS" 2> /dev/null; exit $status'
)


@dataclass(frozen=True)
class Finished:
    """What became of a command."""

    status: int
    """Its exit status."""
    output: str
    """All that it wrote on its terminal."""
    attempts: list[str]
    """Python's attempts to reach another host: process, event, host."""
    unrouted: int | None
    """What the kernel counted as sent elsewhere, by whomever; None where there is no network of one's own."""


def run_alone(
    words: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    *,
    seconds: float = PATIENCE,
    native: bool = True,
) -> Finished:
    """Run a Python command on a terminal of its own, as somebody would, without a network.

    Args:
        words: What follows "python" on the command line.
        folder: For what is noted down; made if it is not there.
        environment: Variables beside those of this process.
        seconds: How long it may take.
        native: Whether native code's attempts are wanted too, where the system allows to count them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    attempts, counters = folder / "attempts", folder / "counters"
    attempts.touch()
    notes = {"SURROGATE_TEST_ATTEMPTS": str(attempts), "SURROGATE_TEST_COUNTERS": str(counters)}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "HF_", "DO_NOT"))}
    command = [sys.executable, *words]
    if native and has_own_network():
        command = ["unshare", "--map-root-user", "--net", "sh", "-c", _ALONE, "sh", *command]
    status, output = _on_a_terminal(command, kept | notes | {"PYTHONPATH": str(HOOK)} | dict(environment), seconds)
    return Finished(status, output, attempts.read_text().splitlines(), _unrouted(counters))


def has_own_network() -> bool:
    """Tell whether the system gives a process a network of its own."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    probe = ["unshare", "--map-root-user", "--net", "ip", "link", "set", "lo", "up"]
    return subprocess.run(probe, check=False, capture_output=True).returncode == 0


def _on_a_terminal(command: Sequence[str], environment: Mapping[str, str], seconds: float) -> tuple[int, str]:
    """Run a command whose output goes to a terminal: some libraries phone home only from there."""
    ours, theirs = pty.openpty()
    parts: list[bytes] = []

    def read() -> None:
        try:
            while part := os.read(ours, 65_536):
                parts.append(part)
        except OSError:  # the other end is closed
            pass

    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            status = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    reader.join(60)
    os.close(ours)
    return status, b"".join(parts).decode(errors="replace")


def _unrouted(counters: Path) -> int | None:
    """Return what the kernel could not send for want of a route, over both versions of the protocol."""
    if not counters.is_file():
        return None
    text = counters.read_text()
    names, values = (line.split() for line in text.splitlines() if line.startswith("Ip: "))
    newer = re.search(r"^Ip6OutNoRoutes\s+(\d+)", text, re.MULTILINE)
    return int(values[names.index("OutNoRoutes")]) + (int(newer[1]) if newer else 0)
