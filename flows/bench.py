"""This project's methods beside the notebook's, lm-eval's and plain batching, as ratios: `make bench`.

No flow and no server: a second process beside it would take its share of the processor. What it prints it also writes
to artifacts/bench.json and artifacts/bench/<id>.json, which the next run of an experiment publishes as table bench.
`python -m flows.bench --help` lists the flags; docs/performance.md says how to read it.
"""

import sys

from tasks.bench.command import run_command

if __name__ == "__main__":
    sys.exit(run_command())
