import dataclasses
import doctest
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from statsmodels.regression.linear_model import OLS

from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics import paired
from tasks.priming.statistics.paired import (
    BootstrapIntervals,
    Clusters,
    PairedStatistics,
    Pairs,
    Vector,
    bootstrap_intervals,
    cluster_robust_mean,
    describe_pairs,
    pair_up,
    paired_mean,
)
from tests.places import GOLDEN
from tests.run_rows import known


def names(count: int) -> list[str]:
    return [f"passage-{number:05d}" for number in range(count)]


def describe(reference: ArrayLike, arm: ArrayLike, passage_ids: list[str] | None = None) -> PairedStatistics:
    before, after = np.asarray(reference, dtype=np.float64), np.asarray(arm, dtype=np.float64)
    return describe_pairs(Pairs(before, after, passage_ids or names(len(after))), 0.95)


# --- what is paired ---


def test_only_samples_that_both_sides_and_the_passages_have_are_paired() -> None:
    """Expected: by hand, b alone is left: a lacks the arm, c the reference, d a passage."""
    reference = {"a": 1.0, "b": 3.0, "d": 9.0}
    arm = {"b": 1.0, "c": 2.0, "d": 1.0}
    pairs = pair_up(reference, arm, {"a": "p", "b": "p", "c": "q"})
    assert (pairs.reference.tolist(), pairs.arm.tolist(), pairs.passage_ids) == ([3.0], [1.0], ["p"])


def test_positive_means_that_the_arm_is_better() -> None:
    found = describe([2.0, 3.0, 1.0, 1.0], [1.0, 1.0, 1.5, 1.0])
    assert (found.win_count, found.tie_count, found.loss_count) == (2, 1, 1)  # by eye
    assert found.improvement_mean == pytest.approx(0.625)  # (1 + 2 - 0.5 + 0) / 4
    assert found.improvement_median == pytest.approx(0.5)  # (0 + 1) / 2
    assert found.reference_mean == pytest.approx(1.75)  # 7 / 4
    assert found.arm_mean == pytest.approx(1.125)  # 4.5 / 4
    assert known(found.t_statistic) > 0


def test_no_pairs_give_counts_of_zero_and_nothing_else() -> None:
    assert describe([], []) == PairedStatistics(
        n=0, passage_count=0, win_count=0, tie_count=0, loss_count=0
    )  # the definition: all other fields are None, the method is none


def test_one_pair_gives_its_means_and_nothing_else() -> None:
    assert describe([2.0], [1.25]) == PairedStatistics(
        n=1,
        passage_count=1,
        win_count=1,
        tie_count=0,
        loss_count=0,
        arm_mean=1.25,  # the value itself
        reference_mean=2.0,  # the value itself
        improvement_mean=0.75,  # 2 - 1.25
    )


# --- the mean and its interval without a bootstrap ---


def test_one_pair_per_passage_gives_the_paired_t_test() -> None:
    generator = np.random.default_rng(3)
    reference, arm = generator.exponential(2.0, 40), generator.exponential(1.5, 40)
    found = paired_mean(Pairs(reference, arm, names(40)), 0.9)
    expected = scipy.stats.ttest_rel(reference, arm)
    interval = expected.confidence_interval(0.9)
    assert found.interval_method == "cluster_robust"
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)  # scipy.stats.ttest_rel
    assert found.improvement_low == pytest.approx(interval.low, rel=1e-9)  # scipy.stats.ttest_rel
    assert found.improvement_high == pytest.approx(interval.high, rel=1e-9)  # scipy.stats.ttest_rel
    assert found.cohens_d == pytest.approx(expected.statistic / math.sqrt(40))  # t = d x sqrt(n)


