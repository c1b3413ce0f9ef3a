"""What the statistics promise, checked on data of which the truth is known: error rates, coverage, power.

Measured differences are those of 200 pairs in tests/golden: skewed (4 to 8) and long-tailed (kurtosis 40 to 90), as NLL
differences are. All draws are seeded, so every figure below repeats.
"""

import gc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.comparisons import adjust
from tasks.priming.statistics.intervals import Clusters, Interval, Vector, bootstrap_intervals, cluster_robust_mean
from tasks.priming.statistics.paired import tost_p_value, tost_power
from tests.places import GOLDEN

pytestmark = pytest.mark.slow

LEVEL = 0.95
SETTINGS = StatisticsSettings(bootstrap_resamples=1000, confidence_level=LEVEL)
DATA_SETS = 4000
RIGHT = (0.935, 0.965)
"""Coverage that counts as 95 %: four standard errors of 4,000 data sets on either side."""

Interpreter = Callable[[Vector, Clusters, int], Interval | None]
Draw = Callable[[int], tuple[Vector, float]]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often an interval holds the true mean."""

    rate: float
    """Share of the data sets."""
    width: float
    """Mean width of the interval."""


@lru_cache(maxsize=1)
def measured_improvements() -> NDArray[np.float64]:
    """Return the measured improvements, (200 passages, 6 comparisons)."""
    table = pyarrow.parquet.read_table(GOLDEN / "paired_nll_200.parquet")
    arms = [name for name in table.column_names if name.startswith("nll_") and name != "nll_bare"]
    return np.column_stack([table["nll_bare"].to_numpy() - table[arm].to_numpy() for arm in arms])


def bca(values: Vector, clusters: Clusters, seed: int) -> Interval | None:
    return bootstrap_intervals(values, clusters, settings=SETTINGS, seed=seed).mean


def cluster_robust(values: Vector, clusters: Clusters, seed: int) -> Interval | None:
    found = cluster_robust_mean(values, clusters, LEVEL)
    return found.interval if found else None


def coverage(interval: Interpreter, draw: Draw, clusters: Clusters) -> Coverage:
    """Return how often an interval holds the mean of the population that `draw` gives, with each data set."""
    found = []
    for seed in range(DATA_SETS):
        values, truth = draw(seed)
        ends = interval(values, clusters, seed)
        assert ends is not None
        found.append((ends.low <= truth <= ends.high, ends.high - ends.low))
    rate, width = np.mean(found, axis=0)
    return Coverage(float(rate), float(width))


def normal(count: int) -> Draw:
    def draw(seed: int) -> tuple[Vector, float]:
        return np.random.default_rng(seed).normal(0.2, 1.0, count), 0.2

    return draw


def resampled(count: int) -> Draw:
    """Draw from the measured improvements; the six comparisons take turns."""
    populations = measured_improvements().T

    def draw(seed: int) -> tuple[Vector, float]:
        population = populations[seed % len(populations)]
        return np.random.default_rng(seed).choice(population, count), float(population.mean())

    return draw


def clustered(passages: int, queries: int) -> Draw:
    """Draw passages with an effect of their own: queries on one of them correlate by a half."""

    def draw(seed: int) -> tuple[Vector, float]:
        generator = np.random.default_rng(seed)
        shared = np.repeat(generator.normal(0.2, 1.0, passages), queries)
        return shared + generator.normal(0.0, 1.0, passages * queries), 0.2

    return draw


# --- error rates ---


@pytest.fixture
def frozen_heap() -> Iterator[None]:
    """Multipletests collects garbage at each call; what is loaded already need not be searched a thousand times."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def flipped_together(seed: int) -> NDArray[np.float64]:
    """Flip a passage's five measured improvements at once: they correlate as they do by their common reference."""
    improvements = measured_improvements()[:, :5]
    signs: NDArray[np.float64] = np.random.default_rng(seed).choice([-1.0, 1.0], (len(improvements), 1))
    return improvements * signs


def flipped_apart(seed: int) -> NDArray[np.float64]:
    """Flip each measured improvement on its own: the five comparisons do not correlate."""
    improvements = measured_improvements()[:, :5]
    signs: NDArray[np.float64] = np.random.default_rng(seed).choice([-1.0, 1.0], improvements.shape)
    return improvements * signs


