"""Numbers as people read them: three significant digits, a true minus, intervals in words.

In: values of the database. Out: text for a page or a plot. Nothing is computed but the rounding.
"""

import math

MISSING = "–"
"""What stands where there is no number."""

MINUS = "\u2212"

_DIGITS = 3
_DEFAULT_DECIMALS, _MOST_DECIMALS = 3, 4
_SUFFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def decimals_for(*values: float | None) -> int:
    """Return how many decimals show three or four significant digits of the largest value; four at most.

    Example:
        >>> decimals_for(0.0547, 0.0341), decimals_for(0.31), decimals_for(6.36), decimals_for(-12.3)
        (4, 3, 3, 2)
    """
    largest = max((abs(value) for value in values if value is not None and math.isfinite(value)), default=0.0)
    if largest == 0:
        return _DEFAULT_DECIMALS
    digits_before = math.floor(math.log10(largest)) + 1
    wanted = _DIGITS - digits_before if digits_before <= 0 else _DIGITS + 1 - digits_before
    return min(_MOST_DECIMALS, max(0, wanted))


def number(value: float | None, decimals: int | None = None) -> str:
    """Return a number rounded to decimals, by default those of `decimals_for`.

    What rounds to zero keeps its sign, since the side of zero that an interval ends on is what people look for.

    Example:
        >>> number(-0.0071666), number(0.0), number(-0.00003), number(0.00003), number(None)
        ('−0.0072', '0', '−0.0000', '+0.0000', '–')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    text = f"{value:.{decimals_for(value) if decimals is None else decimals}f}"
    return (text if value < 0 or float(text) else f"+{text}").replace("-", MINUS)


def interval(mean: float | None, low: float | None, high: float | None) -> str:
    """Return a mean with its interval, all with the same decimals.

    Example:
        >>> interval(0.0547, 0.0341, 0.0760)
        '0.0547 (0.0341 to 0.0760)'
    """
    decimals = decimals_for(mean, low, high)
    if low is None or high is None:
        return number(mean, decimals)
    return f"{number(mean, decimals)} ({number(low, decimals)} to {number(high, decimals)})"


def percent(share: float | None) -> str:
    """Return a share as a percentage with one decimal."""
    return MISSING if share is None or not math.isfinite(share) else f"{100 * share:.1f}\u00a0%"


def count(value: float | None) -> str:
    """Return a count with thousands separated, rounded to a whole number."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def probability(value: float | None) -> str:
    """Return a p-value with two significant digits; a tiny one as its bound."""
    if value is None or not math.isfinite(value):
        return MISSING
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def quantity(value: float | None, unit: str = "") -> str:
    r"""Return a large quantity with three significant digits and a decimal prefix.

    Example:
        >>> quantity(8_343_819, "B"), quantity(15_556_193_458), quantity(140.65)
        ('8.34\xa0MB', '15.6\xa0G', '141')
    """
    if value is None or not math.isfinite(value):
        return MISSING
    scale, prefix = next(((scale, prefix) for scale, prefix in _SUFFIXES if abs(value) >= scale), (1.0, ""))
    shown = f"{value / scale:#.{_DIGITS}g}".rstrip(".") if scale > 1 or value % 1 else f"{value:.0f}"
    return f"{shown}\u00a0{prefix}{unit}".rstrip("\u00a0")


def ratio(value: float | None) -> str:
    """Return how many times something is something else."""
    return MISSING if value is None or not math.isfinite(value) else f"{float(f'{value:.{_DIGITS}g}'):g}"


def duration(seconds: float | None) -> str:
    """Return a time in the units that people would use.

    Example:
        >>> duration(58.2), duration(6_265), duration(None)
        ('58 s', '1 h 44 min', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
