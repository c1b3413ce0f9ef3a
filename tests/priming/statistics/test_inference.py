import doctest
import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import lambertw
from scipy.stats import norm
from statsmodels.stats.multitest import multipletests

from tasks.priming.records import LEAST_CLUSTERS
from tasks.priming.statistics import inference
from tasks.priming.statistics.inference import (
    Estimate,
    Matrix,
    any_look_interval,
    any_look_one_sided_p_value,
    any_look_reach,
    compare_with_best,
    gain_over_best,
    holm_with_intervals,
)
from tasks.priming.statistics.paired import Clusters, cluster_robust_mean
from tests.run_rows import known

PASSAGES = 150


def any_look_p_value(mean: float, error: float, count: int) -> float:
    """Return the two-sided p-value: twice the smaller one of both directions."""
    return min(1.0, 2 * any_look_one_sided_p_value(abs(mean), error, count))


def clustered() -> tuple[Matrix, Clusters]:
    """Values of four conditions, (300, 4), on 150 passages with an effect of their own; the last is the best."""
    generator = np.random.default_rng(3)
    clusters = np.sort(np.concatenate([np.arange(PASSAGES), generator.integers(0, PASSAGES, PASSAGES)]))
    values = generator.normal(size=(300, 4)) + generator.normal(size=(PASSAGES, 4))[clusters]
    return values + np.array([0.0, 0.1, 0.2, 2.0]), clusters


# --- the bound ---


def test_the_reach_is_that_of_the_published_formula_and_is_shortest_near_500_passages() -> None:
    tuning = (-lambertw(-(0.05**2) / math.e, -1).real - 1) / 500  # Waudby-Smith et al., two-sided, alpha = .05
    for count in (100, 500, 2500):
        information = count * tuning
        one_sided = math.sqrt(
            2 * (information + 1) / information * math.log(1 + math.sqrt(information + 1) / (2 * 0.025))
        )
        assert any_look_reach(count, 0.025) == pytest.approx(one_sided, rel=1e-4)
        two_sided = math.sqrt(2 * (information + 1) / information * math.log(math.sqrt(information + 1) / 0.05))
        assert two_sided < any_look_reach(count, 0.025) < 1.01 * two_sided  # what two claims cost in place of one
    shortest = minimize_scalar(lambda count: float(any_look_reach(count, 0.025)), bounds=(50, 5000), method="bounded")
    assert 450 < shortest.x < 550


def test_a_brownian_motion_rarely_crosses_the_reach_however_often_it_is_looked_at() -> None:
    """A thousand looks between 100 and 100,000 passages; a fixed 1.96 is crossed by most."""
    counts = np.unique(np.geomspace(100, 100_000, 1000).astype(int))
    steps = np.sqrt(np.diff(counts, prepend=0))
    sums = (np.random.default_rng(1).normal(size=(4000, len(counts))) * steps).cumsum(axis=1) / np.sqrt(counts)
    crossed = (sums > any_look_reach(counts, 0.025)).any(axis=1).mean()
    assert crossed <= 0.025  # Ville's inequality; the seed is fixed
    assert (sums > norm.ppf(0.975)).any(axis=1).mean() > 0.1


@pytest.mark.parametrize("mean", [-0.4, 0.01, 0.7])
def test_a_p_value_is_the_alpha_at_which_its_interval_begins_to_exclude_0(mean: float) -> None:
    p_value = any_look_p_value(mean, 0.2, 400)
    if p_value < 1:
        for alpha, excludes in ((0.999 * p_value, False), (1.001 * p_value, True)):
            interval = known(any_look_interval(mean, 0.2, 400, alpha))
            assert (interval.low > 0 or interval.high < 0) == excludes
    else:
        interval = known(any_look_interval(mean, 0.2, 400, 0.999))
        assert interval.low < 0 < interval.high


