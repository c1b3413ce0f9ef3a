"""What may be shown, logged or stored of texts and errors: no access tokens, no passwords, nothing a terminal obeys.

In: texts and exceptions, which a library may have made from a request's headers or address. Out: the same without what
is secret: tokens of the hub, passwords in addresses, and the values of environment variables whose names say that they
are secret. Whatever hands an exception on to Prefect, to a manifest or to a terminal does so within `without_secrets`.
"""

import os
import re
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from tasks.priming.refusals import ACCESS_TOKEN

HIDDEN = "[hidden]"
"""What stands in a secret's place."""

_SECRET_NAMES = re.compile(r"(^|_)(TOKEN|SECRET|PASSWORD|API_KEY|AUTH_STRING)$")
# A shorter value may be an ordinary word, which would vanish from every message.
_LEAST_CHARACTERS = 8
_SHAPES = re.compile(rf"{ACCESS_TOKEN}|(?<=://)[^\s/@:]*:[^\s/@]+(?=@)")

_SHOWN_CHARACTERS = 400
"""Of a library's error."""

AnyError = TypeVar("AnyError", bound=BaseException)


def redacted(text: str) -> str:
    """Return a text without secrets."""
    for secret in _secrets():
        text = text.replace(secret, HIDDEN)
    return _SHAPES.sub(HIDDEN, text)


def printable(text: str) -> str:
    """Return a text whose control characters, which a terminal would obey, are spelled out."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def brief(error: BaseException) -> str:
    """Return an error's text on one line, without secrets; some libraries list all that they know."""
    return textwrap.shorten(printable(redacted(str(error))), _SHOWN_CHARACTERS, placeholder=" ...")


def presentable(error: AnyError) -> AnyError | None:
    """Take the secrets out of an exception, of its notes and of those that led to it, and return it.

    Of those that led to it, one whose text cannot be changed is taken away; None if that is so of the exception itself.
    """
    _redact_chain(error, set())
    return error if _is_clean(error) else None


@contextmanager
def without_secrets() -> Iterator[None]:
    """Within the context, or in the decorated function, exceptions lose their secrets on the way out."""
    try:
        yield
    except Exception as error:
        if presentable(error) is not None:
            raise
        raise RuntimeError(redacted(f"{type(error).__name__}: {error}")) from None


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
    """Return the secret values of this process's environment, the longest first: one may hold another."""
    values = {value.strip() for name, value in os.environ.items() if _SECRET_NAMES.search(name.upper())}
    return sorted((value for value in values if len(value) >= _LEAST_CHARACTERS), key=len, reverse=True)
