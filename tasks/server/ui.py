"""`make ui`: from nothing to a run that can be watched in a browser, and back to nothing with Ctrl-C.

In: an optional port. Out: a Prefect server on this machine alone with its data in .prefect/, the deployments of
prefect.yaml, a worker that runs them, and prefect.toml, by which `prefect` in another terminal finds the server.
Server and worker are started again if they die. A run that is in progress when this ends goes on where it was when it
is started again.

Status 0: ended as asked. 1: a process that is needed does not run. 2: what was given cannot be used.
"""

import argparse
import sys
import time
from collections.abc import Sequence

from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.commands.guard import guarded
from tasks.server.address import claimed_address, remove_address, write_address
from tasks.server.crashed_runs import report_all_crashed
from tasks.server.processes import end_all, ended_by_signals, leave_no_orphans, marked, note_interruption
from tasks.server.services import (
    HOME,
    Service,
    ServiceError,
    create_pool,
    deploy_all,
    free_port,
    server,
    wait_until_ready,
    worker,
)
from tasks.server.standalone import require_plain_paths

_END_SECONDS = 30.0
_LOOK_SECONDS = 0.5


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Run server and worker until Ctrl-C, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tasks.server.ui", description="Serve the Prefect UI and run what it asks."
    )
    parser.add_argument("--port", type=int, metavar="PORT", help="Port of the UI; 4200, or a free one if it is taken.")
    values = parser.parse_args(arguments)
    require_plain_paths(HOME)
    try:
        with claimed_address():
            port = free_port(values.port)
            mark = leave_no_orphans()
            with ended_by_signals(_END_SECONDS):
                _serve(port, mark)
    except ServiceError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
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
        _bury(prefect.url)
        runner.start()  # takes as long as to deploy
        deploy_all(prefect.url)
        write_address(prefect.url)
        _tell(prefect)
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


def _bury(url: str) -> None:
    """Have the server know which runs have died since it last ran, e.g. because the power went."""
    with temporary_settings({PREFECT_API_URL: url}):
        if count := report_all_crashed():
            sys.stdout.write(f"{count} runs were killed; they are Crashed now. Started again, they go on.\n")


def _tell(prefect: Service) -> None:
    sys.stdout.write(
        f"\nThe UI: {prefect.url.removesuffix('/api')}\n\n"
        "Start a run in a second terminal, in this folder (-p sample_count=50 changes a setting):\n\n"
        "    .venv/bin/prefect deployment run 'experiment/demo' --watch\n\n"
        "or in the UI under Deployments, Run. Logs are in .prefect/. Ctrl-C ends it all; a run in progress goes on\n"
        "where it was when it is started again.\n"
    )
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
