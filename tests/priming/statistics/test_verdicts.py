"""Which comparisons give which answer: every rule with the sentence that is shown, worked out by hand."""

from collections.abc import Sequence
from typing import TypeAlias, get_args

import pytest

from tasks.priming.records import Answer, AnswerValue, Comparison, Contender, Measure, Route, Verdict
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.comparisons import compare_conditions, rank_contenders
from tasks.priming.statistics.contrasts import HEADLINE, QUESTIONS
from tasks.priming.statistics.measures import vary_comparisons
from tasks.priming.statistics.run_data import RunData
from tasks.priming.statistics.verdicts import answer_questions, answers_from
from tests import run_rows
from tests.published_rows import comparison

BASELINE, BARE, WORDS = "baseline/document", "control/bare_document", "control/random_words"
GIVEN, NO_PASSAGE = "control/answer_given", "control/no_passage"
OPEN: Verdict = "no difference shown"
FEW: Verdict = "undecided: too few passages"
BETTER: Verdict = "better"
INTERVALS: dict[Verdict, tuple[float | None, float | None]] = {
    "better": (2.0, 6.0),
    "worse": (-6.0, -2.0),
    "better, but negligibly": (0.1, 0.9),
    "worse, but negligibly": (-0.9, -0.1),
    "equivalent": (-0.5, 0.5),
    OPEN: (-3.0, 3.0),
    FEW: (None, None),
}
PRECISELY = " (about 3,400 samples would measure it to ±0.5 points)"


def compared(
    arm: str, reference: str, verdict: Verdict = BETTER, question: str = "does_priming_help", kind: str = "routed"
) -> Comparison:
    low, high = INTERVALS[verdict]
    return comparison(arm, reference, kind, verdict, question, answer_low=low, answer_high=high)


def family(name: str, *verdicts: Verdict, t: str = "") -> list[Comparison]:
    """Return a routed family's comparisons with the baseline, the bare document and random words."""
    questions = ("does_priming_help", "does_priming_help", "does_the_content_matter")
    return [
        compared(f"{name}/routed{t}", reference, verdict, question)
        for reference, verdict, question in zip((BASELINE, BARE, f"{WORDS}{t}"), verdicts, questions, strict=False)
    ]


def assay(given: Verdict = BETTER, no_passage: Verdict = "worse", t: str = "") -> list[Comparison]:
    """Return what shows that a run could have found a gain, and that its model reads."""
    return [
        compared(f"{GIVEN}{t}", BARE, given, "could_a_gain_be_seen", "assay"),
        compared(NO_PASSAGE, BASELINE, no_passage, "could_a_gain_be_seen", "assay"),
    ]


def measure(of: Comparison, name: str, low: float | None, high: float | None = 9.0, n: int = 200) -> Measure:
    return Measure(
        of.comparison, name, "nats per answer token", n, 150, 1.7, 1.5, 0.2, 0.1, 0.3, 0.01, low, high, 0.01, 0.5
    )


def margins(rows: Sequence[Comparison], low: float | None = 0.1) -> list[Measure]:
    """Return margins with this lower bound, and written answers that are as good."""
    texts = [measure(row, name, -1.0, 1.0) for row in rows for name in ("f1", "recall")]
    return [measure(row, "margin", low) for row in rows] + texts


def contender(condition: str, rank: int, mean: float, high: float | None, *, may_be_best: bool = True) -> Contender:
    is_close = high is not None and high < 1.0
    return Contender(condition, rank, 200, 150, mean, None if high is None else -1.0, high, may_be_best, is_close)


ROOM = [contender(BASELINE, 0, 40.0, 5.0)]
"""A baseline that lacks 60 points."""


def answers(
    rows: Sequence[Comparison], others: Sequence[Measure] | None = None, contenders: Sequence[Contender] = ROOM
) -> list[Answer]:
    """Return the answers but for the headline and the assay's own."""
    found = answers_from(rows, margins(rows) if others is None else others, contenders)
    return [row for row in found if row.question not in (HEADLINE, "could_a_gain_be_seen")]


# --- does priming help ---


