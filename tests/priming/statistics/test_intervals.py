import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.stats
from statsmodels.regression.linear_model import OLS

from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.intervals import (
    BootstrapIntervals,
    Clusters,
    Vector,
    bootstrap_intervals,
    cluster_robust_mean,
)
from tests.run_rows import known

SETTINGS = StatisticsSettings(bootstrap_resamples=1000)


def bootstrap(values: Vector, clusters: Clusters, seed: int) -> BootstrapIntervals:
    """Return the intervals of one comparison."""
    (found,) = bootstrap_intervals(values[:, np.newaxis], clusters, settings=SETTINGS, seed=seed)
    return found


def skewed(count: int) -> Vector:
    return np.random.default_rng(7).exponential(1.0, count) - 0.6


def unequal_clusters() -> tuple[Vector, Clusters]:
    """Forty values on twelve passages of one to six values, with an effect of their own each."""
    generator = np.random.default_rng(11)
    clusters = np.sort(np.concatenate([np.arange(12), generator.integers(0, 12, 28)]))
    return generator.normal(0.2, 1.0, 40) + generator.normal(0, 1.0, 12)[clusters], clusters


def cohens_d(values: Vector, axis: int = -1) -> Any:
    return values.mean(axis) / values.std(axis, ddof=1)


@pytest.mark.parametrize(("statistic", "name"), [(np.mean, "mean"), (cohens_d, "cohens_d")])
def test_independent_values_give_scipys_own_bca_interval(statistic: Callable[..., Any], name: str) -> None:
    values = skewed(60)
    found = getattr(bootstrap(values, np.arange(60), seed=5), name)
    direct = scipy.stats.bootstrap(
        (values,), statistic, n_resamples=1000, method="BCa", rng=np.random.default_rng(5)
    ).confidence_interval
    assert found.low == pytest.approx(direct.low, rel=1e-12)  # scipy.stats.bootstrap on the values themselves
    assert found.high == pytest.approx(direct.high, rel=1e-12)  # scipy.stats.bootstrap on the values themselves


@pytest.mark.parametrize(("statistic", "name"), [(np.mean, "mean"), (cohens_d, "cohens_d")])
def test_passage_sums_equal_a_bootstrap_that_concatenates_the_pairs_of_the_drawn_passages(
    statistic: Callable[..., Any], name: str
) -> None:
    values, clusters = unequal_clusters()
    passages = [values[clusters == cluster] for cluster in range(12)]

    def of_drawn(drawn: Clusters) -> Any:
        return statistic(np.concatenate([passages[int(cluster)] for cluster in drawn]))

    found = getattr(bootstrap(values, clusters, seed=3), name)
    direct = scipy.stats.bootstrap(
        (np.arange(12),), of_drawn, vectorized=False, n_resamples=1000, method="BCa", rng=np.random.default_rng(3)
    ).confidence_interval
    assert found.low == pytest.approx(direct.low, rel=1e-10)  # scipy.stats.bootstrap over passages, pair by pair
    assert found.high == pytest.approx(direct.high, rel=1e-10)  # scipy.stats.bootstrap over passages, pair by pair


def test_the_interval_of_d_keeps_its_digits_when_the_mean_is_far_above_the_spread() -> None:
    """Sums of squares that were not centred lost the variance to cancellation."""
    values = 1e6 + skewed(60)
    found = known(bootstrap(values, np.arange(60), seed=5).cohens_d)
    direct = scipy.stats.bootstrap(
        (values,), cohens_d, n_resamples=1000, method="BCa", rng=np.random.default_rng(5)
    ).confidence_interval
    assert found.low == pytest.approx(direct.low, rel=1e-8)  # scipy.stats.bootstrap on the values themselves
    assert found.high == pytest.approx(direct.high, rel=1e-8)  # scipy.stats.bootstrap on the values themselves


def test_many_comparisons_at_once_are_each_as_alone_and_may_lack_samples() -> None:
    """Expected: the same as of one comparison, whose passages all have other pairs."""
    values, clusters = unequal_clusters()
    lacking = np.where(np.arange(40) == 3, np.nan, values)
    both = bootstrap_intervals(np.column_stack([values, lacking, -values]), clusters, settings=SETTINGS, seed=3)
    alone = known(bootstrap(values, clusters, seed=3).mean)
    assert (known(both[0].mean).low, known(both[0].mean).high) == pytest.approx((alone.low, alone.high))
    without = known(bootstrap(np.delete(values, 3), np.delete(clusters, 3), seed=3).mean)
    assert (known(both[1].mean).low, known(both[1].mean).high) == pytest.approx((without.low, without.high))
    assert known(both[2].mean).low < -known(both[0].mean).low


