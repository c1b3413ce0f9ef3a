"""Does a result depend on how it is measured? The comparisons on which answers rest, made by other measures.

A gain in probability that is no gain in margin made every answer likelier, not the right one; a gain whose sign another
measure of likelihood turns is no finding about likelihood; one that vanishes without the first token, or without the
one-token answers, is no gain of the whole answer. Whoever asks a question gets none of these but the text that the
model writes, which is compared with the accepted answers.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tasks.priming.answer_measures import measures_by_condition
from tasks.priming.records import Measure, Score, TextSummary
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.comparisons import evaluate_contrasts
from tasks.priming.statistics.conditions import Condition, conditions_of, passages_of, probability, shortfall
from tasks.priming.statistics.contrasts import Contrast, declare_contrasts
from tasks.priming.statistics.run_data import RunData


class OtherMeasure(NamedTuple):
    """Another way to measure what a condition is worth."""

    value: Callable[[Score, int], float | None]
    """What is compared, of a score and the number of UTF-8 bytes of its answer: lower is better; None where a score has
    none."""
    unit: str
    """The unit of the reported values."""
    shown: Callable[[float], float] = float
    """Turns a mean of the values into what is reported, where higher is better."""


def vary_comparisons(run: RunData, settings: StatisticsSettings, seed: int) -> list[Measure]:
    """Make the comparisons on which answers rest again by every other measure.

    A sample takes part where both sides have the measure. Conditions that are chosen or made from scores follow the
    measure: the best key is the one with the largest mean margin, and two effects that add up are two margins (or
    shares, whose sum on one sample may leave the range from 0 to 1). The seed is not read.

    Returns:
        One row per measure of MEASURES and contrast that a question rests on, in the order of `declare_contrasts`; n is
        0 where no sample has the measure. Then one per measure of TEXT_MEASURES and contrast of two conditions that
        were both asked for answers. The two pairs of an interval and a p-value are those of `evaluate_contrasts`.
        The order of rows does not change a bit.
    """
    contrasts = [contrast for contrast in declare_contrasts(run) if contrast.question]
    lengths = {sample.sample_id: len(sample.answer.encode()) for sample in run.samples}
    rows: list[Measure] = []
    for name, other in MEASURES.items():

        def measured(score: Score, value: Callable[[Score, int], float | None] = other.value) -> float | None:
            return value(score, lengths[score.sample_id])

        rows += _compare_again(run, contrasts, conditions_of(run, measured), settings, (name, other.unit, other.shown))
    texts = measures_by_condition(run.answer_texts)
    asked = {*texts["f1"]}
    compared = [each for each in contrasts if each.kind != "best_of" and {each.arm, each.reference} <= asked]
    for name in TEXT_MEASURES if compared else ():
        conditions = {
            condition: {sample_id: -100 * value for sample_id, value in values.items()}
            for condition, values in texts[name].items()
        }
        rows += _compare_again(run, compared, conditions, settings, (name, "percentage points", _negated))
    return rows


def summarise_texts(run: RunData, settings: StatisticsSettings, seed: int) -> list[TextSummary]:
    """Return the means of each condition, in alphabetical order; settings and seed are not read."""
    measures = measures_by_condition(run.answer_texts)

    def mean(name: str, condition: str) -> float | None:
        values = measures[name][condition]
        return math.fsum(values.values()) / len(values) if values else None

    return [
        TextSummary(
            condition=condition,
            n=len(measures["f1"][condition]),
            exact_match_rate=mean("exact_match", condition),
            f1_mean=mean("f1", condition),
            recall_mean=mean("recall", condition),
            rouge_l_mean=mean("rouge_l", condition),
            word_count_mean=mean("word_count", condition),
            empty_rate=mean("empty", condition),
            refusal_rate=mean("refusal", condition),
            changed_rate=mean("changed", condition),
        )
        for condition in sorted(measures["f1"])
    ]


def _compare_again(
    run: RunData,
    contrasts: Sequence[Contrast],
    conditions: Mapping[str, Condition],
    settings: StatisticsSettings,
    measure: tuple[str, str, Callable[[float], float]],
) -> Iterator[Measure]:
    """Yield a row for each contrast; `measure` is its name, its unit, and what turns a mean into what is reported."""
    name, unit, shown = measure
    for each in evaluate_contrasts(contrasts, conditions, passages_of(run), settings.confidence_level):
        found = each.statistics
        sides = {"arm_mean": found.arm_mean, "reference_mean": found.reference_mean}
        means = {side: None if mean is None else shown(mean) + 0.0 for side, mean in sides.items()}  # no share of -0.0
        yield Measure(
            comparison=each.contrast.comparison,
            measure=name,
            unit=unit,
            answer_low=each.answer_low,
            answer_high=each.answer_high,
            answer_p=each.answer_p,
            **found.shared_with(Measure) | means,
        )


def _log_nll(score: Score, answer_bytes: int) -> float | None:
    return math.log(score.nll) if score.nll else None


def _nll_per_byte(score: Score, answer_bytes: int) -> float | None:
    return None if score.nll is None or not answer_bytes else score.nll * score.answer_token_count / answer_bytes


def _summed_nll(score: Score, answer_bytes: int) -> float | None:
    return None if score.nll is None else score.nll * score.answer_token_count


def missing_margin(score: Score, answer_bytes: int = 0) -> float | None:
    """Return minus the margin: how far the answer falls short of being preferred to the distractors."""
    return None if score.margin is None else -score.margin


def _not_first(score: Score, answer_bytes: int) -> float | None:
    """Return -1 where the answer has a lower NLL than every distractor, else 0 (also where it equals one)."""
    distractors = score.distractor_nlls
    if score.nll is None or not distractors or not all(math.isfinite(nll) for nll in (score.nll, *distractors)):
        return None
    return -1.0 if score.nll < min(distractors) else 0.0


def _shortfall_of_longer_answers(score: Score, answer_bytes: int) -> float | None:
    return shortfall(score) if score.answer_token_count > 1 else None


def _negated(mean: float) -> float:
    return -mean


MARGIN = "margin"
FIRST_TOKEN_UNSCORED = "first_token_unscored"

MEASURES: dict[str, OtherMeasure] = {
    "nll": OtherMeasure(lambda score, _: score.nll, "nats per answer token"),
    "log_ratio": OtherMeasure(_log_nll, "logarithm of NLL"),
    "nll_per_byte": OtherMeasure(_nll_per_byte, "nats per byte of the answer"),
    "summed_nll": OtherMeasure(_summed_nll, "nats per answer"),
    FIRST_TOKEN_UNSCORED: OtherMeasure(lambda score, _: score.nll_notebook, "nats per answer token"),
    "longer_answers": OtherMeasure(_shortfall_of_longer_answers, "percentage points", probability),
    MARGIN: OtherMeasure(missing_margin, "nats per answer token", _negated),
    "answer_first": OtherMeasure(_not_first, "share of samples", _negated),
}
"""Name -> how it measures."""

F1, RECALL = "f1", "recall"
TEXT_MEASURES = (F1, RECALL, "exact_match", "rouge_l")
"""How good the written answers are: see table answer_text."""

LIKELIHOOD_MEASURES = ("nll", "log_ratio", "nll_per_byte", "summed_nll")
"""The measures of the whole answer's likelihood: where one shows the opposite of an answer, the answer depends on the
measure."""