@pytest.mark.parametrize(
    ("verdicts", "answer", "sentence", "rests_on"),
    [
        ((BETTER, BETTER, BETTER), "yes", "yes", BASELINE),
        (("better, but negligibly", BETTER, BETTER), "negligible", "yes, but negligibly", BASELINE),
        ((BETTER, "better, but negligibly", BETTER), "negligible", "yes, but negligibly", BARE),
        ((BETTER, BETTER, "better, but negligibly"), "negligible", "yes, but negligibly", WORDS),
        (
            (BETTER, BETTER, OPEN),
            "undecided",
            "any text helps; whether its content does is undecided" + PRECISELY,
            WORDS,
        ),
        ((BETTER, BETTER, "worse"), "any_text_helps", "any text helps; its content does not", WORDS),
        ((BETTER, BETTER, "equivalent"), "any_text_helps", "any text helps; its content does not", WORDS),
        (("worse", BETTER, BETTER), "hurts", "no: worse than the baseline", BASELINE),
        ((BETTER, "worse", BETTER), "hurts", "no: worse than the bare document", BARE),
        (
            ("worse, but negligibly", OPEN, OPEN),
            "hurts",
            "no: worse than the baseline, but negligibly",
            BASELINE,
        ),
        (("equivalent", BETTER, BETTER), "equivalent", "no: equivalent to the baseline", BASELINE),
        ((BETTER, "equivalent", BETTER), "equivalent", "no: equivalent to the bare document", BARE),
        (
            (OPEN, OPEN, BETTER),
            "undecided",
            "undecided: not shown to be better than the baseline" + PRECISELY,
            BASELINE,
        ),
        (
            (BETTER, OPEN, BETTER),
            "undecided",
            "undecided: not shown to be better than the bare document" + PRECISELY,
            BARE,
        ),
        ((BETTER,), "controls_missing", "undecided: the bare document was not run", BASELINE),
        ((BETTER, BETTER), "controls_missing", "undecided: random words were not run", BASELINE),
    ],
)
@pytest.mark.parametrize("t", ["", "+stripped"])
def test_priming_helps_if_it_beats_baseline_and_bare_document_by_its_content(
    verdicts: tuple[Verdict, ...], answer: AnswerValue, sentence: str, rests_on: str, t: str
) -> None:
    rows = [*family("static", *verdicts, t=t), *assay(), *assay(t="+stripped")[:1]]
    found = answers(rows)[0]
    assert (found.question, found.comparison) == ("does_priming_help", rows[0].comparison)
    assert (found.answer, found.sentence) == (answer, sentence)
    assert found.rests_on == f"static/routed{t} vs {rests_on}{t if rests_on == WORDS else ''}"
    assert found.samples_for_precision == (3_400 if PRECISELY in sentence else None)


# --- questions of one comparison ---


@pytest.mark.parametrize(
    ("verdict", "answer", "sentence"),
    [
        (BETTER, "yes", "yes"),
        ("worse", "hurts", "no: the other way round"),
        ("better, but negligibly", "negligible", "yes, but negligibly"),
        ("worse, but negligibly", "hurts", "no: the other way round, but negligibly"),
        ("equivalent", "equivalent", "no: equivalent"),
        (OPEN, "undecided", "undecided: no difference shown" + PRECISELY),
        (FEW, "undecided", "undecided: too few passages" + PRECISELY),
    ],
)
@pytest.mark.parametrize(
    ("question", "arm", "reference"),
    [
        ("is_generated_better_than_static", "generated/routed", "static/routed"),
        ("does_the_framing_matter", BASELINE, BARE),
        ("should_the_surrogate_be_dropped", "static/routed+stripped", "static/routed"),
        ("does_reading_twice_help", "free/echo", BARE),
        ("does_routing_help", "static/routed", "static/mean_of_keys"),
    ],
)
def test_a_question_of_one_comparison_is_answered_by_its_verdict(
    question: str, arm: str, reference: str, verdict: Verdict, answer: AnswerValue, sentence: str
) -> None:
    (found,) = answers([compared(arm, reference, verdict, question, "control"), *assay(), *assay(t="+stripped")[:1]])
    assert (found.question, found.answer, found.sentence) == (question, answer, sentence)


