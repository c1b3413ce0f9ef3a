"""What a run answers: its comparisons turned into one row for each question and what it is asked of.

In: comparisons, the same by other measures, contenders. Out: Answer rows, the run's headline first. Whatever shows an
answer reads these rows: the rules and the sentences are here and nowhere else.

A rule says what a question's comparisons come to, each by the interval that is adjusted within the question and valid
at any look. `_qualified` then asks of every answer alike whether the run could have found otherwise, whether another
measure says the opposite, and whether more than likelihood speaks for it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from tasks.priming.records import LEAST_CLUSTERS, Answer, AnswerValue, Comparison, Contender, Measure, Verdict
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.comparisons import compare_conditions, rank_contenders
from tasks.priming.statistics.contrasts import (
    ANSWER_GIVEN,
    BARE_DOCUMENT,
    BASELINE,
    DEPLOYED_TREATMENTS,
    HEADLINE,
    NO_PASSAGE,
    PLAIN,
    QUESTIONS,
    RANDOM_WORDS,
    treatment_of,
)
from tasks.priming.statistics.measures import (
    F1,
    FIRST_TOKEN_UNSCORED,
    LIKELIHOOD_MEASURES,
    MARGIN,
    RECALL,
    vary_comparisons,
)
from tasks.priming.statistics.run_data import RunData

LEAST_HEADROOM = 2.0
"""Margins that an answer's probability must lack in the baseline, so that "no gain" is more than "no room for one"."""

_BETTER: tuple[Verdict, ...] = ("better", "better, but negligibly")
_WORSE: tuple[Verdict, ...] = ("worse", "worse, but negligibly")

_BY_VERDICT: dict[Verdict, tuple[AnswerValue, str]] = {
    "better": ("yes", "yes"),
    "better, but negligibly": ("negligible", "yes, but negligibly"),
    "worse": ("hurts", "no: the other way round"),
    "worse, but negligibly": ("hurts", "no: the other way round, but negligibly"),
    "equivalent": ("equivalent", "no: equivalent"),
}
"""Verdict -> the answer to a question that one comparison answers, and its sentence; any other is undecided."""

_ABOUT_PRIMING = (HEADLINE, "does_priming_help")
_NAMES = {BASELINE: "the baseline", BARE_DOCUMENT: "the bare document"}
_MOST_NAMES = 3


class _Finding(NamedTuple):
    """An answer before it is put in its row."""

    answer: AnswerValue
    sentence: str
    rests_on: tuple[Comparison, ...] = ()
    """The comparisons that settle it, or leave it open; the first one is named."""
    samples: int | None = None


@dataclass(frozen=True)
class _Evidence:
    """What rules read, found by name."""

    comparisons: Sequence[Comparison]
    measures: dict[tuple[str, str], Measure]
    contenders: Sequence[Contender]
    answers_margin: float

    def texts(self, row: Comparison) -> list[Measure]:
        """Return a comparison of two conditions by what the model wrote after them, if it was asked after both."""
        return [found for name in (F1, RECALL) if (found := self.measures.get((row.comparison, name)))]

    def of(self, arm: str, reference: str) -> Comparison | None:
        """Return the comparison of two conditions, where it was declared."""
        return next((row for row in self.comparisons if (row.arm, row.reference) == (arm, reference)), None)

    def beats_plain(self, arm: str) -> bool:
        """Return whether a condition is shown to be better than the document alone, with and without its framing."""
        return all((found := self.of(arm, plain)) is not None and found.verdict in _BETTER for plain in PLAIN)

    @property
    def headroom(self) -> float | None:
        """What the answers' mean probability lacks in the baseline, in margins; None where it is unknown."""
        mean = next((row.probability_mean for row in self.contenders if row.condition == BASELINE), None)
        return None if mean is None or not self.comparisons else (100 - mean) / self.comparisons[0].equivalence_margin


def answer_questions(run: RunData, settings: StatisticsSettings, seed: int) -> list[Answer]:
    """Return what a run answers, computed from its rows; see `answers_from`."""
    return answers_from(
        run.once(compare_conditions, settings, seed),
        run.once(vary_comparisons, settings, seed),
        run.once(rank_contenders, settings, seed),
        settings.answers_margin,
    )


