"""Two runs on shared samples: differences by hand and by SciPy, signs that say which run is better."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from tasks.priming.statistics.two_runs import compare_runs, compare_texts

BASELINE = {"a": 2.0, "b": 1.5, "c": 3.0, "d": 1.0}
OTHER_BASELINE = {"a": 1.5, "b": 1.5, "c": 2.0, "d": 1.25}
STATIC = {"a": 1.0, "b": 1.25, "c": 2.5, "d": 1.0}
OTHER_STATIC = {"a": 1.25, "b": 0.5, "c": 2.5, "d": 1.0}
FIRST = {"static/factual": STATIC, "baseline/document": BASELINE, "static/routed": STATIC, "control/x": {"a": 1.0}}
SECOND = {"static/factual": OTHER_STATIC, "static/routed": OTHER_STATIC, "baseline/document": OTHER_BASELINE}
PASSAGES = {sample: f"passage of {sample}" for sample in "abcd"}


def test_a_difference_is_that_of_a_paired_t_test_where_every_passage_has_one_sample() -> None:
    baseline = compare_runs(FIRST, SECOND, PASSAGES, 0.95)[0].nll
    # by hand: 7.5 / 4, 6.25 / 4 and their difference; the interval is that of scipy.stats.ttest_rel
    assert (baseline.n, baseline.reference_mean, baseline.arm_mean, baseline.improvement_mean) == (
        4,
        1.875,
        1.5625,
        0.3125,
    )
    expected = ttest_rel(list(BASELINE.values()), list(OTHER_BASELINE.values())).confidence_interval(0.95)
    assert (baseline.improvement_low, baseline.improvement_high) == pytest.approx((expected.low, expected.high))
    assert baseline.tie_count == 1  # b


def test_improvements_are_points_over_each_runs_own_baseline() -> None:
    """Expected: 100 exp(-NLL) by numpy, and scipy.stats.ttest_rel."""
    found = {difference.condition: difference for difference in compare_runs(FIRST, SECOND, PASSAGES, 0.9)}
    static, other, baseline, other_baseline = (
        100 * np.exp(-np.array([*nlls.values()])) for nlls in (STATIC, OTHER_STATIC, BASELINE, OTHER_BASELINE)
    )
    gains = other - other_baseline, static - baseline
    for pairs, (second, first) in (
        (found["static/factual"].shortfall, (other, static)),
        (found["static/factual"].excess, gains),
    ):
        assert pairs is not None
        assert pairs.improvement_mean == pytest.approx(np.mean(second) - np.mean(first))
        expected = ttest_rel(second, first).confidence_interval(0.9)
        assert (pairs.improvement_low, pairs.improvement_high) == pytest.approx((expected.low, expected.high))
    assert found["baseline/document"].excess is None


def test_written_answers_are_compared_by_f1() -> None:
    """By hand: 0.5 and 1 against 1 and 1, in points; c is in one run only."""
    first = {"baseline/document": {"a": 0.5, "b": 1.0, "c": 0.0}}
    found = compare_texts(first, {"baseline/document": {"a": 1.0, "b": 1.0}}, PASSAGES, 0.95)
    assert found["baseline/document"].n == 2
    assert found["baseline/document"].tie_count == 1
    assert found["baseline/document"].improvement_mean == 25.0
    assert compare_texts(first, {"static/a": {"a": 1.0}}, PASSAGES, 0.95) == {}


def test_only_what_both_runs_have_is_compared_and_the_baseline_comes_first() -> None:
    found = compare_runs(FIRST, SECOND, PASSAGES, 0.95)
    assert [difference.condition for difference in found] == ["baseline/document", "static/routed", "static/factual"]
    few = compare_runs(FIRST, SECOND, {"b": "p", "z": "q"}, 0.95)
    assert {difference.nll.n for difference in few} == {1}
    assert few[1].nll.improvement_mean == 0.75  # by hand: 1.25 - 0.5
    assert (few[1].nll.improvement_low, few[1].nll.improvement_high) == (None, None)  # one pair has no interval
    assert compare_runs(FIRST, SECOND, {}, 0.95) == []


def test_equal_runs_differ_by_exactly_nothing() -> None:
    for difference in compare_runs(FIRST, FIRST, PASSAGES, 0.95):
        assert (difference.nll.improvement_mean, difference.nll.tie_count) == (0.0, difference.nll.n)
        if difference.excess:
            assert (
                difference.excess.improvement_mean,
                difference.excess.improvement_low,
                difference.excess.improvement_high,
            ) == (0.0, 0.0, 0.0) or (difference.excess.n == 1)


def test_a_sample_without_a_baseline_has_no_improvement() -> None:
    first = {"baseline/document": {"a": 1.0}, "static/factual": {"a": 0.5, "b": 0.5}}
    (_, static) = compare_runs(first, first, {"a": "p", "b": "q"}, 0.95)
    assert static.nll.n == 2
    assert static.excess is not None
    assert static.excess.n == 1
