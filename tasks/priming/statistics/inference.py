"""Inference that holds at any look: a run may be grown and read again after every sample, and errors stay bounded.

In: means with cluster-robust standard errors, or values by condition. Out: intervals and p-values, families of them
adjusted for their number, and comparisons with the best of several conditions. All rest on one bound, `any_look_reach`.
Better and worse are two claims: each has half of alpha, and no interval contradicts a p-value.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from tasks.priming.records import LEAST_CLUSTERS
from tasks.priming.statistics.paired import Clusters, Interval, Vector

_TUNING = 0.01642
"""r^2 of the sequence, the same for every alpha so that intervals are nested and p-values invert them.

The two-sided sequence at alpha = .05 is tightest at G clusters for r^2 = (-W(-alpha^2 / e) - 1) / G, W the lower branch
of Lambert's function (Waudby-Smith et al. 2024, appendix; scipy.special.lambertw(..., -1)); here G = 500.
"""

_KEPT_FOR_SHOWN = 0.1
"""Share of a family's alpha that is kept for the near ends of the intervals of what is shown."""

_OPEN_AT_ZERO = float(np.finfo(np.float64).tiny)
"""An interval that is open at 0 ends here, so that it excludes 0."""

Matrix: TypeAlias = NDArray[np.float64]
Counts: TypeAlias = NDArray[np.intp]
Numbers = TypeVar("Numbers", float, Vector)


class Estimate(NamedTuple):
    """A mean and what is known of its error."""

    mean: float
    """In the unit of the values; positive is better."""
    error: float
    """Cluster-robust standard error of the mean, above 0."""
    cluster_count: int
    """Number of clusters (passages) that it rests on."""


@dataclass(frozen=True, slots=True)
class Adjusted:
    """One member of a family, adjusted for all of them; valid at any look."""

    p_value: float
    """Two-sided; the claim is better or worse, by the sign of the mean."""
    interval: Interval
    """Excludes 0 exactly where p_value is below alpha; all intervals of the family hold together."""


@dataclass(frozen=True, slots=True)
class ComparedWithBest:
    """Several conditions compared with the best of the others; valid at any look."""

    intervals: tuple[Interval, ...]
    """For each condition, of the mean of the best of the others minus its own; all hold together, and each reaches 0.
    high is what choosing this condition can cost; low is 0 where it is not among the best."""
    may_be_best: tuple[bool, ...]
    """For each condition, whether none of the others is shown to be better; true for at least one."""


def any_look_reach(cluster_count: int | Counts, tail: float) -> float | Vector:
    """Return how many standard errors a one-sided bound lies from the mean, so that it holds at every look.

    reach = sqrt(2 (G r^2 + 1) / (G r^2) * ln(1 + sqrt(G r^2 + 1) / (2 tail))) for G clusters; see `_TUNING` for r. For
    sums of independent normal values the probability that the bound is ever on the wrong side of the true mean is at
    most `tail`; with estimated errors of other values this holds approximately, from LEAST_CLUSTERS clusters on.

    Why: with u = z^2 G r^2 / (2 (G r^2 + 1)) for a mean of z > 0 standard errors, the likelihood ratio mixed over
    positive means by half a normal density is 2 exp(u) Phi(sqrt(2 u)) / sqrt(G r^2 + 1), at least 2 (exp(u) - 1) /
    sqrt(G r^2 + 1), and the chance that it ever reaches 1 / tail is at most tail (Ville's inequality).

    Source: Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024), "Time-uniform central limit theory and asymptotic
    confidence sequences", Annals of Statistics 52(6), arXiv:2103.06476 (its appendix has one-sided sequences); the
    mixture is that of Robbins (1970), doi:10.1214/aoms/1177696786.

    Example:
        >>> [round(float(any_look_reach(count, 0.025)), 2) for count in (100, 500, 2500)]  # a fixed n has 1.96
        [3.36, 3.04, 3.16]
    """
    information = cluster_count * _TUNING
    reach: float | Vector = np.sqrt(
        2 * (information + 1) / information * np.log1p(np.sqrt(information + 1) / (2 * tail))
    )
    return reach


def any_look_interval(mean: float, error: float, cluster_count: int, alpha: float) -> Interval | None:
    """Return the two-sided interval of a mean, which it misses at any look with a probability of at most alpha.

    These are the two one-sided bounds at alpha / 2; None with fewer than LEAST_CLUSTERS clusters.

    Source: see `any_look_reach`. The two-sided sequence of theorem 2.2 there, with ln(sqrt(G r^2 + 1) / alpha), is
    narrower by less than 1 % but bounds the two sides' errors only together.
    """
    if cluster_count < LEAST_CLUSTERS:
        return None
    reach = float(any_look_reach(cluster_count, alpha / 2)) * error
    return Interval(mean - reach, mean + reach)


