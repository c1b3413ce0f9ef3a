"""The comparisons that decide, made again by other measures."""

import dataclasses
import math
import random
from typing import Any

import pytest

from tasks.priming.records import LEAST_CLUSTERS, Measure, Route, Score
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.comparisons import compare_conditions
from tasks.priming.statistics.contrasts import declare_contrasts
from tasks.priming.statistics.measures import LIKELIHOOD_MEASURES, MEASURES, vary_comparisons
from tasks.priming.statistics.run_data import RunData
from tests import run_rows
from tests.run_rows import route, sample

SETTINGS = StatisticsSettings(bootstrap_resamples=100)
ARMS = ("static/factual", "static/problem", "generated/keyword_query", "generated/target_question")
OTHERS = (
    *(f"control/{key}" for key in ("bare_document", "blank_surrogate", "random_words")),
    *(f"generated/target_question+{treatment}" for treatment in ("hidden", "blind", "masked")),
)


def score(sample_id: str, arm: str, nll: float | None, distractors: tuple[float, ...] = (), **others: Any) -> Score:
    """Return a score of a two-token answer, the second token being worth 0.5 more than the mean."""
    measured: dict[str, Any] = {"distractor_nlls": distractors or None}
    if nll is not None:
        measured["nll_notebook"] = nll + 0.5
        measured["margin"] = sum(distractors) / len(distractors) - nll if distractors else None
    return run_rows.score(sample_id, arm, nll, **measured | others)


def routed(sample_id: str, *arms: str) -> list[Route]:
    """Return the routes of a sample, in which the given arms are chosen."""
    return [route(sample_id, arm, is_routed=arm in arms) for arm in ARMS]


def static_run(*rows: tuple[Score, Score]) -> RunData:
    """Return a run of one static key, which is always routed: per sample its score and the baseline's."""
    samples = [sample(arm.sample_id) for arm, _ in rows]
    routes = [route(row.sample_id, "static/factual") for row in samples]
    return RunData(samples, routes, [row for pair in rows for row in pair], [])


def experiment(count: int = 24) -> RunData:
    """Return samples, two on a passage, with every arm and the controls of the 2x2."""
    generator = random.Random(1)
    ids = [f"sample-{number:03d}" for number in range(count)]
    samples = [sample(sample_id, f"passage-{number // 2:03d}") for number, sample_id in enumerate(ids)]
    routes = [row for s in ids for row in routed(s, generator.choice(ARMS[:2]), generator.choice(ARMS[2:]))]
    arms = ["baseline/document", *ARMS, *OTHERS]
    scores = [
        score(
            sample_id,
            arm,
            generator.expovariate(0.5),
            (generator.expovariate(0.4), generator.expovariate(0.4)),
            nll_notebook=generator.expovariate(0.5),
            answer_token_count=1 + number % 3,
        )
        for number, sample_id in enumerate(ids)
        for arm in arms
    ]
    return RunData(samples, routes, scores, [])


def vary(evidence: RunData, seed: int = 42) -> dict[tuple[str, str], Measure]:
    return {(row.comparison, row.measure): row for row in vary_comparisons(evidence, SETTINGS, seed)}


def test_every_deciding_comparison_is_made_by_every_measure() -> None:
    evidence = experiment(6)
    rows = vary_comparisons(evidence, SETTINGS, 42)
    declared = [contrast.comparison for contrast in declare_contrasts(evidence) if contrast.question]
    assert [(row.measure, row.comparison) for row in rows] == [(name, each) for name in MEASURES for each in declared]
    assert "generated/target_question vs generated/target_question+added_up" in declared
    assert "generated routed vs best free condition" in declared
    assert "static oracle vs baseline" not in declared  # what no answer rests on


def test_a_margin_is_reported_as_such_and_a_larger_one_is_better() -> None:
    """Expected by hand: margins 2 and 4 of the arm against 1 and 1 of the baseline."""
    evidence = static_run(
        (score("a", "static/factual", 1.0, (2.0, 4.0)), score("a", "baseline/document", 2.0, (3.0,))),
        (score("b", "static/factual", 1.0, (5.0,)), score("b", "baseline/document", 1.0, (1.0, 3.0))),
    )
    found = vary(evidence)["static routed vs baseline", "margin"]
    assert (found.arm_mean, found.reference_mean, found.improvement_mean) == (3.0, 1.0, 2.0)
    assert (found.n, found.passage_count, found.unit) == (2, 2, "nats per answer token")


