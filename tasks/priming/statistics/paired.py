"""Statistics of paired values: one condition compared with its reference on the same samples.

improvement = reference - arm, since lower is better: positive where the arm is better. What cannot be computed is None,
never NaN, infinity or 0.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, trim_mean, ttest_rel, wilcoxon

from tasks.priming.statistics.intervals import Clusters, Vector, cluster_robust_mean


class Pairs(NamedTuple):
    """Two conditions on the samples that both have."""

    reference: Vector
    """(pairs,) values of the reference."""
    arm: Vector
    """(pairs,) values of the arm."""
    passage_ids: list[str]
    """The passage of each pair."""

    @property
    def improvement(self) -> Vector:
        """(pairs,) reference - arm."""
        return self.reference - self.arm

    @property
    def clusters(self) -> Clusters:
        """(pairs,) number of each pair's passage, from 0 in the order in which they come."""
        numbers = {passage: number for number, passage in enumerate(dict.fromkeys(self.passage_ids))}
        return np.array([numbers[passage] for passage in self.passage_ids], dtype=np.intp)


@dataclass(frozen=True, slots=True)
class PairedStatistics:
    """What pairs of values show. The fields are described in tasks/priming/records.py, where Comparison has them all.

    Without pairs there are only counts, for a single pair only counts and means.
    """

    n: int
    passage_count: int
    win_count: int
    tie_count: int
    loss_count: int
    arm_mean: float | None = None
    """In the unit of the values."""
    reference_mean: float | None = None
    """Likewise."""
    improvement_mean: float | None = None
    improvement_error: float | None = None
    """None where there is no interval, and where all improvements are equal."""
    improvement_low: float | None = None
    """None also where all pairs are about one passage, or where the sums of all passages are equal."""
    improvement_high: float | None = None
    interval_method: str = "none"
    cohens_d: float | None = None
    """None where all improvements are equal."""
    p_value: float | None = None
    """None also where all improvements are equal. What `paired_mean` computes ends here."""

    improvement_median: float | None = None
    improvement_trimmed_mean: float | None = None
    improvement_sd: float | None = None
    t_statistic: float | None = None
    t_p_value: float | None = None
    wilcoxon_p_value: float | None = None
    """None where every improvement is 0."""
    sign_p_value: float | None = None
    """None where there are only ties."""


def pair_up(reference: Mapping[str, float], arm: Mapping[str, float], passages: Mapping[str, str]) -> Pairs:
    """Pair the values of two conditions on the samples that all three mappings have.

    Args:
        reference: sample_id -> value of the reference.
        arm: sample_id -> value of the arm.
        passages: sample_id -> passage_id, in the order of the pairs.
    """
    shared = [sample_id for sample_id in passages if sample_id in reference and sample_id in arm]
    return Pairs(
        np.array([reference[sample_id] for sample_id in shared], dtype=np.float64),
        np.array([arm[sample_id] for sample_id in shared], dtype=np.float64),
        [passages[sample_id] for sample_id in shared],
    )


def paired_mean(pairs: Pairs, confidence_level: float) -> PairedStatistics:
    """Compute the mean improvement with its cluster-robust interval and p-value, both from one t test.

    d = mean / sd (n - 1), "d_z" in Lakens (2013), doi:10.3389/fpsyg.2013.00863; interval and p-value as in
    `cluster_robust_mean`. Improvements that differ by no more than the rounding of their values are constant (see
    `constant_value`): their interval is their value.

    Args:
        pairs: Finite values; lower is better. The order of the pairs may change the last bits of a result.
        confidence_level: Nominal coverage of the interval, between 0 and 1.

    Example:
        >>> reference, arm = np.array([2.0, 1.5, 3.0, 1.0]), np.array([1.5, 1.5, 2.0, 1.25])
        >>> found = paired_mean(Pairs(reference, arm, ["p", "q", "r", "s"]), 0.95)
        >>> found.improvement_mean, found.win_count, found.tie_count
        (0.3125, 2, 1)
        >>> round(found.p_value, 4)  # scipy.stats.ttest_rel, since every passage has one pair
        0.3416
        >>> round(found.improvement_low, 4), round(found.improvement_high, 4)  # its confidence_interval(0.95)
        (-0.5696, 1.1946)
    """
    # Overflow and degenerate data need no warning: they end as None.
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        improvement, clusters = pairs.improvement, pairs.clusters
        described = PairedStatistics(
            n=len(improvement),
            passage_count=len(set(pairs.passage_ids)),
            win_count=int((improvement > 0).sum()),
            tie_count=int((improvement == 0).sum()),
            loss_count=int((improvement < 0).sum()),
        )
        if not described.n:
            return described
        described = replace(
            described,
            arm_mean=finite(pairs.arm.mean()),
            reference_mean=finite(pairs.reference.mean()),
            improvement_mean=finite(improvement.mean()),
        )
        if described.n < 2:
            return described
        if (same := constant_value(pairs.reference, pairs.arm)) is not None:
            described = replace(described, improvement_mean=same, improvement_low=same, improvement_high=same)
            return replace(described, interval_method="constant")
        described = replace(described, cohens_d=finite(improvement.mean() / improvement.std(ddof=1)))
        clustered = cluster_robust_mean(improvement, clusters, confidence_level)
        if clustered is None:
            return described
        return replace(
            described,
            improvement_error=clustered.error,
            improvement_low=clustered.interval.low,
            improvement_high=clustered.interval.high,
            interval_method="cluster_robust",
            p_value=clustered.p_value,
        )


