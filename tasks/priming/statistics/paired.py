"""Statistics of paired values: one condition compared with its reference on the same samples.

improvement = reference - arm, since lower is better: positive where the arm is better. Queries on one passage are not
independent, so the passage, not the query, is the unit that was drawn: standard errors are clustered by it, and the
bootstrap resamples it. What cannot be computed is None, never NaN, infinity or 0.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, norm, t, trim_mean, ttest_rel, wilcoxon

from tasks.priming.settings import StatisticsSettings

Vector: TypeAlias = NDArray[np.float64]
Clusters: TypeAlias = NDArray[np.intp]

_RESAMPLES_AT_ONCE = 250
"""Rows of the matrix of weights: at 10,000 passages 20 MB. Never changes a number."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A confidence interval; both ends are finite."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ClusteredMean:
    """Inference on a mean with errors clustered by passage."""

    error: float
    """Standard error of the mean, in the unit of the values; above 0."""
    p_value: float
    """Two-sided p-value of the mean being 0."""
    interval: Interval
    """Confidence interval of the mean, in the unit of the values."""


@dataclass(frozen=True, slots=True)
class BootstrapIntervals:
    """BCa intervals of one comparison; None where BCa is undefined (a degenerate distribution)."""

    mean: Interval | None
    """Interval of the mean, in the unit of the values."""
    cohens_d: Interval | None
    """Interval of mean / standard deviation."""


def cluster_robust_mean(values: Vector, clusters: Clusters, confidence_level: float) -> ClusteredMean | None:
    """Test whether a mean is 0, with errors clustered by passage.

    With G clusters, the squared standard error is
    G / (G - 1) * sum over clusters of (sum of the cluster's residuals)^2 / n^2, and t has G - 1 degrees of freedom.

    Args:
        values: (pairs,) improvements.
        clusters: (pairs,) cluster number of each pair, from 0, none left out.
        confidence_level: Nominal coverage of the interval, between 0 and 1.

    Returns:
        None where the standard error is undefined (one cluster), not finite, or zero but for rounding.

    Source: Liang and Zeger (1986), doi:10.1093/biomet/73.1.13; statsmodels OLS(...).fit(cov_type="cluster")
    on an intercept alone.
    """
    sums = np.bincount(clusters, weights=values - values.mean())
    count = len(sums)
    if count < 2:
        return None
    error = math.sqrt(count / (count - 1) * float(sums @ sums)) / len(values)
    if not math.isfinite(error) or error <= 4 * np.finfo(float).eps * float(np.abs(values).max()):
        return None
    mean, degrees = float(values.mean()), count - 1
    reach = float(t.ppf((1 + confidence_level) / 2, degrees)) * error
    p_value = float(2 * t.sf(abs(mean) / error, degrees))
    return ClusteredMean(error, p_value, Interval(mean - reach, mean + reach))


def bootstrap_intervals(
    values: NDArray[np.float64], clusters: Clusters, *, settings: StatisticsSettings, seed: int
) -> list[BootstrapIntervals]:
    """Compute BCa intervals of means and of Cohen's d, resampling whole passages, for many comparisons at once.

    Each passage is reduced to the sum, the sum of squares and the count of its values, so that a resample, like the
    jackknife from which BCa takes its acceleration, draws or leaves out all pairs of a passage: mean = sum of sums /
    sum of counts. All comparisons share the resamples, which are a product of two matrices.

    Args:
        values: (samples, comparisons) improvements; NaN where a comparison lacks a sample.
        clusters: (samples,) cluster number of each sample, from 0; at least two clusters.
        settings: Number of resamples and nominal coverage.
        seed: Seed of the resamples.

    Returns:
        One for each comparison.

    Source: Efron (1987), doi:10.1080/01621459.1987.10478410; scipy.stats.bootstrap(method="BCa") computes the same of
    one comparison.
    """
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):  # what is degenerate ends as None
        is_known = np.isfinite(values)
        # Subtracted before squaring: a mean far above the spread would cancel the variance's digits.
        centre = np.where(is_known, values, 0).sum(axis=0) / is_known.sum(axis=0)
        centred = np.where(is_known, values - centre, 0.0)
        count = int(clusters.max()) + 1
        of_passages = np.zeros((count, 3 * values.shape[1]))  # sums, sums of squares, counts
        np.add.at(of_passages, clusters, np.hstack([centred, centred**2, is_known]))

        def means_and_ds(sums: NDArray[np.float64]) -> NDArray[np.float64]:
            total, squares, number = np.split(sums, 3, axis=-1)
            variance = (squares - total**2 / number) / (number - 1)
            mean = centre + total / number
            return np.concatenate([mean, mean / np.sqrt(np.maximum(variance, 0))], axis=-1)

        generator, drawn = np.random.default_rng(seed), []
        for start in range(0, settings.bootstrap_resamples, _RESAMPLES_AT_ONCE):
            size = min(_RESAMPLES_AT_ONCE, settings.bootstrap_resamples - start)
            places = generator.integers(0, count, (size, count)) + count * np.arange(size)[:, np.newaxis]
            weights = np.bincount(places.ravel(), minlength=size * count).reshape(size, count)
            drawn.append(means_and_ds(weights.astype(np.float64) @ of_passages))
        resampled = np.concatenate(drawn)
        whole = of_passages.sum(axis=0)
        estimate, without_one = means_and_ds(whole), means_and_ds(whole - of_passages)
        pulls = without_one.mean(axis=0) - without_one
        acceleration = (pulls**3).sum(axis=0) / (6 * (pulls**2).sum(axis=0) ** 1.5)
        bias = norm.ppf(((resampled < estimate).mean(axis=0) + (resampled <= estimate).mean(axis=0)) / 2)
        tails = norm.ppf([[(1 - settings.confidence_level) / 2], [(1 + settings.confidence_level) / 2]]) + bias
        shares = norm.cdf(bias + tails / (1 - acceleration * tails))
    ends = [
        Interval(*np.quantile(column, share).tolist()) if np.isfinite([*column, *share]).all() else None
        for column, share in zip(resampled.T, shares.T, strict=True)
    ]
    return [BootstrapIntervals(*pair) for pair in zip(ends[: len(ends) // 2], ends[len(ends) // 2 :], strict=True)]


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

    def shared_with(self, record: type) -> dict[str, Any]:
        """Return the values of the fields that a record has as well."""
        return {field.name: getattr(self, field.name) for field in fields(record) if hasattr(self, field.name)}


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

    Example:
        >>> reference, arm = np.array([2.0, 1.5, 3.0, 1.0]), np.array([1.5, 1.5, 2.0, 1.25])
        >>> found = describe_pairs(Pairs(reference, arm, ["p", "p", "q", "r"]), 0.95)
        >>> round(found.t_statistic, 4), round(found.t_p_value, 4)  # scipy.stats.ttest_rel(reference, arm)
        (1.1275, 0.3416)
    """
    described = paired_mean(pairs, confidence_level)
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):  # as in paired_mean
        return _add_spread(described, pairs) if described.n > 1 else described


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


def _add_spread(described: PairedStatistics, pairs: Pairs) -> PairedStatistics:
    """Add median, spread and the descriptive tests, which take the pairs as independent."""
    improvement = pairs.improvement
    if described.interval_method == "constant":
        same = described.improvement_mean
        described = replace(described, improvement_median=same, improvement_trimmed_mean=same, improvement_sd=0.0)
        if not same:
            return described
    else:
        paired_t = ttest_rel(pairs.reference, pairs.arm)
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
