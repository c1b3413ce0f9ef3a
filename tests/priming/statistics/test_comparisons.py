import dataclasses
import gc
import math
import random
from collections.abc import Iterator
from typing import Any, TypeAlias, TypeVar

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.priming.records import Comparison, Route, Sample, Score
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.comparisons import adjust, compare_conditions, judge
from tasks.priming.statistics.contrasts import declare_contrasts, free_arms
from tasks.priming.statistics.run_data import RunData
from tests import run_rows
from tests.run_rows import sample

Known = TypeVar("Known")
Rows: TypeAlias = tuple[list[Sample], list[Route], list[Score]]

ALL_EQUAL = {"interval_method": "constant", "p_adjusted": None, "equivalence_p_value": None}
QUICK = StatisticsSettings(bootstrap_resamples=100)
ARMS = {"static": ("factual", "problem", "quantitative"), "generated": ("keyword_query", "target_question")}
COMPARISONS = [
    "generated routed vs baseline",
    "static routed vs baseline",
    "generated routed vs static routed",
    "generated routed vs static best_key",
    "generated routed vs best free arm",
    "generated/keyword_query vs baseline",
    "generated/target_question vs baseline",
    "static/factual vs baseline",
    "static/problem vs baseline",
    "static/quantitative vs baseline",
    "generated routed vs mean_of_keys",
    "generated routed vs best_key",
    "static routed vs mean_of_keys",
    "static routed vs best_key",
    "generated oracle vs baseline",
    "static oracle vs baseline",
]


@pytest.fixture(autouse=True, scope="module")
def few_objects_to_collect() -> Iterator[None]:
    """Spare the whole heap: statsmodels' multipletests collects garbage at every call, which took most of the time."""
    gc.freeze()
    yield
    gc.unfreeze()


def known(value: Known | None) -> Known:
    assert value is not None
    return value


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


def compare(samples: list[Sample], routes: list[Route], scores: list[Score], seed: int = 42) -> dict[str, Comparison]:
    evidence = RunData(samples, routes, scores, [])
    return {row.comparison: row for row in compare_conditions(evidence, QUICK, seed)}


def assert_finite(comparison: Comparison) -> None:
    for value in dataclasses.astuple(comparison):
        assert not isinstance(value, float) or math.isfinite(value)


def test_every_family_key_and_pair_of_families_is_compared() -> None:
    found = compare(*experiment(6))
    assert list(found) == COMPARISONS  # the declared contrasts of two families with two and three keys
    kinds = {"routed": 2, "between_families": 2, "worth": 1, "fixed_arm": 5, "routing": 4, "oracle": 2}
    assert [row.kind for row in found.values()] == [kind for kind, count in kinds.items() for _ in range(count)]
    between = found["generated routed vs static routed"]
    assert (between.arm, between.reference) == ("generated/routed", "static/routed")
    others = [row for row in found.values() if row.kind not in ("between_families", "worth", "routing")]
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
    assert found["static routed vs baseline"].improvement_mean == pytest.approx(2 / 3)  # (1 + 0.5 + 0.5) / 3
    assert found["generated routed vs baseline"].improvement_mean == pytest.approx(0.0)  # (1.5 + 0 - 1.5) / 3
    assert found["generated routed vs static routed"].improvement_mean == pytest.approx(-2 / 3)  # (0.5 - 0.5 - 2) / 3
    assert found["static/factual vs baseline"].improvement_mean == pytest.approx(-0.5 / 3)  # (1 - 2 + 0.5) / 3
    assert found["static/problem vs baseline"].improvement_mean == pytest.approx(1 / 3)  # (2 + 0.5 - 1.5) / 3
    assert found["static oracle vs baseline"].improvement_mean == pytest.approx(1.0)  # (2 + 0.5 + 0.5) / 3
    assert found["static oracle vs baseline"].nll_arm_mean == pytest.approx(1.0)  # (1 + 1.5 + 0.5) / 3
    assert found["generated oracle vs baseline"].nll_reference_mean == pytest.approx(2.0)  # (3 + 2 + 1) / 3


def test_an_arm_that_no_contrast_names_is_not_compared() -> None:
    samples, routes, scores = experiment(4)
    others = [score(row.sample_id, "control", "something_else", 1.0) for row in samples]
    assert compare(samples, routes, [*scores, *others]) == compare(samples, routes, scores)


