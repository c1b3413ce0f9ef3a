"""How the plots of a report are drawn, and how they leave it: as inline SVG for a page, and as PNG.

Plots are drawn in the light colours; a page replaces each colour with the CSS variable of its role, so that a dark or a
printed page has its own. Equal numbers give equal text and bytes: there is no clock, no random id and no font of the
machine in them. All figures are as wide as a phone; a wide page shows several next to each other.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tasks.pages.html import LIGHT

WIDTH = 340.0
"""Width of every figure (points); a phone shows about one CSS pixel per point."""

SMALL_POINTS = 9.0
"""Size of labels; other text has 10 points."""

VALUE = "value: "
"""An artist whose gid begins so is drawn with the rest of its gid as what a page shows when it is pointed at."""

_POINTS_PER_INCH = 72
_PNG_DPI = 120
_PNG_COLORS = 128
_SVG = "http://www.w3.org/2000/svg"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 10.0,
    "axes.labelsize": SMALL_POINTS,
    "xtick.labelsize": SMALL_POINTS,
    "ytick.labelsize": SMALL_POINTS,
    "text.color": LIGHT["ink"],
    "text.parse_math": False,  # a label may hold a dollar
    "axes.edgecolor": LIGHT["line"],
    "axes.labelcolor": LIGHT["muted"],
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "xtick.color": LIGHT["line"],
    "xtick.labelcolor": LIGHT["muted"],
    "ytick.color": LIGHT["line"],
    "ytick.labelcolor": LIGHT["muted"],
    "svg.fonttype": "none",
    "path.simplify": False,
}


@dataclass(frozen=True, slots=True)
class Plot:
    """One figure with what it shows in words."""

    name: str
    """Unique in a report; lower case, digits and hyphens."""
    title: str
    """What is plotted."""
    finding: str
    """What the plot shows in words: its caption, and its description for those who cannot see it."""
    figure: Figure
    """The drawing."""


@contextmanager
def new_figure(
    height: float, *, left: float, right: float = 10.0, bottom: float = 34.0, top: float = 8.0
) -> Iterator[tuple[Figure, Axes]]:
    """Draw within the context, in the style of reports, one pair of axes within fixed margins (points)."""
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - bottom - top) / height)
    with _styled():
        figure = Figure(figsize=(WIDTH / _POINTS_PER_INCH, height / _POINTS_PER_INCH), dpi=_POINTS_PER_INCH)
        yield figure, figure.add_axes(box)


@contextmanager
def _styled() -> Iterator[None]:
    """Use the style of reports within the context, without changing the style of the process."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A label may be in any script: a page has the fonts, a PNG shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def to_png(plot: Plot) -> bytes:
    """Return a plot as PNG on white."""
    sink = io.BytesIO()
    with _styled():
        plot.figure.savefig(sink, format="png", dpi=_PNG_DPI, facecolor=LIGHT["paper"], metadata={"Software": None})
    smaller = io.BytesIO()
    with Image.open(sink) as image:
        few = image.convert("RGB").quantize(_PNG_COLORS, method=Image.Quantize.FASTOCTREE)
        few.save(smaller, format="png", optimize=True)
    return smaller.getvalue()


def to_svg(plot: Plot) -> str:
    """Return a plot as an <svg> element with title and description, in the fonts and colours of its page."""
    sink = io.StringIO()
    # With a salt of its own, a plot shares no id with another one of its page.
    with _styled(), matplotlib.rc_context({"svg.hashsalt": plot.name}):
        plot.figure.savefig(sink, format="svg", metadata={"Date": None})
    svg = ElementTree.fromstring(sink.getvalue())
    for element in svg.iter():
        element.tail = None  # white space
        if element.tag not in (f"{{{_SVG}}}text", f"{{{_SVG}}}title"):
            element.text = None
        for child in list(element):
            # A style element would apply to the whole page.
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                element.remove(child)
        name = element.get("id", "")
        if name.startswith(VALUE):
            element.insert(0, ElementTree.Element(f"{{{_SVG}}}title"))
            element[0].text = name.removeprefix(VALUE)
        if name.startswith(VALUE) or "_" in name:  # the name of a part, such as axes_1, that nothing refers to
            del element.attrib["id"]
        if "style" in element.attrib:
            element.set("style", _page_style(element.attrib["style"]))
    for name in ("width", "height", "version"):
        del svg.attrib[name]
    svg.attrib |= {"class": "plot", "role": "img", "aria-label": f"{plot.title}. {plot.finding}"}
    for place, (tag, text) in enumerate((("title", plot.title), ("desc", plot.finding))):
        svg.insert(place, ElementTree.Element(f"{{{_SVG}}}{tag}"))
        svg[place].text = text
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ElementTree.tostring(svg, encoding="unicode")


def _page_style(style: str) -> str:
    """Return a style without fonts, each colour as the variable of its role."""
    style = re.sub(r"font-family:[^;]*;?\s*", "", style)
    style = re.sub(r"font: *([\d.]+px)[^;]*", r"font-size: \1", style)
    for role, color in LIGHT.items():
        style = style.replace(color, f"var(--{role})")
    return style
