"""The report of a run, written again: `python -m flows report RUN`, or this flow where it is deployed."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks.loading.redaction import keeps_secrets
from tasks.reading.runs import LATEST, find_run
from tasks.report.page import write_report

Run = Annotated[str, Field(min_length=1, description="A run id, the beginning of one, or latest.")]


@keeps_secrets
@flow(name="report", flow_run_name="report of {run}")
def report(run: Run = LATEST) -> str:
    """Write the report of a published run, and return its path."""
    return str(write_report(find_run(run)))


if __name__ == "__main__":
    from flows.__main__ import enter

    enter("report")
