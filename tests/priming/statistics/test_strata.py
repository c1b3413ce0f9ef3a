"""The comparisons that decide, within parts of the samples; difficulty by an arm that takes no part."""

import dataclasses
import doctest
import math
import random

import numpy as np
import pytest

from tasks.priming.records import Distractor, Sample, Stratum
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics import strata
from tasks.priming.statistics.conditions import conditions_of
from tasks.priming.statistics.contrasts import declare_contrasts
from tasks.priming.statistics.paired import pair_up, paired_mean
from tasks.priming.statistics.run_data import RunData
from tasks.priming.statistics.strata import describe_strata, quantile_levels
from tests import run_rows
from tests.run_rows import known, route, score

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


def percent(values: list[float]) -> list[float]:
    """Return the NLLs of probabilities in percent."""
    return [-math.log(value / 100) for value in values]


def test_every_deciding_comparison_is_divided_in_every_way() -> None:
    evidence = experiment()
    found = describe_strata(evidence, SETTINGS, 42)
    declared = [c for c in declare_contrasts(evidence) if c.kind in strata.STRATIFIED_KINDS]
    stratifiers = ("query_type", "answer_tokens", "passage_words", "similarity", "difficulty", "bare_difficulty")
    expected = [
        (contrast.comparison, name)
        for contrast in declared
        for name in stratifiers
        if name != "bare_difficulty" or contrast.reference != "control/bare_document"
    ]
    assert list(dict.fromkeys((row.comparison, row.stratified_by) for row in found)) == expected
    assert {row.comparison for row in found} >= {STATIC, "generated routed vs static routed"}
    assert "static/factual vs baseline" not in {row.comparison for row in found}  # what no verdict rests on


def test_query_types_are_levels_by_name_and_samples_without_one_are_left_out() -> None:
    """Expected by hand: entity gains 30 - 20 points, numeric (30 - 10 + 30 - 20) / 2."""
    samples = [sample("a", "numeric"), sample("b", "entity"), sample("c"), sample("d", "numeric"), sample("e", "")]
    run = static_run(samples, percent([10, 20, 1, 20, 1]), percent([30] * 5))
    found = described(run, "query_type")
    assert [(row.level, row.rank, row.n) for row in found] == [("entity", 0, 1), ("numeric", 1, 2)]
    assert [row.improvement_mean for row in found] == pytest.approx([10.0, 15.0])


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
    """Expected by eye: ten lengths, two a fifth; each sample's gain is half its number of words."""
    samples = [sample(f"s{number}", words=10 * (number + 1)) for number in range(10)]
    arm = [1.0 + len(row.passage.split()) / 2 for row in samples]
    found = described(static_run(samples, percent([1.0] * 10), percent(arm)), "passage_words")
    assert [row.level for row in found] == ["1: 10 to 20", "2: 30 to 40", "3: 50 to 60", "4: 70 to 80", "5: 90 to 100"]
    assert [row.improvement_mean for row in found] == pytest.approx([7.5, 17.5, 27.5, 37.5, 47.5])
    assert [row.rank for row in found] == [0, 1, 2, 3, 4]


def test_similarity_is_that_of_what_the_arms_family_routed() -> None:
    """Expected by eye: the routed key's similarity; b's is not finite, c has none, other keys do not count."""
    samples = [sample(name) for name in "abcd"]
    routes = [
        route(name, f"static/{key}", similarity, is_routed=is_routed)
        for name, routed, other in (("a", 0.9, 0.1), ("b", math.nan, 0.1), ("c", None, None), ("d", 0.2, 0.15))
        for key, similarity, is_routed in (("factual", routed, routed is not None), ("problem", other, False))
    ]
    evidence = static_run(samples, [2.0] * 4, [1.0] * 4)
    others = [score(name, "static/problem", 1.0) for name in "abcd"]
    evidence = dataclasses.replace(evidence, routes=routes, scores=[*evidence.scores, *others])
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


def test_difficulty_is_the_mean_of_both_sides() -> None:
    """Expected by hand: the probabilities of both sides lack 50 + 40, 30 + 20, ... points, the easiest first."""
    samples = [sample(name) for name in "abcde"]
    run = static_run(samples, percent([50, 70, 80, 90, 30]), percent([60, 80, 90, 98, 32]))
    found = described(run, "difficulty")
    assert [row.level for row in found] == ["1: 6 to 6", "2: 15 to 15", "3: 25 to 25", "4: 45 to 45", "5: 69 to 69"]
    assert [row.measure for row in found] == ["probability"] * 5


