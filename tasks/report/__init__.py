"""The report of a run."""

import os

# Read when matplotlib is first imported. Processes started by Jupyter inherit its backend, which may not be installed
# here; plots are only drawn into files.
os.environ["MPLBACKEND"] = "agg"
