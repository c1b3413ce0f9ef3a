"""Each question is answered from the rows of complete runs alone; what a view must say is worked out by hand."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tasks import results
from tasks.priming.records import Comparison, Contender, Cost, Measure, RoutingAgreement, Stratum, Verdict
from tasks.reading.database import Row, rows_of
from tasks.store import artifacts, manifests
from tests.published_rows import comparison, finish, record, record_answers, score, start

BASELINE, BARE, WORDS = "baseline/document", "control/bare_document", "control/random_words"
VIEWS = (
    "what_did_it_find",
    "does_priming_help",
    "is_generated_better_than_static",
    "is_generation_worth_its_compute",
    "does_the_content_matter",
    "does_routing_help",
    "could_a_gain_be_seen",
    "should_i_prime",
    "who_gains",
    "does_the_measure_matter",
    "what_does_it_cost",
    "when_does_it_pay",
)
CONTROL = score(("first", "control", "random_words"), (1.0,))
BLANK = "generated/target_question vs control/blank_surrogate"

Interval = tuple[float, float] | None


def measure(of: str, name: str = "margin", interval: Interval = (0.1, 0.3), n: int = 6) -> Measure:
    low, high = interval or (None, None)
    return Measure(of, name, "nats per answer token", n, 5, 1.75, 1.5, 0.25, 0.2, 0.3, 0.125, low, high, 0.03, 0.5)


def stratum(of: str, stratified_by: str, level: str, rank: int, by: str = "probability") -> Stratum:
    return Stratum(of, stratified_by, level, rank, by, 4, 3, 0.25, None, None, 1.5, win_count=3, tie_count=1)


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
        probability_mean=None if nll is None else 100 - 10 * nll,
        improvement_mean=0.5,
        improvement_per_1000_tokens=2.5,
        is_dominated=True,
        dominated_by="static/a",
    )


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
FIRST, SECOND = "generated/routed vs static/routed", f"static/routed vs {BASELINE}"
CONTENDERS = [
    Contender("static/routed", 1, 200, 150, 42.5, -4.0, 0.5, may_be_best=True, is_close_to_best=True),
    Contender(BASELINE, 0, 200, 150, 37.5, 3.0, 7.0, may_be_best=False, is_close_to_best=False),
]
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


def compared() -> list[Comparison]:
    """Return a comparison for every question."""
    optimistic: Verdict = "optimistic by construction, not a verdict"
    content, better = "does_the_content_matter", "is_generated_better_than_static"
    return [
        *(comparison("static/routed", reference) for reference in (BASELINE, BARE)),
        comparison("static/routed", WORDS, question=content),
        comparison("generated/routed", BASELINE),
        comparison("generated/target_question", "control/blank_surrogate", "control", question=content),
        comparison("static/routed", "static/mean_of_keys", "routing", question="does_routing_help"),
        comparison("static/oracle", BASELINE, "oracle", optimistic, None, is_optimistic=True),
        comparison("generated/routed", "static/routed", "between_families", question=better),
        comparison(
            "generated/routed", "free/best_arm", "best_of", question="is_generation_worth_its_compute", answer_p=None
        ),
        comparison("control/answer_given", BARE, "assay", question="could_a_gain_be_seen"),
        comparison("control/no_passage", BASELINE, "assay", "worse", "could_a_gain_be_seen"),
    ]


def record_everything(run_id: str) -> manifests.Attempt:
    """Record a run that every question has rows of; it is left running."""
    attempt = start(run_id)
    manifests.extend_run(attempt, {}, {"stage_seconds": STAGE_SECONDS})
    margins = [measure(row.comparison) for row in compared()]
    measures = [*margins, measure(SECOND, "answer_first")]
    record_answers(attempt, comparison=compared(), measure=measures, contender=CONTENDERS, score=[CONTROL])
    strata = [
        stratum(FIRST, "difficulty", "2: 41 to 63", 1),
        stratum(FIRST, "difficulty", "1: 0 to 41", 0),
        stratum(SECOND, "distractor_source", "same_passage", 0, "margin"),
    ]
    record(attempt, "stratum", strata)
    record(attempt, "routing_agreement", [RoutingAgreement("static", 8, 0.5, 0.25, 0.375, None, None, 0, 0)])
    record(attempt, "cost", COSTS)
    return attempt


def finish_measured() -> None:
    """Complete a run with the comparisons of MEASURED, and two of which one side has no interval."""
    comparisons, measures = [], []
    for number, (of_record, other, _) in enumerate(MEASURED):
        low, high = of_record
        comparisons.append(comparison(f"{number}/routed", BASELINE, answer_low=low, answer_high=high))
        measures.append(measure(comparisons[-1].comparison, "longer_answers", other))
    nothing = comparison("nothing/routed", BASELINE, answer_low=None, answer_high=None)
    measures += [measure(nothing.comparison), measure(comparisons[0].comparison, "answer_first", None)]
    assayed = [comparison("control/no_passage", BASELINE, "assay", "worse", "could_a_gain_be_seen")]
    content = comparison("generated/routed", WORDS, question="does_the_content_matter")
    finish(
        "measured",
        comparison=[*comparisons, nothing, content, *assayed, *compared()[4:6]],
        measure=measures,
        contender=CONTENDERS,
    )


@pytest.fixture(scope="module", autouse=True)
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One database for all tests of this module, which only read it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", tmp_path_factory.mktemp("questions"))
        manifests.finish_run(record_everything("whole"))
        finish_measured()
        record_everything("running")
        manifests.fail_run(record_everything("failed"), "out of luck")
        damaged = record_everything("incomplete")
        lost = record(damaged, "score", [score(("lost", "control", "random_words"), (2.0,))], chunk="lost")
        (artifacts.ARTIFACTS / lost["path"]).unlink()
        manifests.finish_run(damaged)
        results.rebuild_database()
        yield


def read(view: str, run_id: str = "whole") -> list[Row]:
    with results.open_results() as connection:
        return rows_of(connection, f"SELECT * FROM all_runs.{view} WHERE run_id = $run_id", run_id)


def values(rows: Sequence[Row], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


WHAT_WAS_FOUND = {  # the values of every comparison here, and the shares of its 125 wins and 50 ties among 200 pairs
    "run_id": "whole",
    "n": 200,
    "improvement_mean": 5.0,
    "answer_low": 3.0,
    "answer_high": 7.0,
    "answer_p": 0.04,
    "win_rate": 0.625,
    "tie_rate": 0.25,
    "cohens_d": 2.5,
    "samples_for_precision": None,
    "verdict": "better",
    "answer": "yes",
    "sentence": "yes",
}
IN_FULL = {
    "improvement_low": 4.0,
    "improvement_high": 6.0,
    "p_value": 0.01,
    "interval_method": "cluster_robust",
    "equivalence_margin": 1.0,
    "margin_improvement_mean": 0.25,
    "margin_answer_low": 0.1,
    "margin_answer_high": 0.3,
}


UNFINISHED = ("running", "failed", "incomplete")


def test_a_run_that_is_not_complete_is_listed_with_what_it_scored() -> None:
    for run_id in UNFINISHED:
        assert read("run_summary", run_id)[0]["status"] == run_id
        assert read("outcome", run_id) != []


@pytest.mark.parametrize("view", VIEWS)
def test_a_question_has_rows_of_complete_runs_alone(view: str) -> None:
    with results.open_results() as connection:
        found = {run_id for (run_id,) in connection.execute(f"SELECT DISTINCT run_id FROM all_runs.{view}").fetchall()}
    assert "whole" in found
    assert found.isdisjoint(UNFINISHED)


@pytest.mark.parametrize("view", [*VIEWS, "outcome", "run_summary"])
def test_a_name_alone_means_the_newest_complete_run(view: str) -> None:
    """Expected: the rows of run "measured", which ended last, in the same order and without its id."""
    with results.open_results() as connection:
        found = rows_of(connection, f"SELECT * FROM {view}")
    assert found == [{name: row[name] for name in row if name != "run_id"} for row in read(view, "measured")]


def test_answers_stand_in_their_order_with_what_they_rest_on() -> None:
    rows = read("what_did_it_find")
    assert values(rows, "position", "question", "subject", "answer", "comparison") == [
        (0, "should_i_prime", "", "controls_missing", SECOND),
        (1, "does_priming_help", "static", "likelihood_only", SECOND),
        (2, "does_priming_help", "generated", "controls_missing", f"generated/routed vs {BASELINE}"),
        (3, "is_generated_better_than_static", "generated", "yes", FIRST),
        (4, "is_generation_worth_its_compute", "generated", "yes", "generated/routed vs free/best_arm"),
        (5, "does_the_content_matter", "static", "yes", f"static/routed vs {WORDS}"),
        (6, "does_the_content_matter", "generated", "not_asked", BLANK),
        (7, "does_routing_help", "static", "yes", "static/routed vs static/mean_of_keys"),
        (8, "could_a_gain_be_seen", "control", "yes", f"control/answer_given vs {BARE}"),
        (9, "could_a_gain_be_seen", "control", "yes", f"control/no_passage vs {BASELINE}"),
    ]


def test_does_priming_help() -> None:
    first, second = read("does_priming_help")
    said = "yes, in likelihood: the model was not asked to write answers after both"
    names = {"subject": "static", "comparison": SECOND, "rests_on": SECOND}
    assert first == WHAT_WAS_FOUND | IN_FULL | names | {"answer": "likelihood_only", "sentence": said}
    assert values([second], "sentence") == [("undecided: the bare document was not run",)]


def test_is_generation_worth_its_compute() -> None:
    (row,) = read("is_generation_worth_its_compute")
    # of generated/routed and the baseline in COSTS: 370 + 30 tokens; 600 / 100 tokens in all; 200 / 100 prefilled
    ratios = {"written_tokens": 400.0, "index_flops_ratio": 6.0, "cache_bytes_ratio": 2.0, "equivalence_margin": 1.0}
    name = {"subject": "generated", "comparison": "generated/routed vs free/best_arm", "cross_fitted_mean": None}
    shared = {key: value for key, value in WHAT_WAS_FOUND.items() if key not in ("answer_p", "cohens_d")}
    assert row == shared | ratios | name


def test_does_the_content_matter() -> None:
    words, blank = read("does_the_content_matter")
    comparison = f"static/routed vs {WORDS}"
    assert words == WHAT_WAS_FOUND | IN_FULL | {"subject": "static", "comparison": comparison, "rests_on": comparison}
    assert values([blank], "answer", "sentence") == [
        ("not_asked", "not asked: a gain over the document alone is not shown")
    ]


@pytest.mark.usefixtures("artifacts_folder")
def test_when_it_pays_is_the_number_of_queries_that_make_up_for_indexing() -> None:
    """Expected by hand: 900 million operations more to index, 3 million less a query."""
    dropped = replace(cost("generated/a+stripped", 500, 100, 400, 1.0), query_flops=1e6)
    kept = replace(cost("static/a", 0, 0, 100, 2.0), query_flops=4e6)
    places = [
        Contender(row.condition, rank, 2, 2, 40.0, None, None, may_be_best=True, is_close_to_best=False)
        for rank, row in enumerate((kept, dropped))
    ]
    finish("abc", cost=[kept, dropped], contender=places)
    results.rebuild_database()
    with results.open_results() as connection:
        rows = rows_of(connection, "SELECT * FROM all_runs.when_does_it_pay WHERE run_id = $run_id", "abc")
    assert values(rows, "condition", "index_tokens", "overtakes", "queries_to_overtake") == [
        ("static/a", 100, None, None),
        ("generated/a+stripped", 1000, "static/a", 300),
    ]


def test_routing_stands_next_to_its_agreement_with_the_oracle() -> None:
    (random_key,) = read("does_routing_help")
    tests = {"agreement_rate": 0.5, "chance_rate": 0.25, "family": "static"}
    name = {"comparison": "static/routed vs static/mean_of_keys", "subject": "static"}
    assert random_key == WHAT_WAS_FOUND | tests | name


def test_should_i_prime_lists_what_could_be_deployed_from_the_cheapest() -> None:
    first, second = read("should_i_prime")
    assert first == {
        "run_id": "whole",
        "condition": BASELINE,
        "cost_rank": 0,
        "n": 200,
        "probability_mean": 37.5,
        "lag_low": 3.0,
        "lag_high": 7.0,
        "may_be_best": False,
        "is_close_to_best": False,
        "index_flops_ratio": 1.0,
        "cache_bytes_ratio": 1.0,
        "extra_attended_tokens": 13.0,
        "answer": "controls_missing",
        "sentence": "Undecided: the bare document was not run",
    }
    assert values([second], "condition", "index_flops_ratio", "cache_bytes_ratio") == [("static/routed", 2.0, 2.0)]


def test_who_gains_lists_levels_in_order_next_to_the_overall_gain() -> None:
    first, *others = read("who_gains")
    assert first == {
        "run_id": "whole",
        "comparison": FIRST,
        "stratified_by": "difficulty",
        "level": "1: 0 to 41",
        "measure": "probability",
        "rank": 0,
        "n": 4,
        "passage_count": 3,
        "improvement_mean": 0.25,
        "improvement_low": None,
        "improvement_high": None,
        "cohens_d": 1.5,
        "win_rate": 0.75,  # 3 of 4
        "tie_rate": 0.25,
        "overall_improvement_mean": 5.0,
    }
    assert values(others, "comparison", "level", "overall_improvement_mean") == [
        (FIRST, "2: 41 to 63", 5.0),
        (SECOND, "same_passage", 0.25),  # that of the margin
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
        "improvement_low": 0.2,
        "improvement_high": 0.3,
        "answer_low": 0.1,
        "answer_high": 0.3,
        "cohens_d": 0.5,
        "p_value": 0.125,
        "answer_p": 0.03,
        "probability_improvement_mean": 5.0,
        "kind": "routed",
        "says": "confirms",
    }


def test_seconds_of_a_family_are_shared_out_by_tokens_and_a_control_has_its_own() -> None:
    rows = read("what_does_it_cost")
    assert values(
        rows, "condition", "write_seconds", "score_seconds"
    ) == [  # by probability; from COSTS and STAGE_SECONDS
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
        "probability_mean": 90.0,
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
