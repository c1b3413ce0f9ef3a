"""How this process holds memory: freed memory is kept for the next tensor rather than given back.

glibc gives every large tensor memory of its own and takes it away when the tensor goes, so that each forward pass would
touch all of its memory for the first time again: 5 to 15 % of its time on a CPU are such page faults.
"""

import ctypes
import sys

# The parameters of mallopt(3).
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 2**31 - 1  # bytes; what does not fit an int cannot be asked for


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed, up to 2 GiB a piece, for this process's later tensors; numbers do not change.

    Returns:
        Whether it did: on other C libraries there is nothing to ask for.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(name, _LARGEST) == 1 for name in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD))
