"""Measures of written answers, on pairs worked out by hand from SQuAD's evaluation script and ROUGE's definition."""

import random
import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.priming.answer_measures import (
    REFUSALS,
    TextMeasures,
    measure_text,
    measures_by_condition,
    normalise,
    rouge_l,
)
from tasks.priming.records import AnswerText

PAIRS = [  # text, accepted answers, exact match, F1, recall
    # the same answer in other clothes
    ("October 1973", ["October 1973"], True, 1.0, 1.0),
    ("October 1973.", ["october 1973"], True, 1.0, 1.0),
    ("  The  October of 1973 ", ["October of 1973"], True, 1.0, 1.0),
    ("a, an, the: Paris!", ["Paris"], True, 1.0, 1.0),
    ("U.S.A.", ["USA"], True, 1.0, 1.0),
    ("$15,000", ["15000"], True, 1.0, 1.0),
    ("state-of-the-art", ["stateoftheart"], True, 1.0, 1.0),  # the hyphens go first, and no article is left
    ("THE BEATLES", ["Beatles"], True, 1.0, 1.0),
    ("don't", ["dont"], True, 1.0, 1.0),
    ("anthem", ["them"], False, 0.0, 0.0),  # articles are whole words
    # words in common: F1 = 2 common / (words of both)
    ("in October 1973", ["October 1973"], False, 4 / 5, 1.0),
    ("1973", ["October 1973"], False, 2 / 3, 1 / 2),
    ("It began in October of the year 1973.", ["October 1973"], False, 4 / 9, 1.0),  # seven words, "the" is none
    ("the the the", ["October"], False, 0.0, 0.0),
    ("November", ["October 1973"], False, 0.0, 0.0),
    ("1973 October", ["October 1973"], False, 1.0, 1.0),  # a bag of words; the text is another
    # each word counts as often as it occurs on both sides
    ("very very good", ["very good"], False, 4 / 5, 1.0),
    ("very good", ["very very good"], False, 4 / 5, 2 / 3),
    ("no no no", ["no"], False, 2 / 4, 1.0),
    ("one two three four", ["four three two one zero"], False, 8 / 9, 4 / 5),
    # the best of several accepted answers, each measure for itself
    ("October 1973", ["1973", "October 1973", "October"], True, 1.0, 1.0),
    ("in 1973", ["October 1973", "1973"], False, 2 / 3, 1.0),
    (
        "a cold dark night",
        ["a cold night in town", "night"],
        False,
        4 / 7,
        1.0,
    ),  # F1 of the first, recall of the second
    ("blue", ["red", "green"], False, 0.0, 0.0),
    # nothing on one side, or on both
    ("", ["Paris"], False, 0.0, 0.0),
    ("...", ["Paris"], False, 0.0, 0.0),
    ("", ["the"], True, 1.0, 1.0),
    ("Paris", ["the", "?"], False, 0.0, 0.0),
    ("Paris", ["the", "Paris"], True, 1.0, 1.0),  # an answer that normalisation empties is left out
    ("", ["the", "Paris"], False, 0.0, 0.0),
    # other scripts: case, and punctuation that is not ASCII, which stays
    ("ÉCOLE", ["école"], True, 1.0, 1.0),
    ("«Париж»", ["Париж"], False, 0.0, 0.0),
    ("東京", ["東京"], True, 1.0, 1.0),
]


@pytest.mark.parametrize(("text", "accepted", "exact_match", "f1", "recall"), PAIRS)
def test_a_text_is_compared_as_squads_script_compares_it(
    text: str, accepted: list[str], exact_match: bool, f1: float, recall: float
) -> None:
    """Worked out by hand from evaluate-v2.0.py: lower, remove_punc, remove_articles, white_space_fix, compute_f1."""
    found = measure_text(text, accepted)
    assert found.exact_match is exact_match
    assert [found.f1, found.recall] == pytest.approx([f1, recall])


