"""How the plots of a report are drawn, and how they leave it: as inline SVG for a page, and as PNG.

Plots are drawn in the light colours; a page replaces each colour with the CSS variable of its role, so that a dark or a
printed page has its own. Equal numbers give equal text and bytes: there is no clock, no random id and no font of the
machine in them. All figures are as wide as a phone; a wide page shows several next to each other.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from tasks.pages.numbers import ratio

LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#1c1e21",
    "muted": "#5c6066",
    "line": "#d5d8dc",
    "shade": "#eceef1",
    "baseline": "#6a6f76",
    "static": "#c46a00",
    "generated": "#0067a8",
    "control": "#00825c",
    "oracle": "#a8568a",
}
"""Role -> colour; no two roles share one, since the colour in a plot is replaced by its role.

The colours of the families are those of Okabe and Ito, which every kind of colour blindness can tell apart, made
lighter or darker until text in them can be read. Source: https://jfly.uni-koeln.de/color/.
"""

DARK: Mapping[str, str] = {
    "paper": "#16181b",
    "ink": "#e6e8ea",
    "muted": "#a2a8af",
    "line": "#3a3f45",
    "shade": "#25292e",
    "baseline": "#a5abb3",
    "static": "#e69f00",
    "generated": "#56b4e9",
    "control": "#2bbd8f",
    "oracle": "#d99bc0",
}
"""The same roles on a dark page."""

WIDTH = 340.0
"""Width of every figure (points); a phone shows about one CSS pixel per point."""

SMALL_POINTS = 9.0
"""Size of labels; other text has 10 points."""

_POINTS_PER_INCH = 72
_POWERS = 3
_PNG_DPI = 120
_PNG_COLORS = 128
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 10.0,
    "axes.titlesize": 10.0,
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
    """What the plot shows in words: its caption, and its description for those who cannot see it."""
    figure: Figure
    """The drawing."""


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of reports within the context, without changing the style of the process."""
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # A label may be in any script: a page has the fonts, a PNG shows boxes.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(
    height: float, *, left: float, right: float = 10.0, bottom: float = 34.0, top: float = 8.0
) -> tuple[Figure, Axes]:
    """Return a figure with one pair of axes within fixed margins (points), so that no text moves the plot."""
    figure = Figure(figsize=(WIDTH / _POINTS_PER_INCH, height / _POINTS_PER_INCH), dpi=_POINTS_PER_INCH)
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - bottom - top) / height)
    return figure, figure.add_axes(box)


def signed_ticks(scale: float, largest: float) -> tuple[list[float], list[str]]:
    """Return ticks of an axis that is linear up to a scale and logarithmic beyond it: zero and three powers of ten.

    Args:
        scale: Where the axis becomes logarithmic; powers below twice of it are left out.
        largest: The largest absolute value on the axis.

    Example:
        >>> signed_ticks(0.01, 2.0)
        ([-1.0, -0.1, 0.0, 0.1, 1.0], ['−1', '−0.1', '0', '0.1', '1'])
    """
    powers = [10.0**power for power in range(-6, 7) if 2 * scale <= 10.0**power <= largest][-_POWERS:]
    ticks = [*(-power for power in reversed(powers)), 0.0, *powers]
    return ticks, [ratio(tick) for tick in ticks]


def to_png(plot: Plot) -> bytes:
    """Return a plot as PNG on white."""
    sink = io.BytesIO()
    with styled():
        plot.figure.savefig(sink, format="png", dpi=_PNG_DPI, facecolor=LIGHT["paper"], metadata={"Software": None})
    smaller = io.BytesIO()
    with Image.open(sink) as image:
        few = image.convert("RGB").quantize(_PNG_COLORS, method=Image.Quantize.FASTOCTREE)
        few.save(smaller, format="png", optimize=True)
    return smaller.getvalue()


def to_svg(plot: Plot) -> str:
    """Return a plot as an <svg> element with title and description, in the fonts and colours of its page."""
    sink = io.StringIO()
    with styled(), matplotlib.rc_context({"svg.hashsalt": plot.name}):
        plot.figure.savefig(sink, format="svg", metadata={"Date": None})
    return _for_page(ElementTree.fromstring(sink.getvalue()), plot)


def _for_page(svg: ElementTree.Element, plot: Plot) -> str:
    """Turn a document made by matplotlib into a part of a page."""
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
    """Drop ids that nothing refers to, and make the others unique on a page."""
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
    """Return a style without fonts, each colour as the variable of its role."""
    style = re.sub(r"font-family:[^;]*;?\s*", "", style)
    style = re.sub(r"font: *([\d.]+px)[^;]*", r"font-size: \1", style)
    for role, color in LIGHT.items():
        style = style.replace(color, f"var(--{role})")
    return style


def css_variables(colors: Mapping[str, str]) -> str:
    """Return the declarations of a set of colours."""
    return " ".join(f"--{role}: {color};" for role, color in colors.items())