def test_an_answer_is_first_only_where_it_beats_every_distractor() -> None:
    """Expected by hand: the arm is first on a and b; the baseline on a alone, since on b it equals one."""
    evidence = static_run(
        (score("a", "static/factual", 1.0, (2.0, 4.0)), score("a", "baseline/document", 2.0, (3.0, 2.5))),
        (score("b", "static/factual", 1.0, (5.0, 2.0)), score("b", "baseline/document", 1.0, (1.0, 3.0))),
        (score("c", "static/factual", 3.0, (5.0, 2.0)), score("c", "baseline/document", 4.0, (1.0, 3.0))),
    )
    found = vary(evidence)["static routed vs baseline", "answer_first"]
    assert found.arm_mean == pytest.approx(2 / 3)  # a and b of three
    assert found.reference_mean == pytest.approx(1 / 3)  # a of three
    assert found.improvement_mean == pytest.approx(1 / 3)
    assert found.unit == "share of samples"


def test_a_share_of_nothing_is_zero_without_a_sign() -> None:
    pairs = [(score(s, "static/factual", 3.0, (1.0,)), score(s, "baseline/document", 2.0, (1.0,))) for s in "ab"]
    found = vary(static_run(*pairs))["static routed vs baseline", "answer_first"]
    assert (str(found.arm_mean), str(found.reference_mean)) == ("0.0", "0.0")  # by eye: never first
    assert (found.improvement_low, found.improvement_high, found.p_value) == (0.0, 0.0, None)  # all equal


def test_the_first_token_is_left_out_as_in_the_notebook() -> None:
    """Expected by hand: 5 - 2 and 1 - 2; an answer of one token has no such NLL."""
    evidence = static_run(
        (
            score("a", "static/factual", 1.0, nll_notebook=2.0),
            score("a", "baseline/document", 2.0, nll_notebook=5.0),
        ),
        (
            score("b", "static/factual", 1.0, nll_notebook=2.0),
            score("b", "baseline/document", 2.0, nll_notebook=1.0),
        ),
        (
            score("c", "static/factual", 1.0, nll_notebook=None),
            score("c", "baseline/document", 9.0, nll_notebook=None),
        ),
    )
    found = vary(evidence)["static routed vs baseline", "first_token_unscored"]
    assert (found.n, found.arm_mean, found.reference_mean, found.improvement_mean) == (2, 2.0, 3.0, 1.0)


def test_longer_answers_leave_out_those_of_one_token() -> None:
    """Expected by hand: the one-token answer would have brought a third gain."""
    evidence = static_run(
        (score("a", "static/factual", 1.0), score("a", "baseline/document", 2.0)),
        (score("b", "static/factual", 1.0), score("b", "baseline/document", 4.0)),
        (
            score("c", "static/factual", 1.0, answer_token_count=1),
            score("c", "baseline/document", 9.0, answer_token_count=1),
        ),
    )
    found = vary(evidence)["static routed vs baseline", "longer_answers"]
    gains = [100 * (math.exp(-1) - math.exp(-2)), 100 * (math.exp(-1) - math.exp(-4))]
    assert (found.n, found.unit) == (2, "percentage points")
    assert found.improvement_mean == pytest.approx(sum(gains) / 2)
    assert found.arm_mean == pytest.approx(100 * math.exp(-1))


def test_likelihood_is_measured_per_token_per_byte_in_sum_and_as_a_ratio() -> None:
    """Expected by hand: two answers of two and four tokens and of three bytes, with NLLs 1 and 2 against 2 and 2."""
    samples = [sample("a", answer="abc"), sample("b", answer="é!")]
    scores = [
        score("a", "static/factual", 1.0, answer_token_count=2),
        score("a", "baseline/document", 2.0, answer_token_count=2),
        score("b", "static/factual", 2.0, answer_token_count=4),
        score("b", "baseline/document", 2.0, answer_token_count=4),
    ]
    found = vary(RunData(samples, [route(s, "static/factual") for s in "ab"], scores, []))
    means = {name: found["static routed vs baseline", name].improvement_mean for name in LIKELIHOOD_MEASURES}
    assert means == pytest.approx(
        {
            "nll": 0.5,  # 1 and 0
            "log_ratio": math.log(2) / 2,  # ln 2 and 0
            "nll_per_byte": 1 / 3,  # 2 / 3 and 0
            "summed_nll": 1.0,  # 2 and 0
        }
    )


