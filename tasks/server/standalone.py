"""A flow as a command of its own: which server it uses, how it is stopped, and what it leaves running.

In: this process. Its server is that of PREFECT_API_URL or prefect.toml if that answers, else a temporary one. Out: it
ends within five seconds of Ctrl-C or SIGTERM, and its temporary server with it, even after a `kill -9`.
"""

import atexit
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prefect.settings import (
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    PREFECT_SERVER_EPHEMERAL_ENABLED,
    get_current_settings,
    temporary_settings,
)

from tasks.loading.redaction import redacted
from tasks.priming.errors import UsageError
from tasks.server.address import is_there, without_unwanted_server
from tasks.server.processes import ended_by_signals, leave_no_orphans
from tasks.store import artifacts

_END_SECONDS = 3.0
"""The run's state is written within one; the rest is for a temporary server, whose end the guardian ensures."""


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
    """Refuse folders that cannot hold a database: its address would give some characters a meaning.

    Args:
        prefect_home: The folder of the database of a Prefect server that will be started; None: none will.

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
    """Within the context, run a flow as a command; SystemExit, with which it ends, ends the process at once."""
    statuses: list[object] = []
    atexit.register(_leave, statuses)  # registered before Prefect registers anything, so it comes last
    try:
        with without_unwanted_server() as message, ended_by_signals(_END_SECONDS):
            sys.stderr.write(redacted(message))
            if not get_current_settings().api.url:
                leave_no_orphans()
            settings = {
                # At its end a run waits up to a second for this thread; the lock file tells whether the run is alive.
                PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
                # Of all profiles, only those that come with Prefect allow a temporary server.
                PREFECT_SERVER_EPHEMERAL_ENABLED: True,
            }
            with temporary_settings(settings):
                yield
    except SystemExit as ended:
        statuses.append(ended.code)
        raise


def _leave(statuses: list[object]) -> None:
    """End the process without taking torch apart piece by piece, which takes two seconds."""
    for status in statuses:
        if isinstance(status, int):
            sys.stdout.flush()
            sys.stderr.flush()
            logging.shutdown()
            os._exit(status)
