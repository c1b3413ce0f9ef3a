"""The colours of reports: what each is for, in light and in dark; readable with every kind of colour blindness.

Plots are drawn in the light colours; in a page each is replaced by a CSS variable of its role, so that a dark or
printed page has its own. The families' colours are those of Okabe and Ito, shifted in lightness until text and lines
in them can be read on paper and on black.

Source: Okabe and Ito, https://jfly.uni-koeln.de/color/.
"""

from collections.abc import Mapping

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
"""Role -> colour. No two roles share a colour: the colour in a plot is what tells the role."""

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

_FAMILIES = ("baseline", "static", "generated", "control")


def role_of(condition: str) -> str:
    """Return the role of a condition such as "static/routed": its family, or oracle; the free arms count as static."""
    family, _, name = condition.partition("/")
    if name == "oracle":
        return "oracle"
    return family if family in _FAMILIES else "static" if family == "free" else "muted"


def css_variables(colors: Mapping[str, str]) -> str:
    """Return the declarations of a set of colours."""
    return " ".join(f"--{role}: {color};" for role, color in colors.items())
