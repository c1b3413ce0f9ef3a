"""What the machine has on which runs are made, and what each profile needs and lacks there.

Print it here by `python -m flows.doctor` (`make doctor`), which needs no server; or ask the machine of a worker by
`prefect deployment run doctor/doctor`, and read the table in the UI.
"""

import sys

from prefect import flow

from tasks.commands.doctor import examine
from tasks.commands.doctor_report import print_findings, show_findings
from tasks.commands.guard import guarded
from tasks.loading.redaction import keeps_secrets


@keeps_secrets
@flow(name="doctor", flow_run_name="what this machine has")
def doctor() -> bool:
    """Examine the machine of this worker, show what was found as a table, and tell whether nothing is broken."""
    return show_findings(examine())


@guarded()
def main() -> int:
    """Print what was found, and return the exit status: 1 if something is broken."""
    return print_findings(examine())


if __name__ == "__main__":
    sys.exit(main())
