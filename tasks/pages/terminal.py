"""A page in the terminal, 80 columns wide, with colours unless it goes to a file or a pipe.

In: blocks. Out: lines on standard output. In quoted text markup and emoji codes are left as they are, and control
characters are spelled out.
"""

import sys
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from tasks.pages.blocks import Block, Cell, Correction, Heading, Paragraph, Part, Quoted, Table, Verbatim
from tasks.pages.texts import on_one_line, visible

WIDTH = 80
"""Columns, whatever the terminal has, so that a page fits everywhere and looks the same in a log."""

_NAME_CHARACTERS = 34
"""Names up to this long are not wrapped."""


def print_blocks(blocks: Iterable[Block]) -> None:
    """Print a page."""
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for block in blocks:
            console.print(_rendered(block))
    # Tables and indented text are padded with blanks, which are useless in a file.
    sys.stdout.write("\n".join(line.rstrip(" ") for line in captured.get().split("\n")))


def _rendered(block: Block) -> RenderableType:
    match block:
        case Heading(text):
            return Text(f"\n{text}\n{'─' * min(len(text), WIDTH)}", style="bold")
        case Paragraph(parts):
            return Padding(_joined(parts), (0, 0, 1, 0))
        case Correction(parts):
            return Padding(Text.assemble(("Corrected: ", "bold yellow"), _joined(parts)), (0, 0, 1, 0))
        case Verbatim(text):
            return Padding(Text(visible(text), style="cyan", overflow="fold"), (0, 0, 1, 2))
        case Table():
            return Padding(_table(block), (0, 0, 1, 0))


def _joined(parts: Iterable[Part]) -> Text:
    """Return the parts of a sentence, quoted text in quotation marks."""
    return Text("").join(
        Text(f'"{on_one_line(part.text)}"', style="cyan") if isinstance(part, Quoted) else Text(part) for part in parts
    )


def _table(block: Table) -> RichTable:
    cells = [[_cell(part) for part in row] for row in block.rows]
    longest = [max(map(cell_len, map(str, column))) for column in zip(block.columns, *cells, strict=True)]
    texts = [place for place in range(len(block.columns)) if block.is_text(place)]
    spare = WIDTH - sum(longest) - (len(longest) - 1)
    fits = spare >= len(longest) - 1
    # Two blanks between columns; one where that makes everything fit, or where only a name could be wrapped.
    is_narrow = not fits and (spare >= 0 or len(texts) == 1)
    table = RichTable(
        box=SIMPLE_HEAD, padding=(0, int(not is_narrow), 0, 0), pad_edge=False, header_style="bold", show_edge=False
    )
    for place, name in enumerate(block.columns):
        is_text = place in texts
        # Numbers are never cut, and names in the first column are not wrapped: sentences are, where there are any.
        is_name = place == 0 and longest[0] <= _NAME_CHARACTERS and (fits or len(texts) > 1)
        is_whole = not is_text or is_name
        table.add_column(Text(name), justify="left" if is_text else "right", no_wrap=is_whole, overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _cell(cell: Cell) -> Text:
    return Text(cell if isinstance(cell, str) else on_one_line(cell.text))