def test_a_control_is_compared_with_the_routed_families_and_the_baseline() -> None:
    """Expected: by hand, the baseline's and the routed arm's NLL against 1.0 on every sample."""
    samples, routes, scores = experiment(4)
    controls = [score(row.sample_id, "control", "bare_document", 1.0) for row in samples]
    found = compare(samples, routes, [*scores, *controls])
    added = [name for name in found if name not in compare(samples, routes, scores)]
    assert added == [
        "generated routed vs bare_document",
        "static routed vs bare_document",
        "baseline/document vs control/bare_document",
    ]
    baseline = [known(row.nll) for row in scores if row.family == "baseline"]
    framing = found["baseline/document vs control/bare_document"]
    assert framing.improvement_mean == pytest.approx(1.0 - sum(baseline) / 4)
    assert (framing.kind, framing.adjustment) == ("control", "benjamini_hochberg")
    assert [row.comparison for row in found.values() if row.adjustment == "holm"] == [
        "generated routed vs baseline",
        "static routed vs baseline",
        "generated routed vs bare_document",
        "static routed vs bare_document",
        "generated routed vs static best_key",
    ]  # the five that the experiment is made for


def test_shuffled_rows_give_identical_records() -> None:
    samples, routes, scores = experiment(30)
    expected = compare(samples, routes, scores)
    for attempt in range(3):
        for rows in (samples, routes, scores):
            random.Random(attempt).shuffle(rows)
        assert compare(samples, routes, scores) == expected


def test_the_rows_that_are_given_are_left_as_they_are() -> None:
    rows = experiment(5)
    copies = [list(part) for part in rows]
    compare(*rows)
    assert [list(part) for part in rows] == copies


def test_the_bootstrap_of_a_comparison_is_seeded_by_the_runs_seed_and_its_name() -> None:
    samples, routes, scores = experiment(40)
    samples = [sample(row.sample_id, f"passage {row.sample_id}") for row in samples]
    found = compare(samples, routes, scores)["static routed vs baseline"]
    baseline = {row.sample_id: known(row.nll) for row in scores if row.family == "baseline"}
    chosen = {(row.sample_id, row.family, row.key) for row in routes if row.is_routed}
    improvement = [
        baseline[row.sample_id] - known(row.nll)
        for row in scores
        if row.family == "static" and (row.sample_id, row.family, row.key) in chosen
    ]
    seed = 0x0BBE588C07416A76  # printf '42/static routed vs baseline' | sha256sum, the first 16 digits
    interval = scipy.stats.bootstrap(
        (improvement,), np.mean, n_resamples=100, rng=np.random.default_rng(seed)
    ).confidence_interval
    assert found.improvement_low == pytest.approx(interval.low, rel=1e-9)  # scipy.stats.bootstrap with that seed
    assert found.improvement_high == pytest.approx(interval.high, rel=1e-9)  # scipy.stats.bootstrap with that seed


def test_another_seed_changes_the_interval_and_nothing_but_intervals() -> None:
    rows = experiment(30)
    name = "static routed vs baseline"
    first, other = compare(*rows, seed=1)[name], compare(*rows, seed=2)[name]
    assert first.improvement_low != other.improvement_low
    ends: dict[str, Any] = dict.fromkeys(("improvement_low", "improvement_high", "cohens_d_low", "cohens_d_high"))
    assert dataclasses.replace(first, **ends) == dataclasses.replace(other, **ends)


def test_a_comparison_is_the_same_whichever_others_are_run() -> None:
    samples, routes, scores = experiment(30)
    alone = compare(samples, [row for row in routes if row.family == "static"], scores)
    assert list(alone) == [name for name in COMPARISONS if "generated" not in name]
    together = compare(samples, routes, scores)
    for name, row in alone.items():  # what depends on the number of declared comparisons is left out
        unadjusted = dataclasses.replace(together[name], p_adjusted=row.p_adjusted, verdict=row.verdict)
        assert unadjusted == row


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
    _, routes, _ = experiment(2)
    for row in compare([], routes, []).values():
        assert (row.n, row.excluded_count, row.interval_method) == (0, 0, "none")
        assert (row.improvement_mean, row.p_value, row.p_adjusted) == (None, None, None)
        oracle = "optimistic by construction, not a verdict"
        assert row.verdict == (oracle if row.is_optimistic else "undecided: fewer than two pairs")


def test_without_routes_there_is_nothing_to_compare() -> None:
    samples, _, scores = experiment(2)
    assert compare(samples, [], scores) == {}


