"""The report of a run."""

import os

# Read when matplotlib is first imported. Jupyter names its own in all that it starts, which may not be installed here;
# plots are drawn into files alone.
os.environ["MPLBACKEND"] = "agg"
