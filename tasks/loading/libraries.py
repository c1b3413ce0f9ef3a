"""How libraries are told to behave before they load a model: quietly, and without fetching code.

In: nothing. Out: their settings, changed for a while or for this process.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def shut_out_fetched_kernels() -> None:
    """Let the package `kernels` count as not installed, before a library asks for it.

    Where it is installed, bitsandbytes and transformers use it to fetch native code from the hub, and run that.
    """
    sys.modules["kernels"] = None  # type: ignore[assignment]  # what Python takes for "cannot be imported"


@contextmanager
def without_progress_bars() -> Iterator[None]:
    """Keep "Loading weights" bars out of the log, and leave the library's setting as it was."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
