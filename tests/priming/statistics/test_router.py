"""Does the router choose well, and does similarity tell what helps?"""

import dataclasses
import math
import random

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from tasks.priming.records import Correlation, RoutingAgreement, RoutingChoice
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.router import agree_with_oracle, confuse_routes, correlate_similarity
from tasks.priming.statistics.run_data import RunData
from tests.run_rows import known, route, sample, score

SETTINGS = StatisticsSettings(confidence_level=0.9)
KEYS = ("factual", "problem", "quantitative")


def choices(*rows: tuple[str | None, dict[str, float]], family: str = "static") -> RunData:
    """Return a run of one family: per sample the routed key and each key's NLL."""
    samples = [sample(f"s{number:03d}") for number in range(len(rows))]
    routes = [
        route(row.sample_id, f"{family}/{key}", is_routed=key == routed)
        for row, (routed, nlls) in zip(samples, rows, strict=True)
        for key in nlls
    ]
    scores = [
        score(row.sample_id, f"{family}/{key}", nll)
        for row, (_, nlls) in zip(samples, rows, strict=True)
        for key, nll in nlls.items()
    ]
    return RunData(samples, routes, scores, [])


def similar(similarities: list[float | None], gains: list[float]) -> RunData:
    """Return a run of one static key, which is routed, with its similarities and its gains over a baseline of 50 %."""
    samples = [sample(f"s{number:03d}") for number in range(len(gains))]
    routes = [
        route(row.sample_id, "static/factual", similarity, is_routed=similarity is not None)
        for row, similarity in zip(samples, similarities, strict=True)
    ]
    scores = [
        score(row.sample_id, name, -np.log(percent / 100))
        for row, gain in zip(samples, gains, strict=True)
        for name, percent in (("baseline/document", 50.0), ("static/factual", 50.0 + gain))
    ]
    return RunData(samples, routes, scores, [])


def experiment(count: int = 120) -> RunData:
    """Return two families whose router is right more often than by chance, with similarities that tell a little."""
    generator = random.Random(3)
    ids = [f"sample-{number:03d}" for number in range(count)]
    routes, scores = [], []
    for sample_id in ids:
        scores.append(score(sample_id, "baseline/document", generator.expovariate(0.5)))
        for family in ("generated", "static"):
            nlls = {key: generator.expovariate(0.5) for key in KEYS}
            similarities = {key: -nll + generator.gauss(0, 2) for key, nll in nlls.items()}
            routed = max(similarities, key=lambda key: similarities[key])
            routes += [route(sample_id, f"{family}/{key}", similarities[key], is_routed=key == routed) for key in KEYS]
            scores += [score(sample_id, f"{family}/{key}", nll) for key, nll in nlls.items()]
    return RunData([sample(sample_id) for sample_id in ids], routes, scores, [])


def confuse(evidence: RunData) -> list[RoutingChoice]:
    return confuse_routes(evidence, SETTINGS, 42)


def agree(evidence: RunData) -> RoutingAgreement:
    (found,) = agree_with_oracle(evidence, SETTINGS, 42)
    return found


def correlate(evidence: RunData) -> dict[str, Correlation]:
    return {f"{row.family}/{row.key}": row for row in correlate_similarity(evidence, SETTINGS, 42)}


def pairs_of(evidence: RunData, family: str) -> list[tuple[str, str]]:
    """Return the routed and the best key of every sample, counted without the module."""
    routed = {row.sample_id: row.key for row in evidence.routes if row.family == family and row.is_routed}
    scores = [row for row in evidence.scores if row.family == family]
    return [
        (key, min((known(row.nll), row.key) for row in scores if row.sample_id == sample_id)[1])
        for sample_id, key in routed.items()
    ]


def test_routed_and_best_keys_are_counted_together() -> None:
    """Expected by hand: factual is right once; it loses 1 and 3 to problem; problem is right once."""
    evidence = choices(
        ("factual", {"factual": 1.0, "problem": 2.0}),
        ("factual", {"factual": 2.0, "problem": 1.0}),
        ("factual", {"factual": 4.0, "problem": 1.0}),
        ("problem", {"factual": 4.0, "problem": 1.0}),
    )
    assert confuse(evidence) == [
        RoutingChoice("static", "factual", "factual", 1, 0.0),
        RoutingChoice("static", "factual", "problem", 2, 2.0),
        RoutingChoice("static", "problem", "problem", 1, 0.0),
    ]
    found = agree(evidence)
    assert (found.n, found.agreement_rate) == (4, 0.5)  # samples 0 and 3 of four
    assert found.chance_rate == pytest.approx(0.375)  # routed 3/4, 1/4; best 1/4, 3/4: 3/16 + 3/16
    assert found.kappa == pytest.approx(0.2)  # (0.5 - 0.375) / (1 - 0.375)