def test_one_sample_gives_means_and_no_verdict() -> None:
    found = compare(*experiment(1))["static routed vs baseline"]
    assert found.n == 1
    assert found.improvement_mean == pytest.approx(
        known(found.nll_reference_mean) - known(found.nll_arm_mean)
    )  # its definition
    assert (found.improvement_low, found.p_value) == (None, None)
    assert found.verdict == "undecided: fewer than two pairs"


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


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 20), st.floats(0, 20), st.lists(st.floats(0, 20) | st.none(), min_size=2, max_size=2)),
        min_size=1,
        max_size=5,
    )
)
def test_the_oracle_is_never_worse_than_the_router(
    drawn: list[tuple[float, float, list[float | None]]],
) -> None:
    samples = [sample(str(number)) for number in range(len(drawn))]
    routes: list[Route] = []
    scores: list[Score] = []
    for number, (baseline, routed, others) in enumerate(drawn):
        scores.append(score(str(number), "baseline", "document", baseline))
        for key, nll in zip(ARMS["static"], [routed, *others], strict=True):
            routes.append(route(str(number), "static", key, key == ARMS["static"][0]))
            scores.append(score(str(number), "static", key, nll))
    found = compare(samples, routes, scores)
    router, oracle = found["static routed vs baseline"], found["static oracle vs baseline"]
    assert router.n == oracle.n == len(samples)
    assert known(oracle.improvement_mean) >= known(router.improvement_mean)
    assert oracle.win_count >= router.win_count
    assert oracle.loss_count <= router.loss_count


def test_holm_equals_a_sum_by_hand() -> None:
    adjusted = adjust({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.6}, "holm")
    assert adjusted["a"] == pytest.approx(0.04)  # 4 x 0.01
    assert adjusted["c"] == pytest.approx(0.09)  # 3 x 0.03
    assert adjusted["b"] == pytest.approx(0.09)  # 2 x 0.04 = 0.08, raised to the one before it
    assert adjusted["d"] == pytest.approx(0.6)  # 1 x 0.6


def test_benjamini_hochberg_equals_a_sum_by_hand() -> None:
    adjusted = adjust({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.6}, "benjamini_hochberg")
    assert adjusted["a"] == pytest.approx(0.04)  # 4/1 x 0.01
    assert adjusted["c"] == pytest.approx(4 / 3 * 0.04)  # 4/2 x 0.03 = 0.06, lowered to the one behind it
    assert adjusted["b"] == pytest.approx(4 / 3 * 0.04)  # 4/3 x 0.04
    assert adjusted["d"] == pytest.approx(0.6)  # 4/4 x 0.6


def test_a_missing_p_value_still_counts_among_the_declared() -> None:
    """A comparison that could not be made must not make the others easier to pass."""
    adjusted = adjust({"a": 0.01, "b": None, "c": 0.03}, "holm")
    assert adjusted["a"] == pytest.approx(0.03)  # 3 x 0.01
    assert adjusted["c"] == pytest.approx(0.06)  # 2 x 0.03
    assert adjusted["b"] is None


def test_the_two_declared_sets_are_adjusted_apart() -> None:
    found = compare(*experiment(40, gain=0.1))
    primary = [row for row in found.values() if row.adjustment == "holm"]
    others = [row for row in found.values() if row.adjustment == "benjamini_hochberg"]
    assert [row.comparison for row in primary] == [*COMPARISONS[:2], COMPARISONS[3]]
    assert [row.comparison for row in others] == [COMPARISONS[2], *COMPARISONS[4:-2]]
    largest = 0.0
    for position, row in enumerate(sorted(primary, key=lambda row: known(row.p_value))):
        largest = max(largest, min(1.0, (len(primary) - position) * known(row.p_value)))  # Holm (1979), step by step
        assert row.p_adjusted == pytest.approx(largest, rel=1e-12)
    expected = scipy.stats.false_discovery_control([known(row.p_value) for row in others], method="bh")
    assert [row.p_adjusted for row in others] == pytest.approx(expected, rel=1e-12)  # scipy
    for name in COMPARISONS[-2:]:
        assert (found[name].p_adjusted, found[name].adjustment) == (None, None)  # an oracle is no test
        assert found[name].p_value is not None


def test_clear_effects_are_called_by_their_sign() -> None:
    better, worse = (compare(*experiment(60, gain=gain)) for gain in (0.6, -0.6))
    assert better["static routed vs baseline"].verdict == "better"
    assert worse["static routed vs baseline"].verdict == "worse"
    assert better["generated routed vs static routed"].verdict == "no difference shown"  # drawn from one distribution
    assert worse["static oracle vs baseline"].verdict == "optimistic by construction, not a verdict"