def answers_from(
    comparisons: Sequence[Comparison],
    measures: Iterable[Measure],
    contenders: Sequence[Contender],
    answers_margin: float = StatisticsSettings().answers_margin,
) -> list[Answer]:
    """Answer every question that the comparisons ask.

    Args:
        comparisons: Those of the run.
        measures: The same by other measures.
        contenders: From the cheapest to the most expensive.
        answers_margin: By how many points written answers may differ and still be as good.

    Returns:
        The headline first, then by question in the order of QUESTIONS, within one in the order of the comparisons.
    """
    by_name = {(row.comparison, row.measure): row for row in measures}
    evidence = _Evidence(comparisons, by_name, contenders, answers_margin)
    own, finding = _should_i_prime(evidence)
    treatments = sorted({treatment_of(row.condition) for row in contenders})
    headline = _qualified(finding, evidence, treatments)
    rows = [_row(HEADLINE, "", own, headline._replace(sentence=headline.sentence[0].upper() + headline.sentence[1:]))]
    for asked in comparisons:
        rule = _RULES.get(asked.question or "")
        if rule and (found := rule(asked, evidence)):
            if asked.kind != "assay":
                found = _qualified(found, evidence, [treatment_of(asked.arm)])
            rows.append(_row(str(asked.question), asked.subject, asked, found))
        if asked.question == "does_priming_help" and (agreed := _do_answers_agree(asked, evidence)):
            rows.append(_row("do_answers_and_likelihood_agree", asked.comparison, asked, agreed))
    order = list(QUESTIONS)
    rows.sort(key=lambda row: order.index(row.question))
    return [replace(row, position=position) for position, row in enumerate(rows)]


# --- the rules: one for each question ---


def _should_i_prime(evidence: _Evidence) -> tuple[Comparison | None, _Finding]:
    """Choose the cheapest condition that cannot be further from the best than the margin; return what it rests on.

    To prime with it, it must be shown to beat the document alone. So the answer never recommends what a comparison of
    single conditions speaks against.
    """
    primed = [row for row in evidence.contenders if row.condition not in PLAIN]
    plain = [row.condition for row in evidence.contenders if row.condition in PLAIN]
    if not primed or not plain:
        return None, _Finding("not_asked", "No answer: nothing was compared with the document alone")
    best = max(primed, key=lambda row: row.probability_mean)
    chosen = next((row for row in evidence.contenders if row.is_close_to_best), None)
    reference = BARE_DOCUMENT if BARE_DOCUMENT in plain else BASELINE
    if chosen is None or chosen.condition in PLAIN:
        own = evidence.of(best.condition, chosen.condition if chosen else reference)
        rests_on: tuple[Comparison, ...] = (own,) if own else ()
        if chosen and not any(row.may_be_best for row in primed):
            return own, _Finding(
                "hurts", "Do not prime: the document alone is better than all that was tried", rests_on
            )
        if chosen:
            said = f"Do not pay for priming: nothing tried gains more than a margin over {_name(chosen.condition)}"
            return own, _Finding("equivalent", said, rests_on)
        if best.lag_high is None:
            said = f"Undecided: no answer with fewer than {LEAST_CLUSTERS} passages"
            return own, _Finding("undecided", said, rests_on, own.n_for_precision if own else None)
        names = [_name(row.condition) for row in evidence.contenders if row.may_be_best]
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        said = f"Undecided: {', '.join(names[:_MOST_NAMES])}{more} may each be the best"
        return own, _Finding("undecided", said, rests_on, own.n_for_precision if own else None)
    own = evidence.of(chosen.condition, reference)
    rests_on = tuple(row for row in evidence.comparisons if row.arm == chosen.condition and row.reference in PLAIN)
    if len(plain) < len(PLAIN):
        return own, _Finding("controls_missing", "Undecided: the bare document was not run", rests_on)
    if not evidence.beats_plain(chosen.condition):
        said = f"Undecided: {_name(chosen.condition)} is close to the best, but not shown to beat the document alone"
        return own, _Finding("undecided", said, rests_on, own.n_for_precision if own else None)
    if any(row.verdict == "better, but negligibly" for row in rests_on):
        said = "Do not pay for priming: what it gains is negligible"
        return own, _Finding("negligible", said, rests_on)
    return own, _Finding("yes", f"Prime with {_name(chosen.condition)}", rests_on)


