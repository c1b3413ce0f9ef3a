"""The file prefect.toml: tells `prefect` in another terminal where the server is that `make ui` started.

In: the server's address. Out: the file, in the checkout, for Prefect reads it from the working folder. It is removed
when that server ends; one that was left behind, because the power went, leads nowhere and is passed over.
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
_PATIENCE_SECONDS = 10.0
"""For a connection, and for the answer."""

_THIS_MACHINE = ("127.0.0.1", "localhost", "::1")
_RUNNING = "`make ui` is running here already: {}. Use it, or end it with Ctrl-C first."
_OURS = "# Written by `make ui` and removed when it ends: lets `prefect` and the flows find its server.\n"


@contextmanager
def claimed_address() -> Iterator[None]:
    """Within the context, no other process writes prefect.toml: whoever starts second is refused, however soon.

    Raises:
        UsageError: Another `make ui` is running here, or the file is somebody else's.
    """
    lock = FileLock(ROOT / ".prefect" / "ui.lock")  # which the system lets go of when this process ends
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
        _refuse_foreign_file(ROOT / _FILE)
        yield
    finally:
        lock.release()


def _refuse_foreign_file(path: Path) -> None:
    if not path.exists():
        return
    if not path.read_text(encoding="utf-8").startswith(_OURS):
        raise UsageError(
            f"{path} is not from `make ui`, which would write its server's address there. Use the server that the file "
            "names, as README.md describes under 'With a Prefect server', or move the file away and start again."
        )
    url = _read_url(path)
    if url and is_answering(url):
        raise UsageError(_RUNNING.format(url.removesuffix("/api")))


def write_address(url: str) -> None:
    """Write the address of a server's API into prefect.toml."""
    write_atomically(ROOT / _FILE, f'{_OURS}[api]\nurl = "{url}"\n'.encode())


def remove_address(url: str) -> None:
    """Remove prefect.toml if it has this address."""
    path = ROOT / _FILE
    if path.is_file() and _read_url(path) == url:
        path.unlink(missing_ok=True)


def is_answering(url: str, seconds: float = 2.0) -> bool:
    """Tell whether the API of a Prefect server answers at an address."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=seconds) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):  # a URLError is an OSError
        return False


def is_there(url: str) -> bool:
    """Tell whether anything answers at the address of an API within twenty seconds, even if it refuses to."""
    try:
        urllib.request.urlopen(f"{url}/health", timeout=_PATIENCE_SECONDS).close()
    except urllib.error.HTTPError:
        return True
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return True


@contextmanager
def without_profile() -> Iterator[str | None]:
    """Within the context, use no server that only the user's Prefect profile names, unless it is on this machine.

    A profile is for all projects of a user, and its server may be a service of others; what is meant for this project
    stands in the environment or in prefect.toml.

    Yields:
        The address that is passed over; None if there is none.
    """
    url = PREFECT_API_URL.value()
    is_named_here = "PREFECT_API_URL" in os.environ or _read_url(Path(_FILE)) is not None
    if url is None or is_named_here or urllib.parse.urlsplit(url).hostname in _THIS_MACHINE:
        yield None
        return
    os.environ["PREFECT_API_URL"] = ""  # for the processes that this one starts
    with temporary_settings({PREFECT_API_URL: None}):
        yield url


@contextmanager
def without_stale_address() -> Iterator[str | None]:
    """Within the context, use no server if prefect.toml of an earlier `make ui` names one that no longer answers.

    Yields:
        The address that is passed over; None if there is none.
    """
    path = Path(_FILE)  # where Prefect looks
    is_ours = path.is_file() and path.read_text(encoding="utf-8").startswith(_OURS)
    url = _read_url(path) if is_ours else None
    if url is None or PREFECT_API_URL.value() != url or is_answering(url):
        yield None
        return
    os.environ["PREFECT_API_URL"] = ""  # for the processes that this one starts
    with temporary_settings({PREFECT_API_URL: None}):
        yield url


def _read_url(path: Path) -> str | None:
    """Return the address in a file; None where it is damaged, as after a power cut."""
    try:
        url = tomllib.loads(path.read_text(encoding="utf-8"))["api"]["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(url)
