"""What a run verifies of its rows: each check sees the fault that it is for, and counts it."""

import dataclasses
import math
from typing import Any

import pytest

from tasks.priming.records import Check, Sample, Score, Surrogate
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.checks import _intervals_match, check_outcomes
from tasks.priming.statistics.run_data import ModelFacts, RunData
from tests.published_rows import comparison

SAMPLES = [Sample(name, number, "P.", "q", "a", None, "p") for number, name in enumerate("ab")]
ARMS = [("baseline", "document"), ("generated", "target_question"), ("control", "repeated_baseline")]
INVARIANT = ModelFacts(100, 0, 1, 8, 64, is_batch_invariant=True)
VARIANT = dataclasses.replace(INVARIANT, is_batch_invariant=False)


def score(sample_id: str, family: str, key: str, **changes: Any) -> Score:
    sound = Score(sample_id, family, key, "kept", "ok", (1.0, 3.0), (), 2.0, 3.0, None, None, 9, 9, None, 5, 2, 0)
    return dataclasses.replace(sound, **changes)


def surrogate(sample_id: str, **changes: Any) -> Surrogate:
    sound = Surrogate(
        sample_id, "generated", "target_question", "A guess", "A guess", 30, 4, "stop", False, False, False
    )
    return dataclasses.replace(sound, **changes)


def scores(**changes: Any) -> list[Score]:
    """The scores of two samples behind three arms; `changes` are those of sample b behind the generated arm."""
    rows = [score(sample.sample_id, *arm) for sample in SAMPLES for arm in ARMS]
    rows[4] = dataclasses.replace(rows[4], **changes)
    return rows


def checks(
    rows: list[Score], surrogates: list[Surrogate] | None = None, model: ModelFacts | None = INVARIANT
) -> dict[str, Check]:
    evidence = RunData(SAMPLES, [], rows, [surrogate("a"), surrogate("b")] if surrogates is None else surrogates, model)
    return {check.name: check for check in check_outcomes(evidence, StatisticsSettings(), seed=1)}


def test_sound_rows_pass() -> None:
    found = checks(scores())
    assert [(check.name, check.value, check.passed) for check in found.values()] == [
        ("repeated_baseline_noise", 0.0, True),
        ("token_counts_add_up", 0.0, True),
        ("scores_without_nll", 0.0, None),
        ("first_answer_token_share", 0.25, None),  # by hand: 1 of 1 + 3 nats in every answer
        ("surrogates_obey_their_template", 1.0, None),
        ("generations_cut_off", 0.0, None),
        ("surrogates_equal_to_the_query", 0.0, None),
        ("headroom", pytest.approx(100 - 100 * math.exp(-2)), None),  # margins of one point, at an NLL of 2
    ]
    assert "2 samples, 3 arms" in found["token_counts_add_up"].detail


def test_an_interval_that_says_otherwise_than_its_p_value_fails() -> None:
    """Ten of 37 comparisons had an interval that excluded 0 next to a p-value of 0.12 to 0.25."""
    sound = comparison("static/routed", "baseline/document")
    wrong = [
        dataclasses.replace(sound, improvement_low=0.1, p_value=0.12),
        dataclasses.replace(sound, answer_low=-0.1, answer_p=0.01),
    ]
    (found,) = _intervals_match([sound, sound, *wrong], 0.05)
    assert (found.name, found.value, found.passed) == ("intervals_match_p_values", 2.0, False)
    assert _intervals_match([sound], 0.05)[0].passed


# --- the noise floor ---


@pytest.mark.parametrize(
    ("model", "limit", "passed"), [(INVARIANT, 0.0, False), (VARIANT, None, None), (None, None, None)]
)
def test_a_repeated_baseline_that_differs_fails_where_bits_are_promised(
    model: ModelFacts | None, limit: float | None, passed: bool | None
) -> None:
    rows = scores()
    rows[2] = dataclasses.replace(rows[2], nll=2.25)
    rows[5] = dataclasses.replace(rows[5], nll=1.5)
    noise = checks(rows, model=model)["repeated_baseline_noise"]
    assert (noise.value, noise.limit_value, noise.passed) == (0.5, limit, passed)  # by hand: max(|2 - 2.25|, |2 - 1.5|)
    assert "2 samples" in noise.detail


def test_without_a_repeated_baseline_there_is_no_noise_floor() -> None:
    rows = [row for row in scores() if row.key != "repeated_baseline"]
    assert "repeated_baseline_noise" not in checks(rows)
    only_b = [dataclasses.replace(row, nll=None) if row.sample_id == "a" else row for row in scores()]
    assert "1 samples" in checks(only_b)["repeated_baseline_noise"].detail


# --- counts ---


@pytest.mark.parametrize(
    ("changes", "violations"),
    [
        ({"token_nlls": (1.0,)}, 1.0),  # one NLL for two answer tokens
        ({"token_nlls": None}, 1.0),
        ({"token_nlls": (1.0, 2.0, 3.0), "answer_token_count": 3}, 1.0),  # the sample's other arms have two
        ({"query_token_count": 6}, 1.0),
        ({"query_token_count": 6, "token_nlls": (1.0,)}, 2.0),
        ({"status": "too_long", "token_nlls": None, "nll": None}, 0.0),  # nothing is expected of it
        ({"context_token_count": 99}, 0.0),  # contexts differ between arms by design
        ({"sample_id": "unknown"}, 1.0),  # takes no part, and sample b lacks the arm
    ],
)
def test_token_counts_that_contradict_each_other_are_counted(changes: dict[str, Any], violations: float) -> None:
    check = checks(scores(**changes))["token_counts_add_up"]
    assert (check.value, check.limit_value, check.passed) == (violations, 0.0, violations == 0.0)