def test_several_pairs_per_passage_give_the_clustered_regression() -> None:
    generator = np.random.default_rng(5)
    clusters = np.sort(generator.integers(0, 9, 30))
    improvement = generator.normal(0.2, 1.0, 30) + generator.normal(0.0, 1.0, 9)[clusters]
    found = paired_mean(Pairs(improvement, np.zeros(30), [f"p{cluster}" for cluster in clusters]), 0.95)
    fit = OLS(improvement, np.ones(30)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    low, high = fit.conf_int(alpha=0.05)[0]
    assert found.p_value == pytest.approx(fit.pvalues[0])  # statsmodels OLS, cov_type="cluster"
    assert found.improvement_low == pytest.approx(low)  # statsmodels OLS, cov_type="cluster"
    assert found.improvement_high == pytest.approx(high)  # statsmodels OLS, cov_type="cluster"
    assert found.improvement_error == pytest.approx(fit.bse[0])  # statsmodels OLS, cov_type="cluster"
    assert found.passage_count == len(set(clusters.tolist()))


def test_pairs_of_one_passage_have_neither_interval_nor_p_value() -> None:
    found = describe([2.0, 3.0, 1.0], [1.0, 1.0, 1.5], ["p", "p", "p"])
    assert (found.passage_count, found.interval_method) == (1, "none")
    assert (found.improvement_low, found.improvement_error, found.p_value) == (None, None, None)
    assert found.cohens_d == pytest.approx(np.mean([1, 2, -0.5]) / np.std([1, 2, -0.5], ddof=1))  # its definition
    assert found.wilcoxon_p_value == pytest.approx(scipy.stats.wilcoxon([1.0, 2.0, -0.5]).pvalue)  # SciPy


# --- improvements that are all equal ---


def test_constant_improvements_are_their_own_interval() -> None:
    found = describe([1.0, 2.0, 3.0, 4.0], [0.75, 1.75, 2.75, 3.75])
    assert found.interval_method == "constant"
    assert (found.improvement_low, found.improvement_mean, found.improvement_high) == (0.25, 0.25, 0.25)  # by eye
    assert (found.improvement_median, found.improvement_sd) == (0.25, 0.0)  # by eye
    assert (found.cohens_d, found.improvement_error, found.t_statistic, found.t_p_value, found.p_value) == (None,) * 5
    assert found.wilcoxon_p_value == pytest.approx(0.125)  # all four signs equal: 2 / 2**4
    assert found.sign_p_value == pytest.approx(0.125)  # likewise


def test_equal_scores_are_a_constant_improvement_of_zero() -> None:
    found = describe([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (found.improvement_low, found.improvement_mean, found.improvement_high) == (0.0, 0.0, 0.0)  # by eye
    assert (found.tie_count, found.interval_method) == (3, "constant")
    assert (found.wilcoxon_p_value, found.sign_p_value, found.p_value) == (None,) * 3


@pytest.mark.parametrize("shift", [0.3, 0.0])
def test_improvements_that_differ_by_rounding_alone_are_constant(shift: float) -> None:
    """0.1 + 0.2 - 0.3 is 5.6e-17: taken for spread, such noise gave a Cohen's d of 1e15 and a p-value of 0."""
    arm = np.random.default_rng(4).exponential(1.0, 50)
    reference = (arm + 0.1) + (shift - 0.1)
    assert min(reference - arm) < shift < max(reference - arm)
    found = describe(reference, arm)
    assert found.interval_method == "constant"
    assert found.improvement_low == pytest.approx(shift, abs=1e-15)  # the shift that was added
    assert found.improvement_low == found.improvement_mean == found.improvement_high
    assert (found.improvement_low == 0.0) is (shift == 0.0)
    assert (found.cohens_d, found.p_value) == (None, None)


# --- the descriptive tests ---


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(allow_nan=False, allow_infinity=False),
            st.floats(allow_nan=False, allow_infinity=False),
            st.sampled_from("pqrstu"),
        ),
        max_size=7,
    )
)
def test_whatever_the_numbers_a_record_holds_none_rather_than_nan_or_infinity(
    pairs: list[tuple[float, float, str]],
) -> None:
    reference, arm, passage_ids = zip(*pairs, strict=True) if pairs else ((), (), ())
    found = describe(reference, arm, list(passage_ids))
    for value in dataclasses.astuple(found):
        assert value is None or type(value) in (int, str) or (type(value) is float and math.isfinite(value))
    assert found.win_count + found.tie_count + found.loss_count == found.n == len(pairs)
    assert (found.improvement_low is None) == (found.interval_method == "none") == (found.improvement_high is None)
    assert (found.p_value is None) == (found.interval_method in ("none", "constant"))
    if found.improvement_low is not None:
        assert found.improvement_low <= known(found.improvement_high)


