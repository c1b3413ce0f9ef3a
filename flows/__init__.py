"""The flows, and the one door to everything: `python -m flows VERB`."""

import os

import tasks  # noqa: F401 - has errors shown in one line, also those of the imports that follow

# Read when Prefect is first imported, which in a terminal would print a notice and send usage data.
os.environ.setdefault("DO_NOT_TRACK", "1")
