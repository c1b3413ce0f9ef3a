"""A page as markdown, for the Prefect UI.

In: blocks. Out: one page. Quoted text is shown as code, where nothing is markup, between more backticks than it has.
"""

import re
import textwrap
from collections.abc import Iterable

from tasks.pages.blocks import Block, Cell, Correction, Heading, Paragraph, Part, Quoted, Table, Verbatim
from tasks.pages.texts import on_one_line, visible

_LINE = 100
"""Characters in a line of verbatim text, which the page does not wrap."""

_CELL = 36
"""Characters in a line of a table cell, which the page does not wrap either."""


def to_markdown(blocks: Iterable[Block]) -> str:
    """Return a page as text."""
    return "\n\n".join(map(_rendered, blocks)) + "\n"


def _rendered(block: Block) -> str:
    match block:
        case Heading(text):
            return f"## {_escaped(text)}"
        case Paragraph(parts):
            return _joined(parts)
        case Correction(parts):
            return f"> **Corrected:** {_joined(parts)}"
        case Verbatim(text):
            return _fenced(text)
        case Table():
            return _table(block)


def _joined(parts: Iterable[Part]) -> str:
    return "".join(_code(part.text) if isinstance(part, Quoted) else _escaped(part) for part in parts)


def _table(block: Table) -> str:
    rules = [":---" if block.is_text(place) else "---:" for place in range(len(block.columns))]
    rows = [[_cell(cell) for cell in row] for row in block.rows]
    lines = [[_escaped(name) for name in block.columns], rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(cell: Cell) -> str:
    """Return a cell in short lines, since the page hides what is too long.

    A bar would end the cell, even in code, unless a backslash precedes it that is not part of the text.
    """
    if not isinstance(cell, Quoted):
        return "<br>".join(map(_escaped, textwrap.wrap(cell if isinstance(cell, str) else cell.text, _CELL)))
    lines = textwrap.wrap(on_one_line(cell.text), _CELL) or [cell.text]
    return "<br>".join(_code(re.sub(r"\\(?=\|)", r"\\ ", line)).replace("|", r"\|") for line in lines)


def _code(text: str) -> str:
    """Return text as inline code."""
    shown = on_one_line(text)
    if not shown.strip():
        return "(nothing)" if not shown else f"({len(shown)} blanks)"
    marks = "`" * (_longest_run(shown) + 1)
    # Markdown strips one blank at each end.
    return f"{marks} {shown} {marks}"


def _fenced(text: str) -> str:
    """Return text as a code block with its long lines wrapped."""
    lines = [
        part
        for line in visible(text).split("\n")
        for part in textwrap.wrap(line, _LINE, replace_whitespace=False) or [""]
    ]
    marks = "`" * max(3, _longest_run(text) + 1)
    return "\n".join([f"{marks}text", *lines, marks])


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)


def _escaped(text: str) -> str:
    """Return text that markdown shows literally, on one line."""
    return re.sub(r"([\\`*_\[\]<>|#!&$~])", r"\\\1", text.replace("\n", " "))
