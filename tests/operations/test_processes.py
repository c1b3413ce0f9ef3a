"""What a process started ends with it, whoever ends it; and an interrupt that a library swallows is not lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.processes import MARK, end_all, marked

ROOT = Path(__file__).resolve().parent.parent.parent

PARENT = """
import subprocess, sys, time
from tasks.processes import leave_no_orphans
mark = leave_no_orphans()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"], start_new_session=True)
print(mark, child.pid, flush=True)
{end}
"""


def start(program: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def first_line(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    with process.stdout as output:
        return output.readline().split()


@pytest.fixture
def bystander() -> "psutil.Process":
    """A process of somebody else."""
    process = psutil.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
    yield process
    process.kill()
    process.wait()


def test_a_killed_process_takes_with_it_what_it_started_and_nothing_else(bystander: psutil.Process) -> None:
    parent = start(PARENT.format(end="time.sleep(100)"))
    mark, number = first_line(parent)
    child = psutil.Process(int(number))
    assert [process.pid for process in marked(mark)] == [child.pid]
    parent.kill()
    parent.wait()
    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()
    assert bystander.is_running()
    deadline = time.monotonic() + 10
    while [process for process in psutil.process_iter() if mark in _command(process)]:  # the guardian
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_a_process_that_ends_by_itself_leaves_its_children_to_themselves() -> None:
    """Prefect ends its temporary server in its own time."""
    parent = start(PARENT.format(end=""))
    mark, number = first_line(parent)
    assert parent.wait(timeout=20) == 0
    (child,) = marked(mark)
    assert child.pid == int(number)
    end_all([child])
    assert marked(mark) == []


def test_a_process_that_ignores_being_asked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.processes._PATIENCE_SECONDS", 0.3)
    program = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    process = start(program)
    assert first_line(process) == ["ready"]
    stubborn = psutil.Process(process.pid)
    end_all([stubborn])
    assert not stubborn.is_running()
    process.wait()


def test_this_process_bears_no_mark_of_its_own() -> None:
    assert MARK not in os.environ
    assert marked("no such mark") == []


STOPPED = """
import sys, time
from tasks.processes import ended_by_signals, note_interruption
try:
    with ended_by_signals(2.0):
        print("ready", flush=True)
        {body}
except KeyboardInterrupt:
    sys.exit(130)
"""
SWALLOW = """class Swallow:
            def __del__(self):
                time.sleep(1)
        sys.unraisablehook = lambda _: None
        Swallow()
        time.sleep(100)"""
STUBBORN = """while True:
            try:
                time.sleep(100)
            except KeyboardInterrupt:
                note_interruption()"""


@pytest.mark.parametrize(
    ("body", "number", "status", "seconds"),
    [
        ("time.sleep(100)", signal.SIGINT, 130, 1.5),
        ("time.sleep(100)", signal.SIGTERM, 130, 1.5),
        ("time.sleep(100)", signal.SIGHUP, 130, 1.5),
        (SWALLOW, signal.SIGINT, 130, 2.5),  # the first interrupt is lost in a destructor, the repeated one is not
        (STUBBORN, signal.SIGINT, 130, 3.5),  # ended at its deadline: 128 + SIGINT
        (STUBBORN, signal.SIGTERM, 143, 3.5),  # 128 + SIGTERM
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP", "swallowed", "ignored SIGINT", "ignored SIGTERM"],
)
def test_a_process_that_is_asked_to_end_does(body: str, number: signal.Signals, status: int, seconds: float) -> None:
    process = start(STOPPED.format(body=body))
    assert first_line(process) == ["ready"]
    time.sleep(0.2)
    begin = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=10) == status
    assert time.monotonic() - begin < seconds
