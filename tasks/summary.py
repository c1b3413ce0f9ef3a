"""What a command prints when a run is complete: the comparisons by question, and where the results are."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tasks.answers import COLUMNS, TITLES, answers_of, read_questions

_TEXTS = ("comparison", "answer")


def print_summary(run_id: str, database: str) -> None:
    """Print the answers of a run's question views as tables."""
    console = Console()
    if not console.is_terminal:  # a log has no width of its own
        console = Console(width=150)
    console.print(f"Run {run_id}. Improvements are in nats per answer token; positive is better.")
    for view, rows in answers_of(read_questions(run_id, TITLES)).items():
        console.print(_table(TITLES[view], rows))
    console.print(f"Results: {database} (try: SELECT * FROM outcome)", soft_wrap=True)


def _table(title: str, rows: Sequence[dict[str, str]]) -> Table:
    """Return the comparisons of one question."""
    table = Table(title=title, title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in _TEXTS else "right")
    for row in rows:
        table.add_row(*row.values())
    return table
