"""Draws a benchmark's grids: in the terminal, or as Markdown for the documentation."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tasks.bench.grids import Grid, grids_of, headings_of
from tasks.bench.records import Bench

_COLUMNS = 100
_MARKED = {"missed": "[yellow]missed[/]"}


def print_bench(bench: Bench) -> None:
    """Print a benchmark within 100 columns."""
    console = Console(highlight=False, width=_COLUMNS)
    for line in headings_of(bench):
        console.print(line, markup=False)
    for grid in grids_of(bench):
        console.print()
        console.print(grid.title, style="bold", markup=False)
        console.print(_drawn(grid))


def as_markdown(bench: Bench) -> str:
    """Return a benchmark as Markdown."""
    lines = [f"{line}  " for line in headings_of(bench)]
    for grid in grids_of(bench):
        numbers = len(grid.columns) - grid.text_columns
        lines += ["", f"**{grid.title}**", "", _line(grid.columns)]
        lines.append(_line([*["---"] * grid.text_columns, *["---:"] * numbers]))
        lines += [_line(row) for row in grid.rows]
    return "\n".join(lines) + "\n"


def _line(cells: tuple[str, ...] | list[str]) -> str:
    escaped = (cell.replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _drawn(grid: Grid) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for number, column in enumerate(grid.columns):
        is_text = number < grid.text_columns
        table.add_column(column, justify="left" if is_text else "right", no_wrap=grid.text_columns > 1 or not is_text)
    for row in grid.rows:
        table.add_row(*(_MARKED.get(cell, escape(cell)) for cell in row))
    return table