@pytest.mark.parametrize("question", ["does_the_content_matter", "where_does_a_gain_arise"])
def test_what_a_gain_is_made_of_is_asked_only_where_there_is_one(question: str) -> None:
    arm = "generated/target_question" + ("+hidden" if question == "where_does_a_gain_arise" else "")
    asked = compared(arm, WORDS, BETTER, question, "control")
    with_gain = [*family("generated", BETTER, BETTER), asked, *assay()]
    assert answers(with_gain)[-1].answer == "yes"
    for verdicts in ((BETTER, OPEN), (OPEN, BETTER), (BETTER,)):
        found = answers([*family("generated", *verdicts), asked, *assay()])[-1]
        assert (found.answer, found.sentence) == (
            "not_asked", "not asked: a gain over the document alone is not shown",
        )  # fmt: skip
    stripped = compared("generated/target_question+stripped", f"{WORDS}+stripped", BETTER, question, "control")
    assert answers([*family("generated", BETTER, BETTER), stripped, *assay()])[-1].answer == "not_asked"


def test_what_is_explored_answers_nothing() -> None:
    explored = comparison(
        "generated/target_question", "control/actual_query", "control", "explored, not a verdict", None
    )
    assert answers([explored, *assay()]) == []


@pytest.mark.parametrize(
    ("low", "high", "answer", "sentence"),
    [
        (1.1, 7.0, "yes", "yes"),  # next to a margin of 1 point
        (-2.0, 0.9, "negligible", "no"),
        (-0.5, 0.5, "equivalent", "no"),
        (-7.0, -3.0, "hurts", "no"),
        (0.5, 3.0, "undecided", "undecided" + PRECISELY),
        (None, None, "undecided", "undecided: too few passages" + PRECISELY),
    ],
)
def test_generation_is_worth_its_compute_if_it_gains_more_than_the_margin_over_all_that_is_free(
    low: float | None, high: float | None, answer: AnswerValue, sentence: str
) -> None:
    verdict: Verdict = "equivalent" if answer == "equivalent" else FEW if low is None else OPEN
    row = comparison(
        "generated/routed", "free/best_arm", "best_of", verdict, "is_generation_worth_its_compute",
        answer_low=low, answer_high=high,
    )  # fmt: skip
    (found,) = answers([row, *assay()])
    assert (found.question, found.answer, found.sentence) == ("is_generation_worth_its_compute", answer, sentence)


# --- what every answer must stand ---

HELPS = family("static", BETTER, BETTER, BETTER)
EQUIVALENT = family("static", "equivalent", "equivalent", OPEN)
HURTS = family("static", "worse", OPEN, OPEN)


@pytest.mark.parametrize(
    ("controls", "room", "reason"),
    [
        (assay()[1:], 40.0, "control answer_given was not run"),
        (assay()[:1], 40.0, "control no_passage was not run"),
        (assay("better, but negligibly"), 40.0, "control answer_given is not shown to gain more than the margin"),
        (assay(OPEN), 40.0, "control answer_given is not shown to gain more than the margin"),
        (assay(), 98.5, "the document alone leaves 1.5 margins to gain, and more than 2 are needed"),
    ],
)
def test_a_run_that_could_not_show_a_gain_does_not_say_no(controls: list[Comparison], room: float, reason: str) -> None:
    """A perfect arm once was "equivalent" too: nothing was left to gain."""
    contenders = [contender(BASELINE, 0, room, 5.0)]
    found = answers([*EQUIVALENT, *controls], contenders=contenders)[0]
    assert (found.answer, found.sentence) == ("could_not_show", f"could not show a gain: {reason}")
    negligible = family("static", "better, but negligibly", BETTER, BETTER)
    assert answers([*negligible, *controls], contenders=contenders)[0].answer == "could_not_show"
    assert answers([*HURTS, *controls], contenders=contenders)[0].answer == "hurts"  # a shown harm stands
    assert answers([*HELPS, *controls], contenders=contenders)[0].answer == "yes"  # and so does a shown gain


def test_a_stripped_condition_is_judged_by_what_a_stripped_answer_could_carry() -> None:
    rows = family("static", "equivalent", "equivalent", t="+stripped")
    assert answers([*rows, *assay()])[0].sentence.endswith("control answer_given+stripped was not run")
    assert answers([*rows, *assay(), *assay(OPEN, t="+stripped")[:1]])[0].answer == "could_not_show"
    assert answers([*rows, *assay(), *assay(t="+stripped")[:1]])[0].answer == "equivalent"


@pytest.mark.parametrize("no_passage", [OPEN, BETTER, "equivalent"])
def test_a_model_that_is_not_shown_to_read_gets_no_answer_but_a_shown_harm(no_passage: Verdict) -> None:
    """A model with random weights once got a bold "Do not pay for priming"."""
    controls = assay(no_passage=no_passage)
    for rows in (HELPS, EQUIVALENT, family("static", OPEN, OPEN)):
        found = answers([*rows, *controls])[0]
        assert (found.answer, found.rests_on) == ("cannot_read", f"{NO_PASSAGE} vs {BASELINE}")
        assert found.sentence == "no answer: that the model reads the passage is not shown"
    assert answers([*HURTS, *controls])[0].answer == "hurts"


