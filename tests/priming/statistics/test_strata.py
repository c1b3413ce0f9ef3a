"""The comparisons that decide, within parts of the samples; difficulty by an arm that takes no part."""

import dataclasses
import doctest
import math
import random
from typing import Any

import numpy as np
import pytest
import scipy.stats

from tasks.priming.records import Sample, Stratum
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics import strata
from tasks.priming.statistics.conditions import conditions_of
from tasks.priming.statistics.contrasts import Contrast, declare_contrasts
from tasks.priming.statistics.paired import pair_up, paired_mean
from tasks.priming.statistics.run_data import RunData
from tasks.priming.statistics.strata import describe_strata, difficulty_arm, quantile_levels
from tests import run_rows
from tests.run_rows import known, route, score, shuffled

SETTINGS = StatisticsSettings(bootstrap_resamples=100)
STATIC = "static routed vs baseline"
PLAIN = ("control/bare_document", "control/blank_surrogate", "control/random_words")


def sample(sample_id: str, query_type: str | None = None, words: int = 1, passage_id: str | None = None) -> Sample:
    passage = " ".join(["word"] * words)
    return run_rows.sample(sample_id, passage_id, query_type=query_type, passage=passage)


def static_run(
    samples: list[Sample], baseline: list[float], arm: list[float], answer_tokens: list[int] | None = None
) -> RunData:
    """Return a run of one static key, which is always routed, with its NLLs and the baseline's."""
    tokens = answer_tokens or [2] * len(samples)
    scores = [
        score(row.sample_id, name, nll, answer_token_count=count)
        for name, nlls in (("baseline/document", baseline), ("static/factual", arm))
        for row, nll, count in zip(samples, nlls, tokens, strict=True)
    ]
    return RunData(samples, [route(row.sample_id, "static/factual") for row in samples], scores, [])


def with_arms(evidence: RunData, **arms: list[float]) -> RunData:
    """Add the NLLs of controls."""
    scores = [
        score(row.sample_id, f"control/{key}", nll)
        for key, nlls in arms.items()
        for row, nll in zip(evidence.samples, nlls, strict=True)
    ]
    return dataclasses.replace(evidence, scores=[*evidence.scores, *scores])


def experiment(count: int = 60) -> RunData:
    """Return samples of three types, two on a passage, with two routed families and three controls."""
    generator = random.Random(7)
    ids = [f"sample-{number:03d}" for number in range(count)]
    samples = [
        sample(s, generator.choice(["numeric", "entity", None]), generator.randint(5, 60), f"p{number // 2:03d}")
        for number, s in enumerate(ids)
    ]
    routes = [
        route(s, f"{family}/{key}", generator.random() if key == chosen else None, is_routed=key == chosen)
        for s in ids
        for family, keys in (("static", ("factual", "problem")), ("generated", ("keyword_query", "target_question")))
        for chosen in [generator.choice(keys)]
        for key in keys
    ]
    arms = ["baseline/document", *PLAIN, *sorted({f"{row.family}/{row.key}" for row in routes})]
    tokens = {s: generator.randint(1, 20) for s in ids}
    scores = [score(s, arm, generator.expovariate(0.5), answer_token_count=tokens[s]) for s in ids for arm in arms]
    return RunData(samples, routes, scores, [])


def described(evidence: RunData, stratified_by: str, comparison: str = STATIC) -> list[Stratum]:
    return [
        row
        for row in describe_strata(evidence, SETTINGS, 42)
        if (row.comparison, row.stratified_by) == (comparison, stratified_by)
    ]


def difficulty(evidence: RunData, contrast: str) -> str | None:
    return difficulty_arm(evidence, CONTRASTS[contrast], conditions_of(evidence, 1))


def test_every_deciding_comparison_is_divided_in_every_way() -> None:
    evidence = experiment()
    found = describe_strata(evidence, SETTINGS, 42)
    declared = [c for c in declare_contrasts(evidence.routes, evidence.scores) if c.kind in strata.STRATIFIED_KINDS]
    # For the best free arm the random words alone are left to tell the difficulty.
    stratifiers = ("query_type", "answer_tokens", "passage_words", "similarity", "difficulty")
    expected = [(contrast.comparison, name) for contrast in declared for name in stratifiers]
    assert list(dict.fromkeys((row.comparison, row.stratified_by) for row in found)) == expected
    assert {row.comparison for row in found} >= {STATIC, "generated routed vs best free arm"}
    assert "static/factual vs baseline" not in {row.comparison for row in found}  # what no verdict rests on


