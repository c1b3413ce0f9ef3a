"""Progress of a computation, reported to a callback while it runs; no number depends on it.

Within `watched`, computations report the fraction that is done. Parts may be nested: a batch within a chunk, a layer
within a batch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class _Part:
    tell: Callable[[float], None]
    start: float
    stop: float
    is_whole: bool = False


_part: ContextVar[_Part | None] = ContextVar("part", default=None)


@contextmanager
def watched(tell: Callable[[float], None]) -> Iterator[None]:
    """Within the context, report the fraction that is done to a function."""
    token = _part.set(_Part(tell, 0.0, 1.0, is_whole=True))
    try:
        yield
    finally:
        _part.reset(token)


@contextmanager
def part(start: float, stop: float) -> Iterator[None]:
    """Within the context, reported fractions are those of this range of the enclosing part, or of the whole."""
    around = _part.get()
    if around is None:
        yield
        return
    length = around.stop - around.start
    inner = _Part(around.tell, around.start + start * length, around.start + stop * length)
    token = _part.set(inner)
    try:
        yield
        inner.tell(inner.stop)
    finally:
        _part.reset(token)


def tell_share(share: float) -> None:
    """Report which fraction of the innermost part is done; outside of parts nothing is reported."""
    inner = _part.get()
    if inner is not None and not inner.is_whole:
        inner.tell(inner.start + share * (inner.stop - inner.start))