def test_passages_whose_sums_are_equal_have_no_bca_interval() -> None:
    values, clusters = np.array([0.0, 1.0] * 4), np.repeat(np.arange(4), 2)
    found = bootstrap(values, clusters, seed=5)
    assert found.mean is None  # scipy: "known to occur when the distribution is degenerate"


def test_clustered_p_value_and_interval_equal_the_formula() -> None:
    values, clusters = unequal_clusters()
    residual_sums = np.array([(values[clusters == cluster] - values.mean()).sum() for cluster in range(12)])
    error = math.sqrt(12 / 11 * (residual_sums**2).sum()) / 40  # Liang and Zeger (1986), G / (G - 1) correction
    p_value = 2 * scipy.stats.t.sf(abs(values.mean()) / error, 11)  # t with G - 1 degrees of freedom
    reach = scipy.stats.t.ppf(0.95, 11) * error  # 90 %: 5 % in each tail
    found = known(cluster_robust_mean(values, clusters, 0.9))
    assert found.p_value == pytest.approx(p_value, rel=1e-9)  # the formula above
    assert found.interval.low == pytest.approx(values.mean() - reach, rel=1e-9)  # the formula above
    assert found.interval.high == pytest.approx(values.mean() + reach, rel=1e-9)  # the formula above


def test_clustered_error_equals_statsmodels() -> None:
    values, clusters = unequal_clusters()
    fit = OLS(values, np.ones(40)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    found = known(cluster_robust_mean(values, clusters, 0.95))
    assert found.error == pytest.approx(fit.bse[0])  # statsmodels OLS, cov_type="cluster"
    assert found.p_value == pytest.approx(fit.pvalues[0])  # likewise
    assert (found.interval.low, found.interval.high) == pytest.approx(tuple(fit.conf_int(alpha=0.05)[0]))  # likewise


def test_clusters_of_one_give_the_one_sample_t_test() -> None:
    values = skewed(30)
    found = known(cluster_robust_mean(values, np.arange(30), 0.95))
    expected = scipy.stats.ttest_1samp(values, 0.0)
    interval = expected.confidence_interval(0.95)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)  # scipy.stats.ttest_1samp
    assert found.interval.low == pytest.approx(interval.low, rel=1e-9)  # scipy.stats.ttest_1samp
    assert found.interval.high == pytest.approx(interval.high, rel=1e-9)  # scipy.stats.ttest_1samp


def test_repeating_rows_within_their_passages_adds_no_certainty() -> None:
    """Taken as independent, five copies of each row would shrink the interval by about the square root of five."""
    values = skewed(40)
    alone, repeated = np.arange(40), np.repeat(np.arange(40), 5)
    once = known(bootstrap(values, alone, seed=1).mean)
    clustered = known(bootstrap(np.repeat(values, 5), repeated, seed=1).mean)
    naive = known(bootstrap(np.repeat(values, 5), np.arange(200), seed=1).mean)
    width = once.high - once.low
    assert clustered.high - clustered.low == pytest.approx(width, rel=1e-9)  # the same resamples of the same passages
    assert naive.high - naive.low == pytest.approx(width / math.sqrt(5), rel=0.15)  # 1 / sqrt(n) of a mean's error
    p_value = known(cluster_robust_mean(values, alone, 0.95)).p_value
    p_clustered = known(cluster_robust_mean(np.repeat(values, 5), repeated, 0.95)).p_value
    p_naive = known(cluster_robust_mean(np.repeat(values, 5), np.arange(200), 0.95)).p_value
    assert p_clustered == pytest.approx(p_value)  # the same sums over the same passages
    assert p_naive < p_value / 2  # t grows by the square root of five


@pytest.mark.parametrize(
    ("values", "clusters"),
    [
        pytest.param([0.1, 0.4, 0.2], [0, 0, 0], id="one passage"),
        pytest.param([0.0, 1.0, 1.0, 0.0], [0, 0, 1, 1], id="passages of equal sums"),
        pytest.param([0.1, 0.2, 0.2, 0.1], [0, 0, 1, 1], id="passages of sums that are equal but for rounding"),
    ],
)
def test_a_standard_error_that_is_undefined_or_zero_gives_no_p_value(values: list[float], clusters: list[int]) -> None:
    assert cluster_robust_mean(np.array(values), np.array(clusters), 0.95) is None


def test_the_bootstrap_reads_its_own_seed_and_leaves_numpys_global_state_alone() -> None:
    values, clusters = unequal_clusters()
    before = np.random.get_state(legacy=False)["state"]["key"].copy()
    first = bootstrap(values, clusters, seed=3)
    assert bootstrap(values, clusters, seed=3) == first
    assert bootstrap(values, clusters, seed=4) != first
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], before)
