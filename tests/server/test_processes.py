"""What a process started ends with it, whoever ends it; and an interrupt that a library swallows is not lost."""

import signal
import subprocess
import sys

import psutil
import pytest

from tasks.server.processes import end_all, marked
from tests.places import ROOT
from tests.waiting import PATIENCE, wait_for, wait_for_ends

PARENT = """
import subprocess, sys, time
from tasks.server.processes import leave_no_orphans
mark = leave_no_orphans()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
print(mark, child.pid, flush=True)
{end}
"""


def start(program: str, stderr: int | None = None) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", program]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True)


def first_line(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout is not None
    with process.stdout as output:
        return output.readline().split()


@pytest.fixture
def bystander() -> "psutil.Process":
    """A process of somebody else."""
    process = psutil.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    yield process
    process.kill()
    process.wait()


def test_a_killed_process_takes_with_it_what_it_started_and_nothing_else(bystander: psutil.Process) -> None:
    parent = start(PARENT.format(end="time.sleep(1000)"))
    mark, number = first_line(parent)
    child = psutil.Process(int(number))
    assert [process.pid for process in marked(mark)] == [child.pid]
    parent.kill()
    parent.wait()
    wait_for_ends([child])
    assert bystander.is_running()
    wait_for(
        "the end of the guardian",
        lambda: [process for process in psutil.process_iter() if mark in _command(process)],
        enough=lambda seen: not seen,
    )


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def test_a_process_that_ends_by_itself_leaves_its_children_to_themselves() -> None:
    """Prefect ends its temporary server in its own time."""
    parent = start(PARENT.format(end=""))
    mark, number = first_line(parent)
    assert parent.wait(timeout=PATIENCE) == 0
    (child,) = marked(mark)
    assert child.pid == int(number)
    end_all([child])
    assert marked(mark) == []


def test_a_process_that_ignores_being_asked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.server.processes._PATIENCE_SECONDS", 0.3)
    program = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(1000)"
    )
    process = start(program)
    assert first_line(process) == ["ready"]
    stubborn = psutil.Process(process.pid)
    end_all([stubborn])
    assert stubborn.wait(PATIENCE) == -signal.SIGKILL
    process.wait()


STOPPED = """
import sys, time
from tasks.server.processes import ended_by_signals, note_interruption
try:
    with ended_by_signals(2.0):
        {body}
except KeyboardInterrupt:
    sys.exit(130)
"""
WAITING = """print("ready", flush=True)
        time.sleep(1000)"""
SWALLOWING = """class Swallow:
            def __del__(self):
                print("ready", flush=True)
                time.sleep(1000)
        sys.unraisablehook = lambda _: None
        Swallow()
        time.sleep(1000)"""
STUBBORN = """answers = ["ready"]
        while True:
            try:
                if answers:
                    print(answers.pop(), flush=True)
                time.sleep(1000)
            except KeyboardInterrupt:
                note_interruption()"""


@pytest.mark.parametrize(
    ("body", "number", "status", "is_at_its_deadline"),
    [
        (WAITING, signal.SIGINT, 130, False),
        (WAITING, signal.SIGTERM, 130, False),
        (WAITING, signal.SIGHUP, 130, False),
        (SWALLOWING, signal.SIGINT, 130, False),  # the first is lost in a destructor, the repeated one is not
        (STUBBORN, signal.SIGINT, 130, True),  # 128 + SIGINT
        (STUBBORN, signal.SIGTERM, 143, True),  # 128 + SIGTERM
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP", "swallowed", "ignored SIGINT", "ignored SIGTERM"],
)
def test_a_process_that_is_asked_to_end_does(
    body: str, number: signal.Signals, status: int, is_at_its_deadline: bool
) -> None:
    process = start(STOPPED.format(body=body), stderr=subprocess.PIPE)
    assert first_line(process) == ["ready"]
    process.send_signal(number)
    assert process.stderr is not None
    with process.stderr as errors:
        said = errors.read()
    assert process.wait(timeout=PATIENCE) == status
    assert ("before everything had ended" in said) == is_at_its_deadline


CONVERTING = """
import signal, sys, time
from tasks.commands.guard import guarded
from tasks.server.processes import ended_by_signals, terminations_noted

def taken_over(number, frame):
    raise ImportError("a module that failed to initialise")

def work():
    signal.signal(signal.SIGTERM, taken_over)
    with terminations_noted():
        print("ready", flush=True)
        time.sleep(1000)

with ended_by_signals(5.0):
    status = guarded(work, [], subject="The run")
sys.exit(status)
"""


def test_an_interrupt_that_a_library_turned_into_an_error_is_one_all_the_same() -> None:
    process = start(CONVERTING, stderr=subprocess.PIPE)
    assert first_line(process) == ["ready"]
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert errors == "Interrupted. Start the same command again.\n"
