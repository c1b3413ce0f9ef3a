"""What a run answers: its comparisons turned into one row for each question and what it is asked of.

In: comparisons, whether the margin over wrong answers grew, whether controls were scored. Out: Answer rows, the run's
headline first. Whatever shows an answer reads these rows: the rules, the sentences and the questions' titles are here
and nowhere else.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from tasks.priming.records import Answer, AnswerValue, Comparison, Measure, Verdict
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.comparisons import compare_conditions
from tasks.priming.statistics.contrasts import (
    BARE_DOCUMENT,
    BASELINE,
    CONTROL_CONTRASTS,
    FREE_FAMILY,
    RANDOM_WORDS,
    WRITTEN_FAMILY,
)
from tasks.priming.statistics.measures import vary_comparisons
from tasks.priming.statistics.run_data import RunData

HEADLINE = "should_i_prime"
"""The question that the run as a whole answers."""

QUESTIONS = {
    HEADLINE: "Should I prime?",
    "does_priming_help": "Does priming help?",
    "is_generated_better_than_static": "Is generated better than static?",
    "is_generation_worth_its_compute": "Is generation worth its compute?",
    "does_the_content_matter": "What is a gain made of?",
    "does_routing_help": "Does routing by similarity help?",
}
"""Key -> title, in the order in which answers are shown."""

_ALTERNATIVES = {
    "mean_of_keys": "a key drawn at random",
    "best_key": "the one key that is best on other passages",
}
"""What a family can do in place of routing."""

_NEGLIGIBLE: Verdict = "better, but negligibly"
_BETTER: tuple[Verdict, ...] = ("better", _NEGLIGIBLE)
_WORSE: tuple[Verdict, ...] = ("worse", "worse, but negligibly")

_Said: TypeAlias = Mapping[Verdict, tuple[AnswerValue, str]]
"""Verdict -> the answer to a question that one comparison answers, and its sentence; any other is undecided."""

_BY_VERDICT: _Said = {
    "better": ("yes", "yes"),
    "better, but negligibly": ("negligible", "yes, but negligibly"),
    "worse": ("hurts", "no: the other way round"),
    "worse, but negligibly": ("hurts", "no: the other way round, but negligibly"),
    "equivalent": ("equivalent", "no: equivalent"),
    "optimistic by construction, not a verdict": ("not_asked", "optimistic by construction, not a verdict"),
}
_OF_GENERATED: _Said = {
    **_BY_VERDICT,
    "worse": ("hurts", "no"),
    "worse, but negligibly": ("hurts", "no: worse, but negligibly"),
}

_WITHOUT_A_YES: dict[AnswerValue, str] = {
    "controls_missing": "Undecided: the controls were not run",
    "likelihood_only": "Do not pay yet: answers become likelier, but no more preferred to wrong ones",
    "undecided": "Undecided: this run cannot tell whether priming helps",
    "any_text_helps": "Do not pay for surrogates: any text in their place helps as much",
    "negligible": "Do not pay for priming: what it gains is negligible",
    "hurts": "Do not pay for priming",
    "equivalent": "Do not pay for priming",
}
"""The headline of a run in which no family is shown to help, by the first of these that answers for a family."""

_CONTENT_IS_OPEN = "Undecided: any text helps; that its content does is not shown"
"""The headline in place of the other undecided one where a family beats all but random words."""


class _Finding(NamedTuple):
    """An answer before it is put in its row."""

    answer: AnswerValue
    sentence: str
    rests_on: Comparison
    samples_to_decide: int | None = None


def answer_questions(evidence: RunData, settings: StatisticsSettings, seed: int) -> list[Answer]:
    """Return what a run answers, computed from its rows; see `answers_from`."""
    comparisons = evidence.once(compare_conditions, settings, seed)
    measures = evidence.once(vary_comparisons, settings, seed)
    has_controls = any(family == "control" for family, _ in evidence.scored_arms)
    return answers_from(comparisons, measures, has_controls=has_controls)


# The rules of this module take each comparison's verdict for what it says of the question. Better inference (any-look
# bounds, assay sensitivity, a measure of record other than NLL) replaces them; the rows that they fill stay.


def answers_from(comparisons: Sequence[Comparison], measures: Iterable[Measure], *, has_controls: bool) -> list[Answer]:
    """Answer every question that the comparisons ask.

    Args:
        comparisons: Those of the run.
        measures: The same by other measures; only their margins are read.
        has_controls: Whether any control was scored. Without controls, whether generation is better, and worth its
            compute, is undecided.

    Returns:
        The headline first, then by question in the order of QUESTIONS, within one in the order of the comparisons.
    """
    margin_lows = {row.comparison: row.improvement_low for row in measures if row.measure == "margin"}
    with_controls = {(row.arm, row.reference): row for row in comparisons if row.kind == "routed"}
    rows = []
    for own in comparisons:
        finding = None
        subject = own.arm.partition("/")[0]
        if own.kind == "routed" and own.reference == BASELINE:
            question = "does_priming_help"
            bare, words = (with_controls.get((own.arm, control)) for control in (BARE_DOCUMENT, RANDOM_WORDS))
            finding = _does_priming_help(own, bare, words, margin_lows.get(own.comparison))
        elif (own.arm, own.reference) == (f"{WRITTEN_FAMILY}/routed", f"{FREE_FAMILY}/routed"):
            question = "is_generated_better_than_static"
            finding = _by_verdict(own, _OF_GENERATED) if has_controls else _without_controls(own)
        elif own.kind == "worth":
            question = "is_generation_worth_its_compute"
            finding = _is_worth_its_compute(own) if has_controls else _without_controls(own)
        elif own.kind == "control":
            question = "does_the_content_matter"
            subject = CONTROL_CONTRASTS.get((own.arm, own.reference), own.comparison)
            finding = _by_verdict(own)
        elif own.kind in ("routing", "oracle"):
            question = "does_routing_help"
            alternative = _ALTERNATIVES.get(own.reference.partition("/")[2])
            subject += f" over {alternative}" if alternative else ": its best key, known afterwards, over the baseline"
            finding = _by_verdict(own)
        if finding:
            rows.append(_row(question, subject, own, finding))
    about_content = {row.comparison for row in comparisons if row.reference == RANDOM_WORDS}
    keys = list(QUESTIONS)
    rows.sort(key=lambda row: keys.index(row.question))
    return [replace(row, position=position) for position, row in enumerate([_headline(rows, about_content), *rows])]


def _does_priming_help(
    own: Comparison, bare: Comparison | None, words: Comparison | None, margin_low: float | None
) -> _Finding:
    """Judge a routed family: it must beat the baseline, the bare document and random words, and gain in margin.

    A gain over the baseline alone may be repaired framing, one that random words give as well needs no surrogate, and
    one without a gain in margin makes wrong answers likelier too. Without an interval of the margin, the margin is not
    held against a family.
    """
    if bare is None or words is None:
        return _without_controls(own)
    sides = ((own, "the baseline"), (bare, "the bare document"))
    for found, name in sides:
        if found.verdict in _WORSE:
            return _Finding("hurts", f"no: {found.verdict.replace('worse', f'worse than {name}')}", found)
    for found, name in sides:
        if found.verdict == "equivalent":
            return _Finding("equivalent", f"no: equivalent to {name}", found)
    for found, name in sides:
        if found.verdict not in _BETTER:
            return _undecided(f"undecided: not shown to be better than {name}", found, found.n_to_decide)
    if words.verdict in (*_WORSE, "equivalent"):
        return _Finding("any_text_helps", "any text helps; its content does not", words)
    if words.verdict not in _BETTER:
        return _undecided("any text helps; whether its content does is undecided", words, words.n_to_decide)
    negligible = next((found for found in (own, bare, words) if found.verdict == _NEGLIGIBLE), None)
    if negligible:
        return _Finding("negligible", "yes, but negligibly", negligible)
    if margin_low is not None and margin_low <= 0:
        sentence = "yes in NLL, but the answer is not shown to be preferred to wrong ones any more than before"
        return _Finding("likelihood_only", sentence, own)
    return _Finding("yes", "yes", own)


def _is_worth_its_compute(own: Comparison) -> _Finding:
    """Judge generation: the whole interval of what it gains over what is free must lie above the margin."""
    low, high, margin = own.improvement_low, own.improvement_high, own.equivalence_margin
    if low is None or high is None:
        return _Finding("undecided", own.verdict, own)
    if low > margin:
        return _Finding("yes", "yes", own)
    if high < margin:
        no: AnswerValue = "equivalent" if own.verdict == "equivalent" else "negligible"
        return _Finding("hurts" if own.verdict in _WORSE else no, "no", own)
    return _undecided("undecided", own, own.n_to_decide_margin)


def _by_verdict(own: Comparison, said: _Said = _BY_VERDICT) -> _Finding:
    """Answer a question that a single comparison answers."""
    if own.verdict in said:
        return _Finding(*said[own.verdict], own)
    return _undecided(f"undecided: {own.verdict.removeprefix('undecided: ')}", own, own.n_to_decide)


def _without_controls(own: Comparison) -> _Finding:
    return _Finding("controls_missing", "undecided: controls not run", own)


def _undecided(sentence: str, rests_on: Comparison, samples: int | None) -> _Finding:
    """Return an open answer that says how many samples would settle it, if any number would."""
    more = f" (about {samples:,} samples would decide)" if samples else ""
    return _Finding("undecided", f"{sentence}{more}", rests_on, samples)


def _row(question: str, subject: str, own: Comparison, finding: _Finding) -> Answer:
    return Answer(
        position=0,
        question=question,
        question_title=QUESTIONS[question],
        subject=subject,
        answer=finding.answer,
        sentence=finding.sentence,
        comparison=own.comparison,
        arm=own.arm,
        reference=own.reference,
        rests_on=finding.rests_on.comparison,
        improvement_mean=own.improvement_mean,
        improvement_low=own.improvement_low,
        improvement_high=own.improvement_high,
        p_adjusted=own.p_adjusted,
        samples_to_decide=finding.samples_to_decide,
    )


def _headline(rows: Sequence[Answer], about_content: Collection[str | None]) -> Answer:
    """Say what the answers come to for somebody who must decide whether to pay for priming.

    Args:
        rows: The answers.
        about_content: The comparisons with random words: an open answer that rests on one is open about content alone.
    """
    helps = [row for row in rows if row.question == "does_priming_help"]
    worth = next((row for row in rows if row.question == "is_generation_worth_its_compute"), None)
    helping = {row.subject: row for row in helps if row.answer == "yes"}
    if not helps:
        said = "No answer: no surrogate was routed in this run"
        return Answer(0, HEADLINE, QUESTIONS[HEADLINE], "", "not_asked", said, *[None] * 9)
    if not helping:
        order = list(_WITHOUT_A_YES)
        row = min(helps, key=lambda row: (order.index(row.answer), row.rests_on not in about_content))
        is_about_content = row.answer == "undecided" and row.rests_on in about_content
        return _on_top(row, _CONTENT_IS_OPEN if is_about_content else _WITHOUT_A_YES[row.answer])
    first = next(iter(helping.values()))
    if worth is None:
        return _on_top(first, f"Priming helps ({' and '.join(sorted(helping))})")
    if WRITTEN_FAMILY in helping and worth.answer == "yes":
        return _on_top(worth, "Pay for generated surrogates: they gain more than anything that is free")
    if worth.answer in ("yes", "undecided", "controls_missing"):
        return _on_top(first, "Priming helps; whether generated surrogates are worth their compute is undecided")
    if FREE_FAMILY in helping:
        return _on_top(helping[FREE_FAMILY], "Prime with fixed phrases, which are free; do not pay for generation")
    return _on_top(worth, "Priming helps, but something that is free does as well: do not pay for generation")


def _on_top(row: Answer, sentence: str) -> Answer:
    """Return the headline that rests on an answer."""
    return replace(row, question=HEADLINE, question_title=QUESTIONS[HEADLINE], subject="", sentence=sentence)