def _does_priming_help(own: Comparison, evidence: _Evidence) -> _Finding | None:
    """Judge a routed family: it must beat the baseline, the bare document and random words.

    A gain over the baseline alone may be repaired framing, and one that random words give as well needs no surrogate.
    """
    if own.reference != BASELINE:
        return None
    bare = evidence.of(own.arm, BARE_DOCUMENT)
    words = evidence.of(own.arm, f"{RANDOM_WORDS}{treatment_of(own.arm)}")
    if bare is None:
        return _Finding("controls_missing", "undecided: the bare document was not run", (own,))
    for found in (own, bare):
        if found.verdict in _WORSE:
            said = f"no: {found.verdict.replace('worse', f'worse than {_NAMES[found.reference]}')}"
            return _Finding("hurts", said, (found,))
    for found in (own, bare):
        if found.verdict == "equivalent":
            return _Finding("equivalent", f"no: equivalent to {_NAMES[found.reference]}", (found,))
    for found in (own, bare):
        if found.verdict not in _BETTER:
            return _undecided(f"undecided: not shown to be better than {_NAMES[found.reference]}", found)
    if words is None:
        return _Finding("controls_missing", "undecided: random words were not run", (own, bare))
    if words.verdict in (*_WORSE, "equivalent"):
        return _Finding("any_text_helps", "any text helps; its content does not", (words, own, bare))
    if words.verdict not in _BETTER:
        return _undecided("any text helps; whether its content does is undecided", words)
    negligible = next((found for found in (own, bare, words) if found.verdict == "better, but negligibly"), None)
    if negligible:
        return _Finding("negligible", "yes, but negligibly", (negligible,))
    return _Finding("yes", "yes", (own, bare, words))


def _by_verdict(own: Comparison, evidence: _Evidence) -> _Finding:
    """Answer a question that a single comparison answers."""
    if own.verdict in _BY_VERDICT:
        return _Finding(*_BY_VERDICT[own.verdict], (own,))
    return _undecided(f"undecided: {own.verdict.removeprefix('undecided: ')}", own)


def _if_there_is_a_gain(own: Comparison, evidence: _Evidence) -> _Finding:
    """Ask what a gain is made of only where the family's routed surrogate is shown to beat the document alone."""
    family, t = own.arm.partition("/")[0], treatment_of(own.arm)
    if evidence.beats_plain(f"{family}/routed{t if t in DEPLOYED_TREATMENTS else ''}"):
        return _by_verdict(own, evidence)
    return _Finding("not_asked", "not asked: a gain over the document alone is not shown", (own,))


def _is_worth_its_compute(own: Comparison, evidence: _Evidence) -> _Finding:
    """Judge generation: what it gains over all that is free must be more than the margin."""
    low, high, margin = own.answer_low, own.answer_high, own.equivalence_margin
    if low is None or high is None:
        return _undecided(own.verdict, own)
    if low > margin:
        return _Finding("yes", "yes", (own,))
    if high < margin:
        answer: AnswerValue = "hurts" if high < 0 else "equivalent" if own.verdict == "equivalent" else "negligible"
        return _Finding(answer, "no", (own,))
    return _undecided("undecided", own)


def _could_a_gain_be_seen(own: Comparison, evidence: _Evidence) -> _Finding:
    """Judge whether the run is sensitive: what must be better is, by more than the margin; what must be worse is."""
    if own.reference == BASELINE:
        is_shown, said = own.verdict in _WORSE, "yes: less probable"
    else:
        is_shown, said = (own.answer_low or 0.0) > own.equivalence_margin, "yes: by more than the margin"
    return _Finding("yes", said, (own,)) if is_shown else _undecided("not shown", own)


