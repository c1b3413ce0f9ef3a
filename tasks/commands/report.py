"""The verb `report`: the report of a run, written again; also of a run that did not complete."""

import argparse
import sys
from pathlib import Path

from tasks.priming.errors import UsageError
from tasks.reading.runs import LATEST, find_run
from tasks.report.page import write_report
from tasks.report.plots import write_plots


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which run, and where to write."""
    parser.add_argument(
        "run", metavar="RUN", nargs="?", default=LATEST, help=f"A run id, the beginning of one, or {LATEST} (default)."
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="Where to write it (default: artifacts/reports/<run id>.html)."
    )
    parser.add_argument("--plots", metavar="FOLDER", type=Path, help="Write each plot as a PNG file as well.")


def execute(options: argparse.Namespace) -> int:
    """Write the report, and print its path."""
    if options.output and options.output.is_dir():
        raise UsageError(f"{options.output} is a folder. Give --output a file in it, such as report.html.")
    run_id = find_run(options.run)
    try:
        written = [write_report(run_id, options.output)]
        if options.plots:
            written += write_plots(run_id, options.plots)
    except OSError as error:
        raise UsageError(
            f"The report cannot be written: {str(error).rstrip('.')}. Give --output a file that can be written."
        ) from error
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0