def test_query_types_are_levels_by_name_and_samples_without_one_are_left_out() -> None:
    """Expected by hand: entity gains 2 - 1, numeric (3 - 1 + 5 - 1) / 2."""
    samples = [sample("a", "numeric"), sample("b", "entity"), sample("c"), sample("d", "numeric"), sample("e", "")]
    found = described(static_run(samples, [3.0, 2.0, 9.0, 5.0, 9.0], [1.0] * 5), "query_type")
    assert [(row.level, row.rank, row.n, row.improvement_mean) for row in found] == [
        ("entity", 0, 1, 1.0),
        ("numeric", 1, 2, 3.0),
    ]
    assert [row.difficulty_arm for row in found] == [None, None]


def test_answer_tokens_are_divided_at_their_limits() -> None:
    """Expected by eye: the ends of each range."""
    tokens = [1, 2, 5, 6, 15, 16, 400]
    samples = [sample(name) for name in "abcdefg"]
    found = described(static_run(samples, [2.0] * 7, [1.0] * 7, tokens), "answer_tokens")
    assert [(row.level, row.rank, row.n) for row in found] == [
        ("1", 0, 1),
        ("2-5", 1, 2),
        ("6-15", 2, 2),
        ("16+", 3, 2),
    ]


def test_answer_tokens_are_those_of_a_sample_that_was_scored() -> None:
    evidence = static_run([sample("a")], [2.0], [1.0], [3])
    failed = score("a", "control/random_words", None, answer_token_count=400, status="out_of_memory")
    evidence = dataclasses.replace(evidence, scores=[*evidence.scores, failed])
    assert [row.level for row in described(evidence, "answer_tokens")] == ["2-5"]


def test_levels_without_pairs_are_left_out_and_the_others_keep_their_rank() -> None:
    samples = [sample("a"), sample("b")]
    found = described(static_run(samples, [2.0, 2.0], [1.0, 1.0], [1, 16]), "answer_tokens")
    assert [(row.level, row.rank) for row in found] == [("1", 0), ("16+", 3)]


def test_words_of_the_passage_are_divided_into_fifths() -> None:
    """Expected by eye: ten lengths, two a fifth; each sample's gain is its number of words."""
    samples = [sample(f"s{number}", words=10 * (number + 1)) for number in range(10)]
    gains = [float(len(row.passage.split())) for row in samples]
    found = described(static_run(samples, gains, [0.0] * 10), "passage_words")
    assert [row.level for row in found] == ["1: 10 to 20", "2: 30 to 40", "3: 50 to 60", "4: 70 to 80", "5: 90 to 100"]
    assert [row.improvement_mean for row in found] == [15.0, 35.0, 55.0, 75.0, 95.0]
    assert [row.rank for row in found] == [0, 1, 2, 3, 4]


def test_similarity_is_that_of_what_the_arms_family_routed() -> None:
    """Expected by eye: the routed key's similarity; b's is not finite, c has none, other keys do not count."""
    samples = [sample(name) for name in "abcd"]
    routes = [
        route(name, f"static/{key}", similarity, is_routed=is_routed)
        for name, routed, other in (("a", 0.9, 0.1), ("b", math.nan, 0.1), ("c", None, None), ("d", 0.2, 0.15))
        for key, similarity, is_routed in (("factual", routed, routed is not None), ("problem", other, False))
    ]
    evidence = dataclasses.replace(static_run(samples, [2.0] * 4, [1.0] * 4), routes=routes)
    assert [(row.level, row.n) for row in described(evidence, "similarity")] == [
        ("1: 0.2 to 0.2", 1),
        ("2: 0.9 to 0.9", 1),
    ]


def test_equal_values_are_never_split_between_levels() -> None:
    """Expected by eye: nine of twelve are equal and in one part, their mean rank's, so that two parts are empty."""
    values = {f"s{number:02d}": 3.0 for number in range(9)} | {"t0": 1.0, "t1": 2.0, "t2": 4.0}
    levels = quantile_levels(values)
    assert [len(part) for part in levels.values()] == [2, 9, 1]
    assert list(levels) == ["1: 1 to 2", "2: 3 to 3", "3: 4 to 4"]
    assert quantile_levels(dict.fromkeys("abc", 7.0)) == {"1: 7 to 7": ["a", "b", "c"]}
    assert quantile_levels({}) == {}


def test_distinct_values_are_divided_evenly() -> None:
    values = {f"s{number}": float(7 * number % 1009) for number in range(1009)}
    parts = quantile_levels(values).values()
    assert [len(part) for part in parts] == [202, 202, 201, 202, 202]  # 1009 / 5 = 201.8
    assert sorted(sample_id for part in parts for sample_id in part) == sorted(values)


