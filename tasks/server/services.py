"""The processes of `make ui`: a Prefect server and a worker, which are restarted if they die.

In: the port of the server. Out: running processes whose output is in .prefect/*.log. The server listens on 127.0.0.1
alone and refuses all pages but its own: any page in the user's browser can send requests to it, and a request that
starts a run can make the worker run any command. Prefect's setting for foreign pages (CORS) withholds answers from
them, but it stops neither requests that need no permission, nor web sockets, nor pages of a host whose name resolves to
this machine. The server has no passwords: other users of this machine can start runs, which can read every file that
this user can.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from fastapi import FastAPI
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, temporary_settings
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.priming.errors import UsageError
from tasks.server.address import is_answering
from tasks.server.processes import end_all
from tasks.store.artifacts import ROOT

HOME = ROOT / ".prefect"  # folder of the server's database and the logs
POOL = "local-process"  # the work pool that prefect.yaml names

_DEFAULT_PORT = 4200
_STARTUP_SECONDS = 180.0
_RESTARTS = 5  # restarts of a process that dies before it counts as broken

_HOSTS = ("127.0.0.1", "localhost")


class ServiceError(OSError):
    """A process that is needed does not run; the message says where its log is."""


@dataclass
class Service:
    """A process that is kept running."""

    name: str  # its name, and that of its log
    arguments: tuple[str, ...]  # arguments of `python -m`
    url: str  # the server's API
    process: "subprocess.Popen[bytes] | None" = None  # the running process
    restarts: int = 0  # how often it was restarted

    @property
    def log(self) -> Path:
        """The file of its output."""
        return HOME / f"{self.name}.log"

    def start(self) -> None:
        """Start the process in a session of its own: Ctrl-C in the terminal must not end a server before its worker."""
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
        """Restart the process if it has died, and tell whether it had."""
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
    """Return the wanted port, or else Prefect's usual port if it is free, or else any other."""
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
    """Return the environment of all processes: nothing is sent elsewhere or written to the user's home."""
    own = url.removesuffix("/api")
    return os.environ | {
        "PREFECT_HOME": str(HOME),
        "PREFECT_API_URL": url,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{own},{own.replace('127.0.0.1', 'localhost')}",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # The second UI fetches its configuration from another host even without analytics.
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
    }


def server(port: int) -> Service:
    """Return the server on a port, not yet started."""
    app = ("--factory", "tasks.server.services:create_app", "--no-access-log")
    start = ("uvicorn", *app, "--host", "127.0.0.1", "--port", str(port))
    return Service("server", start, f"http://127.0.0.1:{port}/api")


def worker(url: str) -> Service:
    """Return a worker of the pool, not yet started."""
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
    """Create the work pool if it does not exist."""
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template)
        try:
            client.create_work_pool(pool)
        except ObjectAlreadyExists:
            return


def deploy_all(url: str) -> None:
    """Create or update the deployments of prefect.yaml."""
    arguments = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    deployed = subprocess.run(
        arguments, cwd=ROOT, env=environment(url), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    (HOME / "deploy.log").write_text(deployed.stdout + deployed.stderr, encoding="utf-8")
    if deployed.returncode != 0:
        raise ServiceError(f"The deployments were refused; the output is in {HOME / 'deploy.log'}. Look there.")


class OwnPages:
    """Passes on the requests of the server's own pages and of programs, and refuses those of other pages."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or a web socket."""

        async def send_unframed(message: Message) -> None:
            # In a frame of another page, the user's clicks there could start runs here.
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Frame-Options"] = "DENY"
            await send(message)

        if scope["type"] == "lifespan" or _is_own(scope):
            await self._app(scope, receive, send_unframed)
            return
        # Also refuses a web socket that is not yet accepted.
        refusal = PlainTextResponse("This server answers its own pages alone: open it by its own address.", 403)
        await refusal(scope, receive, send)


def _is_own(scope: Scope) -> bool:
    """Tell whether a request names this server by its own address and comes from its own page or a program."""
    headers = Headers(scope=scope)
    addresses = [f"{host}:{scope['server'][1]}" for host in _HOSTS]
    origin = headers.get("origin")  # programs do not send it, and pages cannot choose it
    return headers.get("host") in addresses and origin in (None, *(f"http://{address}" for address in addresses))


def create_app() -> FastAPI:
    """Return the server, to be run by uvicorn on one port of this machine."""
    from prefect.server.api.server import create_app

    app = create_app(final=True)
    app.add_middleware(OwnPages)  # outermost: before Prefect's own, which answers CORS requests of other pages
    return app
