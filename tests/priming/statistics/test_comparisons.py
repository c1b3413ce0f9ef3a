import dataclasses
import math
import random
from typing import Any, TypeAlias

import numpy as np
import pytest
import scipy.stats

from tasks.priming.records import LEAST_CLUSTERS, Comparison, Route, Sample, Score
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.comparisons import compare_conditions, judge
from tasks.priming.statistics.contrasts import declare_contrasts
from tasks.priming.statistics.inference import (
    any_look_interval,
    any_look_one_sided_p_value,
    gain_over_best,
)
from tasks.priming.statistics.run_data import RunData
from tests import run_rows
from tests.run_rows import known, sample

Rows: TypeAlias = tuple[list[Sample], list[Route], list[Score]]

QUICK = StatisticsSettings(bootstrap_resamples=100)
ARMS = {"static": ("factual", "problem", "quantitative"), "generated": ("keyword_query", "target_question")}
COMPARISONS = [
    *(f"{arm} vs baseline" for arm in (
        "generated/keyword_query", "generated/target_question", "static/factual", "static/problem",
        "static/quantitative",
    )),
    "generated routed vs baseline",
    "static routed vs baseline",
    "generated routed vs static routed",
    "generated routed vs static best_key",
    "generated routed vs best free condition",
    "generated routed vs generated mean_of_keys",
    "static routed vs static mean_of_keys",
    "generated routed vs generated best_key",
    "static routed vs static best_key",
    "generated oracle vs baseline",
    "static oracle vs baseline",
]  # fmt: skip


def route(sample_id: str, family: str, key: str, is_routed: bool) -> Route:
    return Route(sample_id, family, key, 0.5, is_routed, False)


def score(sample_id: str, family: str, key: str, nll: float | None) -> Score:
    return run_rows.score(sample_id, f"{family}/{key}", nll)


def rows_of(sample_id: str, baseline: float, families: dict[str, dict[str, float]]) -> tuple[list[Route], list[Score]]:
    """Return the rows of one sample; families maps a family to its keys' NLLs, of which the first is routed."""
    routes = [
        route(sample_id, family, key, position == 0)
        for family, nlls in families.items()
        for position, key in enumerate(nlls)
    ]
    scores = [score(sample_id, family, key, nll) for family, nlls in families.items() for key, nll in nlls.items()]
    return routes, [score(sample_id, "baseline", "document", baseline), *scores]


def experiment(count: int, seed: int = 0, gain: float = 0.2) -> Rows:
    """Return samples, two on each passage, with their routes and scores; the first key in a shuffle is routed."""
    generator = random.Random(seed)
    samples: list[Sample] = []
    routes: list[Route] = []
    scores: list[Score] = []
    for number in range(count):
        baseline = generator.expovariate(0.7)
        families = {}
        for family, keys in ARMS.items():
            shuffled = generator.sample(keys, len(keys))
            families[family] = {key: abs(baseline - gain + generator.gauss(0, 0.5)) for key in shuffled}
        rows = rows_of(f"sample-{number:03d}", baseline, families)
        samples.append(sample(f"sample-{number:03d}", f"passage-{number // 2:03d}"))
        routes += rows[0]
        scores += rows[1]
    return samples, routes, scores


def gain(better: float, worse: float) -> float:
    """Return the improvement of one NLL over another: the measure of record, by its definition."""
    return 100 * (math.exp(-better) - math.exp(-worse))


def compare(samples: list[Sample], routes: list[Route], scores: list[Score], seed: int = 42) -> dict[str, Comparison]:
    evidence = RunData(samples, routes, scores, [])
    return {row.comparison: row for row in compare_conditions(evidence, QUICK, seed)}


def assert_finite(comparison: Comparison) -> None:
    for value in dataclasses.astuple(comparison):
        assert not isinstance(value, float) or math.isfinite(value)


def test_every_family_key_and_pair_of_families_is_compared() -> None:
    found = compare(*experiment(6))
    assert list(found) == COMPARISONS  # the declared contrasts of two families with two and three keys, by question
    kinds = ["single"] * 5 + ["routed"] * 2 + ["between_families"] + ["best_of"] * 2 + ["routing"] * 2
    assert [row.kind for row in found.values()] == [*kinds, "best_of", "best_of", "oracle", "oracle"]
    between = found["generated routed vs static routed"]
    assert (between.arm, between.reference) == ("generated/routed", "static/routed")
    others = [row for row in found.values() if row.kind in ("single", "routed", "oracle")]
    assert {row.reference for row in others} == {"baseline/document"}
    assert [row.comparison for row in found.values() if row.is_optimistic] == COMPARISONS[-2:]