def test_a_level_has_the_statistics_of_its_pairs_alone() -> None:
    generator = np.random.default_rng(1)
    samples = [sample(f"s{number:02d}", "numeric" if number < 20 else "entity") for number in range(40)]
    baseline, arm = generator.exponential(2.0, 40), generator.exponential(1.5, 40)
    arm[3] = baseline[3]
    entity, numeric = described(static_run(samples, baseline.tolist(), arm.tolist()), "query_type")
    for row, part in ((numeric, slice(0, 20)), (entity, slice(20, 40))):
        expected = scipy.stats.ttest_rel(baseline[part], arm[part])
        assert row.improvement_mean == pytest.approx((baseline[part] - arm[part]).mean())  # its definition
        assert row.improvement_low == pytest.approx(expected.confidence_interval().low)  # scipy.stats.ttest_rel
        assert row.improvement_high == pytest.approx(expected.confidence_interval().high)  # scipy.stats.ttest_rel
        assert row.cohens_d == pytest.approx(expected.statistic / math.sqrt(20))  # t = d x sqrt(n)
        assert row.win_count == (baseline[part] > arm[part]).sum()  # its definition
    assert (numeric.tie_count, entity.tie_count) == (1, 0)  # the fourth sample


CONTRASTS = {
    "static": Contrast("", "routed", "static/routed", "baseline/document"),
    "static against the bare document": Contrast("", "routed", "static/routed", "control/bare_document"),
    "generated": Contrast("", "routed", "generated/routed", "baseline/document"),
    "families": Contrast("", "between_families", "generated/routed", "static/routed"),
    "best key": Contrast("", "between_families", "generated/routed", "static/best_key"),
    "worth": Contrast("", "worth", "generated/routed", "free/best_arm"),
}


@pytest.mark.parametrize(
    ("contrast", "controls", "expected"),
    [
        # The baseline, the bare document and the blank surrogate come first, unless one of them is a side.
        ("families", ["bare_document", "blank_surrogate"], "baseline/document"),
        ("best key", ["bare_document", "blank_surrogate"], "baseline/document"),
        ("static", ["actual_query", "bare_document", "blank_surrogate"], "control/bare_document"),
        ("static", ["actual_query", "blank_surrogate"], "control/blank_surrogate"),
        ("static against the bare document", ["blank_surrogate"], "baseline/document"),
        # Then all others by name, but none of a family that a side was chosen from.
        ("static", ["random_words", "actual_query"], "control/actual_query"),
        ("static", [], "generated/target_question"),
        ("generated", [], "static/factual"),
        # The baseline once more is the baseline: dividing by it regresses to the mean all the same.
        ("static", ["repeated_baseline"], "generated/target_question"),
        ("families", ["repeated_baseline"], "baseline/document"),
        ("worth", ["repeated_baseline"], None),
        # The best free arm may be any of them.
        ("worth", ["bare_document", "blank_surrogate"], None),
        ("worth", ["bare_document", "blank_surrogate", "random_words"], "control/random_words"),
    ],
)
def test_difficulty_is_told_by_the_first_arm_that_takes_no_part(
    contrast: str, controls: list[str], expected: str | None
) -> None:
    arms = ["baseline/document", "static/factual", "generated/target_question", *(f"control/{key}" for key in controls)]
    samples = [sample("a"), sample("b")]
    routes = [route(s, arm) for s in "ab" for arm in ("static/factual", "generated/target_question")]
    scores = [score(s, arm, 1.0) for s in "ab" for arm in arms]
    assert difficulty(RunData(samples, routes, scores, []), contrast) == expected


def test_an_arm_without_a_finite_score_tells_no_difficulty() -> None:
    evidence = static_run([sample("a"), sample("b")], [2.0, 2.0], [1.0, 1.0])
    bad = [score("a", "control/bare_document", math.nan), score("b", "control/bare_document", None, status="too_long")]
    plain = [score(s, "control/random_words", 1.0) for s in "ab"]
    evidence = dataclasses.replace(evidence, scores=[*evidence.scores, *bad, *plain])
    assert difficulty(evidence, "static") == "control/random_words"


def test_without_an_arm_that_takes_no_part_there_is_no_difficulty() -> None:
    evidence = static_run([sample("a"), sample("b")], [2.0, 3.0], [1.0, 1.0])
    assert described(evidence, "difficulty") == []
    assert described(evidence, "passage_words") != []


