"""Contrasts evaluated by one measure: what each alone shows, and what an answer may read of it.

In: declared contrasts and the conditions by a measure. Out: per contrast the statistics of its pairs, and a second
interval and p-value that are adjusted within the contrast's question and hold at any look. Answers read the second pair
alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from tasks.priming.statistics.conditions import Condition
from tasks.priming.statistics.contrasts import Contrast
from tasks.priming.statistics.inference import LEAST_CLUSTERS, Estimate, gain_over_best, holm_with_intervals
from tasks.priming.statistics.paired import PairedStatistics, Pairs, pair_up, paired_mean


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One contrast by one measure."""

    contrast: Contrast
    """The contrast."""
    reference: str
    """The condition that its pairs compare the arm with; of kind best_of, the one with the best mean here."""
    statistics: PairedStatistics
    """What the pairs show: unadjusted, for a number of samples that was fixed before. Of kind best_of without interval
    and p-value: no such test of a reference that was chosen by its scores is right."""
    family_size: int
    """Contrasts of its question; 0 where no question rests on it."""
    answer_low: float | None = None
    """Lower end of the interval that answers read: all intervals of a question hold together, at any look. None where
    no question rests on it, or where there are fewer than LEAST_CLUSTERS passages or no standard error."""
    answer_high: float | None = None
    """Upper end of it."""
    answer_p: float | None = None
    """Its p-value, adjusted by Holm's method; None also for kind best_of."""


def evaluate_contrasts(
    contrasts: Sequence[Contrast],
    conditions: Mapping[str, Condition],
    passages: Mapping[str, str],
    confidence_level: float,
    describe: Callable[[Pairs, float], PairedStatistics] = paired_mean,
) -> list[Evaluated]:
    """Evaluate declared contrasts, each question as one family.

    In a question of m contrasts, `holm_with_intervals` adjusts all that compare two conditions, and `gain_over_best`
    has 1 / m of the error probability for each contrast with the best of several: so does whatever could not be
    computed. A question then makes any error with a probability of at most 1 - confidence level, at whatever looks.

    Args:
        contrasts: All that were declared.
        conditions: By one measure; lower is better.
        passages: sample_id -> passage_id, in the order of the pairs.
        confidence_level: Of each question's intervals, taken together.
        describe: What is computed of the pairs.

    Returns:
        One for each contrast, in their order.
    """
    alpha = 1 - confidence_level
    found = {}
    for contrast in contrasts:
        reference, pairs, others = _pairs_of(contrast, conditions, passages)
        size = sum(other.question == contrast.question for other in contrasts) if contrast.question else 0
        described = describe(pairs, confidence_level)
        evaluated = Evaluated(contrast, reference, described, size)
        if contrast.kind == "best_of":
            evaluated = replace(evaluated, statistics=_without_test(described))
            gain = gain_over_best(-pairs.arm, -others, pairs.clusters, alpha / size) if described.n else None
            if gain:
                evaluated = replace(evaluated, answer_low=gain.low, answer_high=gain.high)
        found[contrast.comparison] = evaluated
    for question in dict.fromkeys(contrast.question for contrast in contrasts if contrast.question):
        family = [each for each in found.values() if each.contrast.question == question]
        for each, adjusted in zip(family, holm_with_intervals([*map(_estimate, family)], alpha), strict=True):
            same = each.statistics.improvement_mean if each.statistics.interval_method == "constant" else None
            if adjusted:
                low, high, p = adjusted.interval.low, adjusted.interval.high, adjusted.p_value
                found[each.contrast.comparison] = replace(each, answer_low=low, answer_high=high, answer_p=p)
            elif same is not None and each.statistics.passage_count >= LEAST_CLUSTERS:
                found[each.contrast.comparison] = replace(each, answer_low=same, answer_high=same)
    return list(found.values())


def _pairs_of(
    contrast: Contrast, conditions: Mapping[str, Condition], passages: Mapping[str, str]
) -> tuple[str, Pairs, NDArray[np.float64]]:
    """Return the reference and the pairs of a contrast, and for kind best_of the (pairs, conditions) values of all."""
    arm = conditions.get(contrast.arm, {})
    if contrast.kind != "best_of":
        pairs = pair_up(conditions.get(contrast.reference, {}), arm, passages)
        return contrast.reference, pairs, np.empty((len(pairs.arm), 0))
    others = {name: conditions.get(name, {}) for name in contrast.among}
    shared = {
        s: passage for s, passage in passages.items() if s in arm and all(s in other for other in others.values())
    }
    columns = {name: pair_up(other, arm, shared) for name, other in others.items()}
    best = min(columns, key=lambda name: float(columns[name].reference.sum()))
    return best, columns[best], np.column_stack([pairs.reference for pairs in columns.values()])


def _estimate(evaluated: Evaluated) -> Estimate | None:
    """Return what the family's adjustment needs; None for what it cannot adjust, which counts all the same."""
    found = evaluated.statistics
    if evaluated.contrast.kind == "best_of" or found.improvement_mean is None or found.improvement_error is None:
        return None
    return Estimate(found.improvement_mean, found.improvement_error, found.passage_count)


def _without_test(described: PairedStatistics) -> PairedStatistics:
    """Leave out what takes the reference for one that was not chosen by its scores."""
    described = replace(described, improvement_low=None, improvement_high=None, p_value=None, interval_method="none")
    return replace(described, t_statistic=None, t_p_value=None, wilcoxon_p_value=None, sign_p_value=None)
