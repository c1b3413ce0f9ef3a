"""Each question is answered from the rows of complete runs alone; what a view must say is worked out by hand."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tasks import results
from tasks.priming.records import Comparison, Cost, Measure, RoutingAgreement, Stratum, Verdict
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
    "who_gains",
    "does_the_measure_matter",
    "what_does_it_cost",
)
CONTROL = score(("first", "control", "random_words"), (1.0,))
BLANK = "generated/target_question vs control/blank_surrogate"

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
    return [
        *(comparison("static/routed", reference) for reference in (BASELINE, BARE, WORDS)),
        comparison("generated/routed", BASELINE),
        comparison("generated/target_question", "control/blank_surrogate", "control", "better, but negligibly"),
        comparison("static/routed", "static/mean_of_keys", "routing"),
        comparison("static/oracle", BASELINE, "oracle", optimistic, is_optimistic=True),
        comparison("generated/routed", "static/routed", "between_families"),
        comparison("generated/routed", "static/best_key", "between_families", "worse"),
        comparison("generated/routed", "free/best_arm", "worth", improvement_low=0.027),
    ]


def record_everything(run_id: str) -> manifests.Attempt:
    """Record a run that every question has rows of; it is left running."""
    attempt = start(run_id)
    manifests.extend_run(attempt, {}, {"stage_seconds": STAGE_SECONDS})
    margins = [measure(name) for name in (SECOND, FIRST, BLANK)]
    record_answers(attempt, comparison=compared(), measure=[*margins, measure(SECOND, "answer_first")], score=[CONTROL])
    strata = [
        stratum(FIRST, "difficulty", "2: 0.41 to 0.63", 1, BARE),
        stratum(FIRST, "difficulty", "1: 0.00 to 0.41", 0, BARE),
        stratum(SECOND, "query_type", "numeric", 0),
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
YES = {"verdict": "better", "answer": "yes", "sentence": "yes", "samples_to_decide": None}


@pytest.mark.parametrize("view", VIEWS)
def test_a_question_has_rows_of_complete_runs_alone(view: str) -> None:
    assert read(view) != []
    for run_id in ("running", "failed", "incomplete"):
        assert read("run_summary", run_id)[0]["status"] == run_id
        assert read(view, run_id) == []


@pytest.mark.parametrize("view", [*VIEWS, "outcome", "run_summary"])
def test_a_name_alone_means_the_newest_complete_run(view: str) -> None:
    """Expected: the rows of run "measured", which ended last, in the same order and without its id."""
    with results.open_results() as connection:
        found = rows_of(connection, f"SELECT * FROM {view}")
    assert found == [{name: row[name] for name in row if name != "run_id"} for row in read(view, "measured")]


def test_schema_main_holds_tables_alone() -> None:
    with results.open_results() as connection:
        found = "SELECT DISTINCT schema_name FROM duckdb_views() WHERE NOT internal ORDER BY ALL"
        assert connection.execute(found).fetchall() == [("all_runs",), ("latest",)]


def test_answers_stand_in_their_order_with_what_they_rest_on() -> None:
    rows = read("what_did_it_find")
    assert values(rows, "position", "question", "subject", "answer", "comparison") == [
        (0, "should_i_prime", "", "yes", SECOND),
        (1, "does_priming_help", "static", "yes", SECOND),
        (2, "does_priming_help", "generated", "controls_missing", f"generated/routed vs {BASELINE}"),
        (3, "is_generated_better_than_static", "generated", "yes", FIRST),
        (4, "is_generation_worth_its_compute", "generated", "yes", "generated/routed vs free/best_arm"),
        (5, "does_the_content_matter", "Does a surrogate help the template without one?", "negligible", BLANK),
        (6, "does_routing_help", "static over a key drawn at random", "yes", "static/routed vs static/mean_of_keys"),
        (
            7,
            "does_routing_help",
            "static: its best key, known afterwards, over the baseline",
            "not_asked",
            f"static/oracle vs {BASELINE}",
        ),
    ]


def test_does_priming_help() -> None:
    first, second = read("does_priming_help")
    assert first == WHAT_WAS_FOUND | OF_MARGIN | YES | {"subject": "static", "comparison": SECOND, "rests_on": SECOND}
    assert values([second], "sentence", "margin_improvement_low") == [("undecided: controls not run", None)]


def test_is_generated_better_than_static() -> None:
    tests = {"equivalence_margin": 0.026, "equivalence_p_value": 0.9, "smallest_detectable_improvement": 0.25}
    (row,) = read("is_generated_better_than_static")
    assert row == WHAT_WAS_FOUND | OF_MARGIN | YES | tests | {"subject": "generated", "comparison": FIRST}


def test_is_generation_worth_its_compute() -> None:
    (row,) = read("is_generation_worth_its_compute")
    # of generated/routed and the baseline in COSTS: 370 + 30 tokens; 600 / 100 tokens in all; 200 / 100 prefilled
    ratios = {"written_tokens": 400.0, "index_flops_ratio": 6.0, "cache_bytes_ratio": 2.0, "equivalence_margin": 0.026}
    name = {"subject": "generated", "comparison": "generated/routed vs free/best_arm", "improvement_low": 0.027}
    assert row == WHAT_WAS_FOUND | YES | ratios | name


def test_does_the_content_matter() -> None:
    (row,) = read("does_the_content_matter")
    negligibly = {"verdict": "better, but negligibly", "answer": "negligible", "sentence": "yes, but negligibly"}
    tests = {"equivalence_margin": 0.026, "equivalence_p_value": 0.9, "samples_to_decide": None}
    question = {"comparison": BLANK, "subject": "Does a surrogate help the template without one?"}
    assert row == WHAT_WAS_FOUND | OF_MARGIN | negligibly | tests | question


def test_routing_stands_next_to_its_agreement_with_the_oracle() -> None:
    random_key, oracle = read("does_routing_help")
    tests = {"agreement_rate": 0.5, "chance_rate": 0.25, "family": "static"}
    name = {"comparison": "static/routed vs static/mean_of_keys", "subject": "static over a key drawn at random"}
    assert random_key == WHAT_WAS_FOUND | YES | tests | name | {"is_optimistic": False}
    assert values([oracle], "answer", "is_optimistic", "agreement_rate") == [("not_asked", True, 0.5)]


def test_who_gains_lists_levels_in_order_next_to_the_overall_gain() -> None:
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
