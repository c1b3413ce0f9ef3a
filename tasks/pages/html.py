"""Pages as HTML: one file each, with its style and script inside, in which every text is harmless.

A policy in each page forbids every request and every script but its own, so that nothing in a passage can do harm.
"""

import base64
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tasks.pages.blocks import Block, Cell, Correction, Heading, Paragraph, Part, Table, Value, Verbatim
from tasks.pages.numbers import count, number
from tasks.pages.texts import untrusted
from tasks.store import artifacts

# The families' colours are those of Okabe and Ito, which every kind of colour blindness can tell apart, made lighter or
# darker until text in them can be read. Source: https://jfly.uni-koeln.de/color/.
_COLORS = {
    "paper": ("#ffffff", "#16181b"),
    "ink": ("#1c1e21", "#e6e8ea"),
    "muted": ("#5c6066", "#a2a8af"),
    "line": ("#d5d8dc", "#3a3f45"),
    "shade": ("#eceef1", "#25292e"),
    "baseline": ("#6a6f76", "#a5abb3"),
    "static": ("#c46a00", "#e69f00"),
    "generated": ("#0067a8", "#56b4e9"),
    "control": ("#00825c", "#2bbd8f"),
    "oracle": ("#a8568a", "#d99bc0"),
}
"""Role -> colour on a light page and on a dark one."""

LIGHT = {role: light for role, (light, _) in _COLORS.items()}
"""The colours that plots are drawn in; no two roles share one, since a page replaces each by its role."""

DARK = {role: dark for role, (_, dark) in _COLORS.items()}

_HERE = Path(__file__).parent
_CELL_CHARACTERS = 600

_TABLE = Markup(
    '<div class="table-box" role="region" aria-label="{caption}" tabindex="0">\n'
    '<table class="sortable">\n<caption>{caption}</caption>\n<thead><tr>{head}</tr></thead>\n'
    "<tbody>\n{body}\n</tbody>\n</table>\n</div>"
)
_LEFT_OUT = Markup('\n<p class="note">{} more rows are in <code>{}</code>.</p>')


def render_page(template: str, **shown: Any) -> str:  # noqa: ANN401 - whatever the template shows
    """Return a page made from a template in tasks/pages/ or tasks/report/."""
    environment = Environment(
        loader=FileSystemLoader([_HERE, _HERE.parent / "report"]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"untrusted": untrusted, "number": number, "count": count, "html": to_html}
    script = (_HERE / "page.js").read_text(encoding="utf-8")
    return environment.get_template(template).render(
        style=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        light=Markup(_css_variables(0)),
        dark=Markup(_css_variables(1)),
        script=Markup(script),
        script_hash=Markup(base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")),
        **shown,
    )


def write_page(name: str, page: str, output: Path | None = None) -> Path:
    """Write a page, by default to artifacts/reports/<name>.html, and return where it is.

    Raises:
        OSError: The file cannot be written; an earlier file is left unchanged.
    """
    path = output or artifacts.ARTIFACTS / "reports" / f"{name}.html"
    artifacts.write_atomically(path, page.encode())
    return path


def _css_variables(place: int) -> str:
    """Return the declarations of the light colours (0) or of the dark ones (1)."""
    return " ".join(f"--{role}: {colors[place]};" for role, colors in _COLORS.items())


def to_html(block: Block) -> Markup:
    """Return a block; tables are sortable, with how many rows of their source they leave out."""
    match block:
        case Heading(text):
            return Markup("<h2>{}</h2>").format(text)
        case Paragraph(parts):
            return Markup("<p>{}</p>").format(_joined(parts))
        case Correction(parts):
            return Markup("<p><b>Corrected:</b> {}</p>").format(_joined(parts))
        case Verbatim(text):
            return Markup("<pre>{}</pre>").format(untrusted(text))
        case Table():
            return _table(block)


def _joined(parts: Iterable[Part]) -> Markup:
    return Markup("").join(map(_text, parts))


def _table(table: Table) -> Markup:
    kinds = ["" if table.is_text(place) else Markup(' class="number"') for place in range(len(table.columns))]
    head = (Markup('<th scope="col"{}>{}</th>').format(*pair) for pair in zip(kinds, table.columns, strict=True))
    rows = (Markup("<tr>{}</tr>").format(Markup("").join(map(_cell, kinds, row))) for row in table.rows)
    shown = _TABLE.format(caption=table.caption, head=Markup("").join(head), body=Markup("\n").join(rows))
    return shown + _LEFT_OUT.format(count(table.left_out), table.source) if table.left_out else shown


def _cell(kind: str, cell: Cell) -> Markup:
    order = cell.order if isinstance(cell, Value) else None
    sorted_by = "" if order is None else Markup(' data-order="{}"').format(order)
    return Markup("<td{}{}>{}</td>").format(kind, sorted_by, _text(cell))


def _text(cell: Cell) -> Markup:
    return untrusted(cell if isinstance(cell, str) else cell.text, _CELL_CHARACTERS)
