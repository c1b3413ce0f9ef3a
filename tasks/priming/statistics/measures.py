"""Does a result depend on how it is measured? The comparisons that decide, made again by other measures.

In: a run's rows. Out: one Measure per declared comparison and measure. A gain in NLL that is no gain in margin made
every answer likelier, not the right one; one that a skipped token or the one-token answers carry is no gain of the
whole answer. A further measure is one function from Score to a value of which less is better, and one entry here.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.priming.records import Measure, Score
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import Condition, ScoreValue, conditions_of, passages_of
from tasks.priming.statistics.contrasts import Contrast, declare_contrasts
from tasks.priming.statistics.robust_mean import robust_mean
from tasks.priming.statistics.run_data import RunData

VARIED_KINDS = ("routed", "between_families", "worth", "control")
"""The kinds of comparison that the verdicts rest on."""


@dataclass(frozen=True, slots=True)
class OtherMeasure:
    """Another way to measure what a condition is worth."""

    measure: ScoreValue
    """What is compared: less is better."""
    sign: int
    """What the mean is multiplied by before it is reported: -1 where more is better, so that the measure was turned."""
    unit: str
    """What the reported values are."""


def vary_comparisons(evidence: RunData, settings: StatisticsSettings, seed: int) -> list[Measure]:
    """Make the comparisons that the verdicts rest on again by every other measure.

    A sample takes part where both sides have the measure. Conditions that are chosen or made from scores follow the
    measure: the best key is the one with the largest margin on other passages, two effects that add up are two margins
    (or shares, whose sum on one sample may leave the range from 0 to 1).

    Args:
        evidence: The run's rows, in any order: no order of rows changes a bit of the result.
        settings: The nominal coverage.
        seed: The run's seed; it divides the passages on which the best key is chosen.

    Returns:
        Per measure of MEASURES one Measure for each contrast of VARIED_KINDS, in the order of `declare_contrasts`; n is
        0 where no sample has the measure. Intervals and p-values as in `robust_mean`, not adjusted.

    Raises:
        ValueError: A sample, the score of an arm, or the route of a sample within a family is given twice.
    """
    passages = passages_of(evidence)
    contrasts = [
        contrast for contrast in declare_contrasts(evidence.routes, evidence.scores) if contrast.kind in VARIED_KINDS
    ]
    measures = []
    for name in MEASURES:
        conditions = conditions_of(evidence, seed, measure=MEASURES[name].measure)
        measures += [_vary(contrast, name, conditions, passages, settings) for contrast in contrasts]
        del conditions  # before the next ones are made: of a large run they take half a gigabyte
    return measures


def _vary(
    contrast: Contrast,
    name: str,
    conditions: Mapping[str, Condition],
    passages: Mapping[str, str],
    settings: StatisticsSettings,
) -> Measure:
    """Compare two conditions by one measure."""
    arm, reference = conditions.get(contrast.arm, {}), conditions.get(contrast.reference, {})
    found = robust_mean(reference, arm, passages, settings.confidence_level)
    return Measure(
        comparison=contrast.comparison,
        measure=name,
        unit=MEASURES[name].unit,
        n=found.n,
        passage_count=found.passage_count,
        arm_mean=_turned(found.arm_mean, MEASURES[name].sign),
        reference_mean=_turned(found.reference_mean, MEASURES[name].sign),
        improvement_mean=found.mean,
        improvement_low=found.low,
        improvement_high=found.high,
        cohens_d=found.cohens_d,
        p_value=found.p_value,
    )


def _turned(mean: float | None, sign: int) -> float | None:
    return None if mean is None else sign * mean + 0.0  # no share of -0.0


def _missing_margin(score: Score) -> float | None:
    """Return minus the margin: how far the answer falls short of being preferred to distractors."""
    return None if score.margin is None else -score.margin


def _not_first(score: Score) -> float | None:
    """Return -1 where the answer has a lower NLL than every distractor, else 0 (also where it equals one)."""
    distractors = score.distractor_nlls
    if score.nll is None or not distractors or not all(math.isfinite(nll) for nll in (score.nll, *distractors)):
        return None
    return -1.0 if score.nll < min(distractors) else 0.0


def _nll_but_first_token(score: Score) -> float | None:
    return score.nll_notebook


def _nll_of_longer_answers(score: Score) -> float | None:
    return score.nll if score.answer_token_count > 1 else None


MEASURES: dict[str, OtherMeasure] = {
    "margin": OtherMeasure(_missing_margin, -1, "nats per answer token"),
    "answer_first": OtherMeasure(_not_first, -1, "share of samples"),
    "first_token_unscored": OtherMeasure(_nll_but_first_token, 1, "nats per answer token"),
    "longer_answers": OtherMeasure(_nll_of_longer_answers, 1, "nats per answer token"),
}
"""Name -> how it measures."""
