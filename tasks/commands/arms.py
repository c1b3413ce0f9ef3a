"""The verb `arms`: the built-in texts as a file for `run --arms`.

In: nothing. Out: YAML on standard output, to be changed and added to.
"""

import argparse
import sys

from tasks.loading.arms_file import as_file
from tasks.priming.arms.arms import BUILT_IN_ARMS


def execute(options: argparse.Namespace) -> int:
    """Print the built-in arms."""
    sys.stdout.write(as_file(BUILT_IN_ARMS))
    return 0
