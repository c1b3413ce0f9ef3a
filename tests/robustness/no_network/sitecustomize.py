"""Python reads this file before anything else where its folder is on PYTHONPATH: nothing but this machine is reached.

Every attempt to reach another host is written down, a line each, into the file that SURROGATE_TEST_ATTEMPTS names, and
refused. It holds for every Python process that is started from such a one.
"""

import errno
import os
import sys

_EVENTS = {"socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname"}
_HERE = ("localhost", "::1", "0.0.0.0", "::")
_LIST = os.environ["SURROGATE_TEST_ATTEMPTS"]


def _host(event: str, arguments: "tuple[object, ...]") -> "str | None":
    """Return whom an event wants to reach, None if that is no other machine."""
    place = arguments[0] if event.startswith("socket.get") else arguments[1]
    host = place[0] if isinstance(place, tuple) and place else place
    if isinstance(host, bytes):
        host = host.decode(errors="replace")
    # A path is a socket of this machine; no host, whoever is connected already.
    if not isinstance(host, str) or host.startswith(("/", "\0", "127.")) or host in ("", *_HERE):
        return None
    return host


def _watch(event: str, arguments: "tuple[object, ...]") -> None:
    if event not in _EVENTS or (host := _host(event, arguments)) is None:
        return
    with open(_LIST, "a", encoding="utf-8") as attempts:
        attempts.write(f"{os.getpid()} {event} {host}\n")
    raise OSError(errno.ENETUNREACH, "this test has no network", host)


sys.addaudithook(_watch)
