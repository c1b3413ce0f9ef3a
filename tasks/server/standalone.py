"""A flow as a command of its own: with which server it works, how it is stopped, and what it leaves behind.

In: this process, whose server is the one of PREFECT_API_URL or prefect.toml, if that answers, and else a temporary one.
Out: it ends within five seconds of Ctrl-C or SIGTERM, and its temporary server with it, even after a `kill -9`.
"""

import atexit
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, get_current_settings, temporary_settings

from tasks.priming.errors import UsageError
from tasks.server.address import is_there, without_unwanted_server
from tasks.server.processes import ended_by_signals, leave_no_orphans
from tasks.store import artifacts

_END_SECONDS = 3.0
"""The run's state is written within one; what is left is for a temporary server, whose end the guardian sees to."""


def require_server() -> None:
    """Make sure that the server of this command answers, or that a temporary one can be started.

    Raises:
        UsageError: It does not, or cannot.
    """
    settings = get_current_settings()
    url = settings.api.url
    require_plain_paths(None if url else settings.home)
    if url and not is_there(url):
        raise UsageError(
            f"The Prefect server {url} does not answer. Start it, correct PREFECT_API_URL, or let the command start a "
            "temporary server: export PREFECT_API_URL="
        )


def require_plain_paths(prefect_home: Path | None) -> None:
    """Refuse folders in which the databases cannot be: their addresses have a meaning for some characters.

    Args:
        prefect_home: Where a Prefect server will have its database; None: none is started here.

    Raises:
        UsageError: There is such a character in the path of a folder.
    """
    for folder, forbidden in ((artifacts.ARTIFACTS, "?"), (prefect_home, "%?")):
        if folder and (found := set(forbidden) & set(str(folder))):
            raise UsageError(
                f"No database can be kept in {folder}: its path has the character {found.pop()}. The path of the "
                "checkout, of SURROGATE_ARTIFACTS and of PREFECT_HOME must be without % and ?. Rename the folder, or "
                "name others: export SURROGATE_ARTIFACTS=/some/folder PREFECT_HOME=/some/other"
            )


@contextmanager
def standalone() -> Iterator[None]:
    """Within the context, run a flow as a command."""
    leaving = _Leaving()
    atexit.register(leaving.leave)  # registered first, so it is done last
    try:
        with without_unwanted_server() as message, ended_by_signals(_END_SECONDS):
            sys.stderr.write(message)
            if not get_current_settings().api.url and not {"-h", "--help"} & set(sys.argv):
                leave_no_orphans()
            # A run's end waits up to a second for the thread that sends them; whether it lives its lock tells.
            with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
                yield
    except SystemExit as ended:
        leaving.status = ended.code
        raise


class _Leaving:
    """The last thing that this process does."""

    def __init__(self) -> None:
        self.status: object = None

    def leave(self) -> None:
        """Leave without taking torch and its companions apart piece by piece, which takes two seconds."""
        if isinstance(self.status, int):
            sys.stdout.flush()
            sys.stderr.flush()
            logging.shutdown()
            os._exit(self.status)