ROUGE = [  # printed by rouge-score 0.1.2, RougeScorer(["rougeL"], use_stemmer=False).score(gold, text)
    ("in the year 1973", "October 1973", 0.3333333333333333),
    ("The cat sat on the mat", "the cat lay on a mat", 0.6666666666666666),
    ("police killed the gunman", "police kill the gunman", 0.75),
    ("the gunman kill police", "police kill the gunman", 0.5),
    ("gunman the killed police", "police killed the gunman", 0.25),
    ("It takes 3-4 weeks, in most cases.", "three to four weeks", 0.16666666666666666),
    ("$15,000 per year", "Approximately $15,000 per year.", 0.888888888888889),
    ("a b a b a b", "b a b a b a", 0.8333333333333334),
    ("", "something", 0.0),
    ("...", "something", 0.0),
    (
        "A cashier earns about $15,000 a year, and a manager up to $28,000.",
        "Approximately $15,000 per year for a cashier.",
        0.3478260869565218,
    ),
]


@pytest.mark.parametrize(("text", "gold", "expected"), ROUGE)
def test_rouge_l_is_that_of_the_package_rouge_score(text: str, gold: str, expected: float) -> None:
    assert rouge_l(text, gold) == pytest.approx(expected, abs=1e-12)
    assert measure_text(text, ["unrelated", gold]).rouge_l == pytest.approx(expected, abs=1e-12)


def test_rouge_l_reads_other_alphabets() -> None:
    """The package drops all that is not ASCII, so that two Russian texts have nothing in common."""
    assert rouge_l("Столица Франции Париж", "Париж, столица Франции") == pytest.approx(2 * 2 / 6)


@given(st.lists(st.sampled_from("abcd"), max_size=12), st.lists(st.sampled_from("abcd"), max_size=12))
def test_rouge_l_finds_the_longest_common_subsequence(text: list[str], gold: list[str]) -> None:
    """Expected: the recursive definition (Cormen et al., Introduction to Algorithms)."""

    def longest(first: list[str], second: list[str]) -> int:
        if not first or not second:
            return 0
        if first[-1] == second[-1]:
            return longest(first[:-1], second[:-1]) + 1
        return max(longest(first[:-1], second), longest(first, second[:-1]))

    common = longest(text[:6], gold[:6])
    expected = 2 * common / (len(text[:6]) + len(gold[:6])) if common else 0.0
    assert rouge_l(" ".join(text[:6]), " ".join(gold[:6])) == pytest.approx(expected)


@given(st.text(max_size=80), st.lists(st.text(max_size=40), min_size=1, max_size=4))
def test_all_texts_have_measures_within_their_bounds(text: str, accepted: list[str]) -> None:
    found = measure_text(text, accepted)
    assert all(0 <= value <= 1 for value in (found.f1, found.recall, found.rouge_l))
    assert found.f1 == 1 or not found.exact_match
    assert found.recall >= found.f1 / 2
    assert normalise(found.normalised_text) == found.normalised_text
    own = measure_text(text, [*accepted, text])
    assert own.exact_match or not found.normalised_text  # an empty text equals no answer that has words
    assert own.f1 >= found.f1


@pytest.mark.parametrize(
    ("text", "is_empty", "is_refusal"),
    [
        ("", True, False),
        (" ... ", True, False),
        ("The.", True, False),
        ("Paris", False, False),
        ("The passage does not mention it.", False, True),
        ("It is not specified in the document.", False, True),
        ("I don't know.", False, True),
        ("I do not know", False, True),
        ("No Answer Present.", False, True),
        ("This cannot be determined from the text.", False, True),
        ("No information is given.", False, True),
        ("No answers are wrong here.", False, False),  # whole words
        ("Unanswered prayers", False, False),
        ("He did not know Paris.", False, False),
        ("Nothing", False, False),
    ],
)
def test_empty_texts_and_refusals_are_flagged(text: str, is_empty: bool, is_refusal: bool) -> None:
    found = measure_text(text, ["Paris"])
    assert (found.is_empty, found.is_refusal) == (is_empty, is_refusal)


