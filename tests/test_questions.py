"""Each question is answered from the rows of complete runs alone; what a view must say is worked out by hand."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tasks import results
from tasks.priming.records import Comparison, Cost, Measure, RoutingAgreement, Stratum
from tasks.priming.statistics.contrasts import CONTROL_CONTRASTS
from tasks.reading.answers import read_questions
from tasks.store import artifacts, manifests
from tests.published_rows import comparison, finish, record, score, start

BASELINE, BARE, WORDS = "baseline/document", "control/bare_document", "control/random_words"
BETTER, NEGLIGIBLE, WORSE, OPEN = "better", "better, but negligibly", "worse", "no difference shown"
LIKELIER = "yes in NLL, but the answer is not shown to be preferred to wrong ones any more than before"
CONTENTLESS = "any text helps, its content does not"
CONTROL = score(("first", "control", "random_words"), (1.0,))

Interval = tuple[float, float] | None


def measure(of: str, name: str = "margin", interval: Interval = (0.1, 0.3), n: int = 6) -> Measure:
    low, high = interval or (None, None)
    return Measure(of, name, "nats per answer token", n, 5, 1.75, 1.5, 0.25, low, high, 0.5, 0.125)


def stratum(of: str, stratified_by: str, level: str, rank: int, arm: str | None = None) -> Stratum:
    return Stratum(of, stratified_by, level, rank, arm, 4, 3, 0.25, None, None, 1.5, win_count=3, tie_count=1)


def cost(condition: str, prompt: int, generated: int, prefill: int, nll: float | None = None) -> Cost:
    """Return what a condition costs with one byte a prefilled token and a million operations any token."""
    return Cost(
        condition=condition,
        document_count=2,
        prompt_tokens=prompt,
        generated_tokens=generated,
        prefill_tokens=prefill,
        index_flops=1e6 * (prompt + generated + prefill),
        cache_bytes=prefill,
        attended_tokens=120,
        extra_attended_tokens=13,
        query_flops=5e6,
        nll_mean=nll,
        improvement_mean=0.5,
        improvement_per_1000_tokens=2.5,
        is_dominated=True,
        dominated_by="static/a",
    )


# --- does priming help? ---

PRIMED: dict[str, tuple[tuple[str, str, str], Interval, str]] = {
    # family: verdicts against the baseline, the bare document and random words; interval of the margin; answer
    "sure": ((BETTER, BETTER, BETTER), (0.1, 0.3), "yes"),
    "without_margin": ((BETTER, BETTER, BETTER), None, "yes"),
    "one_distractor": ((BETTER, BETTER, BETTER), None, "yes"),
    "likelier": ((BETTER, BETTER, BETTER), (-0.1, 0.2), LIKELIER),
    "misleading": ((BETTER, BETTER, BETTER), (-0.3, -0.1), LIKELIER),
    "barely": ((NEGLIGIBLE, BETTER, BETTER), (0.1, 0.3), "yes, but negligibly"),
    "barely_bare": ((BETTER, NEGLIGIBLE, BETTER), (0.1, 0.3), "yes, but negligibly"),
    "barely_words": ((BETTER, BETTER, NEGLIGIBLE), (-0.1, 0.2), "yes, but negligibly"),
    "contentless": (
        (BETTER, BETTER, OPEN),
        (0.1, 0.3),
        "any text helps, that its content does is not shown (about 99 samples would decide)",
    ),
    "misguided": ((BETTER, BETTER, WORSE), (0.1, 0.3), CONTENTLESS),
    "as_random": ((NEGLIGIBLE, BETTER, "equivalent"), None, CONTENTLESS),
    "harmful": ((WORSE, BETTER, BETTER), None, "no: worse than the baseline"),
    "framed": ((BETTER, WORSE, BETTER), None, "no: worse than the bare document"),
    "barely_harmful": (("worse, but negligibly", OPEN, OPEN), None, "no: worse than the baseline, but negligibly"),
    "idle": (("equivalent", BETTER, BETTER), None, "no: equivalent to the baseline"),
    "repaired": ((BETTER, "equivalent", BETTER), None, "no: equivalent to the bare document"),
    "open": (
        (OPEN, OPEN, BETTER),
        (0.1, 0.3),
        "undecided: not shown to be better than the baseline (about 3,400 samples would decide)",
    ),
    "open_bare": (
        (BETTER, OPEN, BETTER),
        None,
        "undecided: not shown to be better than the bare document (about 1,234,567 samples would decide)",
    ),
    "single": (
        ("undecided: fewer than two pairs", BETTER, BETTER),
        None,
        "undecided: not shown to be better than the baseline",
    ),
}
N_TO_DECIDE = {BASELINE: 3_400, BARE: 1_234_567, WORDS: 99}


def primed() -> list[Comparison]:
    """Return the three comparisons of every family, and those of two families of which a control is missing."""
    rows = [
        comparison(
            f"{family}/routed",
            reference,
            verdict=verdict,
            n_to_decide=N_TO_DECIDE[reference] if verdict == OPEN else None,
        )
        for family, (verdicts, _, _) in PRIMED.items()
        for reference, verdict in zip((BASELINE, BARE, WORDS), verdicts, strict=True)
    ]
    rows += [comparison("no_words/routed", reference) for reference in (BASELINE, BARE)]
    return rows + [comparison("no_bare/routed", reference) for reference in (BASELINE, WORDS)]


def primed_margins() -> list[Measure]:
    rows = [measure(f"{family}/routed vs {BASELINE}", interval=at) for family, (_, at, _) in PRIMED.items() if at]
    return [
        *rows,
        measure(f"without_margin/routed vs {BASELINE}", "answer_first", (-0.3, -0.1)),  # not the margin
        measure(f"one_distractor/routed vs {BASELINE}", interval=None, n=1),  # a single pair has no interval
    ]


# --- which verdict gives which answer elsewhere ---

OF_VERDICT = {  # verdict: answer to "does the content matter" and "does routing help"
    BETTER: "yes",
    WORSE: "no: the other way round",
    NEGLIGIBLE: "yes, but negligibly",
    "equivalent": "no: equivalent",
    OPEN: "undecided: no difference shown (about 3,400 samples would decide)",
    "undecided: fewer than two pairs": "undecided: fewer than two pairs",
}
GENERATED = {  # verdict: answer to "is generated better than static"
    BETTER: "yes",
    WORSE: "no",
    "worse, but negligibly": "no: worse, but negligibly",
    "equivalent": "no: equivalent",
    OPEN: "undecided: no difference shown (about 3,400 samples would decide)",
    "undecided: fewer than two pairs": "undecided: fewer than two pairs",
}
WORTH: dict[str, tuple[Interval, int | None, str]] = {
    # run: interval, beside a margin of 0.026; number of samples that would decide; answer
    "above": ((0.027, 0.7), None, "yes"),
    "below": ((-0.1, 0.025), None, "no"),
    "harmful": ((-0.7, -0.3), None, "no"),
    "across": ((0.001, 0.05), 12_000, "undecided (about 12,000 samples would decide)"),
    "at": ((0.0, 0.052), None, "undecided"),  # its mean is the margin: no number of samples would tell them apart
    "without": (None, None, "undecided: fewer than two pairs"),
}


def judged(arm: str, reference: str, kind: str, verdict: str) -> Comparison:
    return comparison(arm, reference, kind, verdict, n_to_decide=3_400 if verdict == OPEN else None)


def worth(name: str) -> Comparison:
    interval, n, _ = WORTH[name]
    low, high = interval or (None, None)
    verdict = BETTER if interval else "undecided: fewer than two pairs"
    row = comparison("generated/routed", "free/best_arm", "worth", verdict, improvement_low=low, improvement_high=high)
    return replace(row, n_to_decide=7, n_to_decide_margin=n)


def routings() -> list[Comparison]:
    """Return a comparison for every verdict, each of a family of its own."""
    return [
        judged(f"{name}/routed", f"{name}/{reference}", "routing", verdict)
        for name, reference, verdict in zip("abcdef", ["mean_of_keys", "best_key"] * 3, OF_VERDICT, strict=True)
    ]


VERDICTS_OF_CONTROLS = list(OF_VERDICT) * 2
COSTS = [
    cost(BASELINE, 0, 0, 100, 2.5),
    cost("static/a", 0, 0, 110, 2.25),
    cost("static/b", 0, 0, 90),
    cost("static/routed", 0, 0, 200, 2.0),
    cost("generated/a", 290, 10, 120, 1.25),
    cost("generated/b", 80, 20, 80, 1.0),
    cost("generated/routed", 370, 30, 200, 0.75),
    cost(BARE, 0, 0, 50, 4.0),
    cost(WORDS, 0, 0, 150, 3.0),
    cost("control/other_document", 200, 10, 130, 3.5),
]
STAGE_SECONDS = {
    "sample/all": 9.0,
    "surrogate/static/0000": 0.5,
    "surrogate/generated/0000": 30.0,
    "surrogate/generated/0001": 10.0,
    f"surrogate/{WORDS}/0000": 2.0,
    "surrogate/control/other_document/0000": 6.0,
    "score/baseline/0000": 3.0,
    "score/baseline/0001": 1.0,
    "score/static/0000": 8.0,
    "score/generated/0000": 12.0,
    "score/generated/0001": 8.0,
    f"score/{BARE}/0000": 5.0,
    f"score/{WORDS}/0000": 7.0,
    "score/control/other_document/0000": 11.0,
    "check/scoring": 4.0,
    "cost/all": 1.0,
}
FIRST, SECOND = "generated/routed vs static/routed", f"sure/routed vs {BASELINE}"
MEASURED = [  # interval of the metric of record and of another measure, what the two say together
    ((0.3, 0.7), (0.1, 0.3), "confirms"),
    ((-0.7, -0.3), (-0.3, -0.1), "confirms"),
    ((0.3, 0.7), (-0.3, -0.1), "contradicts"),
    ((-0.7, -0.3), (0.1, 0.3), "contradicts"),
    ((-0.3, 0.7), (-0.1, 0.3), "neither shows a difference"),
    ((0.0, 0.0), (0.0, 0.0), "neither shows a difference"),
    ((0.3, 0.7), (-0.1, 0.3), "one shows a difference, the other does not"),
    ((-0.3, 0.7), (0.1, 0.3), "one shows a difference, the other does not"),
    ((-0.3, 0.7), (-0.3, -0.1), "one shows a difference, the other does not"),
]


def record_everything(run_id: str) -> manifests.Attempt:
    """Record a run that every question has rows of; it is left running."""
    attempt = start(run_id)
    manifests.extend_run(attempt, {}, {"stage_seconds": STAGE_SECONDS})
    controls = [
        judged(arm, reference, "control", verdict)
        for (arm, reference), verdict in zip(CONTROL_CONTRASTS, VERDICTS_OF_CONTROLS, strict=True)
    ]
    comparisons = [
        *primed(),
        *controls,
        *routings(),
        comparison("a/oracle", BASELINE, "oracle", "optimistic by construction, not a verdict", is_optimistic=True),
        comparison("generated/routed", "static/routed", "between_families"),
        comparison("generated/routed", "static/best_key", "between_families", WORSE),
        worth("above"),
    ]
    record(attempt, "comparison", comparisons)
    record(attempt, "measure", [*primed_margins(), measure(FIRST), measure(controls[2].comparison)])
    strata = [
        stratum(FIRST, "difficulty", "2: 0.41 to 0.63", 1, BARE),
        stratum(FIRST, "difficulty", "1: 0.00 to 0.41", 0, BARE),
        stratum(SECOND, "query_type", "numeric", 0),
    ]
    record(attempt, "stratum", strata)
    record(attempt, "routing_agreement", [RoutingAgreement("a", 8, 0.5, 0.25, 0.375, None, None, 0, 0)])
    record(attempt, "cost", COSTS)
    record(attempt, "score", [CONTROL])
    return attempt


def finish_measured() -> None:
    """Complete a run with the comparisons of MEASURED, and two of which one side has no interval."""
    comparisons, measures = [], []
    for number, (of_record, other, _) in enumerate(MEASURED):
        low, high = of_record
        comparisons.append(comparison(f"{number}/routed", BASELINE, improvement_low=low, improvement_high=high))
        measures.append(measure(comparisons[-1].comparison, "longer_answers", other))
    nothing = comparison("nothing/routed", BASELINE, improvement_low=None, improvement_high=None)
    measures += [measure(nothing.comparison), measure(comparisons[0].comparison, "answer_first", None)]
    finish("measured", comparison=[*comparisons, nothing], measure=measures)


@pytest.fixture(scope="module", autouse=True)
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One database for all tests of this module, which only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", tmp_path_factory.mktemp("questions"))
        manifests.finish_run(record_everything("whole"))
        finish(
            "uncontrolled",
            comparison=[comparison("generated/routed", "static/routed", "between_families"), worth("above")],
        )
        for name, verdict in zip(WORTH, GENERATED, strict=True):
            between = judged("generated/routed", "static/routed", "between_families", verdict)
            finish(name, comparison=[between, worth(name)], score=[CONTROL])
        finish_measured()
        record_everything("running")
        manifests.fail_run(record_everything("failed"), "out of luck")
        damaged = record_everything("incomplete")
        lost = record(damaged, "score", [score(("lost", "control", "random_words"), (2.0,))], chunk="lost")
        (artifacts.ARTIFACTS / lost["path"]).unlink()
        manifests.finish_run(damaged)
        results.rebuild_database()
        yield


def read(view: str, run_id: str = "whole") -> list[dict[str, Any]]:
    return read_questions(run_id, [view])[view]


def values(rows: Sequence[dict[str, Any]], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


WHAT_WAS_FOUND = {  # the values of every comparison here, and the shares of its 5 wins and 2 ties among 8 pairs
    "run_id": "whole",
    "n": 8,
    "improvement_mean": 0.5,
    "improvement_low": 0.3,
    "improvement_high": 0.7,
    "interval_method": "bca",
    "cohens_d": 2.5,
    "p_value": 0.01,
    "p_adjusted": 0.04,
    "adjustment": "holm",
    "win_rate": 0.625,
    "tie_rate": 0.25,
}
OF_MARGIN = {"margin_improvement_mean": 0.25, "margin_improvement_low": 0.1, "margin_improvement_high": 0.3}
YES = {"verdict": "better", "answer": "yes"}


@pytest.mark.parametrize("view", [view for view in results.QUESTIONS if view != "run_summary"])
def test_a_question_has_rows_of_complete_runs_alone(view: str) -> None:
    assert read(view) != []
    for run_id in ("running", "failed", "incomplete"):
        assert read("run_summary", run_id)[0]["status"] == run_id
        assert read(view, run_id) == []


def test_priming_helps_if_it_beats_baseline_and_bare_document_by_its_content() -> None:
    rows = read("does_priming_help")
    expected = {family: answer for family, (_, _, answer) in PRIMED.items()}
    expected |= dict.fromkeys(("no_words", "no_bare"), "undecided: controls not run")
    assert values(rows, "comparison", "answer") == sorted(
        (f"{family}/routed vs {BASELINE}", answer) for family, answer in expected.items()
    )
    (sure,) = [row for row in rows if row["comparison"] == SECOND]
    assert sure == WHAT_WAS_FOUND | OF_MARGIN | YES | {"comparison": SECOND}


def test_a_margin_without_an_interval_says_nothing_against_a_gain() -> None:
    """A single sample with a distractor once read as wrong answers becoming likelier."""
    (row,) = [row for row in read("does_priming_help") if row["comparison"].startswith("one_distractor/")]
    assert (row["answer"], row["margin_improvement_mean"], row["margin_improvement_low"]) == ("yes", 0.25, None)


def test_generated_is_better_than_static_by_their_comparison_once_controls_were_run() -> None:
    found = [values(read("is_generated_better_than_static", run_id), "verdict", "answer") for run_id in WORTH]
    assert found == [[pair] for pair in GENERATED.items()]
    uncontrolled = read("is_generated_better_than_static", "uncontrolled")
    assert values(uncontrolled, "answer") == [("undecided: controls not run",)]
    tests = {"equivalence_margin": 0.026, "equivalence_p_value": 0.9, "smallest_detectable_improvement": 0.25}
    (row,) = read("is_generated_better_than_static")
    assert row == WHAT_WAS_FOUND | OF_MARGIN | YES | tests | {"comparison": FIRST}


def test_generation_is_worth_its_compute_if_the_whole_interval_is_above_the_margin() -> None:
    found = [values(read("is_generation_worth_its_compute", run_id), "answer") for run_id in WORTH]
    assert found == [[(answer,)] for _, _, answer in WORTH.values()]
    uncontrolled = read("is_generation_worth_its_compute", "uncontrolled")
    assert values(uncontrolled, "answer", "written_tokens", "index_flops_ratio", "cache_bytes_ratio") == [
        ("undecided: controls not run", None, None, None)
    ]
    (row,) = read("is_generation_worth_its_compute")
    # of generated/routed and the baseline in COSTS: 370 + 30 tokens; 600 / 100 tokens in all; 200 / 100 prefilled
    ratios = {"written_tokens": 400.0, "index_flops_ratio": 6.0, "cache_bytes_ratio": 2.0, "equivalence_margin": 0.026}
    name = {"comparison": "generated/routed vs free/best_arm"}
    assert row == WHAT_WAS_FOUND | YES | ratios | name | {"improvement_low": 0.027}


def test_every_declared_control_contrast_answers_a_question_of_its_own() -> None:
    rows = {row["comparison"]: row for row in read("does_the_content_matter")}
    assert len(read("does_the_content_matter")) == len(CONTROL_CONTRASTS)
    names = [f"{arm} vs {reference}" for arm, reference in CONTROL_CONTRASTS]
    assert {name: rows[name]["answer"] for name in names} == {
        name: OF_VERDICT[verdict] for name, verdict in zip(names, VERDICTS_OF_CONTROLS, strict=True)
    }
    questions = [rows[name]["question"] for name in names]
    assert all("?" in question for question in questions)
    assert len(set(questions)) == len(CONTROL_CONTRASTS)
    name = "generated/target_question vs control/blank_surrogate"
    negligibly = {"verdict": NEGLIGIBLE, "answer": "yes, but negligibly"}
    tests = {"equivalence_margin": 0.026, "equivalence_p_value": 0.9}
    question = {"comparison": name, "question": "Does a surrogate help the template without one?"}
    assert rows[name] == WHAT_WAS_FOUND | OF_MARGIN | negligibly | tests | question


def test_routing_is_judged_against_a_random_and_the_best_key_beside_its_agreement_with_the_oracle() -> None:
    oracle, random_key, *others = read("does_routing_help")
    tests = {"agreement_rate": 0.5, "chance_rate": 0.25, "family": "a"}
    optimistic = {"verdict": "optimistic by construction, not a verdict", "answer": None, "is_optimistic": True}
    best = "the best of all keys, known afterwards, over the baseline"
    assert oracle == WHAT_WAS_FOUND | tests | optimistic | {"comparison": f"a/oracle vs {BASELINE}", "instead": best}
    name = {"comparison": "a/routed vs a/mean_of_keys", "instead": "a key drawn at random"}
    assert random_key == WHAT_WAS_FOUND | YES | tests | name | {"is_optimistic": False}
    elsewhere, at_random = "the one key that is best on other passages", "a key drawn at random"
    answers = list(OF_VERDICT.values())
    assert values(others, "family", "instead", "answer", "agreement_rate") == [
        ("b", elsewhere, answers[1], None),
        ("c", at_random, answers[2], None),
        ("d", elsewhere, answers[3], None),
        ("e", at_random, answers[4], None),
        ("f", elsewhere, answers[5], None),
    ]


def test_who_gains_lists_levels_in_order_beside_the_overall_gain() -> None:
    first, *others = read("who_gains")
    assert first == {
        "run_id": "whole",
        "comparison": FIRST,
        "stratified_by": "difficulty",
        "level": "1: 0.00 to 0.41",
        "rank": 0,
        "difficulty_arm": BARE,
        "n": 4,
        "passage_count": 3,
        "improvement_mean": 0.25,
        "improvement_low": None,
        "improvement_high": None,
        "cohens_d": 1.5,
        "win_rate": 0.75,  # 3 of 4
        "tie_rate": 0.25,
        "overall_improvement_mean": 0.5,
    }
    assert values(others, "comparison", "level", "difficulty_arm") == [
        (FIRST, "2: 0.41 to 0.63", BARE),
        (SECOND, "numeric", None),
    ]


def test_another_measure_confirms_or_contradicts_by_the_sides_of_the_intervals() -> None:
    """Two intervals are needed: one that could not be computed once read as a difference that was not shown."""
    rows = read("does_the_measure_matter", "measured")
    assert values(rows, "comparison", "measure", "says") == [
        (f"{number}/routed vs {BASELINE}", "longer_answers", says) for number, (_, _, says) in enumerate(MEASURED)
    ]
    assert rows[0] == {
        "run_id": "measured",
        "comparison": f"0/routed vs {BASELINE}",
        "measure": "longer_answers",
        "unit": "nats per answer token",
        "n": 6,
        "arm_mean": 1.75,
        "reference_mean": 1.5,
        "improvement_mean": 0.25,
        "improvement_low": 0.1,
        "improvement_high": 0.3,
        "cohens_d": 0.5,
        "p_value": 0.125,
        "nll_improvement_mean": 0.5,
        "says": "confirms",
    }


def test_seconds_of_a_family_are_shared_out_by_tokens_and_a_control_has_its_own() -> None:
    rows = read("what_does_it_cost")
    assert values(rows, "condition", "write_seconds", "score_seconds") == [  # by nll_mean; from COSTS and STAGE_SECONDS
        ("generated/routed", 40.0, 20.0),  # 30 + 10 and 12 + 8
        ("generated/b", 10.0, 8.0),  # 40 * 100 / (300 + 100) tokens, 20 * 80 / (120 + 80) tokens
        ("generated/a", 30.0, 12.0),  # 40 * 300 / 400, 20 * 120 / 200
        ("static/routed", 0.5, 8.0),
        ("static/a", None, pytest.approx(4.4)),  # 8 * 110 / (110 + 90); no tokens to share the writing by
        (BASELINE, None, 4.0),  # 3 + 1
        (WORDS, 2.0, 7.0),
        ("control/other_document", 6.0, 11.0),
        (BARE, None, 5.0),
        ("static/b", None, pytest.approx(3.6)),
    ]
    assert rows[1] == {
        "run_id": "whole",
        "condition": "generated/b",
        "nll_mean": 1.0,
        "improvement_mean": 0.5,
        "prompt_tokens": 80.0,
        "generated_tokens": 20.0,
        "prefill_tokens": 80.0,
        "index_flops": 1.8e8,
        "cache_bytes": 80.0,
        "attended_tokens": 120.0,
        "extra_attended_tokens": 13.0,
        "query_flops": 5e6,
        "improvement_per_1000_tokens": 2.5,
        "is_dominated": True,
        "dominated_by": "static/a",
        "write_seconds": 10.0,
        "score_seconds": 8.0,
    }
