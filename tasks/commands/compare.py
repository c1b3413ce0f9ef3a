"""The command that compares runs: settings and answers, and paired differences on the samples that they share.

In: two or more complete runs in artifacts/results.duckdb. Out: a page, printed or shown in the UI; nothing is stored.
Every run is compared with the first.

Status 0: printed. 2: what was given cannot be used.
"""

import argparse
from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from tasks.commands.compare_page import MOST_RUNS, describe_pairs, describe_runs, read_compared
from tasks.commands.guard import guarded
from tasks.pages.markdown import to_markdown
from tasks.pages.terminal import print_blocks
from tasks.priming.errors import UsageError
from tasks.reading.database import RunRows
from tasks.reading.runs import LATEST, PREVIOUS, find_complete_run

DEFAULT_RUNS = (PREVIOUS, LATEST)
"""Compared by default: the latest complete run with the one before."""


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a comparison of runs, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.compare",
        description="Compare complete runs, all with the first: settings, answers, and paired differences.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help=f"A run id, the beginning of one, {LATEST} or {PREVIOUS}: the newest complete run, the one before. Two or "
        f"more; none: {' '.join(DEFAULT_RUNS)}.",
    )
    values = parser.parse_args(arguments)
    runs = find_runs(values.runs or DEFAULT_RUNS)
    print_blocks(describe_runs(runs))
    print_blocks(describe_pairs(runs))
    return 0


def name_comparison() -> str:
    """Return what the UI calls a comparison: the runs as they were named."""
    return f"compare {', '.join(flow_run.get_parameters()['runs'])}"


def show_comparison(texts: Sequence[str]) -> None:
    """Show a comparison of runs in the UI.

    Raises:
        UsageError: As in find_runs and describe_pairs.
    """
    runs = find_runs(texts)
    blocks = describe_runs(runs)
    try:
        blocks += describe_pairs(runs)
    finally:  # runs are described even if they share no sample
        names = ", ".join(run.run["run_id"] for run in runs)
        create_markdown_artifact(to_markdown(blocks), key="comparison", description=f"Runs {names}.")


def find_runs(texts: Sequence[str]) -> list[RunRows]:
    """Read the runs that texts mean.

    Raises:
        UsageError: Fewer than two, too many, one that is not known or not complete, or one twice.
    """
    if not 2 <= len(texts) <= MOST_RUNS:
        raise UsageError(
            f"{len(texts)} run was named; 2 to {MOST_RUNS} can be compared. "
            f"Name another one, for example: python -m flows.compare {' '.join(texts[:1])} {LATEST}"
        )
    found = [find_complete_run(text) for text in texts]
    for number, run_id in enumerate(found):
        if run_id in found[:number]:
            raise UsageError(
                f"{texts[found.index(run_id)]!r} and {texts[number]!r} are the same run, {run_id}. "
                "Name each run once; `SELECT run_id, profile, started_at FROM run` lists them."
            )
    return [read_compared(run_id) for run_id in found]
