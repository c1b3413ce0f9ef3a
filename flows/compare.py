"""Runs side by side: `python -m flows.compare RUN_A RUN_B ...`, ids, beginnings of ids, `latest` or `previous`.

What differs in how they were made, what each found, and paired differences on the samples that they share. As a
deployment it is `prefect deployment run compare/compare -p runs='["RUN_A", "RUN_B"]'`, and a page in the UI.
"""

import sys
from typing import Annotated

from prefect import flow
from pydantic import Field

from tasks.commands.compare import DEFAULT_RUNS, main, name_comparison, show_comparison
from tasks.loading.redaction import keeps_secrets

Runs = Annotated[
    tuple[str, ...],
    Field(min_length=2, description="Run ids, beginnings of ids, latest or previous; all are compared with the first."),
]


@keeps_secrets
@flow(name="compare", flow_run_name=name_comparison)
def compare(runs: Runs = DEFAULT_RUNS) -> None:
    """Compare complete runs, and show the comparison as a page.

    Args:
        runs: Run ids, beginnings of ids, latest or previous; all are compared with the first.
    """
    show_comparison(runs)


if __name__ == "__main__":
    sys.exit(main())
