"""Numbers as people read them: three significant digits, a true minus, a dash where there is none.

In: values of the database, None where one is missing. Out: text. Nothing is computed but the rounding.
"""

import math
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec

Others = ParamSpec("Others")

MISSING = "–"
"""What is shown where there is no finite number."""

MINUS = "\u2212"

_DIGITS = 3
_DEFAULT_DECIMALS, _MOST_DECIMALS = 3, 4
_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def _dash_if_missing(
    form: Callable[Concatenate[float, Others], str],
) -> Callable[Concatenate[float | None, Others], str]:
    @wraps(form)
    def shown(value: float | None, /, *others: Others.args, **named: Others.kwargs) -> str:
        return MISSING if value is None or not math.isfinite(value) else form(value, *others, **named)

    return shown


@_dash_if_missing
def number(value: float, decimals: int | None = None) -> str:
    """Return a number rounded to decimals, by default to three or four significant digits (four decimals at most).

    What rounds to zero keeps its sign: on which side of zero an interval ends is what people look for.

    Example:
        >>> number(-0.0071666), number(0.0), number(-0.00003), number(0.00003), number(None)
        ('−0.0072', '0', '−0.0000', '+0.0000', '–')
    """
    if value == 0:
        return "0"
    text = f"{value:.{_decimals(value) if decimals is None else decimals}f}"
    return _signed(text if value < 0 or float(text) else f"+{text}")


def interval(mean: float | None, low: float | None, high: float | None) -> str:
    """Return a mean with its interval, all with the same decimals.

    Example:
        >>> interval(0.0547, 0.0341, 0.0760)
        '0.0547 (0.0341 to 0.0760)'
    """
    decimals = _decimals(mean, low, high)
    if low is None or high is None:
        return number(mean, decimals)
    return f"{number(mean, decimals)} ({number(low, decimals)} to {number(high, decimals)})"


@_dash_if_missing
def percent(share: float) -> str:
    """Return a share as a percentage with one decimal."""
    return f"{100 * share:.1f}\u00a0%"


@_dash_if_missing
def count(value: float) -> str:
    """Return a count with thousands separated, rounded to a whole number."""
    return _signed(f"{value:,.0f}")


@_dash_if_missing
def probability(value: float) -> str:
    """Return a p-value with two significant digits; a tiny one as its bound."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


@_dash_if_missing
def quantity(value: float, unit: str = "") -> str:
    r"""Return a large quantity with three significant digits and a decimal prefix.

    Example:
        >>> quantity(8_343_819, "B"), quantity(15_556_193_458), quantity(140.65)
        ('8.34\xa0MB', '15.6\xa0G', '141')
    """
    scale, prefix = next(((scale, prefix) for scale, prefix in _SUFFIXES if abs(value) >= scale), (1.0, ""))
    shown = f"{value / scale:#.{_DIGITS}g}".rstrip(".") if scale > 1 or value % 1 else f"{value:.0f}"
    return f"{shown}\u00a0{prefix}{unit}".rstrip("\u00a0")


@_dash_if_missing
def ratio(value: float) -> str:
    """Return a number of any size with three significant digits, such as how many times one thing is another."""
    return _signed(f"{float(f'{value:.{_DIGITS}g}'):g}")


@_dash_if_missing
def duration(seconds: float) -> str:
    """Return a time in the units that people would use.

    Example:
        >>> duration(58.2), duration(6_265), duration(None)
        ('58 s', '1 h 44 min', '–')
    """
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def in_form(value: float | None, form: str) -> str:
    """Return a number in a form of Python's, such as "+.4f", for tables in a terminal; "-" where there is none."""
    return "-" if value is None else format(value, form)


def _decimals(*values: float | None) -> int:
    """Return how many decimals show three or four significant digits of the largest value; four at most."""
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    if largest == 0:
        return _DEFAULT_DECIMALS
    digits_before = math.floor(math.log10(largest)) + 1
    return min(_MOST_DECIMALS, max(0, _DIGITS + (digits_before > 0) - digits_before))


def _signed(text: str) -> str:
    return text.replace("-", MINUS)
