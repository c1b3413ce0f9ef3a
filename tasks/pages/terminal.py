"""A page in the terminal: of one width, with colours where there is a terminal, none in a file or a pipe.

In: blocks. Out: lines on standard output. Quoted text goes through no markup and no emoji codes, and characters that
would steer the terminal are spelled out.
"""

import sys
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from tasks.pages.blocks import Block, Correction, Heading, Paragraph, Part, Quoted, Table, Verbatim
from tasks.pages.texts import visible

WIDTH = 80
"""Columns, whatever the terminal has: it fits the narrowest, and a log of it looks the same."""

_NAME_CHARACTERS = 34
"""Names up to this long are not broken, whatever else has to give way."""


def print_blocks(blocks: Iterable[Block]) -> None:
    """Print a page."""
    console = Console(width=WIDTH, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for block in blocks:
            console.print(_rendered(block))
    # Tables and indented text are filled up with blanks, which a file has no use for.
    sys.stdout.write("\n".join(line.rstrip(" ") for line in captured.get().split("\n")))


def on_one_line(text: str) -> str:
    """Return text for a cell or a sentence: line breaks and tabs are shown as signs, as other controls are."""
    return visible(text).replace("\n", "␊").replace("\t", "␉")


def _rendered(block: Block) -> RenderableType:
    match block:
        case Heading(text):
            return Text(f"\n{text}\n{'─' * len(text)}", style="bold")
        case Paragraph(parts):
            return Padding(_joined(parts), (0, 0, 1, 0))
        case Correction(parts):
            return Padding(Text.assemble(("Corrected: ", "bold yellow"), _joined(parts)), (0, 0, 1, 0))
        case Verbatim(text):
            return Padding(Text(visible(text), style="cyan", overflow="fold"), (0, 0, 1, 2))
        case Table():
            return Padding(_table(block), (0, 0, 1, 0))


def _joined(parts: Iterable[Part]) -> Text:
    """Return the parts of a sentence, what is quoted in quotation marks."""
    return Text("").join(
        Text(f'"{on_one_line(part.text)}"', style="cyan") if isinstance(part, Quoted) else Text(part) for part in parts
    )


def _table(block: Table) -> RichTable:
    cells = [[_cell(part) for part in row] for row in block.rows]
    longest = [max(map(cell_len, map(str, column))) for column in zip(block.columns, *cells, strict=True)]
    spare = WIDTH - sum(longest) - (len(longest) - 1)
    fits = spare >= len(longest) - 1
    # Two blanks between columns; one where that makes all fit, or where nothing but a name could give way.
    is_narrow = not fits and (spare >= 0 or block.text_columns == 1)
    table = RichTable(
        box=SIMPLE_HEAD, padding=(0, int(not is_narrow), 0, 0), pad_edge=False, header_style="bold", show_edge=False
    )
    for number, name in enumerate(block.columns):
        is_text = number < block.text_columns
        # Numbers are never cut, and names in the first column are not broken: sentences give way, where there are any.
        is_name = number == 0 and longest[0] <= _NAME_CHARACTERS and (fits or block.text_columns > 1)
        is_whole = not is_text or is_name
        table.add_column(Text(name), justify="left" if is_text else "right", no_wrap=is_whole, overflow="fold")
    for row in cells:
        table.add_row(*row)
    return table


def _cell(part: Part) -> Text:
    return Text(on_one_line(part.text) if isinstance(part, Quoted) else part)