def any_look_one_sided_p_value(mean: Numbers, error: Numbers, cluster_count: int | Counts) -> Numbers:
    """Return the always-valid p-value of a true mean of at most 0; for one of at most a margin, pass mean - margin.

    The smallest tail at which the lower bound mean - error * any_look_reach(G, tail) lies above 0:
    p = min(1, sqrt(G r^2 + 1) / (2 (exp(u) - 1))), u = (mean / error)^2 G r^2 / (2 (G r^2 + 1)); 1 for a mean of at
    most 0 and with fewer than LEAST_CLUSTERS clusters. `any_look_interval` excludes 0 where twice the smaller one of
    both directions is below alpha.

    Source: see `any_look_reach`; always-valid p-values: Johari, Koomen, Pekelis and Walsh (2022),
    doi:10.1287/opre.2021.2135.
    """
    information = cluster_count * _TUNING
    with np.errstate(over="ignore", divide="ignore"):  # far from 0 the p-value is 0, at 0 it is 1
        evidence = np.expm1((np.maximum(mean, 0) / error) ** 2 * information / (2 * (information + 1)))
        capped = np.minimum(1.0, np.sqrt(information + 1) / (2 * evidence))
    p_value: Numbers = np.maximum(capped, np.less(cluster_count, LEAST_CLUSTERS))
    return p_value


def holm_with_intervals(estimates: Sequence[Estimate | None], alpha: float) -> list[Adjusted | None]:
    """Adjust one declared family for its number of comparisons, with intervals that agree with the p-values.

    Each direction is adjusted on its own at alpha / 2, so that a wrong direction is an error too. Of the m lower ends
    (the upper ones likewise), with k comparisons shown to be better by Holm's steps:

    - not shown: the bound at tail / (m - k), which reaches 0;
    - shown, while others are not: open at 0, which is all that Holm's steps prove of it;
    - shown, like all others: the bound at tail / m, and above 0.

    Since a shown gain deserves more than "above 0", a tenth of alpha is kept for Bonferroni's bounds of all m, and the
    intervals are cut by these: tail = 0.9 alpha / 2, and p_value = 2 / 0.9 times Holm's one-sided p-value. The chance
    that at any look any interval misses its mean, or anything is shown that is not so, is at most alpha. A family of
    one keeps nothing: its interval is that of `any_look_interval`.

    Args:
        estimates: The family; None for a comparison that could not be computed. It counts in m all the same, like one
            with fewer than LEAST_CLUSTERS clusters: the family was declared before the scores were seen.
        alpha: Probability of any error in the family, between 0 and 1.

    Returns:
        One for each estimate; None where there was none, or too few clusters.

    Source: Holm (1979), https://www.jstor.org/stable/4615733; intervals: Strassburger and Bretz (2008),
    doi:10.1002/sim.3338, and Guilbaud (2008), doi:10.1002/bimj.200710449.
    """
    usable = [each if each and each.cluster_count >= LEAST_CLUSTERS else None for each in estimates]
    known = [each for each in usable if each]
    if not known:
        return [None for _ in estimates]
    kept = _KEPT_FOR_SHOWN if len(estimates) > 1 else 0.0
    means, errors, counts = (np.array(each) for each in zip(*known, strict=True))
    missing = len(estimates) - len(known)
    better, lows = _holm_lower_ends(means, errors, counts, missing, alpha / 2, kept)
    worse, highs = _holm_lower_ends(-means, errors, counts, missing, alpha / 2, kept)
    p_values = np.minimum(1.0, 2 * np.minimum(better, worse) / (1 - kept))
    found = zip(p_values.tolist(), lows.tolist(), (-highs).tolist(), strict=True)
    adjusted = (Adjusted(p_value, Interval(low, high)) for p_value, low, high in found)
    return [next(adjusted) if each else None for each in usable]


