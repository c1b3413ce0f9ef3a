import math

import numpy as np
import pytest
from scipy.stats import binomtest, t, trim_mean
from statsmodels.stats.power import TTestPower
from statsmodels.stats.weightstats import DescrStatsW

from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.paired import PairedStatistics, describe_pairs
from tasks.priming.statistics.power import (
    pairs_to_decide,
    pairs_to_tell_from,
    smallest_detectable,
    tost_p_value,
    tost_power,
)

MARGIN = 0.1
QUICK = StatisticsSettings(bootstrap_resamples=100, equivalence_margin=MARGIN)
IMPROVEMENT = np.random.default_rng(7).normal(0.02, 0.4, 200)
ERROR = float(IMPROVEMENT.std(ddof=1) / math.sqrt(200))


def described(improvement: np.ndarray[tuple[int], np.dtype[np.float64]]) -> PairedStatistics:
    """Return the statistics of pairs, each of a passage of its own."""
    zero = np.zeros_like(improvement)
    return describe_pairs(improvement, zero, [str(i) for i in range(len(improvement))], settings=QUICK, seed=1)


def test_the_two_one_sided_tests_equal_statsmodels() -> None:
    expected = DescrStatsW(IMPROVEMENT).ttost_mean(-MARGIN, MARGIN)[0]  # statsmodels
    assert tost_p_value(IMPROVEMENT.mean(), ERROR, 199, MARGIN) == pytest.approx(expected, rel=1e-9)
    assert described(IMPROVEMENT).equivalence_p_value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("mean", [MARGIN, -MARGIN])
def test_a_mean_at_the_margin_is_as_likely_as_not_beyond_it(mean: float) -> None:
    assert tost_p_value(mean, ERROR, 199, MARGIN) == pytest.approx(0.5)  # half of a symmetric distribution


def test_equivalence_has_no_power_where_the_margin_is_within_the_error() -> None:
    assert tost_power(1.0, 199, 0.1, 0.95) == 0.0
    assert tost_power(1e-6, 199, 0.1, 0.95) == pytest.approx(1.0)
    power = tost_power(ERROR, 199, MARGIN, 0.95)
    assert power == pytest.approx(2 * t.cdf(MARGIN / ERROR - t.ppf(0.95, 199), 199) - 1)  # its formula, by scipy
    assert described(IMPROVEMENT).equivalence_power == pytest.approx(power)


def test_the_smallest_detectable_mean_has_a_chance_of_80_percent() -> None:
    detectable = smallest_detectable(ERROR, 199, 0.95)
    power = TTestPower().power(detectable / IMPROVEMENT.std(ddof=1), nobs=200, alpha=0.05)  # statsmodels
    assert power == pytest.approx(0.8, abs=0.002)
    assert described(IMPROVEMENT).smallest_detectable_improvement == pytest.approx(detectable)


def test_the_published_run_could_see_what_was_said_of_it() -> None:
    """Expected: 2,500 samples see a standardised effect of 0.056 with a chance of 80 %, 500 one of 0.125."""
    assert smallest_detectable(1 / math.sqrt(2500), 2499, 0.95) == pytest.approx(0.056, abs=5e-4)
    assert smallest_detectable(1 / math.sqrt(500), 499, 0.95) == pytest.approx(0.125, abs=6e-4)


def test_the_pairs_that_would_decide_are_those_of_a_power_analysis() -> None:
    count = pairs_to_tell_from(0.0, 0.02, ERROR, 200, 0.95)
    needed = TTestPower().solve_power(0.02 / (ERROR * math.sqrt(200)), alpha=0.05, power=0.8)  # statsmodels
    assert count == pytest.approx(needed, rel=0.005)


def test_pairs_decide_by_whichever_takes_fewer() -> None:
    # (1.645 + 0.842)^2 x (0.03 / 0.08)^2 x 200 = 174: a mean of 0.02 is 0.08 within the margin
    assert pairs_to_decide(0.02, 0.03, 200, MARGIN, 0.95) == 174
    # (1.960 + 0.842)^2 x (0.03 / 0.09)^2 x 200 = 175: one of 0.09 is 0.09 from 0 and 0.01 within the margin
    assert pairs_to_decide(0.09, 0.03, 200, MARGIN, 0.95) == 175
    # (1.960 + 0.842)^2 x (0.3 / 0.2)^2 x 200 = 3,532: one of 0.2 is beyond the margin
    assert pairs_to_decide(0.2, 0.3, 200, MARGIN, 0.95) == 3532


def test_no_number_of_pairs_tells_a_value_from_itself() -> None:
    assert pairs_to_tell_from(0.1, 0.1, ERROR, 200, 0.95) is None
    assert pairs_to_tell_from(0.0, 1e-9, 1.0, 200, 0.95) is None  # more than a billion
    assert pairs_to_decide(0.0, ERROR, 200, MARGIN, 0.95) == math.ceil(  # equivalence alone
        200 * ((1.6448536269514722 + 0.8416212335729143) * ERROR / MARGIN) ** 2
    )


def test_trimmed_mean_and_sign_test_equal_scipy() -> None:
    found = described(np.append(IMPROVEMENT, [0.0, 50.0]))
    assert found.improvement_trimmed_mean == pytest.approx(trim_mean(np.append(IMPROVEMENT, [0.0, 50.0]), 0.2))
    assert found.sign_p_value == pytest.approx(binomtest(found.win_count, 201).pvalue)  # the tie tells nothing
    assert found.tie_count == 1


def test_constant_improvements_have_no_power_and_only_ties_no_sign_test() -> None:
    ties, wins = described(np.zeros(8)), described(np.full(8, 0.5))
    assert (ties.sign_p_value, ties.equivalence_p_value, ties.n_to_decide) == (None, None, None)
    assert wins.sign_p_value == pytest.approx(2 * 0.5**8)  # eight wins of eight
    assert (wins.smallest_detectable_improvement, wins.equivalence_power) == (None, None)
