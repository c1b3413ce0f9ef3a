"""What a command prints when a run is complete: the comparisons by question, and where the results are."""

from typing import Any

from rich.console import Console
from rich.table import Table

from tasks.results import read_question

_TITLES = {
    "does_priming_help": "Does priming help?",
    "is_generated_better_than_static": "Is generated better than static?",
    "is_generation_worth_its_compute": "Is generation worth its compute?",
    "does_the_content_matter": "What is a gain made of?",
    "does_routing_help": "Does routing by similarity help?",
}


def print_summary(run_id: str, database: str) -> None:
    """Print the answers of a run's question views as tables."""
    console = Console()
    if not console.is_terminal:  # a log has no width of its own
        console = Console(width=150)
    console.print(f"Run {run_id}. Improvements are in nats per answer token; positive is better.")
    for view, title in _TITLES.items():
        rows = read_question(view, run_id)
        if rows:
            console.print(_table(title, rows))
    console.print(f"Results: {database} (try: SELECT * FROM outcome)", soft_wrap=True)


def _table(title: str, rows: list[dict[str, Any]]) -> Table:
    """Return the comparisons of one question."""
    table = Table(title=title, title_justify="left")
    for column in ("comparison", "n", "improvement", "interval", "d", "p (adjusted)", "win", "tie", "answer"):
        table.add_column(column, justify="left" if column in ("comparison", "answer") else "right")
    for row in rows:
        table.add_row(
            row.get("question") or row["comparison"],
            str(row["n"]),
            _number(row["improvement_mean"], "+.4f"),
            f"{_number(row['improvement_low'], '+.4f')} to {_number(row['improvement_high'], '+.4f')}",
            _number(row["cohens_d"], "+.3f"),
            _number(row["p_adjusted"], ".2g"),
            _number(row["win_rate"], ".1%"),
            _number(row["tie_rate"], ".1%"),
            row["answer"] or row["verdict"],  # an oracle answers nothing
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
