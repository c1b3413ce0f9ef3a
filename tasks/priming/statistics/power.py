"""What a number of pairs can show: equivalence, the smallest effect that would be seen, the pairs that would decide.

In: a mean, its standard error with its degrees of freedom, and what counts as negligible. Out: p-values, chances and
numbers of pairs. A difference that is not significant is not shown to be absent: these tell which of the two it is.
"""

import math

from scipy.stats import norm, t

POWER = 0.8
"""The chance of showing an effect that is asked of a number of pairs; Cohen (1988), section 2.4."""

# More pairs than any data set has: such a number is no plan.
_MOST_PAIRS = 10**9


def tost_p_value(mean: float, error: float, degrees: float, margin: float) -> float:
    """Return the p-value of the two one-sided tests that a mean lies between -margin and +margin.

    Args:
        mean: The measured mean.
        error: Its standard error, in the same unit; above 0.
        degrees: Degrees of freedom of the error.
        margin: The equivalence margin, in the same unit.

    Source: Schuirmann (1987), doi:10.1007/BF01068419.
    """
    return float(max(t.sf((mean + margin) / error, degrees), t.cdf((mean - margin) / error, degrees)))


def tost_power(error: float, degrees: float, margin: float, confidence_level: float) -> float:
    """Return the chance that `tost_p_value` is below 1 - confidence_level if the true mean is 0.

    Source: Phillips (1990), doi:10.1007/BF01063556, in the usual approximation by the central t distribution.
    """
    critical = t.ppf(confidence_level, degrees)
    return float(max(0.0, 2 * t.cdf(margin / error - critical, degrees) - 1))


def smallest_detectable(error: float, degrees: float, confidence_level: float) -> float:
    """Return the true mean that a two-sided test at this level would have told from 0 with a chance of POWER.

    Source: Bloom (1995), doi:10.1177/0193841X9501900504 ("minimum detectable effect").
    """
    return float((t.ppf((1 + confidence_level) / 2, degrees) + t.ppf(POWER, degrees)) * error)


def pairs_to_tell_from(value: float, mean: float, error: float, n: int, confidence_level: float) -> int | None:
    """Return how many pairs would tell a true mean, as large as the measured one, from a value with a chance of POWER.

    Errors shrink with the root of the number of pairs; normal quantiles; no adjustment for other comparisons.

    Returns:
        None where no number would do (the mean is the value), or more than a billion pairs.
    """
    return _pairs(abs(mean - value), (1 + confidence_level) / 2, error, n)


def pairs_to_decide(mean: float, error: float, n: int, margin: float, confidence_level: float) -> int | None:
    """Return how many pairs would show a difference from 0 or, where that takes fewer, equivalence; see above."""
    numbers = [pairs_to_tell_from(0.0, mean, error, n, confidence_level)]
    if abs(mean) < margin:
        numbers.append(_pairs(margin - abs(mean), confidence_level, error, n))
    return min((number for number in numbers if number is not None), default=None)


def _pairs(distance: float, quantile: float, error: float, n: int) -> int | None:
    """Return the pairs for which a distance is as many errors as a one-sided test at a quantile asks for."""
    if distance == 0:
        return None
    number = n * ((norm.ppf(quantile) + norm.ppf(POWER)) * error / distance) ** 2
    return math.ceil(number) if number <= _MOST_PAIRS else None
