"""Single samples are shown with what was written for them, and token by token."""

import math
from typing import Any

import pytest

from tasks.pages.blocks import Value
from tasks.reading.database import read_run
from tasks.report.samples import extreme_examples, flagged_examples, surrogate_examples
from tasks.report.tables import tables_of
from tests.report.conftest import Published


def extreme(tokens: list[str] | None, nlls: list[float]) -> dict[str, Any]:
    return {
        "sample_id": "a", "passage": "p", "query": "q", "answer": "a", "family": "static", "key": "factual",
        "improvement": 0.5, "similarity": 0.1, "surrogate": "s", "reference_nll": 1.0,
        "reference_token_nlls": nlls, "arm_nll": 0.5, "arm_token_nlls": nlls, "answer_tokens": tokens,
    }  # fmt: skip


def test_each_token_is_shown_with_its_nll() -> None:
    (example,) = extreme_examples([extreme(["in", " 1675"], [0.0, 3.0])])
    for name, tokens in (("baseline", example["readings"][0][2]), ("primed", example["readings"][1][2])):
        assert example["readings"][name == "primed"][0] == name
        assert [(token.text, token.nll) for token in tokens] == [("in", "0.00"), (" 1675", "3.00")]
        assert [token.heat for token in tokens] == [0.0, round(100 * (1 - math.exp(-1)), 1)]


@pytest.mark.parametrize("tokens", [None, [], ["only one"]], ids=["unknown", "empty", "of another length"])
def test_without_a_text_for_each_token_the_numbers_stand_alone(tokens: list[str] | None) -> None:
    (example,) = extreme_examples([extreme(tokens, [0.5, 0.25])])
    assert [(token.text, token.nll) for token in example["readings"][1][2]] == [(None, "0.50"), (None, "0.25")]


def test_a_long_answer_is_cut_and_counted() -> None:
    (example,) = extreme_examples([extreme(["t"] * 200, [0.1] * 200)])
    assert len(example["readings"][0][2]) == 150
    assert example["left_out"] == 50


def test_a_sample_is_shown_with_all_its_surrogates(published: Published) -> None:
    examples = surrogate_examples(read_run("abc123"))
    assert len(examples) == 4
    for surrogates in examples:
        assert [surrogate["arm"] for surrogate in surrogates] == [
            "generated/keyword_query", "generated/target_question", "static/factual", "static/problem",
        ]  # fmt: skip
        assert sum(surrogate["is_routed"] for surrogate in surrogates) == 2  # one per family


def test_flags_are_said_in_words(published: Published) -> None:
    """The fixture: sample 0 is over its limit and cut off, sample 3 has nothing, sample 5 repeats the query."""
    found = {row["query"].rpartition(" ")[2]: row["flags"] for row in flagged_examples(read_run("abc123"))}
    assert found == {
        "(0)": ["over its word limit", "cut off by the token limit"],
        "(3)": ["empty"],
        "(5)": ["equals the query"],
        "(6)": ["over its word limit"],
    }


def test_flags_are_counted_as_by_sql(published: Published, query: Any) -> None:
    table = tables_of(read_run("abc123"), [])["flags"]
    shown = {tuple(getattr(cell, "text", cell) for cell in row[:2]): row[2:8] for row in table.rows}
    for family, key, *counts in query(
        "SELECT family, key, count(*), sum((text = '')::INT), sum(is_over_word_limit::INT), sum(is_query::INT), "
        "sum(has_stray_marks::INT), sum((finish = 'length')::INT) FROM surrogate "
        "WHERE run_id = 'abc123' AND family = 'generated' GROUP BY ALL"
    ):
        assert shown.pop((family, key)) == tuple(Value(str(number), number) for number in counts)
    assert shown == {}
