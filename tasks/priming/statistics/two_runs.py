"""Two runs on the samples that they share: how much each condition and its improvement differ, and what was written.

All differences are positive where the second run is better.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.priming.statistics.contrasts import BASELINE
from tasks.priming.statistics.paired import PairedStatistics, pair_up, paired_mean

Conditions = Mapping[str, Mapping[str, float]]
"""Condition -> sample_id -> value."""


@dataclass(frozen=True, slots=True)
class RunDifference:
    """One condition in two runs, on the samples that have it in both."""

    condition: str
    """The condition, e.g. "generated/routed" or "static/factual"."""
    nll: PairedStatistics
    """Nats per answer token: reference is the first run, arm the second, so the mean is NLL(first) - NLL(second)."""
    shortfall: PairedStatistics
    """What the probability of an answer's token lacks to 100 %, points: the mean is that of the second run less that of
    the first."""
    excess: PairedStatistics | None
    """What lacks more than in the baseline of the same run, points: the mean is improvement(second) -
    improvement(first); None for the baseline itself."""


def compare_runs(
    first: Conditions, second: Conditions, passages: Mapping[str, str], confidence_level: float
) -> list[RunDifference]:
    """Compare every condition that both runs have on a sample: the baseline, then what was routed, then the arms.

    Args:
        first: The mean NLLs of the answers of one run, nats per token.
        second: Those of the other.
        passages: sample_id -> passage_id of the samples that both runs have.
        confidence_level: Nominal coverage of the cluster-robust intervals, between 0 and 1.
    """
    nlls, shortfalls = (first, second), (_shortfalls(first), _shortfalls(second))
    excesses = tuple(map(_over_baseline, shortfalls))

    def compare(name: str) -> RunDifference:
        nll, shortfall, excess = (
            paired_mean(pair_up(one[name], other[name], passages), confidence_level)
            for one, other in (nlls, shortfalls, excesses)
        )
        return RunDifference(name, nll, shortfall, None if name == BASELINE else excess)

    return [difference for difference in map(compare, shared_conditions(first, second)) if difference.nll.n]


def compare_texts(
    first: Conditions, second: Conditions, passages: Mapping[str, str], confidence_level: float
) -> dict[str, PairedStatistics]:
    """Compare the F1 (from 0 to 1) of written answers by condition, as what they lack to 100 %, in points."""
    lacking = [
        {name: {s: 100 * (1 - f1) for s, f1 in of.items()} for name, of in run.items()} for run in (first, second)
    ]
    found = {
        name: paired_mean(pair_up(lacking[0][name], lacking[1][name], passages), confidence_level)
        for name in shared_conditions(first, second)
    }
    return {name: difference for name, difference in found.items() if difference.n}


def shared_conditions(first: Conditions, second: Conditions) -> list[str]:
    """Return the conditions of both runs: the baseline, then what was routed, then the arms."""
    return sorted(first.keys() & second.keys(), key=lambda name: (name != BASELINE, "/routed" not in name, name))


def _shortfalls(nlls: Conditions) -> dict[str, dict[str, float]]:
    """Return the measure of record as what is lacking, as in tasks/priming/statistics/conditions.py."""
    return {name: {sample: -100 * math.expm1(-nll) for sample, nll in values.items()} for name, values in nlls.items()}


def _over_baseline(conditions: Conditions) -> dict[str, dict[str, float]]:
    """Return value - value of the baseline of every condition, for the samples that have both."""
    baseline = conditions.get(BASELINE, {})
    return {
        name: {sample_id: value - baseline[sample_id] for sample_id, value in values.items() if sample_id in baseline}
        for name, values in conditions.items()
    }
