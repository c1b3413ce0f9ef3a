"""The address of the Prefect server: prefect.toml, by which `prefect` in another terminal finds the one of `make ui`.

Prefect reads the file from the working folder. It is removed when that server ends; a stale one, e.g. after
a power cut, is ignored.
"""

import http.client
import os
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.priming.errors import UsageError
from tasks.store.artifacts import ROOT, write_atomically

_FILE = "prefect.toml"
_PATIENCE_SECONDS = 10.0  # for a connection, and again for the answer

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_RUNNING = "`make ui` is running here already: {}. Use it, or end it with Ctrl-C first."
_OURS = "# Written by `make ui` and removed when it ends: lets `prefect` and the flows find its server.\n"


@contextmanager
def claimed_address() -> Iterator[None]:
    """Within the context, no other process writes prefect.toml: a second `make ui` is refused, however soon it starts.

    Raises:
        UsageError: Another `make ui` is running here, or the file was not written by it.
    """
    lock = FileLock(ROOT / ".prefect" / "ui.lock")  # released by the system when this process ends
    Path(lock.lock_file).parent.mkdir(exist_ok=True)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(
            "`make ui` is being started in this folder already. Use that one, or end it with Ctrl-C first."
            if (url := _read_url(ROOT / _FILE)) is None
            else _RUNNING.format(url.removesuffix("/api"))
        ) from None
    try:
        path = ROOT / _FILE
        if path.exists() and not path.read_text(encoding="utf-8").startswith(_OURS):
            raise UsageError(
                f"{path} is not from `make ui`, which would write its server's address there. Use the server that the "
                "file names, as README.md describes under 'With a Prefect server', or move the file away and start "
                "again."
            )
        if (url := _read_url(path)) and is_answering(url):
            raise UsageError(_RUNNING.format(url.removesuffix("/api")))
        yield
    finally:
        lock.release()


def write_address(url: str) -> None:
    """Write the address of a server's API to prefect.toml."""
    write_atomically(ROOT / _FILE, f'{_OURS}[api]\nurl = "{url}"\n'.encode())


def remove_address(url: str) -> None:
    """Remove prefect.toml if it has this address."""
    path = ROOT / _FILE
    if path.is_file() and _read_url(path) == url:
        path.unlink(missing_ok=True)


def is_answering(url: str) -> bool:
    """Tell whether the API of a Prefect server answers at an address."""
    return _status(url, 2.0) == 200


def is_there(url: str) -> bool:
    """Tell whether anything answers at the address of an API within twenty seconds, even with an error."""
    return _status(url, _PATIENCE_SECONDS) is not None


def _status(url: str, seconds: float) -> int | None:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=seconds) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError, http.client.HTTPException):
        return None


@contextmanager
def without_unwanted_server() -> Iterator[str]:
    """Within the context, ignore a configured server that this command should not use.

    That is one of a stale prefect.toml, written by an earlier `make ui`, and one on another machine that only the
    user's Prefect profile names: a profile is for all projects, and its server may be a service of others. A server
    meant for this project is named in the environment or in prefect.toml.

    Yields:
        What to tell the user; "" if nothing is ignored.
    """
    url, path = PREFECT_API_URL.value(), Path(_FILE)  # where Prefect looks
    named_here = _read_url(path)
    is_profiles = url is not None and named_here is None and "PREFECT_API_URL" not in os.environ
    message = ""
    if url and url == named_here and path.read_text(encoding="utf-8").startswith(_OURS) and not is_answering(url):
        message = (
            f"The server of prefect.toml, {url}, does not answer: a temporary one is used, whose runs no UI shows. "
            "`make ui` starts one to watch; the file can be removed.\n"
        )
    elif is_profiles and urllib.parse.urlsplit(url).hostname not in _THIS_MACHINE:
        message = (
            f"The server of your Prefect profile, {url}, is not used: it would receive this run's logs and results. A "
            f"temporary one is used. To use yours: export PREFECT_API_URL={url}\n"
        )
    if not message:
        yield ""
        return
    os.environ["PREFECT_API_URL"] = ""  # for the processes that this one starts
    with temporary_settings({PREFECT_API_URL: None}):
        yield message


def _read_url(path: Path) -> str | None:
    """Return the address in a file; None if there is none or it is damaged."""
    try:
        url = tomllib.loads(path.read_text(encoding="utf-8"))["api"]["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(url)
