"""The verb `ui`: from nothing to a run that can be watched in a browser, and back to nothing with Ctrl-C.

In: an optional port. Out: a Prefect server on this machine alone with its data in .prefect/, the deployments of
prefect.yaml, a worker that runs them, and prefect.toml, by which `prefect` in another terminal finds the server.
Server and worker are started again if they die. A run that is in progress when this ends continues when it is started
again.
"""

import argparse
import sys
import time

from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.server.address import claimed_address, remove_address, write_address
from tasks.server.processes import end_all, ended_by_signals, leave_no_orphans, marked, note_interruption
from tasks.server.run_states import report_all_crashed
from tasks.server.services import HOME, Service, create_pool, deploy_all, free_port, server, wait_until_ready, worker
from tasks.server.standalone import require_plain_paths

_END_SECONDS = 30.0
_LOOK_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the port."""
    parser.add_argument("--port", type=int, metavar="PORT", help="Port of the UI; 4200, or a free one if it is taken.")


def execute(options: argparse.Namespace) -> int:
    """Run server and worker until Ctrl-C."""
    require_plain_paths(HOME)
    try:
        with claimed_address():
            port = free_port(options.port)
            mark = leave_no_orphans()
            with ended_by_signals(_END_SECONDS):
                _serve(port, mark)
    except KeyboardInterrupt:
        sys.stdout.write("Ended.\n")
    return 0


def _serve(port: int, mark: str) -> None:
    """Start everything, keep it running, and end it when interrupted."""
    prefect = server(port)
    runner = worker(prefect.url)
    try:
        sys.stdout.write("Starting a Prefect server (about ten seconds) ...\n")
        prefect.start()
        wait_until_ready(prefect)
        create_pool(prefect.url)
        with temporary_settings({PREFECT_API_URL: prefect.url}):
            # Runs that died since the server last ran, e.g. because the power went.
            if count := report_all_crashed():
                sys.stdout.write(f"{count} runs were killed; they are Crashed now. Started again, they go on.\n")
        runner.start()  # takes as long as to deploy
        deploy_all(prefect.url)
        write_address(prefect.url)
        sys.stdout.write(
            f"\nThe UI: {prefect.url.removesuffix('/api')}\n\n"
            "Start a run in a second terminal, in this folder (-p sample_count=50 changes a setting):\n\n"
            "    .venv/bin/prefect deployment run 'experiment/demo' --watch\n\n"
            "or in the UI under Deployments, Run. Logs are in .prefect/. Ctrl-C ends it all; a run in progress goes\n"
            "on where it was when it is started again.\n"
        )
        sys.stdout.flush()
        _watch(prefect, runner)
    finally:
        note_interruption()
        remove_address(prefect.url)
        # The worker and its runs first, while there is a server that hears of their end.
        runner.end()
        prefect.end()
        end_all(marked(mark))


def _watch(*services: Service) -> None:
    """Start again what dies, until interrupted."""
    while True:
        time.sleep(_LOOK_SECONDS)
        for service in services:
            if service.keep_running():
                sys.stdout.write(f"The {service.name} had died and was started again; its log is {service.log}.\n")
