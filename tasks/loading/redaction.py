"""What may be shown, logged or stored of texts and errors: no access tokens, no passwords, no control characters.

Secrets are tokens of the hub, passwords in addresses, and the values of environment variables whose names say that they
are secret; libraries put them into errors with a request's headers or address. Prefect stores the exceptions and log
lines of tasks and flows, so all of ours run within `without_secrets`.
"""

import logging
import os
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from tasks.priming.errors import SECRET

HIDDEN = "[hidden]"  # replaces a secret

_SECRET_NAMES = re.compile(
    # Neither PWD, the working folder, nor paths to secrets such as HF_TOKEN_PATH.
    r"(TOKENS?|PASSWORDS?|PASSWD|PASSPHRASE|CREDENTIALS?|SSHPASS|(AUTH|CONNECTION)_STRING|(API|ACCESS|SECRET)KEY)$|"
    r"(^|_)(KEYS?|PASS|PAT)$|_PWD$|SECRETS?(_|$)"
)
# A shorter value may be an ordinary word, which would be removed from every message.
_LEAST_CHARACTERS = 8
_SHAPES = re.compile(SECRET)

_SHOWN_CHARACTERS = 400  # of a library's error

AnyError = TypeVar("AnyError", bound=BaseException)


class _Flow(Protocol):
    fn: Any


AnyFlow = TypeVar("AnyFlow", bound=_Flow)


def redacted(text: str) -> str:
    """Return a text without secrets."""
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    # The host of an address with a password is kept.
    return _SHAPES.sub(lambda found: f"://{HIDDEN}@" if found[0].endswith("@") else HIDDEN, text)


def printable(text: str) -> str:
    """Return a text with its control characters, which a terminal would interpret, escaped."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def brief(error: BaseException) -> str:
    """Return an error's text on one line, shortened and without secrets."""
    return textwrap.shorten(printable(redacted(str(error))), _SHOWN_CHARACTERS, placeholder=" ...")


def presentable(error: AnyError) -> AnyError | None:
    """Remove the secrets from an exception, its notes and its causes, and return it.

    A cause whose text cannot be changed is dropped; if that is so of the exception itself, None is returned.
    """
    _redact_chain(error, set())
    return error if _is_clean(error) else None


@contextmanager
def without_secrets() -> Iterator[None]:
    """Within the context, or in the decorated function, remove secrets from exceptions and logs."""
    redact_logs()
    try:
        yield
    except Exception as error:
        if presentable(error) is not None:
            raise
        raise RuntimeError(redacted(f"{type(error).__name__}: {error}")) from None


def keeps_secrets(flow: AnyFlow) -> AnyFlow:
    """Return a flow that runs within `without_secrets`.

    Applied to the flow, not to its function: Prefect derives a flow's version from the file of the function.
    """
    flow.fn = without_secrets()(flow.fn)
    return flow


def redact_logs() -> None:
    """From now on, remove secrets and control characters from everything that this process logs."""
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def make_redacted(*args: Any, **kwargs: Any) -> logging.LogRecord:  # noqa: ANN401 - those of LogRecord
        record = make(*args, **kwargs)
        with suppress(Exception):  # arguments that do not fit the message are reported by the handler
            message = record.getMessage()
            shown = printable(redacted(message))
            if shown != message:
                record.msg, record.args = shown, ()
        if record.exc_info and record.exc_info[1] is not None and presentable(record.exc_info[1]) is None:
            record.exc_info = None
        return record

    vars(make_redacted)["redacts"] = True
    logging.setLogRecordFactory(make_redacted)


def _is_clean(error: BaseException) -> bool:
    shown = f"{error} {error!r}"
    return redacted(shown) == shown


def _redact_chain(error: BaseException, seen: set[int]) -> None:
    seen.add(id(error))
    error.args = tuple(redacted(part) if isinstance(part, str) else part for part in error.args)
    if hasattr(error, "__notes__"):
        error.__notes__ = [redacted(note) for note in error.__notes__]
    for name in ("__cause__", "__context__"):
        earlier = getattr(error, name)
        if earlier is None or id(earlier) in seen:
            continue
        _redact_chain(earlier, seen)
        if not _is_clean(earlier):
            setattr(error, name, None)


def _secrets() -> list[str]:
    """Return the secret values of this process's environment, the longest first: one may contain another."""
    values = {value.strip() for name, value in os.environ.items() if _SECRET_NAMES.search(name.upper())}
    return sorted((value for value in values if len(value) >= _LEAST_CHARACTERS), key=len, reverse=True)