def test_every_missing_row_is_counted() -> None:
    """Expected: by hand, 2 samples x 3 arms - 3 rows."""
    check = checks(scores()[:3])["token_counts_add_up"]
    assert check.value == 3.0
    assert "3 missing scores" in check.detail


def test_scores_without_an_nll_are_recorded_by_their_reason() -> None:
    rows = scores(status="too_long", nll=None, token_nlls=None)
    rows[0] = dataclasses.replace(rows[0], status="not_finite", nll=None)
    check = checks(rows)["scores_without_nll"]
    assert (check.value, check.limit_value, check.passed) == (2.0, None, None)
    assert check.detail == "scores: 1 not_finite, 1 too_long; of 6"


# --- what the model wrote ---


@pytest.mark.parametrize(
    ("changes", "name", "share"),
    [
        ({"text": ""}, "surrogates_obey_their_template", 0.75),  # by hand: one of four does not
        ({"is_over_word_limit": True}, "surrogates_obey_their_template", 0.75),
        ({"has_stray_marks": True}, "surrogates_obey_their_template", 0.75),
        ({"has_stray_marks": True, "is_over_word_limit": True}, "surrogates_obey_their_template", 0.75),
        ({"finish": "length"}, "generations_cut_off", 0.25),
        ({"is_query": True}, "surrogates_equal_to_the_query", 0.25),
    ],
)
def test_a_surrogate_that_is_not_as_asked_lowers_the_share(changes: dict[str, Any], name: str, share: float) -> None:
    others = [surrogate("a"), surrogate("b"), surrogate("a", key="keyword_query")]
    elsewhere = [
        surrogate("unknown", text="", finish="length", is_query=True),
        surrogate("a", family="control", text="", finish="length", is_query=True),
        surrogate("a", family="static", text="", finish="fixed", is_query=True),
    ]
    check = checks(scores(), [*others, *elsewhere, surrogate("b", key="keyword_query", **changes)])[name]
    assert (check.value, check.limit_value, check.passed) == (share, None, None)
    assert "4 generated surrogates" in check.detail


# --- distractors ---


def test_the_share_of_scores_with_a_margin_is_of_those_with_an_nll() -> None:
    rows = [dataclasses.replace(row, distractor_nlls=(4.0,), margin=2.0) for row in scores()]
    assert checks(rows)["distractors_scored"].value == 1.0
    rows[0] = dataclasses.replace(rows[0], margin=None)
    rows[1] = dataclasses.replace(rows[1], status="too_long", token_nlls=None, nll=None, margin=None)
    check = checks(rows)["distractors_scored"]
    assert check.value == 0.8  # by hand: 4 of 5
    assert "5 scores" in check.detail
    assert "distractors_scored" not in checks(scores())


def test_the_first_tokens_share_is_that_of_the_baselines_longer_answers() -> None:
    """Answers are scored with the space before them; one mis-tokenised first token carried 62 % of the summed NLL."""
    rows = [
        dataclasses.replace(score("a", "baseline", "document"), token_nlls=(6.0, 1.0, 1.0), answer_token_count=3),
        dataclasses.replace(score("b", "baseline", "document"), token_nlls=(5.0,), answer_token_count=1),
        dataclasses.replace(score("a", "static", "factual"), token_nlls=(0.0, 9.0)),
    ]
    found = checks(rows)["first_answer_token_share"]
    assert (found.value, found.passed) == (0.75, None)  # by hand: 6 of 8; one token alone has nothing to compare
    assert "1 answers of two or more tokens" in found.detail


# --- dropped prefixes ---


def test_a_dropped_prefix_is_told_by_the_ids_that_it_leaves() -> None:
    """Expected by hand: two of the sample's three such scores hold the plain document's ids."""
    stripped = [score("a", "static", key, treatment="stripped", has_document_ids=key != "b") for key in "abc"]
    found = checks([*scores(), *stripped])
    assert found["stripped_has_the_documents_ids"].value == pytest.approx(2 / 3)
    assert "3 scores" in found["stripped_has_the_documents_ids"].detail
    assert {"stripped_has_the_documents_ids", "stripped_keeps_a_first_token"} & checks(scores()).keys() == set()


@pytest.mark.parametrize(("first_token", "value"), [("<s>", 1.0), (None, 0.0)])
def test_a_prefix_that_is_dropped_with_the_attention_sink_is_flagged(first_token: str | None, value: float) -> None:
    stripped = score("a", "static", "factual", treatment="stripped", has_document_ids=True)
    model = dataclasses.replace(INVARIANT, first_token=first_token)
    check = checks([*scores(), stripped], model=model)["stripped_keeps_a_first_token"]
    assert (check.value, check.limit_value, check.passed) == (value, None, None)
    assert ("nothing is concluded from them" in check.detail) == (first_token is None)
