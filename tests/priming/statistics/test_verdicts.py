"""Which verdicts give which answer: every rule with the sentence that is shown, worked out by hand."""

from dataclasses import replace
from typing import get_args

import pytest

from tasks.priming.records import Answer, AnswerValue, Comparison, Measure, Route, Verdict
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.comparisons import compare_conditions
from tasks.priming.statistics.contrasts import CONTROL_CONTRASTS
from tasks.priming.statistics.measures import vary_comparisons
from tasks.priming.statistics.run_data import RunData
from tasks.priming.statistics.verdicts import QUESTIONS, answer_questions, answers_from
from tests import run_rows
from tests.published_rows import comparison

BASELINE, BARE, WORDS = "baseline/document", "control/bare_document", "control/random_words"
OPEN: Verdict = "no difference shown"
FEW: Verdict = "undecided: fewer than two pairs"
N_TO_DECIDE = {BASELINE: 3_400, BARE: 1_234_567, WORDS: 99}
ON_CONTENT = "any text helps; whether its content does is undecided (about 99 samples would decide)"
LIKELIER = "yes in NLL, but the answer is not shown to be preferred to wrong ones any more than before"


def compared(arm: str, reference: str, verdict: Verdict, kind: str = "routed") -> Comparison:
    samples = N_TO_DECIDE.get(reference, 3_400) if verdict == OPEN else None
    return comparison(arm, reference, kind, verdict, n_to_decide=samples)


def family(name: str, *verdicts: Verdict) -> list[Comparison]:
    """Return a routed family's comparisons with the baseline, the bare document and random words."""
    return [
        compared(f"{name}/routed", reference, verdict)
        for reference, verdict in zip(N_TO_DECIDE, verdicts, strict=False)
    ]


def worth(low: float | None, high: float | None, verdict: Verdict = "better", samples: int | None = None) -> Comparison:
    row = comparison("generated/routed", "free/best_arm", "worth", verdict, improvement_low=low, improvement_high=high)
    return replace(row, n_to_decide=7, n_to_decide_margin=samples)


def margin(of: Comparison, low: float | None, name: str = "margin") -> Measure:
    return Measure(of.comparison, name, "nats per answer token", 6, 5, 1.75, 1.5, 0.25, low, 0.3, 0.5, 0.125)


def answers(*rows: Comparison, has_controls: bool = True) -> list[Answer]:
    """Return the answers without the headline."""
    return answers_from(rows, [], has_controls=has_controls)[1:]


def headline(*rows: Comparison, low: float = 0.1) -> Answer:
    return answers_from(rows, [margin(row, low) for row in rows], has_controls=True)[0]


@pytest.mark.parametrize(
    ("verdicts", "low", "answer", "sentence", "rests_on"),
    [
        (("better", "better", "better"), 0.1, "yes", "yes", BASELINE),
        # A single sample with a distractor has no interval of the margin, which says nothing against a gain.
        (("better", "better", "better"), None, "yes", "yes", BASELINE),
        (("better", "better", "better"), -0.1, "likelihood_only", LIKELIER, BASELINE),
        (("better, but negligibly", "better", "better"), 0.1, "negligible", "yes, but negligibly", BASELINE),
        (("better", "better, but negligibly", "better"), 0.1, "negligible", "yes, but negligibly", BARE),
        (("better", "better", "better, but negligibly"), -0.1, "negligible", "yes, but negligibly", WORDS),
        (("better", "better", OPEN), 0.1, "undecided", ON_CONTENT, WORDS),
        (("better", "better", "worse"), 0.1, "any_text_helps", "any text helps; its content does not", WORDS),
        (
            ("better, but negligibly", "better", "equivalent"),
            None,
            "any_text_helps",
            "any text helps; its content does not",
            WORDS,
        ),
        (("worse", "better", "better"), None, "hurts", "no: worse than the baseline", BASELINE),
        (("better", "worse", "better"), None, "hurts", "no: worse than the bare document", BARE),
        (
            ("worse, but negligibly", OPEN, OPEN),
            None,
            "hurts",
            "no: worse than the baseline, but negligibly",
            BASELINE,
        ),
        (("equivalent", "better", "better"), None, "equivalent", "no: equivalent to the baseline", BASELINE),
        (("better", "equivalent", "better"), None, "equivalent", "no: equivalent to the bare document", BARE),
        (
            (OPEN, OPEN, "better"),
            0.1,
            "undecided",
            "undecided: not shown to be better than the baseline (about 3,400 samples would decide)",
            BASELINE,
        ),
        (
            ("better", OPEN, "better"),
            None,
            "undecided",
            "undecided: not shown to be better than the bare document (about 1,234,567 samples would decide)",
            BARE,
        ),
        ((FEW, "better", "better"), None, "undecided", "undecided: not shown to be better than the baseline", BASELINE),
        (("better", "better"), None, "controls_missing", "undecided: controls not run", BASELINE),
    ],
)
def test_priming_helps_if_it_beats_baseline_and_bare_document_by_its_content(
    verdicts: tuple[Verdict, ...], low: float | None, answer: AnswerValue, sentence: str, rests_on: str
) -> None:
    rows = family("static", *verdicts)
    others = [margin(rows[0], -0.3, "answer_first"), margin(rows[1], -0.3)]  # neither is the margin of the question
    _, found = answers_from(rows, [*others, margin(rows[0], low)], has_controls=True)
    assert (found.question, found.subject, found.comparison) == ("does_priming_help", "static", rows[0].comparison)
    assert (found.answer, found.sentence) == (answer, sentence)
    assert found.rests_on == f"static/routed vs {rests_on}"
    assert found.samples_to_decide == (N_TO_DECIDE[rests_on] if "would decide" in sentence else None)


