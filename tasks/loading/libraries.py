"""How libraries and this process behave around a model: what they print and fetch, freed memory kept."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# The parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1  # bytes; mallopt takes an int


def shut_out_fetched_kernels() -> None:
    """Make the package `kernels` count as not installed, before a library looks for it.

    bitsandbytes and transformers use it, where it is installed, to fetch native code from the hub and run it.
    """
    sys.modules["kernels"] = None  # type: ignore[assignment]  # Python takes this for "cannot be imported"


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep "Loading weights" bars out of the log within the context."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()


@contextmanager
def without_warnings_of_transformers() -> Iterator[None]:
    """Keep what transformers logs, other than errors, from the terminal within the context."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def keep_freed_memory() -> None:
    """Let glibc keep freed memory, up to 2 GiB per allocation, for this process's later tensors.

    By default it maps memory for each large tensor and unmaps it afterwards, so that every forward pass touches all of
    its memory for the first time: 5 to 15 % of its time on a CPU are such page faults.
    """
    if mallopt := _glibc("mallopt"):
        for name in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            mallopt(name, _LARGEST)


def give_back_freed_memory() -> None:
    """Return freed memory to the system, for what does not allocate with this C library."""
    if trim := _glibc("malloc_trim"):
        trim(0)


def _glibc(name: str) -> Any:  # noqa: ANN401 - a C function
    """Return a function of glibc; None with other C libraries."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
