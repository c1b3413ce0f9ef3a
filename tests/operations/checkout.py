"""A copy of the checkout in which `make ui` runs, so that nothing is written into the real one."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from tests.places import ROOT
from tests.tiny_models import tiny_folder
from tests.waiting import PATIENCE, wait_for, wait_for_ends

PARAMETERS = (
    "sample_count=6",
    "chunk_size=3",
    "bootstrap_resamples=100",
    'families=["baseline","static","generated"]',
    "workers=1",
)
"""The settings of tests.operations.runs.FLAGS, as `prefect deployment run` takes them."""


class Checkout:
    """A copy of flows/, tasks/ and the files beside them, with the environment that runs the tests as its .venv."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("flows", "tasks"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("Makefile", "prefect.yaml", "pyproject.toml", "constraints.txt"):
            shutil.copy2(ROOT / name, folder / name)
        (folder / ".venv").symlink_to(sys.prefix)
        (folder / "home").mkdir()

    @property
    def address(self) -> Path:
        """The file that tells where the server is."""
        return self.folder / "prefect.toml"

    def environment(self) -> dict[str, str]:
        """Return that of somebody who has set nothing; the home is not the tester's own."""
        names = ("PREFECT_API_URL", "PREFECT_HOME", "SURROGATE_ARTIFACTS", "SURROGATE_OWNER")
        kept = {name: value for name, value in os.environ.items() if name not in names}
        return kept | {"HOME": str(self.folder / "home"), "DO_NOT_TRACK": "1"}

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy."""
        finished = subprocess.run(
            words,
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        sys.stdout.write(finished.stdout + finished.stderr)  # shown by pytest when the test fails
        return finished

    def start_deployment(self, *parameters: str) -> "subprocess.Popen[bytes]":
        """Start the run that the README tells to start in a second terminal, and watch it."""
        given = (*parameters, f"language_model={tiny_folder()}")
        flags = [part for parameter in given for part in ("-p", parameter)]
        return subprocess.Popen(
            [".venv/bin/prefect", "deployment", "run", "experiment/demo", "--watch", *flags],
            cwd=self.folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


class Ui:
    """`make ui`, running."""

    def __init__(self, checkout: Checkout) -> None:
        self.checkout = checkout
        self.log = checkout.folder / "ui.log"
        self.port = free_port()
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [".venv/bin/python", "-u", "-m", "flows", "ui", f"--port={self.port}"],
                cwd=checkout.folder,
                env=checkout.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            self.wait_for("Ctrl-C")
        except BaseException:
            self.end()
            raise

    @property
    def url(self) -> str:
        """Where the UI is."""
        return f"http://127.0.0.1:{self.port}"

    def wait_for(self, text: str, count: int = 1) -> None:
        """Wait until it has said something, so many times."""
        what = f"{count} times {text!r} in the log of `make ui`"
        wait_for(what, self.log.read_text, enough=lambda said: said.count(text) >= count, during=self.process)

    def worker_lines(self) -> list[str]:
        """Return the log of the worker and of the runs that it started."""
        log = self.checkout.folder / ".prefect" / "worker.log"
        return log.read_text(errors="replace").splitlines() if log.is_file() else []

    def processes(self, words: str = "") -> list[psutil.Process]:
        """Return what it has started, of which the command has these words."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return [child for child in children if words in " ".join(child.cmdline())]

    def end(self, number: signal.Signals = signal.SIGINT) -> None:
        """Send it a signal, and wait until it and all that it started have ended."""
        children = self.processes()
        self.process.send_signal(number)
        self.process.wait(timeout=PATIENCE)
        wait_for_ends(children)


def free_port() -> int:
    """Return a port that nothing uses."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
