"""What a machine has and what each profile lacks there: `python -m flows doctor`, or of a worker's machine in the UI.

As a deployment: `prefect deployment run doctor/doctor`.
"""

from prefect import flow

from tasks.commands.doctor import show_findings
from tasks.loading.redaction import keeps_secrets


@keeps_secrets
@flow(name="doctor", flow_run_name="what this machine has")
def doctor() -> bool:
    """Examine the machine of this worker, show the findings as a table, and return whether nothing is broken."""
    return show_findings()


if __name__ == "__main__":
    from flows.__main__ import enter

    enter("doctor")
