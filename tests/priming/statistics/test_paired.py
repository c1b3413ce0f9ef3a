import dataclasses
import doctest
import json
import math
from collections.abc import Iterator

import numpy as np
import pyarrow.parquet
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike
from statsmodels.regression.linear_model import OLS

from tasks.priming.statistics import paired
from tasks.priming.statistics.paired import (
    PairedStatistics,
    Pairs,
    constant_value,
    pair_up,
    paired_mean,
    pairs_for_precision,
)
from tests.places import GOLDEN
from tests.run_rows import known

MEASURED = json.loads((GOLDEN / "paired_statistics.json").read_text())["t5gemma_v3_exp01_200"]
PUBLISHED = json.loads((GOLDEN / "published_numbers.json").read_text())


def names(count: int) -> list[str]:
    return [f"passage-{number:05d}" for number in range(count)]


def describe(reference: ArrayLike, arm: ArrayLike, passage_ids: list[str] | None = None) -> PairedStatistics:
    before, after = np.asarray(reference, dtype=np.float64), np.asarray(arm, dtype=np.float64)
    return paired.describe_pairs(Pairs(before, after, passage_ids or names(len(after))), 0.95)


# --- what is paired ---


def test_only_samples_that_both_sides_and_the_passages_have_are_paired() -> None:
    """Expected: by hand, b alone is left: a lacks the arm, c the reference, d a passage."""
    reference = {"a": 1.0, "b": 3.0, "d": 9.0}
    arm = {"b": 1.0, "c": 2.0, "d": 1.0}
    pairs = pair_up(reference, arm, {"a": "p", "b": "p", "c": "q"})
    assert (pairs.reference.tolist(), pairs.arm.tolist(), pairs.passage_ids) == ([3.0], [1.0], ["p"])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("is_arm", [True, False])
def test_a_value_that_is_not_finite_is_refused(bad: float, is_arm: bool) -> None:
    """SciPy's Wilcoxon test gives an ordinary p-value for an infinite difference."""
    good, spoilt = [1.0, 2.0], [1.0, bad]
    with pytest.raises(ValueError, match="must be finite"):
        describe(good if is_arm else spoilt, spoilt if is_arm else good)


def test_values_that_do_not_pair_up_are_refused() -> None:
    with pytest.raises(ValueError, match="must pair up, got 2, 1 and 2 values"):
        describe([1.0, 2.0], [1.0], names(2))


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
    assert found.passage_count == len(set(clusters.tolist()))


def test_pairs_of_one_passage_have_neither_interval_nor_p_value() -> None:
    found = describe([2.0, 3.0, 1.0], [1.0, 1.0, 1.5], ["p", "p", "p"])
    assert (found.passage_count, found.interval_method) == (1, "none")
    assert (found.improvement_low, found.improvement_error, found.p_value) == (None, None, None)
    assert found.cohens_d == pytest.approx(np.mean([1, 2, -0.5]) / np.std([1, 2, -0.5], ddof=1))  # its definition
    assert found.wilcoxon_p_value == pytest.approx(scipy.stats.wilcoxon([1.0, 2.0, -0.5]).pvalue)  # SciPy


def test_passages_of_equal_sums_have_no_interval() -> None:
    found = describe([2.0, 3.0, 2.0, 3.0], [1.0, 1.0, 1.0, 1.0], ["p", "p", "q", "q"])
    assert (found.passage_count, found.interval_method, found.p_value) == (2, "none", None)


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


def test_a_constant_value_is_none_where_values_differ() -> None:
    assert constant_value(np.array([1.0, 2.0]), np.array([0.5, 1.5])) == 0.5  # by eye
    assert constant_value(np.array([1.0, 2.0]), np.array([0.5, 1.4])) is None


# --- the descriptive tests ---


@pytest.mark.parametrize("condition", MEASURED)
def test_two_hundred_measured_pairs_give_the_recorded_statistics(condition: str) -> None:
    """What test_golden_statistics.py does not look at."""
    columns = pyarrow.parquet.read_table(GOLDEN / "paired_nll_200.parquet")
    recorded = MEASURED[condition]  # the source of every expected value below: golden/paired_statistics.json
    found = describe(columns["nll_bare"].to_numpy(), columns[f"nll_{condition}"].to_numpy())
    assert found.loss_count == round(recorded["loss_pct"] * 2)  # percent of 200
    assert found.tie_count == recorded["ties"]
    assert found.reference_mean == pytest.approx(recorded["mean_baseline"], rel=1e-9)
    assert found.improvement_median == pytest.approx(recorded["median_delta"], rel=1e-9)
    assert found.p_value == pytest.approx(recorded["p"], rel=1e-9)  # passages of one pair: the t-test's


def published_effects() -> Iterator[tuple[str, int, float, float]]:
    """Yield (name, n, printed d, printed t) of every printed row that has both."""
    run = PUBLISHED["v1_exp02_production_simulation"]
    for routed in ("gen_routed", "static_routed"):
        yield routed, run["n"], run["cohens_d"][routed], run["t"][f"{routed}_vs_baseline"]
    quality = PUBLISHED["v1_exp00_answer_quality"]
    yield "answer_quality", quality["n"], quality["cohens_d"], quality["t"]
    for name, row in PUBLISHED["v1_exp06_N677_vs_bare"].items():
        if isinstance(row, dict):
            yield name, 677, row["d"], row["t"]  # n from the record's name


@pytest.mark.parametrize(("name", "n", "cohens_d", "t_statistic"), list(published_effects()))
def test_pairs_of_a_published_effect_size_give_the_published_t(
    name: str, n: int, cohens_d: float, t_statistic: float
) -> None:
    noise = np.random.default_rng(0).normal(size=n)
    improvement = cohens_d + (noise - noise.mean()) / noise.std(ddof=1)
    found = describe(np.full(n, 10.0), 10.0 - improvement)
    rounding = 0.00005 * math.sqrt(n) + 0.005  # d is printed to 4 places, t to 2 at least
    assert found.cohens_d == pytest.approx(cohens_d, abs=1e-9)  # published_numbers.json
    assert found.t_statistic == pytest.approx(t_statistic, abs=rounding)  # published_numbers.json


def test_repeated_passages_widen_the_interval() -> None:
    noise = np.random.default_rng(2).normal(0.3, 1.0, 50)
    reference, arm = np.full(200, 9.0), 9.0 - np.repeat(noise, 4)
    clustered = describe(reference, arm, [name for name in names(50) for _ in range(4)])
    independent = describe(reference, arm, names(200))
    assert (clustered.passage_count, independent.passage_count) == (50, 200)
    width, narrow = (known(row.improvement_high) - known(row.improvement_low) for row in (clustered, independent))
    assert width / narrow == pytest.approx(2.0, rel=0.15)  # sqrt(4): four copies of each row
    assert known(clustered.p_value) > known(independent.p_value)


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


# --- precision ---


def test_the_pairs_for_a_precision_shrink_the_error_with_their_root() -> None:
    """Expected: by hand; 3 errors of 0.5 are 1.5, a third of that takes nine times as many pairs."""
    assert pairs_for_precision(0.5, 100, reach=3.0, half_width=0.5) == 900
    assert pairs_for_precision(0.5, 100, reach=3.0, half_width=0.499) == 904


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