def test_each_condition_reads_its_own_scores() -> None:
    samples = [sample("a"), sample("b"), sample("c")]
    rows = [
        rows_of("a", 3.0, {"static": {"factual": 2.0, "problem": 1.0}, "generated": {"target_question": 1.5}}),
        rows_of("b", 2.0, {"static": {"problem": 1.5, "factual": 4.0}, "generated": {"target_question": 2.0}}),
        rows_of("c", 1.0, {"static": {"factual": 0.5, "problem": 2.5}, "generated": {"target_question": 2.5}}),
    ]
    routes = [row for pair in rows for row in pair[0]]
    scores = [row for pair in rows for row in pair[1]]
    found = compare(samples, routes, scores)
    first = gain(2, 3) + gain(1.5, 2) + gain(0.5, 1)
    assert found["static routed vs baseline"].improvement_mean == pytest.approx(first / 3)
    second = gain(1.5, 3) + gain(2, 2) + gain(2.5, 1)
    assert found["generated routed vs baseline"].improvement_mean == pytest.approx(second / 3)
    assert found["generated routed vs static routed"].improvement_mean == pytest.approx((second - first) / 3)
    third = gain(1, 3) + gain(1.5, 2) + gain(2.5, 1)
    assert found["static/problem vs baseline"].improvement_mean == pytest.approx(third / 3)
    best = found["static oracle vs baseline"]
    assert best.improvement_mean == pytest.approx((gain(1, 3) + gain(1.5, 2) + gain(0.5, 1)) / 3)
    assert best.probability_arm_mean == pytest.approx((gain(1, 999) + gain(1.5, 999) + gain(0.5, 999)) / 3)
    assert best.nll_arm_mean == pytest.approx(1.0)  # (1 + 1.5 + 0.5) / 3
    assert best.nll_reference_mean == pytest.approx(2.0)  # (3 + 2 + 1) / 3


def test_an_arm_that_no_contrast_names_is_not_compared() -> None:
    samples, routes, scores = experiment(4)
    others = [score(row.sample_id, "control", "something_else", 1.0) for row in samples]
    assert compare(samples, routes, [*scores, *others]) == compare(samples, routes, scores)


def test_a_control_is_compared_with_what_can_be_deployed_and_the_baseline() -> None:
    """Expected: by eye, and by hand the baseline's probability against that of 1.0 on every sample."""
    samples, routes, scores = experiment(4)
    controls = [score(row.sample_id, "control", "bare_document", 1.0) for row in samples]
    found = compare(samples, routes, [*scores, *controls])
    without = compare(samples, routes, scores)
    added = [name for name in found if name not in without]
    assert added == [
        *(f"{name.removesuffix(' vs baseline')} vs bare_document" for name in COMPARISONS[:7]),
        "baseline vs bare_document",
    ]
    baseline = [known(row.nll) for row in scores if row.family == "baseline"]
    framing = found["baseline vs bare_document"]
    assert framing.improvement_mean == pytest.approx(sum(gain(nll, 1.0) for nll in baseline) / 4)
    assert (framing.kind, framing.question) == ("control", "does_the_framing_matter")


