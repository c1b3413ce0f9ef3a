"""Runs side by side: `python -m flows compare RUN_A RUN_B ...`, or a page in the UI.

As a deployment: `prefect deployment run compare/compare -p runs='["RUN_A", "RUN_B"]'`.
"""

from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks.commands.compare import DEFAULT_RUNS, name_comparison, show_comparison
from tasks.loading.redaction import keeps_secrets

Runs = Annotated[
    tuple[str, ...],
    Field(min_length=2, description="Run ids, beginnings of ids, latest or previous; all are compared with the first."),
]


@keeps_secrets
@flow(name="compare", flow_run_name=name_comparison)
def compare(runs: Runs = DEFAULT_RUNS) -> None:
    """Compare complete runs on the samples that they share, and show the comparison as a page."""
    show_comparison(runs)


if __name__ == "__main__":
    from flows.__main__ import enter

    enter("compare")
