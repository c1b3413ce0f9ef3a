"""A table as HTML: sortable, scrolling by itself where it is wider than the page, every text harmless."""

from markupsafe import Markup

from tasks.pages.blocks import Cell, Table, Value
from tasks.pages.numbers import count
from tasks.pages.texts import untrusted

_CELL_CHARACTERS = 600

_TABLE = Markup(
    '<div class="table-box" role="region" aria-label="{caption}" tabindex="0">\n'
    '<table class="sortable">\n<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n'
    "<tbody>\n{body}\n</tbody>\n</table>\n</div>"
)
_LEFT_OUT = Markup('\n<p class="note">{} more rows are in <code>{}</code>.</p>')


def table_html(table: Table) -> Markup:
    """Return a table with its caption, and how many rows of its source it leaves out."""
    kinds = ["" if table.is_text(place) else Markup(' class="number"') for place in range(len(table.columns))]
    head = (Markup('<th scope="col"{}>{}</th>').format(*pair) for pair in zip(kinds, table.columns, strict=True))
    rows = (Markup("<tr>{}</tr>").format(Markup("").join(map(_cell, kinds, row))) for row in table.rows)
    shown = _TABLE.format(caption=table.caption, head=Markup("").join(head), body=Markup("\n").join(rows))
    return shown + _LEFT_OUT.format(count(table.left_out), table.source) if table.left_out else shown


def _cell(kind: str, cell: Cell) -> Markup:
    order = cell.order if isinstance(cell, Value) else None
    sorted_by = "" if order is None else Markup(' data-order="{}"').format(order)
    text = cell if isinstance(cell, str) else cell.text
    return Markup("<td{}{}>{}</td>").format(kind, sorted_by, untrusted(text, _CELL_CHARACTERS))
