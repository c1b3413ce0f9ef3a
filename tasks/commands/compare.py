"""The command that sets runs side by side: settings and answers, and paired differences on the samples they share.

In: two or more complete runs in artifacts/results.duckdb. Out: a page, printed or shown in the UI; nothing is stored.
Every run is compared with the first.

Status 0: printed. 2: what was given cannot be used.
"""

import argparse
from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from tasks.commands.compare_page import MOST_RUNS, describe_pair, describe_runs, letter, shared_passages
from tasks.commands.guard import guarded
from tasks.pages.blocks import Block
from tasks.pages.markdown import to_markdown
from tasks.pages.terminal import print_blocks
from tasks.priming.errors import UsageError
from tasks.reading.run_rows import PREVIOUS, RunRows, find_complete_run, read_rows_of_run
from tasks.reading.runs import LATEST

DEFAULT_RUNS = (PREVIOUS, LATEST)
"""What is compared where nothing is named: the latest complete run with the one before."""


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Print a comparison of runs, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.compare",
        description="Set complete runs side by side; all are compared with the first.",
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
    print_blocks(compare_with_first(runs))
    return 0


def name_comparison() -> str:
    """Return what the UI calls a comparison: the runs as they were named."""
    return f"compare {', '.join(flow_run.get_parameters()['runs'])}"


def show_comparison(texts: Sequence[str]) -> None:
    """Show a comparison of runs in the UI.

    Raises:
        UsageError: As in find_runs and compare_with_first.
    """
    runs = find_runs(texts)
    blocks = describe_runs(runs)
    try:
        blocks += compare_with_first(runs)
    finally:  # runs that share no sample are described all the same
        names = ", ".join(run.run_id for run in runs)
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
    return [read_rows_of_run(run_id) for run_id in found]


def compare_with_first(runs: Sequence[RunRows]) -> list[Block]:
    """Return the paired differences of every other run to the first.

    Raises:
        UsageError: None of them shares a sample with it.
    """
    first, *others = runs
    sharing = [(number, run) for number, run in enumerate(others, 1) if shared_passages(first, run)]
    if len(sharing) < len(others):
        missing = [run.run_id for run in others if not shared_passages(first, run)]
        raise UsageError(
            f"Run {first.run_id} shares no sample with {', '.join(missing)}, so there is nothing to pair. Runs share "
            "samples where passage, query and answer are the same: take the same data, and with the draw `nested` the "
            "same seed (--seed)."
        )
    return [block for number, run in sharing for block in describe_pair(first, run, (letter(0), letter(number)))]