def test_refusals_are_listed_as_normalisation_leaves_them() -> None:
    assert [normalise(phrase) for phrase in REFUSALS] == [*REFUSALS]
    assert not {*"".join(REFUSALS)} & {*string.punctuation}


def test_words_are_counted_as_they_are_written() -> None:
    assert measure_text("The end, of a long - line", ["end"]).word_count == 7


# --- conditions ---


def row(sample_id: str, condition: str, text: str | None, *, is_routed: bool = False) -> AnswerText:
    arm, _, treatment = condition.partition("+")
    family, _, key = arm.partition("/")
    status = "too_long" if text is None else "ok"
    bare = AnswerText(sample_id, family, key, treatment or "kept", is_routed, status)
    if text is None:
        return bare
    found = measure_text(text, ["October 1973"])
    return replace(
        bare,
        text=text,
        token_count=3,
        finish="stop",
        **{name: getattr(found, name) for name in TextMeasures.__dataclass_fields__},
    )


ROWS = [
    row("s1", "baseline/document", "October 1973."),
    row("s2", "baseline/document", "1973"),
    row("s3", "baseline/document", None),
    row("s1", "static/quantitative", "the October 1973"),
    row("s2", "static/quantitative", "I do not know", is_routed=True),
    row("s3", "static/quantitative", "October"),
    row("s1", "static/factual", "in 1973", is_routed=True),
    row("s3", "static/factual", "", is_routed=True),
    row("s1", "static/factual+stripped", "October 1973", is_routed=True),
    row("s2", "static/quantitative+stripped", "1973", is_routed=True),
    row("s3", "static/factual+stripped", "1973", is_routed=True),
    row("s2", "static/quantitative+hidden", "1973", is_routed=True),
]


def test_measures_are_given_per_condition_and_sample() -> None:
    found = measures_by_condition(ROWS)
    assert set(found) == {"exact_match", "f1", "recall", "rouge_l", "word_count", "empty", "refusal", "changed"}
    # What was asked on some samples only is no condition: factual where the router chose it, quantitative+stripped
    # likewise, and what the router chose with a treatment that one arm alone has.
    conditions = {"baseline/document", "static/quantitative", "static/routed", "static/routed+stripped"}
    assert all(set(of_condition) == conditions for of_condition in found.values())
    assert found["exact_match"]["baseline/document"] == {"s1": 1.0, "s2": 0.0}  # s3 has no answer
    assert found["exact_match"]["static/quantitative"] == {"s1": 1.0, "s2": 0.0, "s3": 0.0}
    assert found["recall"]["static/routed"] == {"s1": 0.5, "s2": 0.0, "s3": 0.0}
    assert found["refusal"]["static/routed"] == {"s1": 0.0, "s2": 1.0, "s3": 0.0}
    assert found["empty"]["static/routed"] == {"s1": 0.0, "s2": 0.0, "s3": 1.0}
    assert found["word_count"]["static/quantitative"] == {"s1": 3.0, "s2": 4.0, "s3": 1.0}


def test_an_answer_has_changed_if_its_normalised_text_is_not_that_after_the_plain_document() -> None:
    changed = measures_by_condition(ROWS)["changed"]
    assert changed["baseline/document"] == {"s1": 0.0, "s2": 0.0}
    assert changed["static/quantitative"] == {"s1": 0.0, "s2": 1.0}  # s3: nothing to compare it with
    assert changed["static/routed"] == {"s1": 1.0, "s2": 1.0}
    assert changed["static/routed+stripped"] == {"s1": 0.0, "s2": 0.0}


def test_without_the_plain_document_nothing_is_known_to_have_changed() -> None:
    rows = [found for found in ROWS if found.family != "baseline"]
    assert set(map(len, measures_by_condition(rows)["changed"].values())) == {0}
    assert measures_by_condition([])["f1"] == {}


def test_the_order_of_rows_changes_no_value() -> None:
    shuffled = random.Random(1).sample(ROWS, len(ROWS))
    assert measures_by_condition(shuffled) == measures_by_condition(ROWS)
