"""What a command prints when a run is complete: the routed comparisons, and where the results are."""

from rich.console import Console
from rich.table import Table

from tasks.results import read_question


def print_summary(run_id: str, database: str) -> None:
    """Print the answers of a run's question views as a table."""
    console = Console()
    if not console.is_terminal:  # a log has no width of its own
        console = Console(width=150)
    table = Table(title=f"Routed comparisons of run {run_id}", caption="improvement: nats per answer token, > 0 better")
    for column in ("comparison", "n", "improvement", "interval", "d", "p (Holm)", "win", "tie", "verdict"):
        table.add_column(column, justify="left" if column in ("comparison", "verdict") else "right")
    answers: dict[str, str] = {}
    for view in ("does_priming_help", "is_generated_better_than_static"):
        for row in read_question(view, run_id):
            answers[view] = row["answer"]
            table.add_row(
                row["comparison"],
                str(row["n"]),
                _number(row["improvement_mean"], "+.4f"),
                f"{_number(row['improvement_low'], '+.4f')} to {_number(row['improvement_high'], '+.4f')}",
                _number(row["cohens_d"], "+.3f"),
                _number(row["p_holm"], ".2g"),
                _number(row["win_rate"], ".1%"),
                _number(row["tie_rate"], ".1%"),
                row["verdict"],
            )
    console.print(table)
    for view, answer in answers.items():
        console.print(f"{view.replace('_', ' ').capitalize()}? {answer}")
    console.print(f"Results: {database} (try: SELECT * FROM outcome)", soft_wrap=True)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
