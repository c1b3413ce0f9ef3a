"""The verb `ui`: from nothing to a run that can be watched in a browser, and back to nothing with Ctrl-C.

In: an optional port. Out: a Prefect server on this machine alone with its data in .prefect/, the deployments of
prefect.yaml, a worker that runs them, and prefect.toml, by which `prefect` in another terminal finds the server.
Server and worker write to .prefect/*.log, and are restarted if they die. A run that is in progress when this ends
continues when it is started again.

The server listens on 127.0.0.1 alone and refuses all pages but its own: any page in the user's browser can send
requests to it, and a request that starts a run can make the worker run any command. Prefect's setting for foreign pages
(CORS) withholds answers from them, but it stops neither requests that need no permission, nor web sockets, nor pages of
a host whose name resolves to this machine. The server has no passwords: other users of this machine can start runs,
which can read every file that this user can.
"""

import argparse
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import PREFECT_API_URL, temporary_settings
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tasks.priming.errors import UsageError
from tasks.server.address import claimed_address, is_answering, remove_address, write_address
from tasks.server.processes import end_all, ended_by_signals, leave_no_orphans, marked, note_interruption
from tasks.server.run_states import report_all_crashed
from tasks.server.standalone import require_plain_paths
from tasks.store.artifacts import ROOT

_END_SECONDS = 30.0
_LOOK_SECONDS = 0.5

_HOME = ROOT / ".prefect"  # folder of the server's database and the logs
_POOL = "local-process"  # the work pool that prefect.yaml names

_DEFAULT_PORT = 4200
_STARTUP_SECONDS = 180.0
_RESTARTS = 5  # restarts of a process that dies before it counts as broken

_HOSTS = ("127.0.0.1", "localhost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the port."""
    parser.add_argument("--port", type=int, metavar="PORT", help="Port of the UI; 4200, or a free one if it is taken.")


def execute(options: argparse.Namespace) -> int:
    """Run server and worker until Ctrl-C."""
    require_plain_paths(_HOME)
    try:
        with claimed_address():
            port = _free_port(options.port)
            mark = leave_no_orphans()
            with ended_by_signals(_END_SECONDS):
                _serve(port, mark)
    except KeyboardInterrupt:
        sys.stdout.write("Ended.\n")
    return 0


def _serve(port: int, mark: str) -> None:
    """Start everything, keep it running, and end it when interrupted."""
    app = ("--factory", "tasks.server.ui:create_app", "--no-access-log")
    url = f"http://127.0.0.1:{port}/api"
    server = _Service("server", ("uvicorn", *app, "--host", "127.0.0.1", "--port", str(port)), url)
    worker = _Service("worker", ("prefect", "worker", "start", "--pool", _POOL, "--type", "process"), url)
    try:
        sys.stdout.write("Starting a Prefect server (about ten seconds) ...\n")
        server.start()
        _wait_until_ready(server)
        with temporary_settings({PREFECT_API_URL: url}):
            _create_pool()
            # Runs that died since the server last ran, e.g. because the power went.
            if count := report_all_crashed():
                sys.stdout.write(f"{count} runs were killed; they are Crashed now. Started again, they go on.\n")
        worker.start()  # takes as long as to deploy
        deploy = _Service("deploy", ("prefect", "--no-prompt", "deploy", "--all"), url)
        if deploy.start().wait() != 0:
            raise _ServiceError(f"The deployments were refused; the output is in {deploy.log}. Look there.")
        write_address(url)
        sys.stdout.write(
            f"\nThe UI: {url.removesuffix('/api')}\n\n"
            "Start a run in a second terminal, in this folder (-p sample_count=50 changes a setting):\n\n"
            "    .venv/bin/prefect deployment run 'experiment/demo' --watch\n\n"
            "or in the UI under Deployments, Run. Logs are in .prefect/. Ctrl-C ends it all; a run in progress goes\n"
            "on where it was when it is started again.\n"
        )
        sys.stdout.flush()
        while True:
            time.sleep(_LOOK_SECONDS)
            for service in (server, worker):
                if service.keep_running():
                    sys.stdout.write(f"The {service.name} had died and was started again; its log is {service.log}.\n")
    finally:
        note_interruption()
        remove_address(url)
        # The worker and its runs first, while there is a server that hears of their end.
        worker.end()
        server.end()
        end_all(marked(mark))


class _ServiceError(OSError):
    """A process that is needed does not run; the message says where its log is."""


@dataclass
class _Service:
    """A process that is kept running."""

    name: str  # its name, and that of its log
    arguments: tuple[str, ...]  # arguments of `python -m`
    url: str  # the server's API
    process: "subprocess.Popen[bytes] | None" = None  # the running process
    restarts: int = 0  # how often it was restarted

    @property
    def log(self) -> Path:
        """The file of its output."""
        return _HOME / f"{self.name}.log"

    @property
    def has_ended(self) -> bool:
        """Whether it was started and has ended."""
        return self.process is not None and self.process.poll() is not None

    def start(self) -> "subprocess.Popen[bytes]":
        """Start the process in a session of its own: Ctrl-C in the terminal must not end a server before its worker."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self.arguments],
                cwd=ROOT,
                env=_environment(self.url),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self.process

    def keep_running(self) -> bool:
        """Restart the process if it has died, and tell whether it had."""
        if not self.has_ended:
            return False
        if self.restarts == _RESTARTS:
            raise _ServiceError(f"The {self.name} has died {_RESTARTS + 1} times; its log is {self.log}. Start again.")
        self.restarts += 1
        self.start()
        return True

    def end(self) -> None:
        """End the process and its children."""
        if self.process is None or self.has_ended:
            return
        process = psutil.Process(self.process.pid)
        end_all(process.children(recursive=True))
        end_all([process])
        self.process.wait()


def _free_port(wanted: int | None) -> int:
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


def _environment(url: str) -> dict[str, str]:
    """Return the environment of all processes: nothing is sent elsewhere or written to the user's home."""
    own = url.removesuffix("/api")
    return os.environ | {
        "PREFECT_HOME": str(_HOME),
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


def _wait_until_ready(service: _Service) -> None:
    """Wait until a server answers."""
    deadline = time.monotonic() + _STARTUP_SECONDS
    while not is_answering(service.url):
        if service.has_ended or time.monotonic() > deadline:
            raise _ServiceError(f"The server did not start; its log is {service.log}. Look there, then start again.")
        time.sleep(0.1)


def _create_pool() -> None:
    """Create the work pool if it does not exist; one that does keeps its limit."""
    from prefect.workers.process import ProcessWorker

    pool = WorkPoolCreate(name=_POOL, type="process", base_job_template=ProcessWorker.get_default_base_job_template())
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):
        client.create_work_pool(pool)


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


def create_app() -> OwnPages:
    """Return the server, to be run by uvicorn on one port of this machine."""
    from prefect.server.api.server import create_app

    # Around the whole app: Prefect's own part that answers other pages (CORS) must not see their requests, and its
    # automations, which ask the app itself by another name, must not be refused.
    return OwnPages(create_app(final=True))