def test_a_one_sided_p_value_knows_the_direction() -> None:
    assert any_look_one_sided_p_value(-0.8, 0.2, 400) == 1
    assert any_look_one_sided_p_value(0.0, 0.2, 400) == 1
    assert any_look_one_sided_p_value(0.8, 0.2, 400) == pytest.approx(any_look_p_value(-0.8, 0.2, 400) / 2, rel=1e-12)
    lower = 0.8 - 0.2 * float(any_look_reach(400, 0.01))  # the bound that holds at every look with 99 %
    assert any_look_one_sided_p_value(0.8 - lower, 0.2, 400) == pytest.approx(0.01, rel=1e-9)


def test_a_mean_far_from_0_has_a_p_value_of_0_and_no_overflow() -> None:
    assert any_look_p_value(1e9, 1e-3, 2500) == 0


def test_there_is_no_answer_with_fewer_passages_than_the_least() -> None:
    few = LEAST_CLUSTERS - 1
    assert any_look_interval(9.0, 0.1, few, 0.05) is None
    assert known(any_look_interval(9.0, 0.1, LEAST_CLUSTERS, 0.05)).low > 0
    assert any_look_p_value(9.0, 0.1, few) == 1
    assert any_look_p_value(9.0, 0.1, LEAST_CLUSTERS) < 1e-9
    assert holm_with_intervals([Estimate(9.0, 0.1, few)], 0.05) == [None]
    values, clusters = clustered()
    early = clusters < few
    assert compare_with_best(values[early], clusters[early], 0.05) is None
    assert gain_over_best(values[early, 0], values[early, 1:], clusters[early], 0.05) is None


def test_arrays_give_what_single_numbers_give() -> None:
    means, errors, counts = (
        np.array([-1.0, 0.0, 0.4, 3.0]),
        np.array([0.2, 0.1, 0.2, 0.3]),
        np.array([99, 100, 300, 900]),
    )
    together = any_look_one_sided_p_value(means, errors, counts).tolist()
    singles = zip(means.tolist(), errors.tolist(), counts.tolist(), strict=True)
    assert together == [any_look_one_sided_p_value(*single) for single in singles]


# --- a family ---


def test_a_family_of_one_has_the_p_value_and_the_interval_of_the_comparison_alone() -> None:
    [adjusted] = holm_with_intervals([Estimate(0.5, 0.12, 500)], 0.05)
    assert known(adjusted).p_value == pytest.approx(any_look_p_value(0.5, 0.12, 500), rel=1e-12)
    alone = known(any_look_interval(0.5, 0.12, 500, 0.05))
    assert known(adjusted).interval.low == pytest.approx(alone.low, rel=1e-12)
    assert known(adjusted).interval.high == pytest.approx(alone.high, rel=1e-12)


def test_p_values_of_a_family_are_holms_in_each_direction() -> None:
    means = [0.9, 0.6, 0.4, -0.7, 0.1]
    estimates = [Estimate(mean, 0.14, 500) for mean in means]
    sides = [
        multipletests([any_look_one_sided_p_value(side * mean, 0.14, 500) for mean in means], method="holm")[1]
        for side in (1, -1)
    ]
    expected = np.minimum(1, 2 * np.minimum(*sides) / 0.9)  # statsmodels; a tenth of alpha is kept
    found = [known(each).p_value for each in holm_with_intervals(estimates, 0.05)]
    assert found == pytest.approx(expected.tolist(), rel=1e-12)
    assert [p_value < 0.05 for p_value in found] == [True, True, False, True, False]


def test_what_is_shown_ends_at_the_kept_bound_and_what_is_not_at_holms() -> None:
    found = [
        known(each).interval for each in holm_with_intervals([Estimate(m, 0.1, 500) for m in (1.0, 0.4, 0.1)], 0.05)
    ]
    tail = 0.025 * 0.9
    assert found[0].low == pytest.approx(1.0 - 0.1 * float(any_look_reach(500, 0.0025 / 3)))  # a tenth, Bonferroni's
    assert found[2].low == pytest.approx(0.1 - 0.1 * float(any_look_reach(500, tail)))  # the only one not shown
    assert found[0].high == pytest.approx(1.0 + 0.1 * float(any_look_reach(500, tail / 3)))  # none is shown to be worse
    assert 0 < found[1].low < 1e-300  # the kept bound lies below 0: all that is proven of it is that it is above


