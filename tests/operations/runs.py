"""Runs of the example corpus as a user starts them: real processes, small enough to be killed and repeated."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from tests.places import ROOT
from tests.tiny_models import tiny_folder
from tests.waiting import PATIENCE, wait_for

SAMPLES, CHUNK = 6, 3
FLAGS = (
    f"--sample-count={SAMPLES}",
    f"--chunk-size={CHUNK}",
    "--bootstrap-resamples=100",
    "--families=baseline,static,generated",
    "--workers=1",  # on a machine of few cores, several tests at once
)
CLOCKS = {"run": {"seconds", "started_at", "ended_at"}}
"""Columns that say when, or how long."""

CLOCK_TABLES = {"attempt", "stage_time"}
"""Tables that say how a run went rather than what it found."""

UNREMEMBERED = ("publish", "report")
"""First words of the tasks that are done anew by every attempt."""


def model_flag() -> str:
    """Return the flag of a model that computes in a moment."""
    return f"--language-model={tiny_folder()}"


class Attempt:
    """One execution of the experiment, whose log is read as it comes."""

    def __init__(self, folder: Path, server: str | None, flags: Sequence[str] = FLAGS, root: Path = ROOT) -> None:
        self.lines: list[str] = []
        self.times: list[float] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "flows.experiment", "--profile=demo", "--verbose", model_flag(), *flags],
            cwd=root,
            env=environment(folder, server),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as log:
            for line in log:
                self.times.append(time.monotonic())
                self.lines.append(line.rstrip())

    def wait_for(self, text: str) -> None:
        """Wait until the log has a text."""
        wait_for(f"{text!r} in the log", lambda: self.log, enough=lambda log: text in log, during=self.process)

    def wait_for_finished(self, count: int) -> None:
        """Wait until so many tasks have finished, remembered ones included."""
        wait_for(
            f"{count} finished tasks",
            self.said,
            enough=lambda lines: len(finished(lines)) >= count,
            during=self.process,
        )

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send the process a signal and wait until it has ended."""
        self.process.send_signal(number)
        self.end()

    def end(self) -> int:
        """Wait until the process has ended, and return its exit status."""
        wait_for("the end of the run", self.said, enough=lambda _: self.process.poll() is not None)
        self.said()
        return int(self.process.returncode)

    def complete(self) -> "Attempt":
        """Wait until the process has ended by itself, and well."""
        assert self.end() == 0, self.log
        return self

    def said(self) -> list[str]:
        """Return the lines of its log so far; all of them once it has ended."""
        if self.process.poll() is not None:
            self._reader.join(PATIENCE)
        return list(self.lines)

    @property
    def log(self) -> str:
        """What it has said."""
        return "\n".join(self.said())


def environment(folder: Path, server: str | None) -> dict[str, str]:
    """Return the environment of an attempt: its artifacts folder, its server (None: a temporary one of its own)."""
    names = {"SURROGATE_ARTIFACTS": str(folder), "PREFECT_API_URL": server or ""}
    return os.environ | names | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


def finished(lines: Sequence[str]) -> dict[str, str]:
    """Return the tasks of a log that finished, in order: name -> Completed or Cached."""
    tasks = {}
    for line in lines:
        name = line.partition("Task run '")[2].partition("'")[0]
        state = line.partition("Finished in state ")[2].partition("(")[0]
        if name and state in ("Completed", "Cached"):  # one that is interrupted finishes as Crashed
            tasks[name] = state
    return tasks


def export(folder: Path, target: Path) -> dict[str, bytes]:
    """Return the tables of a database as sorted CSV, without what tells when and by whom."""
    target.mkdir(parents=True, exist_ok=True)
    files = {}
    with duckdb.connect(str(folder / "results.duckdb"), read_only=True) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        for table in sorted(set(names) - CLOCK_TABLES):
            columns = connection.execute(f'SELECT * FROM "{table}" LIMIT 0').description
            shown = ", ".join(f'"{c[0]}"' for c in columns if c[0] not in CLOCKS.get(table, set()))
            file = target / f"{table}.csv"
            connection.execute(f"COPY (SELECT {shown} FROM \"{table}\" ORDER BY ALL) TO '{file}' (HEADER)")
            files[table] = file.read_bytes()
    assert len(files["score"].splitlines()) > 1
    return files


def differences(found: Mapping[str, bytes], expected: Mapping[str, bytes]) -> list[str]:
    """Return the names of the tables that differ."""
    return sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
