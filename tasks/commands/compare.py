"""The verb `compare`: complete runs side by side, and paired differences on the samples that they share.

In: two or more runs in artifacts/results.duckdb, all compared with the first. Out: a page, printed or shown in the UI.
"""

import argparse
from collections.abc import Sequence

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from tasks.commands.compare_page import MOST_RUNS, describe_pairs, describe_runs, read_compared
from tasks.pages.markdown import to_markdown
from tasks.pages.terminal import print_blocks
from tasks.priming.errors import UsageError
from tasks.reading.database import RunRows
from tasks.reading.runs import LATEST, PREVIOUS, find_complete_run

DEFAULT_RUNS = (PREVIOUS, LATEST)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which runs."""
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help=f"Two or more run ids, beginnings of ids, {LATEST} or {PREVIOUS}; default: {' '.join(DEFAULT_RUNS)}. All "
        "are compared with the first.",
    )


def execute(options: argparse.Namespace) -> int:
    """Print the comparison."""
    runs = _find_runs(options.runs or DEFAULT_RUNS)
    print_blocks(describe_runs(runs))
    print_blocks(describe_pairs(runs))
    return 0


def name_comparison() -> str:
    """Return what the UI calls a comparison: the runs as they were named."""
    return f"compare {', '.join(flow_run.get_parameters()['runs'])}"


def show_comparison(texts: Sequence[str]) -> None:
    """Show the comparison in the UI.

    Raises:
        UsageError: The runs cannot be found, or share no sample; they are described all the same.
    """
    runs = _find_runs(texts)
    blocks = describe_runs(runs)
    try:
        blocks += describe_pairs(runs)
    finally:
        names = ", ".join(run.run["run_id"] for run in runs)
        create_markdown_artifact(to_markdown(blocks), key="comparison", description=f"Runs {names}.")


def _find_runs(texts: Sequence[str]) -> list[RunRows]:
    if not 2 <= len(texts) <= MOST_RUNS:
        raise UsageError(
            f"{len(texts)} run was named; 2 to {MOST_RUNS} can be compared. "
            f"Name another one, for example: python -m flows compare {' '.join(texts[:1])} {LATEST}"
        )
    found = [find_complete_run(text) for text in texts]
    for number, run_id in enumerate(found):
        if run_id in found[:number]:
            raise UsageError(
                f"{texts[found.index(run_id)]!r} and {texts[number]!r} are the same run, {run_id}. "
                "Name each run once; python -m flows runs lists them."
            )
    return [read_compared(run_id) for run_id in found]