def test_the_arm_of_the_difficulty_is_named() -> None:
    evidence = static_run([sample(name) for name in "abcde"], [2.0] * 5, [1.0] * 5)
    found = described(with_arms(evidence, bare_document=[0.1, 0.2, 0.3, 0.4, 0.5]), "difficulty")
    assert [row.difficulty_arm for row in found] == ["control/bare_document"] * 5
    assert found[4].level == "5: 0.5 to 0.5"  # by eye


def test_difficulty_shows_no_gain_that_is_not_there() -> None:
    """Two noisy measures of one difficulty, no effect: divided by the reference itself, the hard samples seem to gain.

    Expected with both variances 1: a fifth at the end of a normal distribution lies 1.40 standard deviations from its
    mean, and half of the reference's sqrt(2) x 1.40 is noise that the arm does not share: 0.99 nats.
    """
    generator = np.random.default_rng(0)
    count = 1500
    common = generator.normal(6.0, 1.0, count)
    reference, arm, apart = (common + generator.normal(0.0, 1.0, count) for _ in range(3))
    samples = [sample(f"s{number:04d}") for number in range(count)]
    evidence = static_run(samples, reference.tolist(), arm.tolist())
    evidence = with_arms(evidence, bare_document=apart.tolist())

    nlls = conditions_of(evidence, 1)
    reference_nlls, arm_nlls = nlls["baseline/document"], nlls["static/routed"]
    spurious = [
        known(paired_mean(*pair_up(reference_nlls, arm_nlls, {s: s for s in part}), 0.95).improvement_mean)
        for part in quantile_levels(reference_nlls).values()
    ]
    assert spurious[0] == pytest.approx(-0.99, abs=0.15)  # the sum above
    assert spurious[4] == pytest.approx(0.99, abs=0.15)  # the sum above

    found = described(evidence, "difficulty")
    assert [row.n for row in found] == [300] * 5  # 1500 / 5
    # The error of a mean of 300 differences is sqrt(2 / 300) = 0.08.
    assert max(abs(known(row.improvement_mean)) for row in found) < 0.25
    assert abs(known(found[4].improvement_mean) - known(found[0].improvement_mean)) < 0.25


def test_a_gain_that_is_there_is_found_where_it_is() -> None:
    """Expected: the arm is better by 1 on numeric queries alone."""
    generator = np.random.default_rng(2)
    samples = [sample(f"s{number:03d}", ("numeric", "entity")[number % 2]) for number in range(200)]
    baseline = generator.normal(5.0, 1.0, 200)
    arm = baseline + generator.normal(0.0, 0.3, 200) - np.tile([1.0, 0.0], 100)
    entity, numeric = described(static_run(samples, baseline.tolist(), arm.tolist()), "query_type")
    assert known(numeric.improvement_low) < 1.0 < known(numeric.improvement_high)
    assert known(entity.improvement_low) < 0.0 < known(entity.improvement_high)


@pytest.mark.parametrize(
    "spoilt", [{"nll": None}, {"nll": math.nan}, {"nll": math.inf}, {"status": "too_long"}, {"sample_id": "unknown"}]
)
def test_scores_that_are_missing_or_not_finite_are_left_out(spoilt: dict[str, Any]) -> None:
    samples = [sample(name, "numeric", words=3) for name in "abc"]
    evidence = static_run(samples, [2.0, 9.0, 2.5], [1.0, 1.0, 1.0])
    scores = [
        dataclasses.replace(row, **spoilt) if (row.sample_id, row.family) == ("b", "baseline") else row
        for row in evidence.scores
    ]
    evidence = dataclasses.replace(evidence, scores=scores)
    for name in ("query_type", "answer_tokens", "passage_words", "similarity"):
        assert [(row.n, row.improvement_mean) for row in described(evidence, name)] == [(2, 1.25)]  # (1 + 1.5) / 2


def test_no_rows_give_no_strata() -> None:
    assert describe_strata(RunData([], [], [], []), SETTINGS, 1) == []
    assert describe_strata(RunData([], [route("a", "static/factual")], [], []), SETTINGS, 1) == []


def test_shuffled_rows_give_identical_records() -> None:
    evidence = experiment()
    expected = describe_strata(evidence, SETTINGS, 42)
    for attempt in range(2):
        again = shuffled(evidence, attempt)
        assert describe_strata(again, SETTINGS, 42) == expected


def test_the_example_in_the_docstring_is_true() -> None:
    outcome = doctest.testmod(strata)
    assert outcome.attempted >= 1  # the line of the example
    assert outcome.failed == 0