def test_identical_conditions_are_equivalent() -> None:
    samples, routes, scores = experiment(10)
    scores = [dataclasses.replace(row, nll=1.5) for row in scores]
    found = compare(samples, routes, scores)["static routed vs baseline"]
    assert (found.tie_count, found.interval_method, found.improvement_low) == (10, "constant", 0.0)
    assert (found.p_value, found.p_adjusted, found.wilcoxon_p_value) == (None, None, None)
    assert found.verdict == "equivalent"


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"improvement_low": 0.1, "improvement_high": 0.3, "p_adjusted": 0.01}, "better"),
        ({"improvement_low": -0.3, "improvement_high": -0.1, "p_adjusted": 0.01}, "worse"),
        ({"improvement_low": -0.1, "improvement_high": 0.3, "p_adjusted": 0.01}, "no difference shown"),
        ({"improvement_low": 0.1, "improvement_high": 0.3, "p_adjusted": 0.06}, "no difference shown"),
        ({"improvement_low": 0.1, "improvement_high": 0.3, "p_adjusted": 0.06, "confidence_level": 0.9}, "better"),
        ({"improvement_low": 0.0, "improvement_high": 0.3, "p_adjusted": 0.01}, "no difference shown"),
        ({"improvement_low": 0.2, "improvement_high": 0.2, "p_adjusted": None}, "better"),
        ({"improvement_low": 0.0, "improvement_high": 0.0, "p_adjusted": None}, "no difference shown"),
        ({**ALL_EQUAL, "improvement_mean": 0.0, "improvement_low": 0.0, "improvement_high": 0.0}, "equivalent"),
        ({**ALL_EQUAL, "improvement_mean": 0.1, "improvement_low": 0.1, "improvement_high": 0.1}, "better"),
        ({"improvement_low": -0.1, "improvement_high": 0.3, "equivalence_p_value": 0.04}, "equivalent"),
        (
            {"improvement_low": 0.01, "improvement_high": 0.02, "p_adjusted": 0.01, "equivalence_p_value": 0.04},
            "better, but negligibly",
        ),
        (
            {"improvement_low": -0.02, "improvement_high": -0.01, "p_adjusted": 0.01, "equivalence_p_value": 0.04},
            "worse, but negligibly",
        ),
        ({"improvement_low": 0.1, "improvement_high": 0.3, "n": 1}, "undecided: fewer than two pairs"),
        ({"improvement_low": 0.1, "improvement_high": 0.1, "passage_count": 1}, "undecided: fewer than two passages"),
        ({"improvement_low": None, "improvement_high": None}, "undecided: no interval could be computed"),
        ({"is_optimistic": True, "n": 0}, "optimistic by construction, not a verdict"),
    ],
)
def test_the_verdict_follows_its_rule(changes: dict[str, Any], verdict: str) -> None:
    comparison = compare(*experiment(6))["static routed vs baseline"]
    assert judge(dataclasses.replace(comparison, **changes)) == verdict  # the rule in judge's docstring


def test_a_third_family_is_compared_with_both_others() -> None:
    routes = [route("a", family, "key", True) for family in ("zeroth", "first", "second")]
    names = [contrast.comparison for contrast in declare_contrasts(routes) if contrast.kind == "between_families"]
    assert names == [
        "first routed vs second routed",
        "first routed vs second best_key",
        "first routed vs zeroth routed",
        "first routed vs zeroth best_key",
        "second routed vs zeroth routed",
        "second routed vs zeroth best_key",
    ]  # every pair, in alphabetical order


def test_the_pairs_that_would_decide_are_told_where_something_is_left_to_decide() -> None:
    unclear = compare(*experiment(40, gain=0.1))["generated routed vs static routed"]
    assert unclear.verdict == "no difference shown"
    assert known(unclear.n_to_decide) > unclear.n  # these did not
    clear = compare(*experiment(60, gain=0.6))["static routed vs baseline"]
    assert (clear.verdict, clear.n_to_decide) == ("better", None)
    assert known(clear.improvement_low) > clear.equivalence_margin
    assert clear.n_to_decide_margin is None  # the interval does not hold the margin


def test_the_best_free_arm_is_chosen_among_those_for_which_nothing_is_written() -> None:
    scored = [
        "baseline/document", "control/actual_query", "control/bare_document", "control/blank_surrogate",
        "control/random_words", "generated/target_question", "generated/routed", "static/factual", "static/routed",
        "static/oracle", "static/mean_of_keys", "static/best_key",
    ]  # fmt: skip
    assert free_arms(scored) == [
        "baseline/document", "control/bare_document", "control/blank_surrogate", "static/factual", "static/routed",
    ]  # fmt: skip


def test_generated_is_compared_with_the_free_arm_that_is_best_on_other_passages() -> None:
    """Expected: "factual" is better than every other free arm on all passages, so it is chosen in every fold."""
    samples, routes, scores = experiment(20)
    scores = [dataclasses.replace(row, nll=0.001) if row.key == "factual" else row for row in scores]
    found = compare(samples, routes, scores)["generated routed vs best free arm"]
    assert found.nll_reference_mean == pytest.approx(0.001)
    assert found.kind == "worth"
