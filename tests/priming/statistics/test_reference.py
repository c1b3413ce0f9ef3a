"""The published table: its numbers fit together, and a run's are computed by its conventions."""

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tasks.priming.errors import UsageError
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, STATIC_SURROGATES
from tasks.priming.records import Score
from tasks.priming.statistics.reference import (
    Reproduction,
    _effect_error,
    other_inputs,
    published_nll,
    read_published,
    reproduce,
)
from tasks.priming.statistics.run_data import RunData
from tests import run_rows
from tests.places import GOLDEN
from tests.run_rows import route, sample, shuffled

PRINTED: dict[str, Any] = json.loads((GOLDEN / "published_numbers.json").read_text(encoding="utf-8"))[
    "v1_exp02_production_simulation"
]
PUBLISHED = read_published()
# By hand: the second answer token onwards, as the published code scores it; sample d has an answer of one token.
NLLS: dict[str, dict[str, float | None]] = {
    "baseline/document": {"a": 2.0, "b": 3.0, "c": 1.0, "d": None},
    "static/definitional": {"a": 1.0, "b": 2.5, "c": 1.0, "d": None},
    "static/quantitative": {"a": 1.5, "b": 2.0, "c": 1.5, "d": None},
    "generated/target_question": {"a": 1.5, "b": 1.0, "c": 1.0, "d": None},
}
ROUTED = {"static": {s: f"static/{'definitional' if s in 'ab' else 'quantitative'}" for s in "abcd"}}


def score(arm: str, sample_id: str, nll: float | None) -> Score:
    tokens = (7.0,) if nll is None else (7.0, nll)  # a first token that would be seen if it were scored
    measured = {"token_nlls": tokens, "nll_notebook": nll, "answer_token_count": len(tokens)}
    return run_rows.score(sample_id, arm, sum(tokens) / len(tokens), **measured)


def evidence(nlls: dict[str, dict[str, float | None]] = NLLS, passages: str = "pqrs") -> RunData:
    return RunData(
        samples=[sample(s, passage) for s, passage in zip("abcd", passages, strict=True)],
        routes=[
            route(s, arm, is_routed=ROUTED.get(arm.split("/")[0], {}).get(s, arm) == arm)
            for arm in nlls
            if arm != "baseline/document"
            for s in "abcd"
        ],
        scores=[score(arm, s, nll) for arm, values in nlls.items() for s, nll in values.items()],
        surrogates=[],
    )


def row(quantity: str, rows: list[Reproduction] | None = None) -> Reproduction:
    (found,) = [each for each in rows or reproduce(PUBLISHED, evidence()) if each.quantity == quantity]
    return found


# --- the published numbers among themselves ---


def test_the_numbers_are_those_that_were_printed() -> None:
    compared = {name: value for name, value in PUBLISHED.items() if name != "inputs"}
    assert compared == {name: PRINTED[name] for name in compared}


def test_the_keys_are_the_projects_own() -> None:
    assert set(PUBLISHED["per_template_generated"]) == set(GENERATION_INSTRUCTIONS)
    assert set(PUBLISHED["per_template_static"]) == set(STATIC_SURROGATES)


# --- a run's numbers, by hand ---


