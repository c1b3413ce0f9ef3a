"""Tables of a report: what is shown in each cell, and by what it is sorted.

In: rows of the database. Out: text; the template escapes it. Long tables are cut and say where the rest is, so that no
data set can make a report large.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from tasks.pages.numbers import interval
from tasks.reading.database import Row

MOST_ROWS = 400


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell."""

    text: str
    """What is shown."""
    order: float | None = None
    """What it is sorted by in a column of numbers; None sorts last."""


@dataclass(frozen=True, slots=True)
class Column:
    """How one column is made from a row."""

    heading: str
    """What it says at the top."""
    cell: Callable[[Row], Cell]
    """Makes the cell of a row."""
    is_number: bool = True
    """Whether it is set to the right and sorted by its value."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as it is shown."""

    caption: str
    """What it holds."""
    columns: Sequence[Column]
    """Its columns."""
    rows: list[list[Cell]] = field(default_factory=list)
    """Its rows."""
    source: str = ""
    """The view or table of the database that has all rows."""
    left_out: int = 0
    """Rows of the source that are not shown."""


Number: TypeAlias = Callable[[float | None], str]


def make_table(caption: str, columns: Sequence[Column], rows: Iterable[Row], source: str) -> Table:
    """Return a table of rows in the order in which they come; those beyond MOST_ROWS are counted."""
    all_rows = list(rows)
    shown = [[column.cell(row) for column in columns] for row in all_rows[:MOST_ROWS]]
    return Table(caption, columns, shown, source, max(0, len(all_rows) - MOST_ROWS))


def text_column(heading: str, name: str, change: Callable[[str], str] = str) -> Column:
    """Return a column of text; nothing where the row has none."""
    return Column(heading, lambda row: Cell("" if row[name] is None else change(str(row[name]))), is_number=False)


def number_column(heading: str, name: str, form: Number) -> Column:
    """Return a column of numbers in a form such as `percent`."""
    return Column(heading, lambda row: Cell(form(row[name]), row[name]))


def interval_column(heading: str, prefix: str = "improvement") -> Column:
    """Return a column of means with intervals, from the columns prefix_mean, prefix_low and prefix_high."""
    mean, low, high = (f"{prefix}_{end}" for end in ("mean", "low", "high"))
    return Column(heading, lambda row: Cell(interval(row[mean], row[low], row[high]), row[mean]))