def test_every_comparison_is_declared_under_the_question_that_rests_on_it() -> None:
    """Expected: by eye, a run with every kind of condition."""
    arms = ["baseline/document"]
    arms += [f"control/{key}" for key in ("bare_document", "no_passage", "repeated_baseline")]
    texts = [f"{family}/{key}" for family, keys in ARMS.items() for key in keys] + ["free/echo"]
    texts += [f"control/{key}" for key in ("random_words", "blank_surrogate", "actual_query", "answer_given")]
    arms += [f"{text}{t}" for text in texts for t in ("", "+stripped")]
    arms += [f"generated/target_question+{treatment}" for treatment in ("hidden", "blind", "masked")]
    scores = [run_rows.score("a", arm, 1.0) for arm in arms]
    routes = [route("a", family, key, True) for family, keys in ARMS.items() for key in keys]
    questions: dict[str | None, list[str]] = {}
    for contrast in declare_contrasts(RunData([sample("a")], routes, scores, [])):
        questions.setdefault(contrast.question, []).append(contrast.comparison)
    assert {name: len(found) for name, found in questions.items()} == {
        # each deployable text, 10 keys, 4 controls, echo, each treatment, twice, but echo with the bare document
        "should_i_prime": 30,
        "does_priming_help": 8,
        "is_generated_better_than_static": 4,
        "is_generation_worth_its_compute": 2,
        "does_the_content_matter": 8,
        "does_the_framing_matter": 1,
        "where_does_a_gain_arise": 5,
        "should_the_surrogate_be_dropped": 2,
        "does_reading_twice_help": 2,
        "does_routing_help": 8,
        "could_a_gain_be_seen": 3,
        None: 7,
    }
    assert questions["could_a_gain_be_seen"] == [
        "answer_given vs bare_document", "answer_given+stripped vs bare_document", "no_passage vs baseline",
    ]  # fmt: skip
    assert "generated routed+stripped vs random_words+stripped" in questions["does_the_content_matter"]
    assert "generated/target_question vs generated/target_question+added_up" in questions["where_does_a_gain_arise"]
    assert not any("hidden" in name or "actual_query" in name for name in questions["should_i_prime"])


def test_the_bootstrap_of_a_comparison_is_seeded_by_the_runs_seed() -> None:
    samples, routes, scores = experiment(40)
    samples = [sample(row.sample_id, f"passage {row.sample_id}") for row in samples]
    found = compare(samples, routes, scores)["static routed vs baseline"]
    baseline = {row.sample_id: known(row.nll) for row in scores if row.family == "baseline"}
    chosen = {(row.sample_id, row.family, row.key) for row in routes if row.is_routed}
    improvement = [
        gain(known(row.nll), baseline[row.sample_id])
        for row in scores
        if row.family == "static" and (row.sample_id, row.family, row.key) in chosen
    ]
    interval = scipy.stats.bootstrap(
        (improvement,), np.mean, n_resamples=100, rng=np.random.default_rng(42)
    ).confidence_interval
    assert found.bca_low == pytest.approx(interval.low, rel=1e-9)  # scipy.stats.bootstrap with that seed
    assert found.bca_high == pytest.approx(interval.high, rel=1e-9)  # scipy.stats.bootstrap with that seed


def test_another_seed_changes_the_bootstraps_intervals_and_nothing_else() -> None:
    rows = experiment(30)
    name = "static routed vs baseline"
    first, other = compare(*rows, seed=1)[name], compare(*rows, seed=2)[name]
    assert first.bca_low != other.bca_low
    ends: dict[str, Any] = dict.fromkeys(("bca_low", "bca_high", "cohens_d_low", "cohens_d_high"))
    assert dataclasses.replace(first, **ends) == dataclasses.replace(other, **ends)


def test_a_comparison_is_the_same_whichever_others_are_run() -> None:
    samples, routes, scores = experiment(30)
    static = [row for row in scores if row.family != "generated"]
    alone = compare(samples, [row for row in routes if row.family == "static"], static)
    assert list(alone) == [name for name in COMPARISONS if "generated" not in name]
    together = compare(samples, routes, scores)
    of_a_family = ("answer_low", "answer_high", "answer_p", "n_for_precision", "verdict")
    of_sums = ("bca_low", "bca_high", "cohens_d_low", "cohens_d_high")  # products of matrices of another width
    for name, row in alone.items():
        changes: dict[str, Any] = {field: getattr(row, field) for field in (*of_a_family, *of_sums)}
        assert dataclasses.replace(together[name], **changes) == row
        if row.bca_low is not None:
            assert together[name].bca_low == pytest.approx(row.bca_low, rel=1e-9)


