"""What goes wrong in a command is one clear line and an exit status, also before the command itself is there."""

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.guard import guarded
from tasks.priming.errors import UsageError
from tests.robustness.canary import TOKEN, canary_environment
from tests.robustness.isolation import ROOT


def run_program(
    program: str, folder: Path, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    variables = canary_environment(folder) | (environment or {})
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=variables, capture_output=True, text=True, check=False
    )


# --- errors that a command raises ---


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UsageError("No such run."), 2, "error: No such run.\n"),
        (
            OSError(28, "No space left on device"),
            1,
            "The command failed: OSError: [Errno 28] No space left on device\n",
        ),
        (KeyboardInterrupt(), 130, "Interrupted. Start the same command again.\n"),
    ],
)
def test_an_error_is_one_line_and_a_status(
    error: BaseException, status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @guarded()
    def main(arguments: list[str]) -> int:
        raise error

    assert main([]) == status
    assert capsys.readouterr().err == said


def test_a_fault_of_the_project_is_shown_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    @guarded()
    def main(arguments: list[str]) -> int:
        return len(arguments) // 0

    assert main([]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "    return len(arguments) // 0" in lines
    assert lines[-1] == "The command failed: ZeroDivisionError: integer division or modulo by zero"


# --- errors that nobody catches ---


@pytest.mark.parametrize("package", ["flows", "tasks"])
def test_what_nobody_catches_is_shown_without_secrets(tmp_path: Path, package: str) -> None:
    program = f"import {package}, os\nraise ValueError('Bearer ' + os.environ['HF_TOKEN'])"
    found = run_program(program, tmp_path)
    assert found.returncode == 1
    assert found.stderr.endswith("The command failed: ValueError: Bearer [hidden]\n")
    assert TOKEN not in found.stderr


def test_what_nobody_catches_in_a_thread_is_shown_without_secrets(tmp_path: Path) -> None:
    program = (
        "import tasks, os, threading\n"
        "def fail(): raise ValueError('Bearer ' + os.environ['HF_TOKEN'])\n"
        "threading.Thread(target=fail).start()"
    )
    found = run_program(program, tmp_path)
    assert "ValueError: Bearer [hidden]" in found.stderr
    assert TOKEN not in found.stderr