def test_the_best_key_is_chosen_by_the_measure() -> None:
    """Expected by hand: factual has the lower NLL everywhere, problem the larger margin, 4 against 1."""
    ids = [f"s{number}" for number in range(6)]
    routes = [
        route(s, arm, is_routed=arm != "static/problem")
        for s in ids
        for arm in ("static/factual", "static/problem", "generated/target_question")
    ]
    scores = [
        row
        for s in ids
        for row in (
            score(s, "static/factual", 1.0, (2.0,)),
            score(s, "static/problem", 2.0, (6.0,)),
            score(s, "generated/target_question", 1.0, (3.0,)),
        )
    ]
    found = vary(RunData([sample(s) for s in ids], routes, scores, []))
    margin = found["generated routed vs static best_key", "margin"]
    assert (margin.arm_mean, margin.reference_mean, margin.improvement_mean) == (2.0, 4.0, -2.0)
    nll = found["generated routed vs static best_key", "nll"]
    assert (nll.reference_mean, nll.improvement_mean) == (1.0, 0.0)
    free = found["generated routed vs best free condition", "margin"]
    assert (free.reference_mean, free.improvement_mean) == (4.0, -2.0)


def test_two_effects_are_added_up_in_the_measure() -> None:
    """Expected by hand: margins 3 (hidden) + 2 (blind) - 1 (neither) = 4, against 5 of target_question."""
    margins = {
        "generated/target_question": 5.0,
        "generated/target_question+hidden": 3.0,
        "generated/target_question+blind": 2.0,
        "generated/target_question+masked": 1.0,
    }
    scores = [score(s, arm, 1.0, (1.0 + margin,)) for s in "ab" for arm, margin in margins.items()]
    routes = [route(s, "generated/target_question") for s in "ab"]
    found = vary(RunData([sample("a"), sample("b")], routes, scores, []))
    interaction = found["generated/target_question vs generated/target_question+added_up", "margin"]
    assert (interaction.arm_mean, interaction.reference_mean, interaction.improvement_mean) == (5.0, 4.0, 1.0)


def test_a_measure_that_equals_the_nll_gives_the_comparison_itself() -> None:
    """Computed two ways: a run without one-token answers, by longer answers and as compared."""
    evidence = experiment(2 * LEAST_CLUSTERS)
    scores = [dataclasses.replace(row, answer_token_count=2) for row in evidence.scores]
    evidence = dataclasses.replace(evidence, scores=scores)
    found = vary(evidence)
    compared = [row for row in compare_conditions(evidence, SETTINGS, 42) if row.question]
    assert len(compared) > 10
    for row in compared:
        measure = found[row.comparison, "longer_answers"]
        for name in (
            "n", "passage_count", "improvement_mean", "improvement_low", "improvement_high", "p_value", "answer_low",
            "answer_high", "answer_p", "cohens_d",
        ):  # fmt: skip
            assert getattr(measure, name) == getattr(row, name)
        assert (measure.arm_mean, measure.reference_mean) == (row.probability_arm_mean, row.probability_reference_mean)


@pytest.mark.parametrize(
    "spoilt",
    [
        {"status": "too_long"},
        {"nll": None, "margin": None, "nll_notebook": None},
        {"nll": math.nan, "margin": math.nan, "nll_notebook": math.nan},
        {"nll": math.inf, "margin": -math.inf, "nll_notebook": math.inf},
    ],
)
def test_scores_that_are_missing_or_not_finite_are_left_out(spoilt: dict[str, Any]) -> None:
    pairs = [(score(s, "static/factual", 1.0, (2.0,)), score(s, "baseline/document", 2.0, (2.5,))) for s in "abc"]
    pairs[1] = (dataclasses.replace(pairs[1][0], **spoilt), pairs[1][1])
    found = vary(static_run(*pairs))
    assert [found["static routed vs baseline", name].n for name in MEASURES] == [2] * len(MEASURES)  # a and c


@pytest.mark.parametrize("distractors", [(1.5, math.nan), (math.nan, 1.5), (math.inf, 1.5)])
def test_a_distractor_that_is_not_finite_leaves_no_order_of_answers(distractors: tuple[float, ...]) -> None:
    """min() of a NaN depends on where it stands."""
    pairs = [
        (score("a", "static/factual", 1.0, distractors), score("a", "baseline/document", 2.0, (2.5,))),
        (score("b", "static/factual", 1.0, (2.0,)), score("b", "baseline/document", 2.0, (2.5,))),
    ]
    assert vary(static_run(*pairs))["static routed vs baseline", "answer_first"].n == 1  # b alone


def test_a_run_without_distractors_has_variants_that_say_nothing() -> None:
    pairs = [(score(s, "static/factual", 1.0), score(s, "baseline/document", 2.0)) for s in "ab"]
    for name in ("margin", "answer_first"):
        found = vary(static_run(*pairs))["static routed vs baseline", name]
        assert (found.n, found.passage_count) == (0, 0)
        assert dataclasses.astuple(found)[5:] == (None,) * 10  # means, improvement, intervals, p-values, d
