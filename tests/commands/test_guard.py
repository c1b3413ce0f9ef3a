"""What goes wrong in a command is one clear line and an exit status, also before the command itself is there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.__main__ import main
from tasks.commands.guard import guarded
from tasks.priming.errors import UsageError
from tasks.store import artifacts
from tests.places import ROOT
from tests.robustness.canary import TOKEN, canary_environment
from tests.waiting import PATIENCE


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
    def fail() -> int:
        raise error

    assert guarded(fail, []) == status
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("subject", [None, "The run"])
def test_a_folder_of_somebody_else_is_one_line(subject: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        raise PermissionError(13, "Permission denied", "/shared/runs/.lock")

    assert guarded(fail, [], subject=subject) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: /shared/runs/.lock cannot be used: Permission denied. This user must be able to")
    assert said.endswith("export SURROGATE_ARTIFACTS=/some/folder\n")
    assert said.count("\n") == 1


def test_a_fault_of_the_project_is_shown_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> int:
        return len(capsys.__class__.__name__) // 0

    assert guarded(fail, []) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "    return len(capsys.__class__.__name__) // 0" in lines
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


# --- what cannot be printed ---

PRINTS = """
import sys
from tasks.commands.guard import guarded
def work():
    for number in range(20_000):
        print("naïve \\N{{CHECK MARK}} \\udcff", number)
    return 0
sys.exit(guarded(work, [], {options}))
"""


def run_in_shell(line: str, folder: Path, options: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command that prints a lot; `$COMMAND` in the line is the command."""
    (folder / "program.py").write_text(PRINTS.format(options=options), encoding="utf-8")
    variables = os.environ | {"COMMAND": f"{sys.executable} {folder / 'program.py'}", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        env=variables | environment,
        capture_output=True,
        text=True,
        check=False,
        encoding="utf-8",
    )


@pytest.mark.parametrize(
    ("line", "environment", "printed"),
    [
        ("$COMMAND | head -n 1", {}, "naïve ✓ ? 0\n"),
        ("$COMMAND | head -n 1", {"PYTHONIOENCODING": "ascii"}, "na?ve ? ? 0\n"),
        ("$COMMAND | head -n 1", {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}, "na?ve ? ? 0\n"),
        ("$COMMAND >&-", {}, ""),
        ("$COMMAND >&- 2>&-", {}, ""),
        ("$COMMAND <&- >&- 2>&-", {}, ""),
    ],
)
def test_a_command_goes_on_whoever_reads_it(
    tmp_path: Path, line: str, environment: dict[str, str], printed: str
) -> None:
    found = run_in_shell(line, tmp_path, **environment)
    assert (found.returncode, found.stdout, found.stderr) == (0, printed, "")


def test_closed_streams_are_replaced_for_what_a_command_starts_too(tmp_path: Path) -> None:
    """A server that is started without them would end at the first line that it logs."""
    program = (
        "import tasks, subprocess, sys\n"
        "child = 'import os, sys; [os.fstat(number) for number in range(3)]; print(1); sys.stdout.flush()'\n"
        "sys.exit(subprocess.run([sys.executable, '-c', child]).returncode)\n"
    )
    (tmp_path / "program.py").write_text(program)
    line = f"{sys.executable} {tmp_path / 'program.py'} <&- >&- 2>&-"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    assert subprocess.run(["bash", "-c", line], env=environment, check=False).returncode == 0


@pytest.mark.parametrize(
    ("options", "status", "advice"),
    [("", 1, "Send it elsewhere and start the same command again."), ("kept='See the report.'", 0, "See the report.")],
)
def test_what_a_full_disk_did_not_take_is_said_in_one_line(
    tmp_path: Path, options: str, status: int, advice: str
) -> None:
    found = run_in_shell("$COMMAND > /dev/full", tmp_path, options)
    assert found.returncode == status
    assert found.stderr == f"warning: what was printed could not be written: No space left on device. {advice}\n"


# --- the environment ---


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "setting", "said"),
    [
        (
            ["flows.report"],
            {"PREFECT_LOGGING_LEVEL": "loud"},
            "error: Prefect's setting `level` (LoggingSettings): Input should be 'DEBUG'",
        ),
        (
            ["flows", "walkthrough"],
            {"PREFECT_LOGGING_TO_API_ENABLED": "x"},
            "error: Prefect's setting `enabled` (LoggingToAPISettings): Input",
        ),
    ],
)
def test_a_setting_that_prefect_refuses_is_one_line(words: list[str], setting: dict[str, str], said: str) -> None:
    found = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=os.environ | setting, capture_output=True, text=True, check=False
    )
    assert found.returncode == 2
    assert found.stderr.splitlines()[-1].startswith(said)  # before it Prefect says that it found no plugins
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize(
    ("verb", "artifacts_at", "home", "character"),
    [
        ("run", "/tmp/a?b", "/tmp/home", "?"),
        ("run", "/tmp/artifacts", "/tmp/a?b", "?"),
        ("walkthrough", "/tmp/artifacts", "/tmp/a%b", "%"),
        ("ui", "/tmp/a?b", "/tmp/home", "?"),
    ],
)
def test_a_folder_in_which_no_database_can_be_is_refused_at_once(
    verb: str,
    artifacts_at: str,
    home: str,
    character: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(artifacts, "ARTIFACTS", Path(artifacts_at))
    with temporary_settings({PREFECT_HOME: home, PREFECT_API_URL: None}):
        assert main([verb]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("error: No database can be kept in /tmp/a")
    assert f"its path has the character {character}. " in said


def test_a_user_without_a_home_is_told_so_in_one_line() -> None:
    user = ["unshare", "--map-user=54321"]
    if not shutil.which("unshare") or subprocess.run([*user, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a user of its own: unshare --map-user")
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "PREFECT_HOME")}
    found = subprocess.run(
        [*user, sys.executable, "-m", "flows.report"], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert found.returncode == 2
    said = found.stderr.splitlines()[-1]  # before it Prefect says that it found no plugins
    assert said.startswith(
        "error: This process has no home folder: HOME is not set, and the system knows no user 54321"
    )
    assert said.endswith("export HOME=/some/folder")
    assert "Traceback" not in found.stderr


def test_without_a_buffer_each_line_is_there_while_the_command_goes_on() -> None:
    """Lines of `make ui`, which Python runs unbuffered, came only at its end."""
    program = (
        "import sys\n"
        "from tasks.commands.guard import guarded\n"
        "def work():\n"
        "    sys.stdout.write('a line\\n')\n"
        "    sys.stdin.read()\n"
        "    return 0\n"
        "sys.exit(guarded(work, []))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == "a line\n"  # before its input ends
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