def test_too_few_passages_say_nothing_of_whether_the_model_reads() -> None:
    assert answers([*family("static", FEW, FEW), *assay(FEW, FEW)])[0].answer == "undecided"


@pytest.mark.parametrize("name", ["nll", "log_ratio", "nll_per_byte", "summed_nll"])
def test_an_answer_that_another_measure_turns_depends_on_the_measure(name: str) -> None:
    """One condition lost 0.07 nats a token and gained 2.7 points."""
    turned = measure(HELPS[1], name, -0.3, -0.1)
    found = answers([*HELPS, *assay()], [*margins(HELPS), turned])[0]
    assert (found.answer, found.sentence) == (
        "depends_on_measure",
        f"depends on the measure: {name} shows the opposite",
    )
    only_open = measure(HELPS[1], name, -0.3, 0.1)
    assert answers([*HELPS, *assay()], [*margins(HELPS), only_open])[0].answer == "yes"
    up = measure(HURTS[0], name, 0.1, 0.3)
    assert answers([*HURTS, *assay()], [up])[0].answer == "depends_on_measure"


def test_an_answer_whose_sign_the_first_token_decides_is_open() -> None:
    turned = measure(HELPS[0], "first_token_unscored", -0.3, -0.1)
    found = answers([*HELPS, *assay()], [*margins(HELPS), turned])[0]
    assert (found.answer, found.sentence) == ("undecided", "undecided: the first answer token decides its sign")


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ([], "nothing else was measured"),
        ([measure(HELPS[0], "margin", None, None, n=0)], "nothing else was measured"),
        (
            [*margins(HELPS[:1]), measure(HELPS[1], "margin", -0.1)],
            "not shown to be preferred to wrong answers any more than with the bare document",
        ),
        (
            [measure(HELPS[0], "margin", None, None)],
            "not shown to be preferred to wrong answers any more than with the baseline",
        ),
    ],
)
def test_a_gain_in_likelihood_alone_is_never_a_plain_yes(others: list[Measure], reason: str) -> None:
    found = answers([*HELPS, *assay()], others)[0]
    assert (found.answer, found.sentence) == ("likelihood_only", f"yes, in likelihood: {reason}")


# --- should I prime ---

PLAIN = [contender(BARE, 0, 40.0, 5.0, may_be_best=False), contender(BASELINE, 1, 40.0, 5.0, may_be_best=False)]
PHRASE, WRITTEN = "static/factual", "generated/target_question"


def single(condition: str, verdict: Verdict = BETTER) -> list[Comparison]:
    return [compared(condition, plain, verdict, HEADLINE, "single") for plain in (BASELINE, BARE)]


def headline(
    rows: Sequence[Comparison], contenders: Sequence[Contender], others: Sequence[Measure] | None = None
) -> Answer:
    found = answers_from([*rows, *assay()], margins(rows) if others is None else others, contenders)[0]
    assert (found.position, found.question, found.subject) == (0, HEADLINE, "")
    return found


def test_the_cheapest_condition_that_cannot_be_far_from_the_best_is_recommended() -> None:
    rows = [*single(PHRASE), *single(WRITTEN)]
    close = [*PLAIN, contender(PHRASE, 2, 45.0, 0.9), contender(WRITTEN, 3, 45.5, 0.4)]
    found = headline(rows, close)
    assert (found.answer, found.sentence, found.arm, found.reference) == ("yes", f"Prime with {PHRASE}", PHRASE, BARE)
    assert (found.improvement_mean, found.answer_low) == (5.0, 2.0)
    far = [*PLAIN, contender(PHRASE, 2, 43.0, 4.0, may_be_best=False), contender(WRITTEN, 3, 45.5, 0.0)]
    assert headline(rows, far).sentence == f"Prime with {WRITTEN}"


def test_a_recommendation_needs_more_than_likelihood_and_the_bare_document() -> None:
    close = [*PLAIN, contender(PHRASE, 2, 45.0, 0.9)]
    found = headline(single(PHRASE), close, [])
    assert (found.answer, found.sentence) == (
        "likelihood_only", f"Prime with {PHRASE}, in likelihood: nothing else was measured",
    )  # fmt: skip
    without = headline(single(PHRASE)[:1], [PLAIN[1], close[-1]])
    assert (without.answer, without.sentence) == ("controls_missing", "Undecided: the bare document was not run")