def _do_answers_agree(own: Comparison, evidence: _Evidence) -> _Finding | None:
    """Say whether what the model writes changes as the likelihood of the known answer does; None if it wrote nothing.

    Answers are better where F1 or recall is shown to gain and neither to lose, worse the other way round, and as good
    where both are shown to lie within their margin.
    """
    texts = evidence.texts(own)
    if not texts:
        return None
    signs = {_shown_sign(row) for row in texts}
    as_good = all(_lies_within(row, evidence.answers_margin) for row in texts)
    written = 0 if as_good else 1 if signs in ({1}, {0, 1}) else -1 if signs in ({-1}, {-1, 0}) else None
    likelihood = 0 if own.verdict == "equivalent" else _shown_sign(own) or None
    if written is None or likelihood is None:
        return _Finding("undecided", "undecided: " + ("answers" if written is None else "likelihood"), (own,))
    answer, said = _AGREEMENT[likelihood, written]
    return _Finding(answer, said, (own,))


_AGREEMENT: dict[tuple[int, int], tuple[AnswerValue, str]] = {
    (1, 1): ("yes", "yes: both are better"),
    (-1, -1): ("yes", "yes: both are worse"),
    (0, 0): ("yes", "yes: neither changes"),
    (1, 0): ("likelihood_only", "no: likelihood alone is better"),
    (-1, 0): ("likelihood_only", "no: likelihood alone is worse"),
    (0, 1): ("depends_on_measure", "no: the answers alone are better"),
    (0, -1): ("depends_on_measure", "no: the answers alone are worse"),
    (1, -1): ("depends_on_measure", "no: likelihood is better, the answers are worse"),
    (-1, 1): ("depends_on_measure", "no: likelihood is worse, the answers are better"),
}
"""What likelihood and written answers show (1 better, 0 as good, -1 worse) -> whether they agree."""


_RULES: dict[str, Callable[[Comparison, _Evidence], _Finding | None]] = {
    "does_priming_help": _does_priming_help,
    "is_generated_better_than_static": _by_verdict,
    "is_generation_worth_its_compute": _is_worth_its_compute,
    "does_the_content_matter": _if_there_is_a_gain,
    "does_the_framing_matter": _by_verdict,
    "where_does_a_gain_arise": _if_there_is_a_gain,
    "should_the_surrogate_be_dropped": _by_verdict,
    "does_reading_twice_help": _by_verdict,
    "does_routing_help": _by_verdict,
    "could_a_gain_be_seen": _could_a_gain_be_seen,
}
"""Question -> its rule. Content is asked only after a gain; whether generation is worth its compute is asked anyway."""


# --- what every answer must stand ---


def _qualified(finding: _Finding, evidence: _Evidence, treatments: Sequence[str]) -> _Finding:
    """Return the answer that is left once it was asked what it could have been mistaken for.

    A shown harm stands, whatever the run could have shown, unless another measure turns its sign.
    """
    answer = finding.answer
    if answer == "not_asked":
        return finding
    for row in finding.rests_on if answer not in ("undecided", "controls_missing") else ():
        if _is_turned(row, FIRST_TOKEN_UNSCORED, evidence):
            return finding._replace(answer="undecided", sentence="undecided: the first answer token decides its sign")
        for name in LIKELIHOOD_MEASURES:
            if _is_turned(row, name, evidence):
                said = f"depends on the measure: {name} shows the opposite"
                return finding._replace(answer="depends_on_measure", sentence=said)
    reads = evidence.of(NO_PASSAGE, BASELINE)
    if answer != "hurts" and reads and reads.answer_low is not None and reads.verdict not in _WORSE:
        said = "no answer: that the model reads the passage is not shown"
        return _Finding("cannot_read", said, (reads, *finding.rests_on))
    is_no = answer in ("equivalent", "negligible", "any_text_helps")
    if is_no and (blind := _blind_spot(evidence, treatments)):
        return finding._replace(answer="could_not_show", sentence=f"could not show a gain: {blind}")
    if answer == "yes" and (missing := _unsupported(finding, evidence)):
        return finding._replace(answer="likelihood_only", sentence=f"{finding.sentence}, in likelihood: {missing}")
    return finding


