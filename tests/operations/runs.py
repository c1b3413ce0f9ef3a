"""Runs of the embedded example as a user starts them: real processes, small enough to be killed and repeated."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

ROOT = Path(__file__).resolve().parent.parent.parent

SAMPLES, CHUNK = 6, 3
FLAGS = (
    f"--sample-count={SAMPLES}",
    f"--chunk-size={CHUNK}",
    "--bootstrap-resamples=100",
    "--families=baseline,static,generated",
    "--workers=1",  # on a machine of few cores, several tests at once
)
CLOCKS = {"run": {"seconds", "started_at", "ended_at", "stage_seconds"}}
"""Columns that say when, or how long."""

CLOCK_TABLES = {"attempt", "stage_time"}
"""Tables that say how a run went rather than what it found."""

UNREMEMBERED = ("publish", "report")
"""First words of the tasks that are done anew by every attempt."""


class Attempt:
    """One execution of the experiment, whose log is read as it comes."""

    def __init__(self, folder: Path, server: str | None, flags: Sequence[str] = FLAGS, root: Path = ROOT) -> None:
        self.lines: list[str] = []
        self.times: list[float] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "flows.experiment", "--profile=demo", "--verbose", *flags],
            cwd=root,
            env=environment(folder, server),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as log:
            for line in log:
                with self._news:
                    self.lines.append(line.rstrip())
                    self.times.append(time.monotonic())
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()

    def wait_for(self, text: str, seconds: float = 120) -> None:
        """Wait until a line of the log has a text."""
        deadline = time.monotonic() + seconds
        with self._news:
            while not any(text in line for line in self.lines):
                assert self.process.poll() is None, f"it ended without {text!r}:\n{self.log}"
                assert time.monotonic() < deadline, f"no {text!r}:\n{self.log}"
                self._news.wait(0.2)

    def wait_for_finished(self, count: int, seconds: float = 120) -> None:
        """Wait until so many tasks have finished, remembered ones included."""
        deadline = time.monotonic() + seconds
        with self._news:
            while len(finished(self.lines)) < count:
                assert self.process.poll() is None, f"it ended before {count} tasks:\n{self.log}"
                assert time.monotonic() < deadline, f"no {count} tasks:\n{self.log}"
                self._news.wait(0.2)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> float:
        """Send the process a signal, wait until it has ended, and return the seconds that took."""
        start = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout=30)
        self._reader.join(10)
        return time.monotonic() - start

    def complete(self, seconds: float = 200) -> "Attempt":
        """Wait until the process has ended by itself, and well."""
        status = self.process.wait(timeout=seconds)
        self._reader.join(10)
        assert status == 0, self.log
        return self

    @property
    def log(self) -> str:
        """What it has said."""
        return "\n".join(self.lines)


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