def test_every_family_is_counted_apart() -> None:
    evidence = experiment(30)
    assert {row.family for row in confuse(evidence)} == {"generated", "static"}
    assert [row.family for row in agree_with_oracle(evidence, SETTINGS, 1)] == ["generated", "static"]
    for family in ("generated", "static"):
        counts = {(row.routed_key, row.best_key): row.count for row in confuse(evidence) if row.family == family}
        pairs = pairs_of(evidence, family)
        assert counts == {pair: pairs.count(pair) for pair in set(pairs)}  # counted a second way


def test_kappa_and_its_interval_are_those_of_statsmodels_and_scikit_learn() -> None:
    evidence = experiment()
    found = agree_with_oracle(evidence, SETTINGS, 42)[1]
    pairs = pairs_of(evidence, "static")
    table = [[pairs.count((routed, best)) for best in KEYS] for routed in KEYS]
    expected = cohens_kappa(table)
    reach = scipy.stats.norm.ppf(0.95) * expected.std_kappa  # 90 %: 5 % in each tail
    assert found.kappa == pytest.approx(cohen_kappa_score(*zip(*pairs, strict=True)))  # sklearn.metrics
    assert found.kappa_low == pytest.approx(expected.kappa - reach)  # statsmodels cohens_kappa
    assert found.kappa_high == pytest.approx(expected.kappa + reach)  # statsmodels cohens_kappa
    assert found.kappa == pytest.approx(
        (known(found.agreement_rate) - known(found.chance_rate)) / (1 - known(found.chance_rate))
    )  # its definition
    assert known(found.kappa_low) > 0  # the router of this experiment sees something of the NLL


def test_a_perfect_router_has_a_kappa_of_one_without_an_interval() -> None:
    rows = [(key, {other: float(other != key) for other in KEYS}) for key in [*KEYS, *KEYS]]
    found = agree(choices(*rows))
    assert (found.agreement_rate, found.kappa) == (1.0, 1.0)  # by construction
    assert (found.kappa_low, found.kappa_high) == (None, None)  # an error of zero


def test_a_router_that_always_chooses_the_same_key_has_a_kappa_of_zero_without_an_interval() -> None:
    """Its variance is 0, which came out as 2.7e-15 for 5 and 2 samples and gave an interval of its rounding."""
    bests = ["factual"] * 5 + ["problem"] * 2
    found = agree(
        choices(*[("factual", {key: float(key != best) for key in ("factual", "problem")}) for best in bests])
    )
    assert (found.agreement_rate, found.chance_rate) == (5 / 7, 5 / 7)  # by eye
    assert found.kappa == pytest.approx(0.0, abs=1e-12)  # (5 / 7 - 5 / 7) / (2 / 7)
    assert (found.kappa_low, found.kappa_high) == (None, None)


def test_kappa_of_a_table_of_one_cell_is_undefined() -> None:
    found = agree(choices(("factual", {"factual": 1.0, "problem": 2.0}), ("factual", {"factual": 0.0, "problem": 2.0})))
    assert (found.agreement_rate, found.chance_rate) == (1.0, 1.0)  # by eye
    assert (found.kappa, found.kappa_low, found.kappa_high) == (None, None, None)  # 0 / 0


def test_equal_best_keys_all_count_as_agreement_and_the_first_stands_in_the_table() -> None:
    """Expected by hand: on both samples two keys tie for the best, among them the routed one on the first alone."""
    evidence = choices(
        ("problem", {"factual": 1.0, "problem": 1.0, "quantitative": 3.0}),
        ("quantitative", {"factual": 1.0, "problem": 1.0, "quantitative": 3.0}),
    )
    assert confuse(evidence) == [
        RoutingChoice("static", "problem", "factual", 1, 0.0),
        RoutingChoice("static", "quantitative", "factual", 1, 2.0),
    ]
    found = agree(evidence)
    assert (found.agreement_rate, found.best_tie_count) == (0.5, 2)
    assert found.chance_rate == 0.5  # problem: 1/2 x 2/2; quantitative: 1/2 x 0


def test_ties_of_similarity_are_counted_per_sample() -> None:
    """Expected by eye: the first sample's two keys tie; the last one's tie is not counted, since a key has no score."""
    evidence = choices(*[("factual", {"factual": 1.0, "problem": 2.0})] * 3)
    routes = [dataclasses.replace(row, is_tie=row.sample_id in ("s000", "s002")) for row in evidence.routes]
    scores = [row for row in evidence.scores if (row.sample_id, row.key) != ("s002", "problem")]
    found = agree(dataclasses.replace(evidence, routes=routes, scores=scores))
    assert (found.n, found.similarity_tie_count) == (2, 1)