def test_a_family_without_the_bare_document_lacks_a_control() -> None:
    baseline, _, words = family("static", "better", "better", "better")
    assert [row.answer for row in answers(baseline, words)] == ["controls_missing"]


@pytest.mark.parametrize(
    ("verdict", "answer", "sentence", "of_generated"),
    [
        ("better", "yes", "yes", None),
        ("worse", "hurts", "no: the other way round", "no"),
        ("better, but negligibly", "negligible", "yes, but negligibly", None),
        (
            "worse, but negligibly",
            "hurts",
            "no: the other way round, but negligibly",
            "no: worse, but negligibly",
        ),
        ("equivalent", "equivalent", "no: equivalent", None),
        (OPEN, "undecided", "undecided: no difference shown (about 3,400 samples would decide)", None),
        (FEW, "undecided", "undecided: fewer than two pairs", None),
    ],
)
def test_a_question_of_one_comparison_is_answered_by_its_verdict(
    verdict: Verdict, answer: AnswerValue, sentence: str, of_generated: str | None
) -> None:
    generated, content, routing = answers(
        compared("static/routed", "static/mean_of_keys", verdict, "routing"),
        compared("generated/target_question", WORDS, verdict, "control"),
        compared("generated/routed", "static/routed", verdict, "between_families"),
        compared("generated/routed", "static/best_key", "worse", "between_families"),  # asks nothing
    )
    assert [row.question for row in (generated, content, routing)] == list(QUESTIONS)[2:3] + list(QUESTIONS)[4:]
    assert [row.answer for row in (generated, content, routing)] == [answer] * 3
    assert generated.sentence == (of_generated or sentence)
    assert content.sentence == sentence.replace("3,400", "99")
    assert routing.sentence == sentence


@pytest.mark.parametrize(
    ("row", "answer", "sentence"),
    [
        (worth(0.027, 0.7), "yes", "yes"),  # next to a margin of 0.026
        (worth(-0.1, 0.025, OPEN), "negligible", "no"),
        (worth(-0.01, 0.01, "equivalent"), "equivalent", "no"),
        (worth(-0.7, -0.3, "worse"), "hurts", "no"),
        (worth(0.001, 0.05, samples=12_000), "undecided", "undecided (about 12,000 samples would decide)"),
        (worth(0.0, 0.052), "undecided", "undecided"),  # its mean is the margin: no number of samples tells them apart
        (worth(None, None, FEW), "undecided", "undecided: fewer than two pairs"),
    ],
)
def test_generation_is_worth_its_compute_if_the_whole_interval_is_above_the_margin(
    row: Comparison, answer: AnswerValue, sentence: str
) -> None:
    (found,) = answers(row)
    assert (found.question, found.answer, found.sentence) == ("is_generation_worth_its_compute", answer, sentence)


def test_without_any_control_generation_is_not_judged() -> None:
    rows = answers(comparison("generated/routed", "static/routed", "between_families"), worth(1, 2), has_controls=False)
    assert [(row.answer, row.sentence) for row in rows] == [("controls_missing", "undecided: controls not run")] * 2


def test_an_oracle_is_shown_and_asked_nothing() -> None:
    said: Verdict = "optimistic by construction, not a verdict"
    (row,) = answers(comparison("static/oracle", BASELINE, "oracle", said, is_optimistic=True))
    assert (row.question, row.answer, row.sentence) == ("does_routing_help", "not_asked", said)


def test_every_control_contrast_asks_a_question_of_its_own() -> None:
    rows = answers(*(compared(arm, reference, "better", "control") for arm, reference in CONTROL_CONTRASTS))
    assert [row.subject for row in rows] == list(CONTROL_CONTRASTS.values())
    assert len({row.subject for row in rows}) == len(CONTROL_CONTRASTS)
    assert all("?" in row.subject for row in rows)


def test_answers_stand_in_the_order_of_their_questions_with_the_numbers_of_their_comparisons() -> None:
    found = answers_from(
        [worth(0.1, 0.7), *family("static", "better", "better", "better"), *family("generated", OPEN, OPEN, OPEN)],
        [],
        has_controls=True,
    )
    assert [row.position for row in found] == [0, 1, 2, 3]
    assert [row.question for row in found] == [
        "should_i_prime",
        "does_priming_help",
        "does_priming_help",
        "is_generation_worth_its_compute",
    ]
    assert [row.question_title for row in found] == [QUESTIONS[row.question] for row in found]
    assert found[1] == Answer(
        position=1,
        question="does_priming_help",
        question_title="Does priming help?",
        subject="static",
        answer="yes",
        sentence="yes",
        comparison=f"static/routed vs {BASELINE}",
        arm="static/routed",
        reference=BASELINE,
        rests_on=f"static/routed vs {BASELINE}",
        improvement_mean=0.5,
        improvement_low=0.3,
        improvement_high=0.7,
        p_adjusted=0.04,
        samples_to_decide=None,
    )


