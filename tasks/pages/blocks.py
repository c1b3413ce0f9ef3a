"""What a page consists of, before it is known where it is shown: headings, paragraphs, tables, quotations.

Text that anybody may have written (passages, queries, model output, names) is `Quoted` or `Verbatim`: whoever shows it
shows it as it is, and takes none of it for markup.
"""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Quoted:
    """Text that anybody may have written."""

    text: str
    """As it was written."""


Part: TypeAlias = str | Quoted
"""A piece of a sentence or a cell."""


@dataclass(frozen=True, slots=True)
class Heading:
    """Begins a part."""

    text: str
    """On one line."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Sentences."""

    parts: tuple[Part, ...]
    """In order, with nothing between them."""


@dataclass(frozen=True, slots=True)
class Correction:
    """What the notebook does otherwise, and why not here."""

    parts: tuple[Part, ...]
    """In order, with nothing between them."""


@dataclass(frozen=True, slots=True)
class Verbatim:
    """A whole text, line breaks included."""

    text: str
    """As it was written."""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under headings."""

    columns: tuple[str, ...]
    """The headings."""
    rows: tuple[tuple[Part, ...], ...]
    """As many cells each as there are headings."""
    text_columns: int = 1
    """How many of the first columns hold text; the others hold numbers and are flush right."""


Block: TypeAlias = Heading | Paragraph | Correction | Verbatim | Table


def paragraph(*parts: Part) -> Paragraph:
    """Return a paragraph of these parts."""
    return Paragraph(parts)


def correction(*parts: Part) -> Correction:
    """Return a correction of these parts."""
    return Correction(parts)


def clipped(text: str, limit: int) -> str:
    """Return text cut after a number of characters, with a mark that it goes on."""
    return text if len(text) <= limit else f"{text[:limit]} …"
