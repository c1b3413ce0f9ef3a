"""Statistics: the bootstrap of six comparisons, by the project's intervals and by a loop as one would write it first.

In: nothing but how often. Out: figures of speed. The two differ in what they give: ours are BCa intervals (bias
corrected and accelerated, with a jackknife) of the mean and of Cohen's d, the loop's are plain percentiles of both.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from tasks.bench.methods import LOOP, OURS
from tasks.bench.plans import RESAMPLED_CONTRASTS, RESAMPLED_PAIRS
from tasks.bench.sheet import Sheet
from tasks.bench.timing import Arm, CpuMeter, speed_ratios, time_rounds, waiting
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.intervals import BootstrapIntervals, Vector, bootstrap_intervals

TIMES_LOOP = "times as fast as a Python loop"

_DTYPE = "float64"
_SEED = 0
_WARM_UP_RESAMPLES = 100


def measure_statistics(resamples: int, rounds: int, *, report: Callable[[str], None]) -> Sheet:
    """Measure the bootstrap.

    Args:
        resamples: Resamples of each comparison.
        rounds: How often.
        report: Told what is being done.
    """
    sheet = Sheet("statistics", "bootstrap")
    # Paired differences have long tails: those of the published run had a standard deviation of 0.4.
    values = np.random.default_rng(_SEED).standard_t(4, (RESAMPLED_CONTRASTS, RESAMPLED_PAIRS)) * 0.3 + 0.05

    def arm(method: str, resample: Callable[[Any, int], object]) -> Arm:
        warm_up = partial(resample, values, _WARM_UP_RESAMPLES)
        return Arm(method, _DTYPE, resamples * RESAMPLED_CONTRASTS, partial(resample, values, resamples), warm_up)

    arms = [arm(LOOP, resample_in_a_loop), arm(OURS, resample_by_ours)]
    timings = time_rounds(arms, rounds, meter=CpuMeter(), report=lambda text: report(f"statistics, {text}"))
    for each, timing in timings.items():
        sheet.add_timing(each, timing, "resamples")
        sheet.add(each, TIMES_LOOP, speed_ratios(timing, timings[LOOP, _DTYPE]), "x")
    sheet.workload = f"{resamples:,} resamples of {RESAMPLED_PAIRS:,} pairs, {RESAMPLED_CONTRASTS} comparisons"
    sheet.waiting = waiting(timings)
    return sheet


def resample_by_ours(values: Any, resamples: int) -> list[BootstrapIntervals]:  # noqa: ANN401 - a (6, n) array
    """Return the project's intervals of each comparison; every pair is about another passage."""
    settings = StatisticsSettings(bootstrap_resamples=resamples)
    clusters = np.arange(values.shape[1])
    return [bootstrap_intervals(each, clusters, settings=settings, seed=_SEED) for each in values]


def resample_in_a_loop(values: Any, resamples: int) -> list[tuple[Vector, Vector]]:  # noqa: ANN401
    """Return 95 % percentile intervals of the mean and of Cohen's d of each comparison, one resample at a time."""
    source = np.random.default_rng(_SEED)
    intervals = []
    for each in values:
        means, effects = [], []
        for _ in range(resamples):
            drawn = each[source.integers(0, len(each), len(each))]
            means.append(drawn.mean())
            effects.append(drawn.mean() / drawn.std(ddof=1))
        intervals.append((np.percentile(means, [2.5, 97.5]), np.percentile(effects, [2.5, 97.5])))
    return intervals
