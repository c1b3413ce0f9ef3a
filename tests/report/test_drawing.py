"""Plots are the same whenever the numbers are, take the page's colours, and say in words what they show."""

import re

import matplotlib
import pytest

from tasks.pages.html import DARK, LIGHT
from tasks.report.drawing import Plot, new_figure, to_png, to_svg
from tests.pages.test_texts import Page


@pytest.fixture
def plot() -> Plot:
    return make_plot("first")


def make_plot(name: str) -> Plot:
    with new_figure(100.0, left=40.0) as (figure, axes):
        axes.plot([0, 1], [0, 1], "o-", color=LIGHT["generated"])
        axes.axvspan(0.2, 0.4, color=LIGHT["shade"])
        axes.set_xlabel("$not$ <math> & 漢")
    return Plot(name, "A <title>", "It rises & falls.", figure)


def test_equal_plots_are_equal_bytes(plot: Plot) -> None:
    assert to_svg(plot) == to_svg(make_plot("first"))
    assert to_png(plot) == to_png(make_plot("first"))


def test_the_page_decides_every_colour(plot: Plot) -> None:
    svg = to_svg(plot)
    assert not re.findall(r"#[0-9a-fA-F]{3,8}\b(?!\))", re.sub(r'(href|clip-path)="[^"]*"', "", svg))
    assert set(re.findall(r"var\(--(\w+)\)", svg)) <= LIGHT.keys()
    assert "var(--generated)" in svg


def test_a_plot_says_what_it_shows(plot: Plot) -> None:
    svg = to_svg(plot)
    (root, attributes), *_ = Page(svg).elements
    assert root == "svg"
    assert dict(attributes)["role"] == "img"
    assert dict(attributes)["aria-label"] == "A <title>. It rises & falls."
    assert "<title>A &lt;title&gt;</title><desc>It rises &amp; falls.</desc>" in svg


def test_labels_are_text_and_no_formula(plot: Plot) -> None:
    assert "$not$ &lt;math&gt; &amp; 漢" in to_svg(plot)
    assert "font-family" not in to_svg(plot)


def test_nothing_of_a_plot_reaches_beyond_it(plot: Plot) -> None:
    """An id, a style or a metadata element of one plot would be one of the whole page."""
    svgs = to_svg(plot), to_svg(make_plot("second"))
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in svgs]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    for svg, own in zip(svgs, ids, strict=True):
        assert len(set(own)) == len(own)
        assert set(re.findall(r'(?:url\(|href=")#([^")]+)', svg)) == set(own)
        assert not {"style", "metadata"} & {tag for tag, _ in Page(svg).elements}
        assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", svg)


def test_the_style_of_the_process_is_left_as_it_is() -> None:
    before = dict(matplotlib.rcParams)
    to_svg(make_plot("first"))
    assert dict(matplotlib.rcParams) == before


def test_pngs_are_small_and_white(plot: Plot) -> None:
    png = to_png(plot)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) < 10_000


def test_every_role_has_a_colour_of_its_own_in_light_and_dark() -> None:
    """A page replaces each colour in a plot by its role, so no two roles may share one."""
    assert LIGHT.keys() == DARK.keys()
    assert len(set(LIGHT.values())) == len(LIGHT)


@pytest.mark.parametrize("colors", [LIGHT, DARK], ids=["light", "dark"])
def test_text_and_lines_can_be_told_from_the_page(colors: dict[str, str]) -> None:
    """WCAG 2.2 asks for a contrast of 4.5 for text and 3 for what a plot is made of."""
    for role in ("ink", "muted", "oracle"):
        assert contrast(colors[role], colors["paper"]) >= 4.5
    for role in ("baseline", "static", "generated", "control"):
        assert contrast(colors[role], colors["paper"]) >= 3
    assert contrast(colors["ink"], colors["shade"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours by the formula of WCAG 2.2."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(color: str) -> float:
    parts = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