def test_a_family_without_complete_samples_has_no_rates() -> None:
    evidence = choices((None, {"factual": 1.0, "problem": 2.0}))
    assert confuse(evidence) == []
    assert agree(evidence) == RoutingAgreement("static", 0, None, None, None, None, None, 0, 0)  # the definition


def test_similarity_and_improvement_are_correlated_as_scipy_does() -> None:
    generator = np.random.default_rng(8)
    similarities, noise = generator.uniform(0, 1, 50), generator.normal(0, 0.5, 50)
    gains = similarities + noise
    found = correlate(similar(similarities.tolist(), gains.tolist()))["static/factual"]
    pearson = scipy.stats.pearsonr(similarities, gains)
    interval = pearson.confidence_interval(0.9)
    assert (found.n, found.confidence_level) == (50, 0.9)
    assert found.pearson_r == pytest.approx(pearson.statistic)  # scipy.stats.pearsonr
    assert found.pearson_p_value == pytest.approx(pearson.pvalue)  # scipy.stats.pearsonr
    assert found.pearson_low == pytest.approx(interval.low)  # scipy.stats.pearsonr
    assert found.pearson_high == pytest.approx(interval.high)  # scipy.stats.pearsonr
    assert found.spearman_r == pytest.approx(scipy.stats.spearmanr(similarities, gains).statistic)  # scipy.stats


def test_what_was_routed_takes_each_samples_own_key() -> None:
    """Expected by hand: the routed keys' similarities 0.1, 0.2, 0.3, 0.4 with gains 1, 2, 3, 4; the others fall."""
    rows = [("factual", 0.1, 1.0), ("problem", 0.2, 2.0), ("factual", 0.3, 3.0), ("problem", 0.4, 4.0)]
    samples = [sample(f"s{number}") for number in range(4)]
    routes, scores = [], []
    for row, (routed, similarity, gain) in zip(samples, rows, strict=True):
        scores.append(score(row.sample_id, "baseline/document", math.log(2)))
        for key in ("factual", "problem"):
            value = similarity if key == routed else similarity - 0.5
            routes.append(route(row.sample_id, f"static/{key}", value, is_routed=key == routed))
            percent = 50.0 + gain if key == routed else 50.0 - gain
            scores.append(score(row.sample_id, f"static/{key}", -math.log(percent / 100)))
    found = correlate(RunData(samples, routes, scores, []))
    assert list(found) == ["static/factual", "static/problem", "static/routed"]
    assert found["static/routed"].pearson_r == pytest.approx(1.0)
    assert (found["static/factual"].n, found["static/routed"].n) == (4, 4)


@pytest.mark.parametrize(
    ("similarities", "gains"),
    [
        pytest.param([0.5] * 4, [1.0, 2.0, 4.0, 3.0], id="similarity"),
        pytest.param([0.1, 0.2, 0.3, 0.4], [0.25] * 4, id="improvement"),
        pytest.param([0.1, 0.2, 0.3, 0.4], [0.3, 0.3, 0.3 + 2e-15, 0.3], id="improvement but for rounding"),  # of 8.0
    ],
)
def test_a_constant_has_no_correlation(similarities: list[float | None], gains: list[float]) -> None:
    found = correlate(similar(similarities, gains))["static/factual"]
    assert found == Correlation("static", "factual", 4, None, None, None, None, None, 0.9)  # SciPy: undefined


def test_fewer_than_three_samples_have_no_correlation_and_three_no_interval() -> None:
    """Any two points are on a line: SciPy gives r = 1 for them."""
    two = correlate(similar([0.1, 0.2], [1.0, 2.0]))["static/factual"]
    assert two == Correlation("static", "factual", 2, None, None, None, None, None, 0.9)
    three = correlate(similar([0.1, 0.2, 0.3], [1.0, 3.0, 2.0]))["static/factual"]
    assert three.pearson_r == pytest.approx(0.5)  # by hand: (1 x 1) / sqrt(2 x 2), centred values -1, 0, 1 and -1, 1, 0
    assert (three.pearson_low, three.pearson_high) == (-1.0, 1.0)  # scipy.stats.pearsonr


def test_similarities_and_scores_that_are_missing_or_not_finite_are_left_out() -> None:
    gains = [1.0, 2.0, 4.0, 3.0, 9.0, math.nan, math.inf]
    found = correlate(similar([0.1, 0.2, 0.3, None, math.nan, 0.6, 0.7], gains))
    expected = scipy.stats.pearsonr([0.1, 0.2, 0.3], [1.0, 2.0, 4.0]).statistic  # the first three samples
    for name in ("static/factual", "static/routed"):
        assert found[name].n == 3
        assert found[name].pearson_r == pytest.approx(expected)  # scipy.stats.pearsonr