def test_trimmed_mean_and_sign_test_equal_scipy() -> None:
    improvement = np.append(np.random.default_rng(7).normal(0.02, 0.4, 200), [0.0, 50.0])
    found = describe(improvement, np.zeros(202))
    assert found.improvement_trimmed_mean == pytest.approx(scipy.stats.trim_mean(improvement, 0.2))
    assert found.sign_p_value == pytest.approx(
        scipy.stats.binomtest(found.win_count, 201).pvalue
    )  # the tie tells nothing
    assert found.tie_count == 1


def test_the_examples_in_the_docstrings_are_true() -> None:
    outcome = doctest.testmod(paired)
    assert outcome.attempted >= 8  # the lines of both examples
    assert outcome.failed == 0


# --- the bootstrap ---

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


# --- measured pairs ---

MEASURED = json.loads((GOLDEN / "paired_statistics.json").read_text(encoding="utf-8"))["t5gemma_v3_exp01_200"]
COLUMNS = pyarrow.parquet.read_table(GOLDEN / "paired_nll_200.parquet")


def describe_measured(condition: str, passages_of: int = 1) -> PairedStatistics:
    """Describe one condition against the bare document, with so many pairs to a passage."""
    reference, arm = COLUMNS["nll_bare"].to_numpy(), COLUMNS[f"nll_{condition}"].to_numpy()
    passage_ids = [f"passage-{number // passages_of:03d}" for number in range(len(arm))]
    return describe_pairs(Pairs(reference, arm, passage_ids), 0.95)


@pytest.mark.parametrize("condition", MEASURED)
def test_the_pairs_give_what_the_measuring_run_reported(condition: str) -> None:
    reported = MEASURED[condition]["published"]  # by the measuring run's own code
    found = describe_measured(condition)
    assert found.arm_mean == pytest.approx(reported["mean_nll"], rel=1e-9)
    assert found.improvement_mean == pytest.approx(reported["delta"], rel=1e-9)
    assert found.cohens_d == pytest.approx(reported["d"], rel=1e-9)
    assert 100 * found.win_count / found.n == pytest.approx(reported["win_pct"], rel=1e-9)
    assert found.t_p_value == pytest.approx(reported["p"], rel=1e-9)
    assert found.p_value == pytest.approx(reported["p"], rel=1e-9)  # a passage has one pair
    assert found.tie_count == MEASURED[condition]["ties"]
    assert found.improvement_median == pytest.approx(MEASURED[condition]["median_delta"], rel=1e-9)


@pytest.mark.parametrize("condition", MEASURED)
def test_passages_change_the_inference_and_nothing_that_is_recorded(condition: str) -> None:
    recorded = MEASURED[condition]
    found = describe_measured(condition, passages_of=4)
    assert (found.n, found.passage_count) == (200, 50)
    assert found.improvement_sd == pytest.approx(recorded["sd_delta"], rel=1e-9)
    assert found.t_statistic == pytest.approx(recorded["t"], rel=1e-9)  # takes the pairs as independent
    assert found.t_p_value == pytest.approx(recorded["p"], rel=1e-9)
    assert found.wilcoxon_p_value == pytest.approx(recorded["wilcoxon_p"], rel=1e-9)
    assert found.p_value != pytest.approx(recorded["p"], rel=1e-3)  # takes the passages as independent