def test_the_bare_document_gives_a_second_view_unless_it_is_a_side() -> None:
    samples = [sample(name) for name in "abcde"]
    run = with_arms(
        static_run(samples, percent([50] * 5), percent([60] * 5)), bare_document=percent([99, 98, 97, 96, 95])
    )
    assert [row.level for row in described(run, "bare_difficulty")] == [f"{n}: {n} to {n}" for n in range(1, 6)]
    assert described(run, "bare_difficulty", "static routed vs bare_document") == []
    assert described(run, "difficulty", "static routed vs bare_document") != []


def test_the_margin_is_divided_by_where_wrong_answers_come_from() -> None:
    """Expected by hand: margins 3 - 1 and 2 - 1 of the same passage, 7 - 2 of others; c has both sources."""
    samples = [sample(name) for name in "abc"]
    margins = {("a", 3.0, 1.0), ("b", 7.0, 2.0), ("c", 2.0, 1.0)}
    scores = [
        score(name, arm, 1.0, margin=margin)
        for name, *both in sorted(margins)
        for arm, margin in zip(("static/factual", "baseline/document"), both, strict=True)
    ]
    wrong = [
        Distractor("a", 0, "x", "q", "same_passage"),
        Distractor("b", 0, "x", "q", "other_passage"),
        Distractor("c", 0, "x", "q", "same_passage"),
        Distractor("c", 1, "x", "q", "other_passage"),
    ]
    routes = [route(name, "static/factual") for name in "abc"]
    found = described(RunData(samples, routes, scores, [], None, wrong), "distractor_source")
    assert [(row.level, row.measure, row.improvement_mean) for row in found] == [
        ("other_passage", "margin", 5.0),
        ("other_passage and same_passage", "margin", 1.0),
        ("same_passage", "margin", 2.0),
    ]


def test_difficulty_shows_no_gain_that_is_not_there() -> None:
    """Two noisy measures of one difficulty, no effect: divided by one side alone, the hard samples seem to gain.

    Expected: the errors of both sides have 5 points, the difficulty itself 10. A fifth at the end of a normal
    distribution lies 1.40 standard deviations from its mean, and 25 / 125 of the reference's deviation of 11.2 is error
    that the arm does not share: 3.1 points. Errors shared with a third condition divide by it almost as badly.
    """
    generator = np.random.default_rng(0)
    count = 1500
    common, shared = np.clip(generator.normal(50.0, 10.0, count), 25, 75), generator.normal(0.0, 4.5, count)
    reference, bare = (common + shared + generator.normal(0.0, 2.2, count) for _ in range(2))
    arm = common + generator.normal(0.0, 5.0, count)
    samples = [sample(f"s{number:04d}") for number in range(count)]
    evidence = static_run(samples, percent(reference.tolist()), percent(arm.tolist()))
    evidence = with_arms(evidence, bare_document=percent(bare.tolist()))

    lacking, primed = (conditions_of(evidence)[name] for name in ("baseline/document", "static/routed"))
    spurious = [
        known(paired_mean(pair_up(lacking, primed, {s: s for s in part}), 0.95).improvement_mean)
        for part in quantile_levels(lacking).values()
    ]
    assert spurious[0] == pytest.approx(-3.1, abs=0.8)  # the sum above
    assert spurious[4] == pytest.approx(3.1, abs=0.8)
    by_bare = [known(row.improvement_mean) for row in described(evidence, "bare_difficulty")]
    assert by_bare[4] - by_bare[0] > 3.0

    found = described(evidence, "difficulty")
    assert [row.n for row in found] == [300] * 5  # 1500 / 5
    # The error of a mean of 300 differences with a standard deviation of 7 is 0.4.
    assert max(abs(known(row.improvement_mean)) for row in found) < 1.2


def test_the_example_in_the_docstring_is_true() -> None:
    outcome = doctest.testmod(strata)
    assert outcome.attempted >= 1  # the line of the example
    assert outcome.failed == 0
