"""The processes behind `make ui`: a Prefect server, a worker, and what they need to know of each other.

In: the port of the server. Out: running processes whose output is in .prefect/*.log; one that dies is started again.
All is on 127.0.0.1, and pages that are not the server's own are refused (tasks/server/app.py). The server knows no
passwords: other users of this machine can start runs, which can read every file that this user can.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.priming.errors import UsageError
from tasks.server.address import is_answering
from tasks.server.processes import end_all
from tasks.store.artifacts import ROOT

HOME = ROOT / ".prefect"
"""Where the server's database and the logs are."""

POOL = "local-process"
"""The work pool that prefect.yaml names."""

_DEFAULT_PORT = 4200
_STARTUP_SECONDS = 180.0
_RESTARTS = 5
"""How often a process that dies is started again before it counts as broken."""


class ServiceError(OSError):
    """A process that is needed does not run; the message says where its log is."""


@dataclass
class Service:
    """A process that is kept running."""

    name: str
    """What it is: names its log."""
    arguments: tuple[str, ...]
    """Of `python -m`."""
    url: str
    """The server's API."""
    process: "subprocess.Popen[bytes] | None" = None
    """The running one."""
    restarts: int = field(default=0)
    """How often it was started again."""

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return HOME / f"{self.name}.log"

    def start(self) -> None:
        """Start the process, away from the terminal: Ctrl-C there must not end a server before its worker."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                cwd=ROOT,
                env=environment(self.url),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def keep_running(self) -> bool:
        """Start the process again if it has died, and tell whether it had.

        Raises:
            ServiceError: It dies again and again.
        """
        if self.process is None or self.process.poll() is None:
            return False
        if self.restarts == _RESTARTS:
            raise ServiceError(f"The {self.name} has died {_RESTARTS + 1} times; its log is {self.log}. Start again.")
        self.restarts += 1
        self.start()
        return True

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the process and its children."""
        if self.process is None or self.process.poll() is not None:
            return
        process = psutil.Process(self.process.pid)
        end_all(process.children(recursive=True))
        end_all([process], number)
        self.process.wait()


def free_port(wanted: int | None) -> int:
    """Return the wanted port if it is free; if none is wanted, Prefect's usual one or any other.

    Raises:
        UsageError: The wanted port is taken.
    """
    for port in (wanted,) if wanted is not None else (_DEFAULT_PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise UsageError(f"Port {wanted} is taken. Give another one with --port, or none: a free one is chosen.")


def environment(url: str) -> dict[str, str]:
    """Return the environment of all processes: nothing leaves this machine, nothing lands in the user's home."""
    own = url.removesuffix("/api")
    return os.environ | {
        "PREFECT_HOME": str(HOME),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{own},{own.replace('127.0.0.1', 'localhost')}",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # The second UI asks a foreign host for its configuration even with analytics off.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
    }


def server(port: int) -> Service:
    """Return the server on a port; it does not run yet."""
    app = ("--factory", "tasks.server.app:create_app", "--no-access-log")
    start = ("uvicorn", *app, "--host", "127.0.0.1", "--port", str(port))
    return Service("server", start, f"http://127.0.0.1:{port}/api")


def worker(url: str) -> Service:
    """Return a worker of the pool; it does not run yet."""
    return Service("worker", ("prefect", "worker", "start", "--pool", POOL, "--type", "process"), url)


def wait_until_ready(service: Service) -> None:
    """Wait until a server answers.

    Raises:
        ServiceError: It ended, or does not answer within three minutes.
    """
    deadline = time.monotonic() + _STARTUP_SECONDS
    while not is_answering(service.url):
        assert service.process is not None
        if service.process.poll() is not None:
            raise ServiceError(f"The server ended while starting; its log is {service.log}. Look there, start again.")
        if time.monotonic() > deadline:
            raise ServiceError(f"The server does not answer at {service.url}; its log is {service.log}. Look there.")
        time.sleep(0.1)


def create_pool(url: str) -> None:
    """Create the work pool where it is missing."""
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template)
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:
            return


def deploy_all(url: str) -> None:
    """Create the deployments of prefect.yaml, or bring them up to date.

    Raises:
        ServiceError: They are refused.
    """
    arguments = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    deployed = subprocess.run(
        arguments, cwd=ROOT, env=environment(url), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    (HOME / "deploy.log").write_text(deployed.stdout + deployed.stderr, encoding="utf-8")
    if deployed.returncode != 0:
        raise ServiceError(f"The deployments were refused; what was said is in {HOME / 'deploy.log'}. Look there.")