def describe_pairs(pairs: Pairs, confidence_level: float) -> PairedStatistics:
    """Compute `paired_mean`, and what else describes pairs: median, spread, and tests that take them as independent.

    These are scipy.stats' ttest_rel(reference, arm), wilcoxon(reference - arm), binomtest(wins, wins + losses) and
    trim_mean(reference - arm, 0.2).

    Raises:
        ValueError: The values differ in number, or one is NaN or infinite.

    Example:
        >>> reference, arm = np.array([2.0, 1.5, 3.0, 1.0]), np.array([1.5, 1.5, 2.0, 1.25])
        >>> found = describe_pairs(Pairs(reference, arm, ["p", "p", "q", "r"]), 0.95)
        >>> round(found.t_statistic, 4), round(found.t_p_value, 4)  # scipy.stats.ttest_rel(reference, arm)
        (1.1275, 0.3416)
    """
    reference, arm, passage_ids = pairs
    if not len(reference) == len(arm) == len(passage_ids):
        raise ValueError(
            f"`reference`, `arm` and `passage_ids` must pair up, got {len(reference)}, {len(arm)} and "
            f"{len(passage_ids)} values. Give one of each for every sample."
        )
    if not (np.isfinite(reference).all() and np.isfinite(arm).all()):
        raise ValueError(
            "`reference` and `arm` must be finite, got NaN or infinity. Leave such pairs out and count them."
        )
    described = paired_mean(pairs, confidence_level)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):  # as in paired_mean
        return _add_spread(described, reference, arm) if described.n > 1 else described


def pairs_for_precision(error: float, n: int, reach: float, half_width: float) -> int:
    """Return how many pairs would give an interval this half-width: n (reach error / half_width)^2, rounded up.

    The error of n pairs shrinks with the square root of their number. The mean takes no part in it: an advice that
    takes the measured mean for the true one is as wrong as that.

    Args:
        error: Standard error of the mean of n pairs.
        n: Number of pairs.
        reach: The interval's half-width in standard errors.
        half_width: What is asked for, above 0, in the unit of the error.
    """
    return math.ceil(n * (reach * error / half_width) ** 2)


def constant_value(reference: Vector, arm: Vector) -> float | None:
    """Return the value that all of reference - arm share, be it but for rounding; None where they differ.

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


def finite(value: float) -> float | None:
    """Return a number as Python's own float, and None in place of NaN and infinity."""
    return float(value) if math.isfinite(value) else None


def _add_spread(described: PairedStatistics, reference: Vector, arm: Vector) -> PairedStatistics:
    """Add median, spread and the descriptive tests, which take the pairs as independent."""
    improvement = reference - arm
    if described.interval_method == "constant":
        same = described.improvement_mean
        described = replace(described, improvement_median=same, improvement_trimmed_mean=same, improvement_sd=0.0)
        if not same:
            return described
    else:
        paired_t = ttest_rel(reference, arm)
        described = replace(
            described,
            improvement_median=finite(float(np.median(improvement))),
            improvement_trimmed_mean=finite(trim_mean(improvement, 0.2)),
            improvement_sd=finite(improvement.std(ddof=1)),
            t_statistic=finite(paired_t.statistic),
            t_p_value=finite(paired_t.pvalue),
        )
    decided = described.win_count + described.loss_count  # ties tell nothing
    return replace(
        described,
        wilcoxon_p_value=finite(wilcoxon(improvement).pvalue),
        sign_p_value=float(binomtest(described.win_count, decided).pvalue) if decided else None,
    )