def test_samples_without_a_finite_score_are_excluded_pairwise_and_counted() -> None:
    samples, routes, scores = experiment(10, seed=1)
    spoilt: dict[tuple[str, str, str], dict[str, Any]] = {
        ("sample-000", "baseline", "document"): {"nll": None, "status": "too_long"},
        ("sample-001", "static", "factual"): {"nll": math.nan, "status": "not_finite"},
        ("sample-002", "static", "factual"): {"nll": math.inf, "status": "ok"},
        ("sample-003", "static", "factual"): {"nll": 0.5, "status": "out_of_memory"},
        ("sample-004", "static", "factual"): {"nll": None, "status": "ok"},
    }
    scores = [
        dataclasses.replace(row, **spoilt.get((row.sample_id, row.family, row.key), {}))
        for row in scores
        if (row.sample_id, row.family, row.key) != ("sample-005", "static", "factual")
    ]
    found = compare(samples, routes, scores)
    factual, problem = found["static/factual vs baseline"], found["static/problem vs baseline"]
    assert (factual.n, factual.excluded_count) == (4, 6)  # samples 0 to 5, of ten
    assert (problem.n, problem.excluded_count) == (9, 1)  # sample 0 alone
    assert factual.passage_count == 2  # samples 6 to 9, two on each passage
    lost = {row.sample_id for row in routes if row.is_routed and row.key == "factual"} & {
        f"sample-00{number}" for number in range(6)
    }
    assert lost  # at least one of the spoilt arms is a routed one
    assert found["static routed vs baseline"].excluded_count == len(lost | {"sample-000"})  # the routed arm's score
    between = found["generated routed vs static routed"]
    assert between.excluded_count == len(lost - {"sample-000"})  # the baseline takes no part
    assert found["static oracle vs baseline"].excluded_count == 1  # the other keys still have scores
    for row in found.values():
        assert row.n + row.excluded_count == 10
        assert_finite(row)


def test_a_sample_whose_surrogates_are_all_empty_is_left_out_of_its_family_alone() -> None:
    samples, routes, scores = experiment(8)
    routes = [
        dataclasses.replace(row, similarity=None, is_routed=False)
        if (row.sample_id, row.family) == ("sample-003", "generated")
        else row
        for row in routes
    ]
    found = compare(samples, routes, scores)
    assert found["generated routed vs baseline"].excluded_count == 1  # sample 3
    assert found["generated routed vs static routed"].excluded_count == 1  # sample 3
    assert found["static routed vs baseline"].excluded_count == 0  # its static arms are routed
    assert found["generated/target_question vs baseline"].excluded_count == 0  # fixed arms need no route


def test_no_samples_and_no_scores_give_records_that_decide_nothing() -> None:
    _, routes, scores = experiment(2)
    found = compare([], routes, scores)
    assert list(found) == COMPARISONS
    for row in found.values():
        assert (row.n, row.excluded_count, row.interval_method) == (0, 0, "none")
        assert (row.improvement_mean, row.p_value, row.answer_p, row.answer_low) == (None, None, None, None)
        oracle = "optimistic by construction, not a verdict"
        assert row.verdict == (oracle if row.is_optimistic else "undecided: too few passages")
    assert compare([], routes, []) == {}


@pytest.mark.parametrize("repeated", ["samples", "routes", "scores"])
def test_rows_that_are_given_twice_are_refused(repeated: str) -> None:
    samples, routes, scores = experiment(3)
    if repeated == "samples":
        samples.append(samples[0])
    elif repeated == "routes":
        routes.append(next(row for row in routes if row.is_routed))
    else:
        scores.append(scores[0])
    with pytest.raises(ValueError, match=rf"`{repeated}` holds sample-000.* more than once"):
        compare(samples, routes, scores)


# --- two pairs of an interval and a p-value ---


def test_a_question_of_one_comparison_has_its_any_look_interval() -> None:
    """Computed two ways: by the family's adjustment and by the interval of one mean."""
    samples, routes, scores = experiment(2 * LEAST_CLUSTERS)
    controls = [score(row.sample_id, "control", "bare_document", 1.0) for row in samples]
    row = compare(samples, routes, [*scores, *controls])["baseline vs bare_document"]
    mean, error = known(row.improvement_mean), known(row.improvement_error)
    interval = known(any_look_interval(mean, error, row.passage_count, 0.05))
    assert (row.answer_low, row.answer_high) == pytest.approx((interval.low, interval.high))
    one_sided = any_look_one_sided_p_value(abs(mean), error, row.passage_count)
    assert row.answer_p == pytest.approx(min(1, 2 * one_sided))
    assert interval.low < known(row.improvement_low) < known(row.improvement_high) < interval.high


