"""Statistics of one vector of paired values: one condition against its reference on the same samples.

In: the NLLs of two conditions, pair by pair, and each pair's passage. Out: one PairedStatistics, in which what cannot
be computed is None, never NaN, infinity or 0. The p-value and the intervals come from
tasks/priming/statistics/intervals.py.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import binomtest, trim_mean, ttest_rel, wilcoxon

from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.intervals import (
    BootstrapIntervals,
    ClusteredMean,
    Clusters,
    Vector,
    bootstrap_intervals,
    cluster_robust_mean,
    finite,
)
from tasks.priming.statistics.power import (
    pairs_to_decide,
    pairs_to_tell_from,
    smallest_detectable,
    tost_p_value,
    tost_power,
)
from tasks.priming.statistics.robust_mean import constant_value

MAX_BOOTSTRAP_PASSAGES = 10_000
"""Above this many passages the bootstrap costs seconds a comparison and agrees with the cluster-robust interval."""


@dataclass(frozen=True, slots=True)
class PairedStatistics:
    """What one vector of pairs says; improvement = NLL(reference) - NLL(arm), positive where the arm is better."""

    n: int
    """Pairs."""
    passage_count: int
    """Distinct passages among the pairs."""
    win_count: int
    """Pairs in which the arm is strictly better."""
    tie_count: int
    """Pairs with exactly equal NLLs."""
    loss_count: int
    """Pairs in which the arm is strictly worse."""
    nll_arm_mean: float | None = None
    """Mean NLL of the arm, nats per answer token."""
    nll_reference_mean: float | None = None
    """Mean NLL of the reference, nats per answer token."""
    improvement_mean: float | None = None
    """Mean improvement, nats per answer token."""
    improvement_median: float | None = None
    """Median improvement; None, like all that follows, for fewer than two pairs."""
    improvement_trimmed_mean: float | None = None
    """Mean without the largest and the smallest fifth of the improvements: what a few extreme pairs cannot move."""
    improvement_sd: float | None = None
    """Standard deviation of the improvements (n - 1)."""
    improvement_low: float | None = None
    """Lower end of the interval of the mean; None also where all pairs are of one passage."""
    improvement_high: float | None = None
    """Upper end of the interval of the mean."""
    interval_method: str = "none"
    """bca, cluster_robust, constant (all improvements are equal: low = high = their value) or none."""
    cohens_d: float | None = None
    """Mean / standard deviation of the improvements; None where they are constant."""
    cohens_d_low: float | None = None
    """Lower end of the bootstrap interval of d; None unless interval_method is bca."""
    cohens_d_high: float | None = None
    """Upper end of the bootstrap interval of d."""
    t_statistic: float | None = None
    """Paired t statistic."""
    t_p_value: float | None = None
    """Two-sided p-value of the paired t-test."""
    wilcoxon_p_value: float | None = None
    """Two-sided p-value of the Wilcoxon signed-rank test; None where every improvement is 0."""
    sign_p_value: float | None = None
    """Two-sided p-value of the sign test on wins and losses; None where there are only ties."""
    p_value: float | None = None
    """Two-sided p-value of the mean with errors clustered by passage; what follows rests on the same errors."""
    smallest_detectable_improvement: float | None = None
    """The true mean that these pairs would have shown with a chance of 80 %."""
    equivalence_p_value: float | None = None
    """p-value of the two one-sided tests that the mean lies within the equivalence margin."""
    equivalence_power: float | None = None
    """The chance of showing that if the true mean were 0."""
    n_to_decide: int | None = None
    """Pairs that would show a difference or equivalence, were the true mean the measured one."""
    n_to_decide_margin: int | None = None
    """Pairs that would tell the mean from the margin, likewise."""


def describe_pairs(
    reference: Vector, arm: Vector, passage_ids: Sequence[str], *, settings: StatisticsSettings, seed: int
) -> PairedStatistics:
    """Describe the improvements of one condition over its reference, and what they allow to conclude.

    improvement = reference - arm; d = mean / sd (n - 1), "d_z" in Lakens (2013), doi:10.3389/fpsyg.2013.00863. Paired
    t, Wilcoxon, sign test and trimmed mean are scipy.stats' ttest_rel(reference, arm), wilcoxon(reference - arm),
    binomtest(wins, wins + losses) and trim_mean(reference - arm, 0.2). Improvements that differ by less than the
    rounding of the NLLs are constant: they have neither d, t nor p.

    Args:
        reference: (pairs,) NLL of the reference, nats per answer token.
        arm: (pairs,) NLL of the arm on the same samples.
        passage_ids: The passage of each pair. The order of the pairs may change the last bits of a result.
        settings: Resamples and nominal coverage.
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
    _validate(reference, arm, passage_ids)
    # Overflow and degenerate data need no warning: they end as None.
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        improvement = reference - arm
        clusters = np.unique(np.asarray(passage_ids, dtype=str), return_inverse=True)[1]
        described = _describe_location(reference, arm, clusters)
        if len(improvement) < 2:
            return described
        constant = constant_value(reference, arm)
        if constant is None:
            return _add_inference(_add_spread(described, reference, arm), improvement, clusters, settings, seed)
    return replace(
        described,
        improvement_mean=constant,
        improvement_median=constant,
        improvement_trimmed_mean=constant,
        improvement_sd=0.0,
        improvement_low=constant,
        improvement_high=constant,
        interval_method="constant",
        wilcoxon_p_value=finite(wilcoxon(improvement).pvalue) if constant else None,
        sign_p_value=_sign_p_value(described) if constant else None,
    )


