"""The mean improvement with its cluster-robust interval: what SciPy and statsmodels give, and None where nothing is."""

import dataclasses
import doctest
import math
from typing import TypeVar

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.regression.linear_model import OLS

from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics import robust_mean as module
from tasks.priming.statistics.paired import describe_pairs
from tasks.priming.statistics.robust_mean import RobustMean, constant_value, robust_mean

Known = TypeVar("Known")


def known(value: Known | None) -> Known:
    assert value is not None
    return value


def named(values: list[float]) -> dict[str, float]:
    return {f"sample-{number:03d}": value for number, value in enumerate(values)}


def describe(
    reference: list[float], arm: list[float], passage_ids: list[str] | None = None, confidence_level: float = 0.95
) -> RobustMean:
    samples = list(named(arm))
    passages = dict(zip(samples, passage_ids or samples, strict=True))
    return robust_mean(named(reference), named(arm), passages, confidence_level)


def test_one_pair_a_passage_gives_the_paired_t_test() -> None:
    generator = np.random.default_rng(3)
    reference, arm = generator.exponential(2.0, 40), generator.exponential(1.5, 40)
    found = describe(reference.tolist(), arm.tolist(), confidence_level=0.9)
    paired_t = scipy.stats.ttest_rel(reference, arm)
    interval = paired_t.confidence_interval(0.9)
    assert found.p_value == pytest.approx(paired_t.pvalue, rel=1e-9)  # scipy.stats.ttest_rel
    assert found.low == pytest.approx(interval.low, rel=1e-9)  # scipy.stats.ttest_rel
    assert found.high == pytest.approx(interval.high, rel=1e-9)  # scipy.stats.ttest_rel
    assert found.cohens_d == pytest.approx(paired_t.statistic / math.sqrt(40))  # t = d x sqrt(n)
    assert found.arm_mean == pytest.approx(arm.mean())  # its definition
    assert found.reference_mean == pytest.approx(reference.mean())  # its definition


def test_several_pairs_a_passage_give_the_clustered_regression() -> None:
    generator = np.random.default_rng(5)
    clusters = np.sort(generator.integers(0, 9, 30))
    improvement = generator.normal(0.2, 1.0, 30) + generator.normal(0.0, 1.0, 9)[clusters]
    found = describe(improvement.tolist(), [0.0] * 30, [f"p{cluster}" for cluster in clusters])
    fit = OLS(improvement, np.ones(30)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    low, high = fit.conf_int(alpha=0.05)[0]
    assert found.p_value == pytest.approx(fit.pvalues[0])  # statsmodels OLS, cov_type="cluster"
    assert found.low == pytest.approx(low)  # statsmodels OLS, cov_type="cluster"
    assert found.high == pytest.approx(high)  # statsmodels OLS, cov_type="cluster"
    assert found.passage_count == len(set(clusters.tolist()))


def test_only_samples_that_both_sides_and_the_passages_have_are_paired() -> None:
    """Expected: by hand, b alone is left: a lacks the arm, c the reference, d a passage."""
    reference = {"a": 1.0, "b": 3.0, "d": 9.0}
    arm = {"b": 1.0, "c": 2.0, "d": 1.0}
    found = robust_mean(reference, arm, {"a": "p", "b": "p", "c": "q"}, 0.95)
    assert (found.n, found.mean) == (1, 2.0)


def test_wins_and_ties_are_counted() -> None:
    found = describe([2.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 5.0])
    assert (found.n, found.win_count, found.tie_count) == (4, 1, 2)  # by eye: better, equal, equal, worse


def test_no_pairs_give_counts_of_zero_and_nothing_else() -> None:
    assert describe([], []) == RobustMean(n=0, passage_count=0, win_count=0, tie_count=0)  # the definition


def test_one_pair_gives_its_means_and_nothing_else() -> None:
    assert describe([2.0], [1.25]) == RobustMean(
        n=1,
        passage_count=1,
        win_count=1,
        tie_count=0,
        arm_mean=1.25,  # the value itself
        reference_mean=2.0,  # the value itself
        mean=0.75,  # 2 - 1.25
    )


@pytest.mark.parametrize("shift", [0.3, 0.0])
def test_improvements_that_are_equal_but_for_rounding_are_their_own_interval(shift: float) -> None:
    arm = np.random.default_rng(4).exponential(1.0, 50)
    reference = (arm + 0.1) + (shift - 0.1)
    assert min(reference - arm) < shift < max(reference - arm)
    found = describe(reference.tolist(), arm.tolist())
    assert found.mean == pytest.approx(shift, abs=1e-15)  # the shift that was added
    assert found.low == found.mean == found.high
    assert (found.mean == 0.0) is (shift == 0.0)
    assert (found.cohens_d, found.p_value) == (None, None)


def test_pairs_of_one_passage_have_neither_interval_nor_p_value() -> None:
    found = describe([2.0, 3.0, 1.0], [1.0, 1.0, 1.5], ["p", "p", "p"])
    assert (found.passage_count, found.low, found.high, found.p_value) == (1, None, None, None)
    assert found.mean == pytest.approx(2.5 / 3)  # (1 + 2 - 0.5) / 3


def test_passages_of_equal_sums_have_no_interval() -> None:
    found = describe([2.0, 3.0, 2.0, 3.0], [1.0] * 4, ["p", "p", "q", "q"])
    assert (found.passage_count, found.low, found.p_value) == (2, None, None)


def test_a_constant_value_is_none_where_values_differ() -> None:
    assert constant_value(np.array([1.0, 2.0]), np.array([0.5, 1.5])) == 0.5  # by eye
    assert constant_value(np.array([1.0, 2.0]), np.array([0.5, 1.4])) is None


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
def test_mean_d_and_p_value_are_those_of_the_comparisons(pairs: list[tuple[float, float, str]]) -> None:
    """Computed two ways: without and with the bootstrap, on whatever numbers."""
    reference, arm, passage_ids = (list(column) for column in zip(*pairs, strict=True)) if pairs else ([], [], [])
    found = describe(reference, arm, passage_ids)
    expected = describe_pairs(
        np.array(reference, dtype=np.float64),
        np.array(arm, dtype=np.float64),
        passage_ids,
        settings=StatisticsSettings(bootstrap_resamples=100),
        seed=1,
    )
    shared = ("n", "passage_count", "win_count", "tie_count", "cohens_d", "p_value")
    assert [getattr(found, name) for name in shared] == [getattr(expected, name) for name in shared]
    assert (found.mean, found.arm_mean) == (expected.improvement_mean, expected.nll_arm_mean)
    assert found.reference_mean == expected.nll_reference_mean
    if expected.interval_method in ("constant", "none"):
        assert (found.low, found.high) == (expected.improvement_low, expected.improvement_high)
    else:
        assert known(found.low) <= known(found.mean) <= known(found.high)
    for value in dataclasses.astuple(found):
        assert value is None or math.isfinite(value)


def test_the_example_in_the_docstring_is_true() -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted >= 4  # the lines of the example
    assert outcome.failed == 0