def test_a_family_is_adjusted_by_its_own_size_alone() -> None:
    """Two comparisons of a question have wider intervals than one; those of another question change nothing."""
    samples, routes, scores = experiment(2 * LEAST_CLUSTERS)
    both = compare(samples, routes, scores)
    static = [row for row in scores if row.family != "generated"]
    alone = compare(samples, [row for row in routes if row.family == "static"], static)
    name = "static routed vs baseline"
    width, narrow = (known(row[name].answer_high) - known(row[name].answer_low) for row in (both, alone))
    assert width > narrow
    assert both["generated/target_question vs baseline"].question == "should_i_prime"


def test_no_answer_rests_on_fewer_passages_than_were_simulated() -> None:
    few, enough = (compare(*experiment(2 * count)) for count in (LEAST_CLUSTERS - 1, LEAST_CLUSTERS))
    name = "static routed vs baseline"
    assert (few[name].answer_low, few[name].verdict) == (None, "undecided: too few passages")
    assert few[name].improvement_low is not None
    assert enough[name].answer_low is not None


def test_what_is_explored_has_a_false_discovery_rate_and_no_verdict() -> None:
    samples, routes, scores = experiment(40)
    others = [score(row.sample_id, "control", "actual_query", 1.0 + 0.1 * n) for n, row in enumerate(samples)]
    again = [
        dataclasses.replace(row, family="control", key="repeated_baseline")
        for row in scores
        if row.family == "baseline"
    ]
    again = [dataclasses.replace(row, nll=known(row.nll) + 0.01 * n) for n, row in enumerate(again)]
    found = compare(samples, routes, [*scores, *others, *again])
    explored = [row for row in found.values() if row.question is None and not row.is_optimistic]
    assert [row.comparison for row in explored] == [
        "generated/target_question vs actual_query", "repeated_baseline vs baseline",
    ]  # fmt: skip
    expected = scipy.stats.false_discovery_control([known(row.p_value) for row in explored], method="bh")
    assert [row.fdr_p_value for row in explored] == pytest.approx(expected, rel=1e-12)  # scipy
    for row in explored:
        assert (row.verdict, row.answer_low, row.answer_p) == ("explored, not a verdict", None, None)
    assert all(row.fdr_p_value is None for row in found.values() if row not in explored)


# --- the best of several ---


def test_the_best_of_several_is_compared_with_all_of_them_at_once() -> None:
    """Computed two ways: the interval by gain_over_best with the question's share of the error, the mean by hand."""
    samples, routes, scores = experiment(2 * LEAST_CLUSTERS)
    row = compare(samples, routes, scores)["generated routed vs static best_key"]
    nlls = {(known.sample_id, f"{known.family}/{known.key}"): known.nll for known in scores}
    chosen = {known.sample_id: known.key for known in routes if known.is_routed and known.family == "generated"}
    ids = sorted(chosen)
    arm = np.array([100 * math.exp(-known(nlls[name, f"generated/{chosen[name]}"])) for name in ids])
    keys = np.array([[100 * math.exp(-known(nlls[name, f"static/{key}"])) for key in ARMS["static"]] for name in ids])
    clusters = np.arange(len(ids)) // 2
    interval = known(gain_over_best(arm, keys, clusters, 0.05 / 2))  # two comparisons in the question
    assert (row.answer_low, row.answer_high) == pytest.approx((interval.low, interval.high))
    assert row.improvement_mean == pytest.approx(arm.mean() - keys.mean(axis=0).max())
    assert (row.answer_p, row.p_value, row.improvement_low, row.interval_method) == (None, None, None, "none")


def test_the_cross_fitted_mean_is_told_and_not_tested() -> None:
    """Expected: "factual" is better than every other free condition on all passages, so it is chosen in every fold."""
    samples, routes, scores = experiment(20)
    scores = [dataclasses.replace(row, nll=0.001) if row.key == "factual" else row for row in scores]
    found = compare(samples, routes, scores)["generated routed vs best free condition"]
    assert found.cross_fitted_mean == pytest.approx(known(found.improvement_mean))
    assert found.nll_reference_mean == pytest.approx(0.001)
    assert compare(samples, routes, scores)["static routed vs baseline"].cross_fitted_mean is None


# --- verdicts ---


def test_clear_effects_are_called_by_their_sign() -> None:
    better, worse = (compare(*experiment(2 * LEAST_CLUSTERS, gain=gain)) for gain in (0.9, -0.9))
    assert better["static routed vs baseline"].verdict == "better"
    assert worse["static routed vs baseline"].verdict == "worse"
    assert better["generated routed vs static routed"].verdict == "no difference shown"  # drawn from one distribution
    assert worse["static oracle vs baseline"].verdict == "optimistic by construction, not a verdict"