def _validate(reference: Vector, arm: Vector, passage_ids: Sequence[str]) -> None:
    if not len(reference) == len(arm) == len(passage_ids):
        raise ValueError(
            f"`reference`, `arm` and `passage_ids` must pair up, got {len(reference)}, {len(arm)} and "
            f"{len(passage_ids)} values. Give one of each for every sample."
        )
    if not (np.isfinite(reference).all() and np.isfinite(arm).all()):
        raise ValueError(
            "`reference` and `arm` must be finite, got NaN or infinity. Leave such pairs out and count them."
        )


def _describe_location(reference: Vector, arm: Vector, clusters: Clusters) -> PairedStatistics:
    """Count the pairs and take the means: all that fewer than two pairs allow."""
    improvement = reference - arm
    return PairedStatistics(
        n=len(improvement),
        passage_count=len(np.unique(clusters)),
        win_count=int((improvement > 0).sum()),
        tie_count=int((improvement == 0).sum()),
        loss_count=int((improvement < 0).sum()),
        nll_arm_mean=finite(arm.mean()) if len(arm) else None,
        nll_reference_mean=finite(reference.mean()) if len(arm) else None,
        improvement_mean=finite(improvement.mean()) if len(arm) else None,
    )


def _add_spread(described: PairedStatistics, reference: Vector, arm: Vector) -> PairedStatistics:
    """Add median, spread and the two descriptive tests, which take the pairs as independent."""
    improvement = reference - arm
    deviation = improvement.std(ddof=1)
    paired_t = ttest_rel(reference, arm)
    return replace(
        described,
        improvement_median=finite(float(np.median(improvement))),
        improvement_trimmed_mean=finite(float(trim_mean(improvement, 0.2))),
        improvement_sd=finite(deviation),
        cohens_d=finite(improvement.mean() / deviation),
        t_statistic=finite(paired_t.statistic),
        t_p_value=finite(paired_t.pvalue),
        wilcoxon_p_value=finite(wilcoxon(improvement).pvalue),
        sign_p_value=_sign_p_value(described),
    )


def _sign_p_value(described: PairedStatistics) -> float | None:
    """Return the p-value of as many wins if wins and losses were equally likely; ties tell nothing."""
    decided = described.win_count + described.loss_count
    return float(binomtest(described.win_count, decided).pvalue) if decided else None


def _add_inference(
    described: PairedStatistics, improvement: Vector, clusters: Clusters, settings: StatisticsSettings, seed: int
) -> PairedStatistics:
    """Add the clustered p-value and the intervals; BCa where it is defined and affordable, else cluster-robust."""
    clustered = cluster_robust_mean(improvement, clusters, settings.confidence_level)
    if clustered is None:
        return described
    intervals = BootstrapIntervals(mean=None, cohens_d=None)
    if described.passage_count <= MAX_BOOTSTRAP_PASSAGES:
        intervals = bootstrap_intervals(improvement, clusters, settings=settings, seed=seed)
    mean = intervals.mean or clustered.interval
    cohens_d = intervals.cohens_d if intervals.mean else None
    return replace(
        described,
        improvement_low=mean.low,
        improvement_high=mean.high,
        interval_method="bca" if intervals.mean else "cluster_robust",
        cohens_d_low=cohens_d.low if cohens_d else None,
        cohens_d_high=cohens_d.high if cohens_d else None,
        p_value=clustered.p_value,
        **_power(described, clustered, settings),
    )


def _power(described: PairedStatistics, clustered: ClusteredMean, settings: StatisticsSettings) -> dict[str, Any]:
    """Return what these pairs could show, and how many would show more."""
    mean, level, margin = described.improvement_mean, settings.confidence_level, settings.equivalence_margin
    error, degrees = clustered.error, clustered.degrees
    assert mean is not None  # a mean that is not finite has no error
    return {
        "smallest_detectable_improvement": finite(smallest_detectable(error, degrees, level)),
        "equivalence_p_value": tost_p_value(mean, error, degrees, margin),
        "equivalence_power": tost_power(error, degrees, margin, level),
        "n_to_decide": pairs_to_decide(mean, error, described.n, margin, level),
        "n_to_decide_margin": pairs_to_tell_from(margin, mean, error, described.n, level),
    }