def test_what_no_comparison_shows_to_beat_the_document_is_not_recommended() -> None:
    for verdict in (OPEN, "worse", "equivalent"):
        found = headline(single(PHRASE, verdict), [*PLAIN, contender(PHRASE, 2, 45.0, 0.9)])
        assert found.answer == "undecided"
        assert found.sentence == f"Undecided: {PHRASE} is close to the best, but not shown to beat the document alone"
    found = headline(single(PHRASE, "better, but negligibly"), [*PLAIN, contender(PHRASE, 2, 45.0, 0.9)])
    assert (found.answer, found.sentence) == ("negligible", "Do not pay for priming: what it gains is negligible")


def test_where_the_document_alone_is_close_to_the_best_nothing_is_to_be_paid() -> None:
    rows = single(PHRASE, "equivalent")
    found = headline(rows, [contender(BARE, 0, 40.0, 0.8), PLAIN[1], contender(PHRASE, 2, 40.1, 0.5)])
    assert (found.answer, found.arm, found.reference) == ("equivalent", PHRASE, BARE)
    assert found.sentence == "Do not pay for priming: nothing tried gains more than a margin over the bare document"
    beaten = [contender(BARE, 0, 40.0, 0.0), PLAIN[1], contender(PHRASE, 2, 35.0, 6.0, may_be_best=False)]
    worse = headline(single(PHRASE, "worse"), beaten)
    assert (worse.answer, worse.sentence) == (
        "hurts", "Do not prime: the document alone is better than all that was tried",
    )  # fmt: skip


def test_a_headline_that_says_no_must_have_been_able_to_say_yes() -> None:
    contenders = [contender(BARE, 0, 98.8, 0.8), contender(BASELINE, 1, 98.8, 0.9), contender(PHRASE, 2, 98.9, 0.5)]
    found = headline(single(PHRASE, "equivalent"), contenders)
    assert (found.answer, found.sentence[:24]) == ("could_not_show", "Could not show a gain: t")


def test_an_open_headline_names_what_may_be_the_best() -> None:
    names = [BARE, BASELINE, PHRASE, "static/quantitative", WRITTEN]
    found = headline(single(PHRASE, OPEN), [contender(name, rank, 40.0, 5.0) for rank, name in enumerate(names)])
    assert found.sentence == f"Undecided: the bare document, the baseline, {PHRASE} and 2 more may each be the best"
    assert (found.answer, found.samples_for_precision) == ("undecided", 3_400)
    few = headline(single(PHRASE, FEW), [contender(name, rank, 40.0, None) for rank, name in enumerate(names[:3])])
    assert few.sentence == "Undecided: no answer with fewer than 100 passages"  # LEAST_CLUSTERS


def test_a_run_without_conditions_to_deploy_has_no_answer() -> None:
    found = headline([], [PLAIN[0]])
    assert (found.answer, found.comparison) == ("not_asked", None)
    assert found.sentence == "No answer: nothing was compared with the document alone"


# --- answers that rest on written ones ---

AS_GOOD, GAIN, LOSS, WIDE = (-1.0, 1.5), (1.0, 5.0), (-5.0, -0.1), (-3.0, 3.0)
Ends: TypeAlias = tuple[float | None, float | None]


def answered(f1: Ends, recall: Ends, verdict: Verdict = BETTER) -> dict[str, Answer]:
    """Return a family's answers whose written answers are compared with these intervals."""
    rows = [*family("static", verdict, verdict, BETTER), *assay()]
    others = [measure(row, "margin", 0.1) for row in rows]
    others += [measure(row, name, *ends) for row in rows[:2] for name, ends in (("f1", f1), ("recall", recall))]
    return {row.question: row for row in answers_from(rows, others, []) if row.reference == BASELINE}


