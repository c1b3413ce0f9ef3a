"""Does a result depend on how it is measured? The comparisons on which answers rest, made by other measures.

A gain in NLL that is no gain in margin made every answer likelier, not the right one; a gain that vanishes without the
first token, or without the one-token answers, is no gain of the whole answer.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from tasks.priming.records import Measure, Score
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import conditions_of, passages_of
from tasks.priming.statistics.contrasts import declare_contrasts
from tasks.priming.statistics.paired import pair_up, paired_mean
from tasks.priming.statistics.run_data import RunData

VARIED_KINDS = ("routed", "between_families", "worth", "control")
"""The kinds of comparison on which answers rest."""


class OtherMeasure(NamedTuple):
    """Another way to measure what a condition is worth."""

    value: Callable[[Score], float | None]
    """What is compared: lower is better; None where a score has none."""
    sign: int
    """What means are multiplied by before they are reported: -1 where higher is better, so that the value is turned."""
    unit: str
    """The unit of the reported values."""


def vary_comparisons(run: RunData, settings: StatisticsSettings, seed: int) -> list[Measure]:
    """Make the comparisons on which answers rest again by every other measure.

    A sample takes part where both sides have the measure. Conditions that are chosen or made from scores follow the
    measure: the best key is the one with the largest margin on other passages, and two effects that add up are two
    margins (or shares, whose sum on one sample may leave the range from 0 to 1).

    Returns:
        One row per measure of MEASURES and contrast of VARIED_KINDS, in the order of `declare_contrasts`; n is 0 where
        no sample has the measure. Intervals and p-values are those of `paired_mean`, not adjusted. The order of rows
        does not change a bit.
    """
    passages = passages_of(run)
    contrasts = [found for found in declare_contrasts(run.routes, run.scores) if found.kind in VARIED_KINDS]
    rows = []
    for name, measure in MEASURES.items():
        conditions = conditions_of(run, seed, measure=measure.value)
        for contrast in contrasts:
            pairs = pair_up(conditions.get(contrast.reference, {}), conditions.get(contrast.arm, {}), passages)
            found = paired_mean(*pairs, settings.confidence_level)
            rows.append(
                Measure(
                    comparison=contrast.comparison,
                    measure=name,
                    unit=measure.unit,
                    n=found.n,
                    passage_count=found.passage_count,
                    arm_mean=_turned(found.nll_arm_mean, measure.sign),
                    reference_mean=_turned(found.nll_reference_mean, measure.sign),
                    improvement_mean=found.improvement_mean,
                    improvement_low=found.improvement_low,
                    improvement_high=found.improvement_high,
                    cohens_d=found.cohens_d,
                    p_value=found.p_value,
                )
            )
        del conditions  # before the next ones are made: of a large run they take half a gigabyte
    return rows


def _turned(mean: float | None, sign: int) -> float | None:
    return None if mean is None else sign * mean + 0.0  # no share of -0.0


def _missing_margin(score: Score) -> float | None:
    """Return minus the margin: how far the answer falls short of being preferred to the distractors."""
    return None if score.margin is None else -score.margin


def _not_first(score: Score) -> float | None:
    """Return -1 where the answer has a lower NLL than every distractor, else 0 (also where it equals one)."""
    distractors = score.distractor_nlls
    if score.nll is None or not distractors or not all(math.isfinite(nll) for nll in (score.nll, *distractors)):
        return None
    return -1.0 if score.nll < min(distractors) else 0.0


def _nll_of_longer_answers(score: Score) -> float | None:
    return score.nll if score.answer_token_count > 1 else None


MEASURES: dict[str, OtherMeasure] = {
    "margin": OtherMeasure(_missing_margin, -1, "nats per answer token"),
    "answer_first": OtherMeasure(_not_first, -1, "share of samples"),
    "first_token_unscored": OtherMeasure(lambda score: score.nll_notebook, 1, "nats per answer token"),
    "longer_answers": OtherMeasure(_nll_of_longer_answers, 1, "nats per answer token"),
}
"""Name -> how it measures."""
