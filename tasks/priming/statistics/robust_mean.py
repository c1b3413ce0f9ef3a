"""The mean improvement of one condition over another with its cluster-robust interval, for comparisons by the hundred.

In: the values of two conditions and each sample's passage. Out: one RobustMean, in which what cannot be computed is
None, never NaN, infinity or 0. Its mean, d and p-value are those of tasks/priming/statistics/paired.py; the interval
needs no bootstrap, which would cost a second for each of many.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from tasks.priming.statistics.intervals import Vector, cluster_robust_mean, finite


@dataclass(frozen=True, slots=True)
class RobustMean:
    """What the pairs of two conditions say; improvement = reference - arm, since less is better."""

    n: int
    """Samples that both sides have."""
    passage_count: int
    """Distinct passages among them: the clusters."""
    win_count: int
    """Pairs in which the arm is strictly better."""
    tie_count: int
    """Pairs with exactly equal values."""
    arm_mean: float | None = None
    """Mean of the arm, in the unit of the values; None, like all that follows, without pairs."""
    reference_mean: float | None = None
    """Mean of the reference."""
    mean: float | None = None
    """Mean improvement; what follows is None also for a single pair."""
    low: float | None = None
    """Lower end of the interval of the mean; the mean itself where all improvements are equal, None where they differ
    and are of one passage, or where the sums of all passages are equal."""
    high: float | None = None
    """Upper end, likewise."""
    cohens_d: float | None = None
    """Mean / standard deviation (n - 1) of the improvements; None where they are all equal."""
    p_value: float | None = None
    """Two-sided p-value of the mean being 0, errors clustered by passage; None also where they are all equal."""


def robust_mean(
    reference: Mapping[str, float], arm: Mapping[str, float], passages: Mapping[str, str], confidence_level: float
) -> RobustMean:
    """Describe the improvements of an arm over its reference on the samples that both have.

    improvement = reference - arm; d = mean / sd (n - 1); interval and p-value as in `cluster_robust_mean`. Improvements
    that differ by less than the rounding of their values are taken as equal (see `constant_value`).

    Args:
        reference: sample_id -> value, finite; less is better.
        arm: The same for the arm.
        passages: sample_id -> passage_id; samples that it lacks take no part. Its order may change the last bits.
        confidence_level: Nominal coverage of the interval, between 0 and 1.

    Example:
        >>> reference, arm = {"a": 2.0, "b": 1.5, "c": 3.0, "d": 1.0}, {"a": 1.5, "b": 1.5, "c": 2.0, "d": 1.25}
        >>> found = robust_mean(reference, arm, {sample: sample for sample in "abcd"}, 0.95)
        >>> found.mean, found.win_count, found.tie_count
        (0.3125, 2, 1)
        >>> round(found.p_value, 4)  # scipy.stats.ttest_rel, since every passage has one pair
        0.3416
        >>> round(found.low, 4), round(found.high, 4)  # its confidence_interval(0.95)
        (-0.5696, 1.1946)
    """
    pairs = [sample_id for sample_id in passages if sample_id in reference and sample_id in arm]
    before = np.array([reference[sample_id] for sample_id in pairs], dtype=np.float64)
    after = np.array([arm[sample_id] for sample_id in pairs], dtype=np.float64)
    clusters = np.unique([passages[sample_id] for sample_id in pairs], return_inverse=True)[1]
    # Overflow and degenerate data need no warning: they end as None.
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        improvement = before - after
        counted = RobustMean(
            n=len(pairs),
            passage_count=len(np.unique(clusters)),
            win_count=int((improvement > 0).sum()),
            tie_count=int((improvement == 0).sum()),
        )
        if not pairs:
            return counted
        described = replace(
            counted,
            arm_mean=finite(after.mean()),
            reference_mean=finite(before.mean()),
            mean=finite(improvement.mean()),
        )
        if len(pairs) < 2:
            return described
        constant = constant_value(before, after)
        if constant is not None:
            return replace(described, mean=constant, low=constant, high=constant)
        clustered = cluster_robust_mean(improvement, clusters, confidence_level)
        return replace(
            described,
            cohens_d=finite(improvement.mean() / improvement.std(ddof=1)),
            low=clustered.interval.low if clustered else None,
            high=clustered.interval.high if clustered else None,
            p_value=clustered.p_value if clustered else None,
        )


def constant_value(reference: Vector, arm: Vector) -> float | None:
    """Return the value that all of reference - arm share, be it but for the rounding of the two; None if they differ.

    Rounding is taken as four units in the last place of the largest value: 0.1 + 0.2 - 0.3 is 5.6e-17, and taken for
    spread such noise gives a Cohen's d of 1e15.

    Args:
        reference: (pairs,) values, at least one.
        arm: (pairs,) values on the same samples.
    """
    improvement = reference - arm
    rounding = 4 * np.finfo(float).eps * max(np.abs(reference).max(), np.abs(arm).max())
    if not np.ptp(improvement) <= rounding:  # also where a difference overflowed and the range is NaN
        return None
    value = float(improvement.min())
    return value if abs(value) > rounding else 0.0
