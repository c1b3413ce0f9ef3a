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
from scipy.stats import DegenerateDataWarning, bootstrap
from statsmodels.regression.linear_model import OLS

from tasks.priming.settings import StatisticsSettings

Vector: TypeAlias = NDArray[np.float64]
Clusters: TypeAlias = NDArray[np.intp]

_BATCH_VALUES = 250_000
"""Passage sums gathered at a time: 2 MB an array stay in the processor's cache. Never changes a number."""


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
    """BCa intervals from one set of resamples; None where BCa is undefined (a degenerate distribution)."""

    mean: Interval | None
    """Interval of the mean, in the unit of the values."""
    cohens_d: Interval | None
    """Interval of mean / standard deviation."""


def cluster_robust_mean(values: Vector, clusters: Clusters, confidence_level: float) -> ClusteredMean | None:
    """Test whether a mean is 0, with errors clustered by passage.

    Least squares on an intercept alone. With G clusters, the squared standard error is
    G / (G - 1) * sum over clusters of (sum of the cluster's residuals)^2 / n^2, and t has G - 1 degrees of freedom.

    Args:
        values: (pairs,) improvements.
        clusters: (pairs,) cluster number of each pair, from 0.
        confidence_level: Nominal coverage of the interval, between 0 and 1.

    Returns:
        None where the standard error is undefined (one cluster), not finite, or zero but for rounding.

    Source: Liang and Zeger (1986), doi:10.1093/biomet/73.1.13; statsmodels OLS(...).fit(cov_type="cluster").
    """
    if len(np.unique(clusters)) < 2:
        return None
    fit = OLS(values, np.ones_like(values)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    error = float(fit.bse[0])
    if not math.isfinite(error) or error <= 4 * np.finfo(float).eps * float(np.abs(values).max()):
        return None
    low, high = fit.conf_int(alpha=1 - confidence_level)[0]
    return ClusteredMean(error, float(fit.df_resid_inference), float(fit.pvalues[0]), Interval(float(low), float(high)))


def bootstrap_intervals(
    values: Vector, clusters: Clusters, *, settings: StatisticsSettings, seed: int
) -> BootstrapIntervals:
    """Compute BCa intervals of the mean and of Cohen's d, resampling whole passages.

    Each passage is reduced to the sum, the sum of squares and the count of its values, so that a resample, like the
    jackknife from which BCa takes its acceleration, draws or leaves out all pairs of a passage: mean = sum of sums /
    sum of counts.

    Args:
        values: (pairs,) improvements.
        clusters: (pairs,) cluster number of each pair, from 0; at least two clusters.
        settings: Number of resamples and nominal coverage.
        seed: Seed of the resamples.

    Source: Efron (1987), doi:10.1080/01621459.1987.10478410; scipy.stats.bootstrap(method="BCa").
    """
    centre = values.mean()  # subtracted before squaring: a mean far above the spread would cancel the variance's digits
    centred = values - centre
    sums, squares, counts = (np.bincount(clusters, weights=w) for w in (centred, centred**2, np.ones_like(values)))

    def mean_and_d(sums: Vector, squares: Vector, counts: Vector, axis: int = -1) -> Vector:
        total, count = sums.sum(axis), counts.sum(axis)
        variance = (squares.sum(axis) - total**2 / count) / (count - 1)
        mean = centre + total / count
        return np.stack([mean, mean / np.sqrt(np.maximum(variance, 0))])  # (2, resamples)

    # A degenerate distribution needs no warning: its interval is None.
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore", category=DegenerateDataWarning):
        low, high = bootstrap(
            (sums, squares, counts),
            mean_and_d,
            paired=True,
            vectorized=True,
            n_resamples=settings.bootstrap_resamples,
            batch=max(1, _BATCH_VALUES // len(sums)),
            confidence_level=settings.confidence_level,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    ends = np.transpose([low, high]).tolist()
    mean, cohens_d = (Interval(*each) if np.isfinite(each).all() else None for each in ends)
    return BootstrapIntervals(mean, cohens_d)
