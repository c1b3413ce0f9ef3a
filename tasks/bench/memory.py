"""The most memory of the processor that a computation holds at a time.

In: something to compute. Out: bytes beyond what was held before. The process's resident memory is read again and again
while it computes, so this is done apart from timing.
"""

import ctypes
import gc
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil

_SECONDS_BETWEEN = 0.002


def peak_cpu_bytes(run: Callable[[], Any]) -> int:
    """Run a computation and return by how much this process's resident memory grew at most."""
    gc.collect()
    _return_free_memory()
    process = psutil.Process()
    before = peak = process.memory_info().rss
    is_done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_done.wait(_SECONDS_BETWEEN):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, name="watch memory", daemon=True)
    watcher.start()
    try:
        run()
    finally:
        is_done.set()
        watcher.join()
    return int(max(peak, process.memory_info().rss) - before)


def _return_free_memory() -> None:
    """Give memory that was freed back to the system: what lies about would serve the computation uncounted."""
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