@pytest.mark.parametrize(
    ("quantity", "ours"),
    [
        ("samples", 4),
        ("mean NLL, baseline", 1.5),  # (2 + 3 + 1 + 0) / 4
        ("mean NLL, static routed", 1.25),  # (1 + 2.5 + 1.5 + 0) / 4
        ("mean NLL, static oracle", 1.0),  # (1 + 2 + 1 + 0) / 4
        ("mean NLL, generated routed", 0.875),  # (1.5 + 1 + 1 + 0) / 4
        ("sd of NLL, baseline", math.sqrt(1.25)),  # (0.25 + 2.25 + 0.25 + 2.25) / 4
        ("sd of NLL, static routed", math.sqrt(0.8125)),  # 2 * (0.0625 + 1.5625) / 4
        ("wins %, static routed", 50.0),  # a and b; c loses, d ties
        ("wins %, generated routed", 50.0),  # a and b; c and d tie
        ("improvement, static routed", 0.25),  # (1 + 0.5 - 0.5 + 0) / 4
        ("improvement, static oracle", 0.5),  # (1 + 1 + 0 + 0) / 4
        ("median improvement, static routed", 0.25),  # (0 + 0.5) / 2
        ("Cohen's d, static routed", 0.25 / math.sqrt(1.25 / 3)),  # squares: 0.5625 + 0.0625 + 0.5625 + 0.0625
        ("t, static routed", 0.25 / math.sqrt(1.25 / 3) * 2),  # d * sqrt(4)
        ("generated beats static %", 50.0),  # b and c; d ties
        ("generated - static improvement", 0.375),  # 1.25 - 0.875
        ("t, generated - static", -0.375 / math.sqrt(2.1875 / 3 / 4)),  # 0.5, -1.5, -0.5, 0 about their mean
        ("routed / oracle gain %, static", 50.0),  # 0.25 / 0.5
        ("wins %, quantitative", 50.0),  # a and b
        ("improvement, quantitative", 0.25),  # (0.5 + 1 - 0.5 + 0) / 4
        ("routed %, definitional", 50.0),  # a and b
        ("best %, definitional", 75.0),  # a, c, and d, where both are 0: the first of equals
        ("best %, quantitative", 25.0),  # b
        ("routed %, target_question", 100.0),  # the only one of its family
    ],
)
def test_quantities_follow_the_published_conventions(quantity: str, ours: float) -> None:
    assert row(quantity).ours == pytest.approx(ours)  # by hand, from NLLS


def test_a_one_token_answer_counts_as_zero_and_is_counted() -> None:
    assert published_nll(score("baseline/document", "d", None)) == 0.0
    assert published_nll(score("baseline/document", "a", 2.0)) == 2.0  # and not 4.5, the mean of both tokens
    assert row("samples").note == "1 of one token: 0.0"


def test_what_was_not_scored_does_not_count_as_zero() -> None:
    failed = replace(score("baseline/document", "d", None), status="out_of_memory", token_nlls=None, nll=None)
    assert published_nll(failed) is None


def test_a_sample_without_a_score_with_every_context_takes_no_part() -> None:
    whole = evidence()
    partly = replace(whole, scores=[s for s in whole.scores if (s.sample_id, s.key) != ("b", "quantitative")])
    rows = reproduce(PUBLISHED, partly)
    assert row("samples", rows).ours == 3
    assert row("mean NLL, baseline", rows).ours == pytest.approx(1.0)  # (2 + 1 + 0) / 3


def test_the_joint_interval_adds_both_squared_errors() -> None:
    found = row("mean NLL, baseline")
    theirs = 2.016 / math.sqrt(2499)  # the printed sd divides by n
    own = math.sqrt(5 / 3 / 4)  # squares about the mean of 1.5: 0.25 + 2.25 + 0.25 + 2.25
    reach = 1.959964 * math.sqrt(theirs**2 + own**2)
    assert (found.low, found.high) == pytest.approx((1.4031 - reach, 1.4031 + reach), rel=1e-6)
    assert found.agrees is True


def test_errors_of_improvements_follow_from_d_and_t_and_those_of_shares_from_n() -> None:
    def reach(quantity: str) -> float:
        found = row(quantity)
        assert found.low is not None
        assert found.high is not None
        return (found.high - found.low) / 2 / 1.959964

    own = math.sqrt(1.25 / 3 / 4)  # sd / sqrt(4) of 1, 0.5, -0.5, 0
    assert reach("improvement, static routed") == pytest.approx(math.hypot(0.1972 / 0.3661 / 50, own), rel=1e-6)
    own = math.sqrt(2.1875 / 3 / 4)
    assert reach("generated - static improvement") == pytest.approx(math.hypot(0.0377 / 4.673, own), rel=1e-6)
    own = math.sqrt(4 * 0.25 / 3 / 4) * 100  # shares of 1, 1, 0, 0: 50 % each
    theirs = math.sqrt(0.667 * 0.333 / 2500) * 100
    assert reach("wins %, static routed") == pytest.approx(math.hypot(theirs, own), rel=1e-6)


