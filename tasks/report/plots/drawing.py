"""Plots as they leave this project: inline SVG whose colours a page decides, and PNG for places that have no page.

In: matplotlib figures drawn in the colours of tasks/report/plots/colors.py. Out: text and bytes that are equal whenever
the numbers are: no clock, no random ids, no font of the machine.

All figures are as wide as a phone, so that their text can be read there; a wide page sets several side by side.
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

from tasks.pages.numbers import MINUS
from tasks.report.plots.colors import LIGHT

WIDTH = 340.0
"""Of every figure (points); a phone shows about one CSS pixel a point."""

FONT_POINTS = 10.0
SMALL_POINTS = 9.0

_POINTS_PER_INCH = 72
_POWERS = 3
_PNG_DPI = 120
_PNG_COLORS = 128
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": FONT_POINTS,
    "axes.titlesize": FONT_POINTS,
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
    "axes.unicode_minus": True,
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
    """What the plot shows, for those who do not see it; also its caption."""
    figure: Figure
    """The drawing."""


@contextmanager
def styled() -> Iterator[None]:
    """Within the context, draw in the style of reports; the process's own style is left as it is."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A label may be in any script: the page has the fonts, the PNG shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(
    height: float, *, left: float, right: float = 10.0, bottom: float = 34.0, top: float = 8.0
) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes within fixed margins, so that no text moves the plot.

    Args:
        height: Points.
        left: Margin for labels of rows (points).
        right: Points.
        bottom: Margin for the axis (points).
        top: Points.
    """
    figure = Figure(figsize=(WIDTH / _POINTS_PER_INCH, height / _POINTS_PER_INCH), dpi=_POINTS_PER_INCH)
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - bottom - top) / height)
    return figure, figure.add_axes(box)


def signed_ticks(scale: float, largest: float) -> tuple[list[float], list[str]]:
    """Return ticks for an axis that is linear up to a scale and logarithmic beyond: zero and three powers of ten.

    Args:
        scale: Where the axis turns.
        largest: The largest absolute value on it; larger powers are left out, and those too near zero to be read.

    Example:
        >>> signed_ticks(0.01, 2.0)
        ([-1.0, -0.1, 0.0, 0.1, 1.0], ['−1', '−0.1', '0', '0.1', '1'])
    """
    powers = [10.0**power for power in range(-6, 7) if 2 * scale <= 10.0**power <= largest][-_POWERS:]
    ticks = [*(-power for power in reversed(powers)), 0.0, *powers]
    return ticks, [f"{tick:g}".replace("-", MINUS) for tick in ticks]


def to_png(plot: Plot) -> bytes:
    """Return a plot as PNG on white, for places that have no page."""
    sink = io.BytesIO()
    with styled():
        plot.figure.savefig(sink, format="png", dpi=_PNG_DPI, facecolor=LIGHT["paper"], metadata={"Software": None})
    smaller = io.BytesIO()
    with Image.open(sink) as image:
        few = image.convert("RGB").quantize(_PNG_COLORS, method=Image.Quantize.FASTOCTREE)
        few.save(smaller, format="png", optimize=True)
    return smaller.getvalue()


def to_svg(plot: Plot) -> str:
    """Return a plot as an <svg> element for an HTML page: titled, described, and in the page's fonts and colours."""
    sink = io.StringIO()
    with styled(), matplotlib.rc_context({"svg.hashsalt": plot.name}):
        plot.figure.savefig(sink, format="svg", metadata={"Date": None})
    return _for_page(ElementTree.fromstring(sink.getvalue()), plot)


def _for_page(svg: ElementTree.Element, plot: Plot) -> str:
    """Turn a document of matplotlib's into a part of a page."""
    for parent in svg.iter():
        parent.tail = None  # white space
        if parent.tag != f"{{{_SVG}}}text":
            parent.text = None
        for child in list(parent):
            # A style element would apply to the whole page.
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    _keep_used_ids(svg, plot.name)
    for element in svg.iter():
        if "style" in element.attrib:
            element.set("style", _page_style(element.attrib["style"]))
    for name in ("width", "height", "version"):
        svg.attrib.pop(name, None)
    svg.set("class", "plot")
    svg.set("role", "img")
    svg.set("aria-label", f"{plot.title}. {plot.finding}")
    title = ElementTree.Element(f"{{{_SVG}}}title")
    title.text = plot.title
    description = ElementTree.Element(f"{{{_SVG}}}desc")
    description.text = plot.finding
    svg[:0] = [title, description]
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(svg, encoding="unicode")


def _keep_used_ids(svg: ElementTree.Element, prefix: str) -> None:
    """Drop ids that nothing refers to, and make the others unique among the figures of a page."""
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', ElementTree.tostring(svg, encoding="unicode")))
    for element in svg.iter():
        for name, value in list(element.attrib.items()):
            if name == "id":
                if value in used:
                    element.set("id", f"{prefix}-{value}")
                else:
                    del element.attrib["id"]
            elif name == f"{{{_XLINK}}}href":
                element.set(name, value.replace("#", f"#{prefix}-", 1))
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#{prefix}-"))


def _page_style(style: str) -> str:
    """Return a style with the page's fonts, and each colour as the variable of its role."""
    style = re.sub(r"font-family:[^;]*;?\s*", "", style)
    style = re.sub(r"font: *([\d.]+px)[^;]*", r"font-size: \1", style)
    for role, color in LIGHT.items():
        style = style.replace(color, f"var(--{role})")
    return style