def _is_turned(row: Comparison, measure: str, evidence: _Evidence) -> bool:
    """Return whether a comparison shows a difference, and another measure at the same level the opposite one."""
    other = evidence.measures.get((row.comparison, measure))
    return other is not None and _shown_sign(row) * _shown_sign(other) < 0


def _shown_sign(row: Comparison | Measure) -> int:
    """Return 1 for a shown gain, -1 for a shown loss, 0 where neither is shown."""
    if row.answer_low is None or row.answer_high is None:
        return 0
    return (row.answer_low > 0) - (row.answer_high < 0)


def _blind_spot(evidence: _Evidence, treatments: Sequence[str]) -> str | None:
    """Return why this run could not have shown a gain, if it could not: a "no" needs that it could."""
    headroom = evidence.headroom
    if headroom is not None and headroom <= LEAST_HEADROOM:
        return f"the document alone leaves {headroom:.1f} margins to gain, and more than {LEAST_HEADROOM:g} are needed"
    if evidence.of(NO_PASSAGE, BASELINE) is None:
        return "control no_passage was not run"
    for t in treatments:
        given = evidence.of(f"{ANSWER_GIVEN}{t}", BARE_DOCUMENT)
        if given is None:
            return f"control answer_given{t} was not run"
        if (given.answer_low or 0.0) <= given.equivalence_margin:
            return f"control answer_given{t} is not shown to gain more than the margin"
    return None


def _unsupported(finding: _Finding, evidence: _Evidence) -> str | None:
    """Return why a gain in likelihood is not known to be one of the right answer, if it is not.

    The answer must be preferred to wrong ones by more than before. Whoever asks whether to prime buys answers: what the
    model writes must be shown not to be worse than after the document alone.
    """
    for row in finding.rests_on:
        margin = evidence.measures.get((row.comparison, MARGIN))
        if margin is None or not margin.n:
            return "nothing else was measured"
        if margin.answer_low is None or margin.answer_low <= 0:
            return f"not shown to be preferred to wrong answers any more than with {_name(row.reference)}"
    for row in (row for row in finding.rests_on if row.question in _ABOUT_PRIMING and row.reference in PLAIN):
        texts = evidence.texts(row)
        if not texts:
            return "the model was not asked to write answers after both"
        for text in texts:
            if _shown_sign(text) < 0:
                return f"the answers that the model writes lose {text.measure} compared with {_name(row.reference)}"
            if text.answer_low is None or text.answer_low <= -evidence.answers_margin:
                return f"its written answers are not shown to be as good as after {_name(row.reference)}"
    return None


def _lies_within(row: Measure, margin: float) -> bool:
    """Return whether a difference is shown to lie within a margin."""
    return (
        row.answer_low is not None
        and row.answer_high is not None
        and -margin < row.answer_low <= row.answer_high < margin
    )


def _undecided(sentence: str, rests_on: Comparison) -> _Finding:
    """Return an open answer that says how many samples would measure what it rests on precisely, if that is known."""
    samples = rests_on.n_for_precision
    precision = f"{rests_on.equivalence_margin / 2:g}"
    more = f" (about {samples:,} samples would measure it to ±{precision} points)" if samples else ""
    return _Finding("undecided", f"{sentence}{more}", (rests_on,), samples)


def _name(condition: str) -> str:
    return _NAMES.get(condition, condition.removeprefix("control/"))


_OF_COMPARISON = ("comparison", "arm", "reference", "improvement_mean", "answer_low", "answer_high", "answer_p")


def _row(question: str, subject: str, own: Comparison | None, finding: _Finding) -> Answer:
    return Answer(
        position=0,
        question=question,
        question_title=QUESTIONS[question].title,
        subject=subject,
        answer=finding.answer,
        sentence=finding.sentence,
        rests_on=finding.rests_on[0].comparison if finding.rests_on else None,
        samples_for_precision=finding.samples,
        **{name: getattr(own, name, None) for name in _OF_COMPARISON},
    )