def normal_apart(seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(size=(200, 5))


def false_findings(null: Callable[[int], NDArray[np.float64]], draws: int) -> tuple[float, float]:
    """Return how often any of five comparisons without an effect is significant: adjusted by Holm, and not."""
    counts = np.zeros(2)
    for seed in range(draws):
        tests = [cluster_robust_mean(values, np.arange(len(values)), LEVEL) for values in null(seed).T]
        p_values = {str(number): test.p_value if test else None for number, test in enumerate(tests)}
        for number, tested in enumerate((adjust(p_values, "holm"), p_values)):
            counts[number] += any(p_value is not None and p_value < 1 - LEVEL for p_value in tested.values())
    adjusted, unadjusted = counts / draws
    return float(adjusted), float(unadjusted)


@pytest.mark.usefixtures("frozen_heap")
@pytest.mark.parametrize("null", [flipped_together, flipped_apart, normal_apart])
def test_of_five_comparisons_without_an_effect_holm_rarely_finds_any(
    null: Callable[[int], NDArray[np.float64]],
) -> None:
    draws = 1000
    error = math.sqrt(0.05 * 0.95 / draws)
    adjusted, unadjusted = false_findings(null, draws)
    assert adjusted <= 0.05 + 3 * error  # Holm's bound; long tails make the tests reject less often than that
    assert unadjusted > 0.05 + 3 * error  # without it, the bound would be broken: the data can tell
    if null is normal_apart:
        assert adjusted == pytest.approx(1 - 0.99**5, abs=3 * error)  # the smallest p-value has to be below 0.05 / 5
        assert unadjusted == pytest.approx(1 - 0.95**5, abs=0.04)  # three standard errors of 23 %


# --- coverage ---


@pytest.mark.parametrize("interval", [bca, cluster_robust])
def test_intervals_of_normal_improvements_hold_the_mean_as_often_as_promised(interval: Interpreter) -> None:
    assert RIGHT[0] <= coverage(interval, normal(100), np.arange(100)).rate <= RIGHT[1]


@pytest.mark.parametrize("interval", [bca, cluster_robust])
def test_intervals_of_measured_improvements_hold_the_mean_at_the_published_number_of_samples(
    interval: Interpreter,
) -> None:
    """2,500 pairs on 125 passages: the bootstrap's time grows with the passages."""
    clusters = np.repeat(np.arange(125), 20)
    assert RIGHT[0] <= coverage(interval, resampled(2500), clusters).rate <= RIGHT[1]


def test_with_2500_passages_the_cluster_robust_interval_holds_too() -> None:
    assert RIGHT[0] <= coverage(cluster_robust, resampled(2500), np.arange(2500)).rate <= RIGHT[1]


@pytest.mark.parametrize("interval", [bca, cluster_robust])
def test_intervals_of_two_hundred_measured_improvements_hold_the_mean_less_often(interval: Interpreter) -> None:
    """A limitation, not a promise: a tail that one sample in fifty reaches is often missed by a small run."""
    assert 0.88 <= coverage(interval, resampled(200), np.arange(200)).rate < RIGHT[0]


def test_clustered_intervals_are_wider_and_right_where_independent_ones_are_neither() -> None:
    draw, clusters = clustered(60, 4), np.repeat(np.arange(60), 4)
    by_passage = [coverage(interval, draw, clusters) for interval in (bca, cluster_robust)]
    independent = coverage(cluster_robust, draw, np.arange(240))
    for found in by_passage:
        assert RIGHT[0] <= found.rate <= RIGHT[1]
        # by hand: the variance of a passage's mean, 1 + 1 / 4, against that of four independent values, 2 / 4
        assert found.width / independent.width == pytest.approx(math.sqrt(1.25 / 0.5), rel=0.05)
    assert independent.rate < 0.85  # a z of 1.96 / 1.58 covers 78 %


# --- equivalence ---


def equivalence_rate(truth: float, margin: float, passages: int = 60, queries: int = 1) -> float:
    """Return how often equivalence is shown, of means of `passages` x `queries` values with a variance of 2."""
    clusters = np.repeat(np.arange(passages), queries)
    shown = 0
    for seed in range(DATA_SETS):
        values, mean = clustered(passages, queries)(seed)
        found = cluster_robust_mean(values - mean + truth, clusters, LEVEL)
        assert found is not None
        own = float(values.mean() - mean + truth)
        shown += tost_p_value(own, found.error, found.degrees, margin) < 1 - LEVEL
    return shown / DATA_SETS


@pytest.mark.parametrize("queries", [1, 4])
@pytest.mark.parametrize("errors", [2.0, 3.0, 4.0])
def test_equivalence_is_shown_as_often_as_its_power_says(errors: float, queries: int) -> None:
    """The margin is so many standard errors: powers of 25 to 98 %."""
    error = math.sqrt((1 + 1 / queries) / 60)  # the truth: the variance of a passage's mean, over 60 passages
    expected = tost_power(error, 59, errors * error, LEVEL)
    allowed = 3 * math.sqrt(expected * (1 - expected) / DATA_SETS) + 0.015  # the formula takes the error as known
    assert equivalence_rate(0.0, errors * error, queries=queries) == pytest.approx(expected, abs=allowed)


def test_a_mean_at_the_margin_is_taken_for_equivalent_in_one_case_of_twenty() -> None:
    error = math.sqrt(2 / 60)
    rate = equivalence_rate(4 * error, 4 * error)
    assert rate == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / DATA_SETS))  # the test's level
