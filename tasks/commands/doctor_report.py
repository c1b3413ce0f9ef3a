"""The findings of the doctor, printed or shown in the UI.

In: findings. Out: a table in the terminal and an exit status, or a table artifact of a flow run.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict

from prefect.artifacts import create_table_artifact
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.commands.doctor import Finding
from tasks.loading.redaction import printable
from tasks.pages.terminal import WIDTH

_COLUMNS = ("section", "name", "state", "value")
_SHOWN = {"ok": "", "lacks": "[yellow]lacks[/]", "broken": "[red]BROKEN[/]"}


def print_findings(findings: Sequence[Finding]) -> int:
    """Print findings by section; return 1 if something is broken, else 0."""
    console = Console(width=WIDTH, highlight=False)
    table = Table(box=None, pad_edge=False, show_header=False)
    for column in _COLUMNS[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(_COLUMNS[-1], overflow="fold")
    section = ""
    for finding in findings:
        shown = finding.section if finding.section != section else ""
        section = finding.section
        name, value = escape(printable(finding.name)), escape(printable(finding.value))
        table.add_row(f"[bold]{shown}[/]", name, _SHOWN[finding.state], value)
    with console.capture() as captured:
        console.print(table)
    sys.stdout.write("\n".join(line.rstrip(" ") for line in captured.get().split("\n")))
    return int(not _is_sound(findings))


def show_findings(findings: Sequence[Finding]) -> bool:
    """Show findings as a table artifact of this flow run, and tell whether nothing is broken."""
    rows = [{name: asdict(finding)[name] for name in _COLUMNS} for finding in findings]
    create_table_artifact(rows, key="doctor", description="What the machine of this worker has, and what it lacks.")
    return _is_sound(findings)


def _is_sound(findings: Sequence[Finding]) -> bool:
    return all(finding.state != "broken" for finding in findings)