def test_our_errors_are_clustered_by_passage() -> None:
    apart, together = (row("mean NLL, baseline", reproduce(PUBLISHED, evidence(passages=p))) for p in ("pqrs", "ppqq"))
    assert (apart.ours, apart.published) == (together.ours, together.published)
    assert apart.high is not None
    assert together.high is not None
    assert together.high > apart.high  # a and b are both above the mean, c and d both below


def test_the_error_of_d_is_that_of_resampled_improvements() -> None:
    """Measured improvements are skewed and long-tailed; the formula for normal ones is not theirs."""
    generator = np.random.default_rng(3)
    improvement = generator.exponential(1.0, 10_000) ** 2 - 1.0
    resampled = [generator.choice(improvement, 10_000) for _ in range(2000)]
    spread = float(np.std([values.mean() / values.std(ddof=1) for values in resampled]))
    effect = float(improvement.mean() / improvement.std(ddof=1))
    assert _effect_error(effect, 10_000, improvement) == pytest.approx(spread, rel=0.05)  # a bootstrap
    normal = np.random.default_rng(4).normal(0.5, 1.0, 100_000)
    assert _effect_error(0.5, 100, normal) == pytest.approx(math.sqrt((1 + 0.5**2 / 2) / 100), rel=0.02)  # Hedges


@pytest.mark.parametrize(
    ("quantity", "note"),
    [
        ("sd of NLL, baseline", "no spread published"),
        ("median improvement, static routed", "no spread published"),
        ("improvement, static oracle", "no spread published"),
        ("improvement, quantitative", "no spread published"),
        ("t, static routed", "grows with samples"),
    ],
)
def test_there_is_no_verdict_without_a_published_error(quantity: str, note: str) -> None:
    found = row(quantity)
    assert (found.low, found.high, found.agrees, found.note) == (None, None, None, note)
    assert found.ours is not None


def test_a_family_that_was_not_run_is_said_so() -> None:
    rows = reproduce(PUBLISHED, evidence({arm: nlls for arm, nlls in NLLS.items() if "generated" not in arm}))
    for quantity in ("mean NLL, generated routed", "generated beats static %", "best %, target_question"):
        found = row(quantity, rows)
        assert (found.ours, found.agrees, found.note) == (None, None, "not run or undefined")
    assert row("mean NLL, static routed", rows).ours == pytest.approx(1.25)  # as above


def test_scores_that_are_all_equal_agree_with_none_but_their_own_value() -> None:
    rows = reproduce(PUBLISHED, evidence({arm: dict.fromkeys("abcd", 0.5) for arm in NLLS}))
    found = row("mean NLL, baseline", rows)
    assert (found.ours, found.agrees) == (0.5, False)
    assert row("Cohen's d, static routed", rows).ours is None
    assert row("routed / oracle gain %, static", rows).ours is None


def test_samples_of_one_passage_have_no_verdict() -> None:
    found = row("mean NLL, baseline", reproduce(PUBLISHED, evidence(passages="pppp")))
    assert (found.agrees, found.note) == (None, "one passage")
    assert found.ours == pytest.approx(1.5)  # as above


def test_a_run_without_a_complete_sample_is_refused() -> None:
    with pytest.raises(UsageError, match="No sample of this run has a score with every context"):
        reproduce(PUBLISHED, replace(evidence(), scores=[]))


def test_an_order_of_rows_changes_nothing() -> None:
    assert reproduce(PUBLISHED, shuffled(evidence(), 1)) == reproduce(PUBLISHED, evidence())


def test_another_model_or_other_data_are_named() -> None:
    same = {
        "language_model": "mistralai/Mistral-7B-Instruct-v0.2",
        "data": "microsoft/ms_marco",
        "data_config": "v1.1",
        "min_words": 50,
        "max_words": 300,
    }
    assert other_inputs(PUBLISHED, same) == []
    assert other_inputs(PUBLISHED, same | {"language_model": "owner/model"}) == [
        "language_model is owner/model, published mistralai/Mistral-7B-Instruct-v0.2"
    ]
    assert other_inputs(PUBLISHED, same | {"max_words": 200}) == ["max_words is 200, published 300"]
    assert len(other_inputs(PUBLISHED, {})) == 5