def test_identical_conditions_are_equivalent() -> None:
    samples, routes, scores = experiment(2 * LEAST_CLUSTERS)
    scores = [dataclasses.replace(row, nll=1.5) for row in scores]
    found = compare(samples, routes, scores)["static routed vs baseline"]
    assert (found.tie_count, found.interval_method, found.improvement_low) == (2 * LEAST_CLUSTERS, "constant", 0.0)
    assert (found.p_value, found.answer_p, found.wilcoxon_p_value) == (None, None, None)
    assert (found.answer_low, found.verdict) == (0.0, "equivalent")


@pytest.fixture(scope="module")
def of_six() -> Comparison:
    return compare(*experiment(6))["static routed vs baseline"]


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"answer_low": 0.1, "answer_high": 3.0}, "better"),
        ({"answer_low": -3.0, "answer_high": -0.1}, "worse"),
        ({"answer_low": -0.1, "answer_high": 3.0}, "no difference shown"),
        ({"answer_low": 0.0, "answer_high": 3.0}, "no difference shown"),
        ({"answer_low": -0.9, "answer_high": 0.9}, "equivalent"),
        ({"answer_low": -0.9, "answer_high": 1.0}, "no difference shown"),
        ({"answer_low": 0.1, "answer_high": 0.9}, "better, but negligibly"),
        ({"answer_low": -0.9, "answer_high": -0.1}, "worse, but negligibly"),
        # The other pair is not read.
        ({"answer_low": -3.0, "answer_high": 3.0, "improvement_low": 1.0, "p_value": 0.001}, "no difference shown"),
        ({"answer_low": None, "answer_high": None, "passage_count": 3}, "undecided: too few passages"),
        (
            {"answer_low": None, "answer_high": None, "passage_count": LEAST_CLUSTERS},
            "undecided: no interval could be computed",
        ),
        ({"question": None}, "explored, not a verdict"),
        ({"is_optimistic": True, "n": 0}, "optimistic by construction, not a verdict"),
    ],
)
def test_the_verdict_follows_its_rule(of_six: Comparison, changes: dict[str, Any], verdict: str) -> None:
    assert judge(dataclasses.replace(of_six, **changes)) == verdict  # the rule in judge's docstring


def test_a_third_family_is_compared_with_both_others_as_explored() -> None:
    families = ("zeroth", "first", "second")
    scores = [score("a", family, "key", 1.0) for family in families]
    run = RunData([sample("a")], [route("a", family, "key", True) for family in families], scores, [])
    contrasts = [contrast for contrast in declare_contrasts(run) if contrast.kind == "between_families"]
    assert [(contrast.comparison, contrast.question) for contrast in contrasts] == [
        ("first routed vs second routed", None),
        ("first routed vs zeroth routed", None),
        ("second routed vs zeroth routed", None),
    ]  # every pair, in alphabetical order


def test_the_pairs_for_a_precise_answer_do_not_depend_on_the_mean() -> None:
    """With so many pairs the interval would reach half a point, so that it excludes 0 or lies within the margin."""
    samples, routes, scores = experiment(2 * LEAST_CLUSTERS)
    row = compare(samples, routes, scores)["static routed vs baseline"]
    width = known(row.answer_high) - known(row.answer_low)
    needed = row.n * (width / row.equivalence_margin) ** 2  # the error shrinks with the root of n
    assert row.n_for_precision == pytest.approx(needed, rel=0.35)  # both are adjusted, for other numbers of passages
    few = compare(*experiment(20, gain=0.0))["static routed vs baseline"]
    assert known(few.n_for_precision) >= 2 * LEAST_CLUSTERS  # there are two pairs a passage
    shifted = [  # the baseline is a point more probable on every sample
        dataclasses.replace(s, nll=-math.log(math.exp(-known(s.nll)) + 0.01)) if s.family == "baseline" else s
        for s in scores
    ]
    less = compare(samples, routes, shifted)["static routed vs baseline"]
    assert known(less.improvement_mean) == pytest.approx(known(row.improvement_mean) - 1)
    assert less.n_for_precision == pytest.approx(row.n_for_precision, abs=1)
    assert compare(samples, routes, scores)["static oracle vs baseline"].n_for_precision is None
