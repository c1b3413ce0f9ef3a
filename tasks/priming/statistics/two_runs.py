"""Two runs on the samples that they share: how much the NLL of a condition differs, and what it improves by.

In: for each run condition -> sample_id -> NLL, and the passage of each sample. Out: one RunDifference a condition. Both
differences are positive where the second run is better.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.priming.statistics.contrasts import BASELINE
from tasks.priming.statistics.robust_mean import RobustMean, robust_mean

Conditions = Mapping[str, Mapping[str, float]]
"""Condition -> sample_id -> mean NLL of the answer, nats per token."""


@dataclass(frozen=True, slots=True)
class RunDifference:
    """One condition in two runs, on the samples that have it in both."""

    condition: str
    """The condition, e.g. "generated/routed" or "static/factual"."""
    nll: RobustMean
    """The NLLs: reference is the first run, arm the second, so the mean is NLL(first) - NLL(second)."""
    excess: RobustMean | None
    """The same of NLL - NLL(baseline of the same run): the mean is improvement(second) - improvement(first); None for
    the baseline itself."""

    @property
    def improvement_first(self) -> float | None:
        """Mean improvement over the baseline in the first run."""
        return None if self.excess is None or self.excess.reference_mean is None else 0.0 - self.excess.reference_mean

    @property
    def improvement_second(self) -> float | None:
        """Mean improvement over the baseline in the second run."""
        return None if self.excess is None or self.excess.arm_mean is None else 0.0 - self.excess.arm_mean


def compare_conditions(
    first: Conditions, second: Conditions, passages: Mapping[str, str], confidence_level: float
) -> list[RunDifference]:
    """Compare every condition that both runs have on a sample, the baseline first, then what was routed, then the arms.

    Means with cluster-robust intervals, as in `robust_mean`: improvement = reference - arm, errors by passage.

    Args:
        first: The NLLs of one run.
        second: The NLLs of the other.
        passages: sample_id -> passage_id of the samples that both runs have.
        confidence_level: Nominal coverage of the intervals, between 0 and 1.
    """
    names = sorted(first.keys() & second.keys(), key=lambda name: (name != BASELINE, not _is_routed(name), name))
    excess_first, excess_second = _over_baseline(first), _over_baseline(second)
    found = []
    for name in names:
        nll = robust_mean(first[name], second[name], passages, confidence_level)
        if not nll.n:
            continue
        excess = None
        if name != BASELINE:
            excess = robust_mean(excess_first[name], excess_second[name], passages, confidence_level)
        found.append(RunDifference(name, nll, excess))
    return found


def _is_routed(name: str) -> bool:
    return name.endswith("/routed")


def _over_baseline(conditions: Conditions) -> dict[str, dict[str, float]]:
    """Return NLL - NLL(baseline) of every condition, for the samples that have both."""
    baseline = conditions.get(BASELINE, {})
    return {
        name: {sample_id: nll - baseline[sample_id] for sample_id, nll in values.items() if sample_id in baseline}
        for name, values in conditions.items()
    }
