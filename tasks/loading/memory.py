"""How this process holds memory: freed memory is kept for the next tensor rather than given back, until told so.

glibc gives every large tensor memory of its own and takes it away when the tensor goes, so that each forward pass would
touch all of its memory for the first time again: 5 to 15 % of its time on a CPU are such page faults.
"""

import ctypes
import sys
from typing import Any

# The parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1  # bytes; what does not fit an int cannot be asked for


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed, up to 2 GiB a piece, for this process's later tensors; numbers do not change.

    Returns:
        Whether it did: on other C libraries there is nothing to ask for.
    """
    mallopt = _function("mallopt")
    return mallopt is not None and all(mallopt(name, _LARGEST) == 1 for name in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))


def give_back_freed_memory() -> None:
    """Give what is freed back to the system: what comes next needs memory that is not this C library's."""
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def _function(name: str) -> Any:  # noqa: ANN401 - a C function
    """Return a function of glibc; None on other C libraries."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