def test_a_family_of_which_all_is_shown_has_bonferronis_near_ends() -> None:
    found = [known(each).interval for each in holm_with_intervals([Estimate(m, 0.1, 500) for m in (1.0, -1.2)], 0.05)]
    # of two, one is shown to be better and one to be worse, so that neither direction is complete
    assert found[0].low == pytest.approx(1.0 - 0.1 * float(any_look_reach(500, 0.0025 / 2)))
    both = [known(each).interval for each in holm_with_intervals([Estimate(m, 0.1, 500) for m in (1.0, 1.2)], 0.05)]
    assert both[0].low == pytest.approx(1.0 - 0.1 * float(any_look_reach(500, 0.0225 / 2)))


def test_a_comparison_that_could_not_be_computed_counts_in_the_family() -> None:
    whole = holm_with_intervals([Estimate(0.5, 0.12, 500), None, None], 0.05)
    assert whole[1:] == [None, None]
    assert known(whole[0]).p_value == pytest.approx(3 * any_look_p_value(0.5, 0.12, 500) / 0.9, rel=1e-12)
    assert holm_with_intervals([None, None], 0.05) == [None, None]
    assert holm_with_intervals([], 0.05) == []


# --- the best of several ---


def test_errors_are_those_of_the_cluster_robust_mean() -> None:
    values, clusters = clustered()
    found = known(gain_over_best(values[:, 3], values[:, :1], clusters, 0.05))
    difference = values[:, 3] - values[:, 0]
    error = known(cluster_robust_mean(difference, clusters, 0.95)).error
    alone = known(any_look_interval(float(difference.mean()), error, PASSAGES, 0.05))
    assert found.low == pytest.approx(alone.low, rel=1e-9)  # one other condition: the comparison with it
    assert found.high == pytest.approx(alone.high, rel=1e-9)


def test_a_gain_over_the_best_is_shown_only_where_each_single_comparison_shows_it() -> None:
    values, clusters = clustered()
    agreed = []
    for candidate in range(4):
        others = np.delete(values, candidate, axis=1)
        found = known(gain_over_best(values[:, candidate], others, clusters, 0.05))
        singles = []
        for other in others.T:
            difference = values[:, candidate] - other
            error = known(cluster_robust_mean(difference, clusters, 0.95)).error
            singles.append(known(any_look_interval(float(difference.mean()), error, PASSAGES, 0.05)))
        assert (found.low > 0) == all(each.low > 0 for each in singles)
        assert found.high >= 0 or any(each.high < 0 for each in singles)
        agreed.append(found.low > 0)
    assert agreed == [False, False, False, True]


def test_the_best_is_kept_and_what_is_shown_to_be_worse_is_not() -> None:
    values, clusters = clustered()
    found = known(compare_with_best(values, clusters, 0.05))
    assert found.may_be_best == (False, False, False, True)
    assert [each.low for each in found.intervals[:3]] == [0.0, 0.0, 0.0]
    assert found.intervals[3].high == 0.0  # the only one left can cost nothing
    assert found.intervals[3].low < -1
    reach = float(any_look_reach(PASSAGES, 0.05 / 3))
    error = known(cluster_robust_mean(values[:, 3] - values[:, 1], clusters, 0.95)).error
    expected = (values[:, 3] - values[:, 1]).mean() + reach * error  # Hsu's, with the one condition that is left
    assert found.intervals[1].high == pytest.approx(expected, rel=1e-9)
    three = known(compare_with_best(values[:, :3], clusters, 0.05))
    assert three.may_be_best == (True, True, True)
    assert all(each.low <= 0 <= each.high for each in three.intervals)


def test_the_same_condition_twice_changes_neither_of_the_two() -> None:
    values, clusters = clustered()
    twice = known(compare_with_best(values[:, [0, 1, 1]], clusters, 0.05))
    assert twice.intervals[1] == twice.intervals[2]
    alone = known(gain_over_best(values[:, 0], values[:, [0]], clusters, 0.05))
    assert alone.low == alone.high == 0.0


def test_the_documented_example_prints_what_it_says() -> None:
    outcome = doctest.testmod(inference)
    assert outcome.attempted > 0
    assert outcome.failed == 0
