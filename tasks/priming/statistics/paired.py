"""Statistics of paired values: one condition compared with its reference on the same samples.

improvement = reference - arm, since lower is better: positive where the arm is better. What cannot be computed is None,
never NaN, infinity or 0. A difference that is not significant is not shown to be absent: equivalence tests, the
smallest effect that would have been detected and the number of pairs that would decide tell the two apart.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, norm, t, trim_mean, ttest_rel, wilcoxon

from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.intervals import (
    ClusteredMean,
    Clusters,
    Vector,
    bootstrap_intervals,
    cluster_robust_mean,
)

MAX_BOOTSTRAP_PASSAGES = 10_000
"""Above this many passages the bootstrap takes seconds per comparison and agrees with the cluster-robust interval."""

POWER = 0.8
"""The power that is asked of a number of pairs; Cohen (1988), section 2.4."""

_MOST_PAIRS = 10**9
"""More pairs than any data set has: such a number is no plan."""


class Pairs(NamedTuple):
    """Two conditions on the samples that both have."""

    reference: Vector
    """(pairs,) values of the reference."""
    arm: Vector
    """(pairs,) values of the arm."""
    passage_ids: list[str]
    """The passage of each pair."""


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
    nll_arm_mean: float | None = None
    """In the unit of the values, which are NLLs unless another measure was paired."""
    nll_reference_mean: float | None = None
    """Likewise."""
    improvement_mean: float | None = None
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
    cohens_d_low: float | None = None
    """None unless interval_method is bca."""
    cohens_d_high: float | None = None
    smallest_detectable_improvement: float | None = None
    equivalence_p_value: float | None = None
    equivalence_power: float | None = None
    n_to_decide: int | None = None
    n_to_decide_margin: int | None = None


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


def paired_mean(
    reference: Vector, arm: Vector, passage_ids: Sequence[str], confidence_level: float
) -> PairedStatistics:
    """Compute the mean improvement with its cluster-robust interval: no bootstrap, for comparisons by the hundred.

    d = mean / sd (n - 1); interval and p-value as in `cluster_robust_mean`. Improvements that differ by no more than
    the rounding of their values are constant (see `constant_value`): their interval is their value.

    Args:
        reference: (pairs,) values of the reference, finite; lower is better.
        arm: (pairs,) values of the arm on the same samples.
        passage_ids: The passage of each pair. The order of the pairs may change the last bits of a result.
        confidence_level: Nominal coverage of the interval, between 0 and 1.

    Example:
        >>> reference, arm = np.array([2.0, 1.5, 3.0, 1.0]), np.array([1.5, 1.5, 2.0, 1.25])
        >>> found = paired_mean(reference, arm, ["p", "q", "r", "s"], 0.95)
        >>> found.improvement_mean, found.win_count, found.tie_count
        (0.3125, 2, 1)
        >>> round(found.p_value, 4)  # scipy.stats.ttest_rel, since every passage has one pair
        0.3416
        >>> round(found.improvement_low, 4), round(found.improvement_high, 4)  # its confidence_interval(0.95)
        (-0.5696, 1.1946)
    """
    # Overflow and degenerate data need no warning: they end as None.
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        return _describe_mean(reference, arm, _number_passages(passage_ids), confidence_level)[0]


def describe_pairs(
    reference: Vector, arm: Vector, passage_ids: Sequence[str], *, settings: StatisticsSettings, seed: int
) -> PairedStatistics:
    """Compute all statistics of paired values: `paired_mean`, the bootstrap, descriptive tests and power.

    The interval is the bootstrap's (BCa) where that is defined and affordable, else cluster-robust. Cohen's d is "d_z"
    in Lakens (2013), doi:10.3389/fpsyg.2013.00863. Paired t, Wilcoxon, sign test and trimmed mean take the pairs as
    independent: scipy.stats' ttest_rel(reference, arm), wilcoxon(reference - arm), binomtest(wins, wins + losses) and
    trim_mean(reference - arm, 0.2).

    Args:
        reference: (pairs,) NLL of the reference, nats per answer token.
        arm: (pairs,) NLL of the arm on the same samples.
        passage_ids: The passage of each pair. The order of the pairs may change the last bits of a result.
        settings: Number of resamples, nominal coverage and equivalence margin.
        seed: Seed of the bootstrap's resamples.

    Raises:
        ValueError: The three differ in length, or a value is NaN or infinite.

    Example:
        >>> settings = StatisticsSettings(bootstrap_resamples=1000)
        >>> reference, arm = np.array([2.0, 1.5, 3.0, 1.0]), np.array([1.5, 1.5, 2.0, 1.25])
        >>> found = describe_pairs(reference, arm, ["p", "p", "q", "r"], settings=settings, seed=42)
        >>> found.improvement_mean, found.win_count, found.tie_count, found.loss_count
        (0.3125, 2, 1, 1)
        >>> round(found.t_statistic, 4), round(found.t_p_value, 4)  # scipy.stats.ttest_rel(reference, arm)
        (1.1275, 0.3416)
    """
    if not len(reference) == len(arm) == len(passage_ids):
        raise ValueError(
            f"`reference`, `arm` and `passage_ids` must pair up, got {len(reference)}, {len(arm)} and "
            f"{len(passage_ids)} values. Give one of each for every sample."
        )
    if not (np.isfinite(reference).all() and np.isfinite(arm).all()):
        raise ValueError(
            "`reference` and `arm` must be finite, got NaN or infinity. Leave such pairs out and count them."
        )
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):  # as in paired_mean
        clusters = _number_passages(passage_ids)
        described, clustered = _describe_mean(reference, arm, clusters, settings.confidence_level)
        if described.n < 2:
            return described
        described = _add_spread(described, reference, arm)
        if clustered is None:
            return described
        if described.passage_count <= MAX_BOOTSTRAP_PASSAGES:
            described = _add_bootstrap(described, reference - arm, clusters, settings, seed)
        return _add_power(described, clustered, settings)


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


def tost_p_value(mean: float, error: float, degrees: float, margin: float) -> float:
    """Return the p-value of the two one-sided tests that a mean lies between -margin and +margin.

    `error` is the standard error of the mean, above 0, with `degrees` degrees of freedom.

    Source: Schuirmann (1987), doi:10.1007/BF01068419.
    """
    return float(max(t.sf((mean + margin) / error, degrees), t.cdf((mean - margin) / error, degrees)))


def tost_power(error: float, degrees: float, margin: float, confidence_level: float) -> float:
    """Return the probability that `tost_p_value` is below 1 - confidence_level if the true mean is 0.

    Source: Phillips (1990), doi:10.1007/BF01063556, in the usual approximation by the central t distribution.
    """
    critical = t.ppf(confidence_level, degrees)
    return float(max(0.0, 2 * t.cdf(margin / error - critical, degrees) - 1))


def smallest_detectable(error: float, degrees: float, confidence_level: float) -> float:
    """Return the true mean that a two-sided test at this level would distinguish from 0 with a power of POWER.

    Source: Bloom (1995), doi:10.1177/0193841X9501900504 ("minimum detectable effect").
    """
    return float((t.ppf((1 + confidence_level) / 2, degrees) + t.ppf(POWER, degrees)) * error)


def pairs_to_show(distance: float, quantile: float, error: float, n: int) -> int | None:
    """Return how many pairs a one-sided test at a quantile needs to show a distance with a power of POWER.

    n ((z_quantile + z_POWER) error / distance)^2, since the error of n pairs shrinks with the square root of their
    number; no adjustment for other comparisons.

    Returns:
        None where no number would do (a distance of 0), or more than a billion pairs.
    """
    if distance == 0:
        return None
    number = n * ((norm.ppf(quantile) + norm.ppf(POWER)) * error / distance) ** 2
    return math.ceil(number) if number <= _MOST_PAIRS else None


def pairs_to_decide(mean: float, error: float, n: int, margin: float, confidence_level: float) -> int | None:
    """Return how many pairs would show a difference from 0 or, where that takes fewer, equivalence.

    The true mean is taken to be the measured one. See `pairs_to_show`.
    """
    numbers = [pairs_to_show(abs(mean), (1 + confidence_level) / 2, error, n)]
    if abs(mean) < margin:
        numbers.append(pairs_to_show(margin - abs(mean), confidence_level, error, n))
    return min((number for number in numbers if number is not None), default=None)


def _number_passages(passage_ids: Sequence[str]) -> Clusters:
    return np.unique(np.asarray(passage_ids, dtype=str), return_inverse=True)[1]


def _describe_mean(
    reference: Vector, arm: Vector, clusters: Clusters, confidence_level: float
) -> tuple[PairedStatistics, ClusteredMean | None]:
    """Compute what `paired_mean` returns, and the clustered inference it rests on where that is defined."""
    improvement = reference - arm
    described = PairedStatistics(
        n=len(improvement),
        passage_count=len(np.unique(clusters)),
        win_count=int((improvement > 0).sum()),
        tie_count=int((improvement == 0).sum()),
        loss_count=int((improvement < 0).sum()),
    )
    if not described.n:
        return described, None
    described = replace(
        described,
        nll_arm_mean=finite(arm.mean()),
        nll_reference_mean=finite(reference.mean()),
        improvement_mean=finite(improvement.mean()),
    )
    if described.n < 2:
        return described, None
    if (same := constant_value(reference, arm)) is not None:
        described = replace(described, improvement_mean=same, improvement_low=same, improvement_high=same)
        return replace(described, interval_method="constant"), None
    described = replace(described, cohens_d=finite(improvement.mean() / improvement.std(ddof=1)))
    clustered = cluster_robust_mean(improvement, clusters, confidence_level)
    if clustered is None:
        return described, None
    low, high = clustered.interval.low, clustered.interval.high
    described = replace(described, improvement_low=low, improvement_high=high, p_value=clustered.p_value)
    return replace(described, interval_method="cluster_robust"), clustered


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


def _add_bootstrap(
    described: PairedStatistics, improvement: Vector, clusters: Clusters, settings: StatisticsSettings, seed: int
) -> PairedStatistics:
    """Replace the interval by the bootstrap's where that is defined, and add that of d."""
    intervals = bootstrap_intervals(improvement, clusters, settings=settings, seed=seed)
    if intervals.mean is None:
        return described
    return replace(
        described,
        improvement_low=intervals.mean.low,
        improvement_high=intervals.mean.high,
        interval_method="bca",
        cohens_d_low=intervals.cohens_d.low if intervals.cohens_d else None,
        cohens_d_high=intervals.cohens_d.high if intervals.cohens_d else None,
    )


def _add_power(described: PairedStatistics, clustered: ClusteredMean, settings: StatisticsSettings) -> PairedStatistics:
    """Add what these pairs could show, and how many would show more."""
    level, margin = settings.confidence_level, settings.equivalence_margin
    mean, error, degrees, n = described.improvement_mean, clustered.error, clustered.degrees, described.n
    assert mean is not None  # a mean that is not finite has no standard error
    return replace(
        described,
        smallest_detectable_improvement=finite(smallest_detectable(error, degrees, level)),
        equivalence_p_value=tost_p_value(mean, error, degrees, margin),
        equivalence_power=tost_power(error, degrees, margin, level),
        n_to_decide=pairs_to_decide(mean, error, n, margin, level),
        n_to_decide_margin=pairs_to_show(abs(mean - margin), (1 + level) / 2, error, n),
    )