@pytest.mark.parametrize(
    ("verdict", "f1", "recall", "answer", "sentence"),
    [
        ("better", GAIN, GAIN, "yes", "yes: both are better"),
        ("better", GAIN, AS_GOOD, "yes", "yes: both are better"),
        ("worse", LOSS, WIDE, "yes", "yes: both are worse"),
        ("equivalent", AS_GOOD, AS_GOOD, "yes", "yes: neither changes"),
        ("better", AS_GOOD, AS_GOOD, "likelihood_only", "no: likelihood alone is better"),
        ("worse", AS_GOOD, AS_GOOD, "likelihood_only", "no: likelihood alone is worse"),
        ("equivalent", GAIN, WIDE, "depends_on_measure", "no: the answers alone are better"),
        ("better", LOSS, AS_GOOD, "depends_on_measure", "no: likelihood is better, the answers are worse"),
        ("better", GAIN, LOSS, "undecided", "undecided: answers"),
        ("better", WIDE, AS_GOOD, "undecided", "undecided: answers"),
        ("better", (None, None), AS_GOOD, "undecided", "undecided: answers"),
        ("no difference shown", GAIN, GAIN, "undecided", "undecided: likelihood"),
    ],
)
def test_likelihood_and_written_answers_agree_or_not(
    verdict: Verdict,
    f1: Ends,
    recall: Ends,
    answer: str,
    sentence: str,
) -> None:
    found = answered(f1, recall, verdict)["do_answers_and_likelihood_agree"]
    assert (found.answer, found.sentence, found.subject) == (answer, sentence, "static/routed vs baseline/document")


@pytest.mark.parametrize(
    ("f1", "recall", "answer", "sentence"),
    [
        (AS_GOOD, AS_GOOD, "yes", "yes"),
        (GAIN, GAIN, "yes", "yes"),
        (WIDE, AS_GOOD, "likelihood_only", "its written answers are not shown to be as good as after the baseline"),
        (AS_GOOD, (None, None), "likelihood_only", "are not shown to be as good as after the baseline"),
        (AS_GOOD, LOSS, "likelihood_only", "the answers that the model writes lose recall compared with the baseline"),
    ],
)
def test_priming_helps_only_where_written_answers_are_not_worse(
    f1: Ends, recall: Ends, answer: str, sentence: str
) -> None:
    found = answered(f1, recall)["does_priming_help"]
    assert found.answer == answer
    assert found.sentence.endswith(sentence)


# --- rows ---


def test_answers_stand_in_the_order_of_their_questions_with_the_numbers_of_their_comparisons() -> None:
    routing = compared("static/routed", "static/mean_of_keys", OPEN, "does_routing_help", "routing")
    rows = [*assay(), routing, *HELPS]
    found = answers_from(rows, margins(rows), ROOM)
    assert [row.position for row in found] == [*range(8)]
    assert [row.question for row in found] == [
        HEADLINE, "does_priming_help", "do_answers_and_likelihood_agree", "do_answers_and_likelihood_agree",
        "does_the_content_matter", "does_routing_help", "could_a_gain_be_seen", "could_a_gain_be_seen",
    ]  # fmt: skip
    assert [row.question_title for row in found] == [QUESTIONS[row.question].title for row in found]
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
        improvement_mean=5.0,
        answer_low=2.0,
        answer_high=6.0,
        answer_p=0.04,
        samples_for_precision=None,
    )
    assert [row.sentence for row in found[6:]] == ["yes: by more than the margin", "yes: less probable"]


def test_answers_are_computed_from_the_rows_of_a_run() -> None:
    """Expected: what the run's own comparisons, measures and contenders give; the rows are computed once."""
    samples = [run_rows.sample(f"{number}") for number in range(6)]
    arms = {BASELINE: 2.0, "static/factual": 1.0, BARE: 2.5, WORDS: 1.75}
    scores = [
        run_rows.score(sample.sample_id, arm, nll + 0.01 * number * len(arm), margin=-nll)
        for number, sample in enumerate(samples)
        for arm, nll in arms.items()
    ]
    routes = [Route(sample.sample_id, "static", "factual", 0.5, is_routed=True, is_tie=False) for sample in samples]
    run, settings = RunData(samples, routes, scores, []), StatisticsSettings(bootstrap_resamples=100)
    found = answer_questions(run, settings, 42)
    comparisons, measures = compare_conditions(run, settings, 42), vary_comparisons(run, settings, 42)
    assert found == answers_from(comparisons, measures, rank_contenders(run, settings, 42))
    assert {row.question for row in found} >= {HEADLINE, "does_priming_help", "does_routing_help"}
    assert run.once(compare_conditions, settings, 42) is run.once(compare_conditions, settings, 42)
    assert {row.answer for row in found} <= set(get_args(AnswerValue))
