"""What a page consists of, whichever way it is shown: headings, paragraphs, tables, quotations.

Text that anybody may have written (passages, queries, model output, names) is `Quoted` or `Verbatim` and is shown
literally: nothing in it is taken for markup.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from tasks.pages.numbers import interval, number

MOST_ROWS = 400
"""Rows of a table that are shown, so that no data set can make a page large."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """Text that anybody may have written."""

    text: str
    """The text, unchanged."""


@dataclass(frozen=True, slots=True)
class Value:
    """A number in a cell."""

    text: str
    """The number as it is shown."""
    order: float | None
    """What it is sorted by; None sorts last."""


Part: TypeAlias = str | Quoted
"""A piece of a sentence."""

Cell: TypeAlias = Part | Value
"""A cell of a table."""


@dataclass(frozen=True, slots=True)
class Heading:
    """The title of a section."""

    text: str
    """One line."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Sentences."""

    parts: tuple[Part, ...]
    """In order, with nothing between them."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What the notebook does differently, and why it is done otherwise here."""

    parts: tuple[Part, ...]
    """In order, with nothing between them."""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A whole text, line breaks included."""

    text: str
    """The text, unchanged."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under headings."""

    columns: tuple[str, ...]
    """The headings."""
    rows: tuple[tuple[Cell, ...], ...]
    """As many cells each as there are headings."""
    text_columns: int | Collection[int] = 1
    """How many of the first columns hold text, or which ones, from 0; the others hold numbers and are flush right."""
    caption: str = ""
    """What the table shows; terminal and markdown have headings instead."""
    source: str = ""
    """The table or view of the database that has all rows."""
    left_out: int = 0
    """Rows of the source that are not shown."""

    def is_text(self, place: int) -> bool:
        """Return whether a column, counted from 0, holds text."""
        return place < self.text_columns if isinstance(self.text_columns, int) else place in self.text_columns


Block: TypeAlias = Heading | Paragraph | Correction | Verbatim | Table


def paragraph(*parts: Part) -> Paragraph:
    """Return a paragraph of these parts."""
    return Paragraph(parts)


def correction(*parts: Part) -> Correction:
    """Return a correction of these parts."""
    return Correction(parts)


# --- tables made from rows of the database ---


@dataclass(frozen=True, slots=True)
class Column:
    """How one column of a table is made from rows."""

    heading: str
    """What stands above it."""
    cell: Callable[[Mapping[str, Any]], Cell]
    """Returns the cell of a row."""
    is_text: bool = False
    """Whether it holds text."""
    needs: str = ""
    """A key: the column is left out of a table in which no row has a value for it."""


def make_table(caption: str, source: str, rows: Iterable[Mapping[str, Any]], columns: Sequence[Column]) -> Table:
    """Return a table of rows in their order; those after the first MOST_ROWS are only counted."""
    found = list(rows)
    shown = [one for one in columns if not one.needs or any(row.get(one.needs) is not None for row in found)]
    return Table(
        columns=tuple(column.heading for column in shown),
        rows=tuple(tuple(column.cell(row) for column in shown) for row in found[:MOST_ROWS]),
        text_columns=[place for place, column in enumerate(shown) if column.is_text],
        caption=caption,
        source=source,
        left_out=max(0, len(found) - MOST_ROWS),
    )


def text_column(heading: str, name: str = "", change: Callable[[str], str] = str) -> Column:
    """Return a column of text from the key `name`, by default the heading; empty where a row has none."""
    key = name or heading
    return Column(heading, lambda row: Quoted("" if row[key] is None else change(str(row[key]))), is_text=True)


def number_column(heading: str, name: str = "", form: Callable[[float | None], str] = number) -> Column:
    """Return a column of numbers from the key `name`, by default the heading, in a form of tasks/pages/numbers.py."""
    key = name or heading
    return Column(heading, lambda row: Value(form(row[key]), row[key]))


def interval_column(heading: str, prefix: str, mean: str = "") -> Column:
    """Return a column of means with intervals, from the keys prefix_mean (or `mean`), prefix_low and prefix_high."""
    keys = (mean or f"{prefix}_mean", f"{prefix}_low", f"{prefix}_high")
    return Column(heading, lambda row: Value(interval(*(row[key] for key in keys)), row[keys[0]]))


def only_with(key: str, column: Column) -> Column:
    """Return a column that is left out of tables in which no row has a value for a key."""
    return replace(column, needs=key)
