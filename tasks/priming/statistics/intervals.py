"""Confidence intervals and the p-value of a mean whose values come in clusters: one passage, several queries.

Queries on one passage are not independent, so the passage, not the query, is the unit that was drawn: standard errors
are clustered by it, and the bootstrap resamples it.
"""

import math
import warnings
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, t

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
    degrees: float
    """Its degrees of freedom: clusters - 1."""
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
    return ClusteredMean(error, degrees, p_value, Interval(mean - reach, mean + reach))


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