def compare_with_best(values: Matrix, clusters: Clusters, alpha: float) -> ComparedWithBest | None:
    """Compare each condition with the best of the others (Hsu's multiple comparisons with the best).

    With m_ij the mean of condition i minus that of j, e_ij its cluster-robust error, and c = any_look_reach(G, alpha /
    (k - 1)): i may be the best unless m_ji - c e_ji > 0 for some j. The interval of the best other's mean minus that of
    i is [min(0, max_j (m_ji - c e_ji)), max(0, max_j (m_ji + c e_ji))], the last over the j that may be the best alone.
    Only the k - 1 comparisons with the true best can make an error, in one direction each, hence Bonferroni's k - 1.

    Args:
        values: (samples, conditions) finite values of at least two conditions; higher is better.
        clusters: (samples,) cluster number of each sample, from 0.
        alpha: Probability that at any look any interval misses, or the best is not among those that may be; between 0
            and 1.

    Returns:
        None with fewer than LEAST_CLUSTERS clusters.

    Source: Hsu (1984), doi:10.1214/aos/1176346732 (constrained intervals); Hsu (1996), Multiple comparisons, chapter 4.
    """
    means, sums = _cluster_sums(values, clusters)
    count, conditions = sums.shape
    if count < LEAST_CLUSTERS:
        return None
    reach = any_look_reach(count, alpha / (conditions - 1))
    others = ~np.eye(conditions, dtype=bool)
    ahead = means - means[:, np.newaxis]  # (i, j): the mean of j minus that of i
    errors = np.array([_errors(sums - sums[:, [i]], len(values)) for i in range(conditions)])
    lows = np.max(ahead - reach * errors, axis=1, where=others, initial=-np.inf)
    may_be_best = lows <= 0
    highs = np.max(ahead + reach * errors, axis=1, where=others & may_be_best, initial=0.0)
    intervals = (Interval(*ends) for ends in zip(np.minimum(lows, 0.0).tolist(), highs.tolist(), strict=True))
    return ComparedWithBest(tuple(intervals), tuple(may_be_best.tolist()))


def gain_over_best(candidate: Vector, free: Matrix, clusters: Clusters, alpha: float) -> Interval | None:
    """Return an interval of what a candidate gains over the best of k other conditions.

    With m_j the mean of the candidate minus that of condition j, and e_j its cluster-robust error:
    low = min_j (m_j - e_j any_look_reach(G, alpha / 2)) and high = min_j (m_j + e_j any_look_reach(G, alpha / (2 k))).
    No adjustment is needed for low: the gain over the best is below it only if the gain over that one condition is. It
    lies above 0 exactly where every `any_look_interval` of a single comparison does, and high lies below 0 only where
    one lies below it, so that it never contradicts them.

    Args:
        candidate: (samples,) finite values of the candidate; higher is better.
        free: (samples, conditions) values of the others, at least one.
        clusters: (samples,) cluster number of each sample, from 0.
        alpha: Probability of ever missing the true gain, between 0 and 1.

    Returns:
        None with fewer than LEAST_CLUSTERS clusters.

    Source: Hsu (1984), doi:10.1214/aos/1176346732; the low end is an intersection-union test: Berger (1982),
    doi:10.1080/00401706.1982.10487790.
    """
    means, sums = _cluster_sums(candidate[:, np.newaxis] - free, clusters)
    count, conditions = sums.shape
    if count < LEAST_CLUSTERS:
        return None
    errors = _errors(sums, len(candidate))
    low = (means - errors * any_look_reach(count, alpha / 2)).min()
    high = (means + errors * any_look_reach(count, alpha / (2 * conditions))).min()
    return Interval(float(low), float(high))


def _holm_lower_ends(
    means: Vector, errors: Vector, counts: Counts, missing: int, tail: float, kept: float
) -> tuple[Vector, Vector]:
    """Return Holm's one-sided p-values and the lower ends, where `missing` more comparisons count as p = 1."""
    p_values = any_look_one_sided_p_value(means, errors, counts)
    family = len(means) + missing
    order = np.argsort(p_values, kind="stable")
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p_values[order] * (family - np.arange(len(means)))))
    shown = adjusted < tail * (1 - kept)
    left = family - int(shown.sum())
    lows = means - errors * any_look_reach(counts, tail * (1 - kept) / (left or family))
    near = means - errors * any_look_reach(counts, tail * kept / family) if kept else lows
    near = near if left else np.maximum(near, lows)
    return adjusted, np.where(shown, np.maximum(near, _OPEN_AT_ZERO), np.minimum(lows, 0.0))


def _cluster_sums(values: Matrix, clusters: Clusters) -> tuple[Vector, Matrix]:
    """Return the means (conditions,) and each cluster's sum of residuals (clusters, conditions)."""
    means = values.mean(axis=0)
    sums = np.zeros((int(clusters.max()) + 1, values.shape[1]))
    np.add.at(sums, clusters, values - means)
    return means, sums


def _errors(sums: Matrix, count: int) -> Vector:
    """Return the cluster-robust errors of means of `count` values, as `cluster_robust_mean` does."""
    clusters = len(sums)
    errors: Vector = np.sqrt(clusters / (clusters - 1) * (sums**2).sum(axis=0)) / count
    return errors
