"""How far a computation is, told to a function of the caller's while it goes on; no number depends on it.

In: within `watched`, computations that say which part of the whole they are at. Out: shares between 0 and 1. A part may
have parts of its own: a batch within a chunk, a layer within a batch.
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


_watcher: ContextVar[Callable[[float], None] | None] = ContextVar("watcher", default=None)
_part: ContextVar[_Part | None] = ContextVar("part", default=None)


@contextmanager
def watched(tell: Callable[[float], None]) -> Iterator[None]:
    """Within the context, have the share that is done told to a function."""
    token = _watcher.set(tell)
    try:
        yield
    finally:
        _watcher.reset(token)


@contextmanager
def part(start: float, stop: float) -> Iterator[None]:
    """Within the context, what is told lies between these shares of the part around it, or of the whole."""
    watcher, around = _watcher.get(), _part.get()
    if watcher is None:
        yield
        return
    around = around or _Part(watcher, 0.0, 1.0)
    length = around.stop - around.start
    inner = _Part(around.tell, around.start + start * length, around.start + stop * length)
    token = _part.set(inner)
    try:
        yield
        inner.tell(inner.stop)
    finally:
        _part.reset(token)


def tell_share(share: float) -> None:
    """Tell which share of the innermost part is done; outside of parts nobody is told."""
    inner = _part.get()
    if inner is not None:
        inner.tell(inner.start + share * (inner.stop - inner.start))