YES: tuple[Verdict, ...] = ("better", "better", "better")
EQUIVALENT: tuple[Verdict, ...] = ("better", "equivalent", "better")
UNCLEAR: tuple[Verdict, ...] = (OPEN, OPEN, "better")
NO = worth(-0.1, 0.0, "equivalent")


@pytest.mark.parametrize(
    ("generated", "static", "worth_it", "answer", "line"),
    [
        (YES, YES, worth(0.1, 1), "yes", "Pay for generated surrogates: they gain more than anything that is free"),
        (
            YES,
            EQUIVALENT,
            worth(0.1, 1),
            "yes",
            "Pay for generated surrogates: they gain more than anything that is free",
        ),
        (YES, YES, NO, "yes", "Prime with fixed phrases, which are free; do not pay for generation"),
        (EQUIVALENT, YES, NO, "yes", "Prime with fixed phrases, which are free; do not pay for generation"),
        (
            YES,
            UNCLEAR,
            NO,
            "equivalent",
            "Priming helps, but something that is free does as well: do not pay for generation",
        ),
        (
            YES,
            YES,
            worth(0.0, 1),
            "yes",
            "Priming helps; whether generated surrogates are worth their compute is undecided",
        ),
        (YES, YES, None, "yes", "Priming helps (generated and static)"),
        (EQUIVALENT, EQUIVALENT, NO, "equivalent", "Do not pay for priming"),
        (("worse", *YES[1:]), EQUIVALENT, worth(0.0, 1), "hurts", "Do not pay for priming"),
        (UNCLEAR, EQUIVALENT, NO, "undecided", "Undecided: this run cannot tell whether priming helps"),
        (
            ("better", "better", "equivalent"),
            EQUIVALENT,
            NO,
            "any_text_helps",
            "Do not pay for surrogates: any text in their place helps as much",
        ),
        (
            UNCLEAR,
            ("better", "better", OPEN),
            NO,
            "undecided",
            "Undecided: any text helps; that its content does is not shown",
        ),
        (
            ("better, but negligibly", "better", "better"),
            EQUIVALENT,
            NO,
            "negligible",
            "Do not pay for priming: what it gains is negligible",
        ),
        (("better",), YES[:1], worth(0.1, 1), "controls_missing", "Undecided: the controls were not run"),
    ],
)
def test_the_answers_come_to_one_headline(
    generated: tuple[Verdict, ...],
    static: tuple[Verdict, ...],
    worth_it: Comparison | None,
    answer: AnswerValue,
    line: str,
) -> None:
    rows = [*family("generated", *generated), *family("static", *static), *([worth_it] if worth_it else [])]
    found = headline(*rows)
    assert (found.question, found.subject, found.answer, found.sentence) == ("should_i_prime", "", answer, line)


def test_a_gain_in_likelihood_alone_is_not_paid_for() -> None:
    found = headline(*family("static", *YES), low=-0.1)
    assert found.sentence == "Do not pay yet: answers become likelier, but no more preferred to wrong ones"


def test_a_run_without_routed_families_has_no_answer() -> None:
    (found,) = answers_from([comparison("static/factual", BASELINE, "fixed_arm")], [], has_controls=True)
    assert (found.answer, found.sentence) == ("not_asked", "No answer: no surrogate was routed in this run")
    assert (found.comparison, found.improvement_mean) == (None, None)


def test_answers_are_computed_from_the_rows_of_a_run() -> None:
    """Expected: what the run's own comparisons and margins give; the rows are computed once."""
    samples = [run_rows.sample(f"{number}") for number in range(6)]
    arms = {BASELINE: 2.0, "static/factual": 1.0, BARE: 2.5, WORDS: 1.75}
    scores = [
        run_rows.score(sample.sample_id, arm, nll + 0.01 * number * len(arm), margin=-nll)
        for number, sample in enumerate(samples)
        for arm, nll in arms.items()
    ]
    routes = [Route(sample.sample_id, "static", "factual", 0.5, is_routed=True, is_tie=False) for sample in samples]
    evidence, settings = RunData(samples, routes, scores, []), StatisticsSettings(bootstrap_resamples=100)
    found = answer_questions(evidence, settings, 42)
    comparisons = compare_conditions(evidence, settings, 42)
    assert found == answers_from(comparisons, vary_comparisons(evidence, settings, 42), has_controls=True)
    assert {row.question for row in found} >= {"should_i_prime", "does_priming_help", "does_routing_help"}
    assert evidence.once(compare_conditions, settings, 42) is evidence.once(compare_conditions, settings, 42)
    assert {row.answer for row in found} <= set(get_args(AnswerValue))
