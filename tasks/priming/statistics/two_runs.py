"""Two runs on the samples that they share: how much each condition's NLL and improvement differ.

Both differences are positive where the second run is better.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.priming.statistics.contrasts import BASELINE
from tasks.priming.statistics.paired import PairedStatistics, pair_up, paired_mean

Conditions = Mapping[str, Mapping[str, float]]
"""Condition -> sample_id -> mean NLL of the answer, nats per token."""


@dataclass(frozen=True, slots=True)
class RunDifference:
    """One condition in two runs, on the samples that have it in both."""

    condition: str
    """The condition, e.g. "generated/routed" or "static/factual"."""
    nll: PairedStatistics
    """The NLLs: reference is the first run, arm the second, so the mean is NLL(first) - NLL(second)."""
    excess: PairedStatistics | None
    """The same for NLL - NLL(baseline of the same run), so the mean is improvement(second) - improvement(first); None
    for the baseline itself."""

    @property
    def improvement_first(self) -> float | None:
        """Mean improvement over the baseline in the first run."""
        return _turned(self.excess.reference_mean) if self.excess else None

    @property
    def improvement_second(self) -> float | None:
        """Mean improvement over the baseline in the second run."""
        return _turned(self.excess.arm_mean) if self.excess else None


def compare_runs(
    first: Conditions, second: Conditions, passages: Mapping[str, str], confidence_level: float
) -> list[RunDifference]:
    """Compare every condition that both runs have on a sample: the baseline, then what was routed, then the arms.

    Args:
        first: The NLLs of one run.
        second: The NLLs of the other.
        passages: sample_id -> passage_id of the samples that both runs have.
        confidence_level: Nominal coverage of the cluster-robust intervals, between 0 and 1.
    """
    excess_first, excess_second = _over_baseline(first), _over_baseline(second)

    def compare(name: str) -> RunDifference:
        nll = paired_mean(pair_up(first[name], second[name], passages), confidence_level)
        if name == BASELINE:
            return RunDifference(name, nll, None)
        excess = pair_up(excess_first[name], excess_second[name], passages)
        return RunDifference(name, nll, paired_mean(excess, confidence_level))

    shared = sorted(first.keys() & second.keys(), key=lambda name: (name != BASELINE, "/routed" not in name, name))
    return [difference for difference in map(compare, shared) if difference.nll.n]


def _over_baseline(conditions: Conditions) -> dict[str, dict[str, float]]:
    """Return NLL - NLL(baseline) of every condition, for the samples that have both."""
    baseline = conditions.get(BASELINE, {})
    return {
        name: {sample_id: nll - baseline[sample_id] for sample_id, nll in values.items() if sample_id in baseline}
        for name, values in conditions.items()
    }


def _turned(excess: float | None) -> float | None:
    return None if excess is None else 0.0 - excess
