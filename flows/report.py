"""The report of an earlier run: `python -m flows.report RUN [--output FILE] [--plots FOLDER]`.

Every run writes its own as it ends; this writes that of any run again, also of one that did not end. The flow does the
same where it is deployed.

Status 0: the report is written. 2: what was given cannot be used.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks.commands.guard import guarded
from tasks.loading.redaction import keeps_secrets
from tasks.priming.errors import UsageError
from tasks.reading.runs import LATEST, find_run
from tasks.report.page import write_report
from tasks.report.plots import write_plots

Run = Annotated[str, Field(min_length=1, description="A run id, the beginning of one, or latest.")]


@keeps_secrets
@flow(name="report", flow_run_name="report of {run}")
def report(run: Run = LATEST) -> str:
    """Write the report of a run that is published, and return where it is.

    Args:
        run: A run id, the beginning of one, or latest.
    """
    return str(write_report(find_run(run)))


@guarded()
def main(arguments: Sequence[str] | None = None) -> int:
    """Write a report without a server, say where it is, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.report", description="Write the report of a run as one HTML file.", allow_abbrev=False
    )
    parser.add_argument(
        "run", metavar="RUN", nargs="?", default=LATEST, help=f"A run id, the beginning of one, or {LATEST} (default)."
    )
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="Where to write it (default: artifacts/reports/<run id>.html)."
    )
    parser.add_argument("--plots", metavar="FOLDER", type=Path, help="Write each plot as a PNG file as well.")
    values = parser.parse_args(arguments)
    if values.output and values.output.is_dir():
        raise UsageError(f"{values.output} is a folder. Give --output a file in it, such as report.html.")
    try:
        run_id = find_run(values.run)
        path = write_report(run_id, values.output)
        plots = write_plots(run_id, values.plots) if values.plots else []
    except OSError as error:
        raise UsageError(f"The report cannot be written: {error}. Give --output a file that can be written.") from error
    sys.stdout.write("".join(f"{written}\n" for written in (path, *plots)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
