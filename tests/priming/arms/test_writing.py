"""Fixed and generated surrogates, and the flags that every surrogate gets."""

import pytest

from tasks.priming.arms.writing import (
    Writing,
    clean,
    fixed_surrogate,
    has_stray_marks,
    is_same_text,
    write_generated,
    write_static,
    written_surrogate,
)
from tasks.priming.engine.generation import Completion
from tasks.priming.records import Sample
from tasks.priming.settings import GenerationSettings
from tests.places import WALKTHROUGH


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("what is a boil", "what is a boil", True),
        ("What is a boil?", "what is  a\tboil", True),
        ("STRASSE", "straße", True),  # the Unicode standard's full case folding: ß and ss are equal
        (" a boil. ", "a boil", True),
        ("what is a boil", "what is a furuncle", False),
        ("a boil", "aboil", False),
        ("", " ? ", True),
        ("", "a", False),
    ],
)
def test_texts_are_equal_but_for_case_space_and_the_final_mark(left: str, right: str, expected: bool) -> None:
    assert is_same_text(left, right) is expected
    assert is_same_text(right, left) is expected


def test_of_the_walkthroughs_surrogates_one_carries_an_explanation() -> None:
    """The notebook strips quotes before it takes the first line, and so left the explanation of one in place."""
    marked = [key for key, text in WALKTHROUGH["generated"].items() if has_stray_marks(text)]
    assert marked == ["misconception_negative"]  # walkthrough, output of cell 10: ...?" (for someone who assumes ...
    assert not any(
        is_same_text(text, WALKTHROUGH["query"]) for text in WALKTHROUGH["generated"].values()
    )  # output of cell 10


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('a "quoted" word', True),
        ("a “quoted” word", True),
        ("what to avoid (for gardeners)", True),
        ("what to avoid (for gard", True),  # the token limit cut it
        ("what's avg salary asap?!", False),
        ("price < 5 $ [new]", False),
        ("smile :)", False),
        ("", False),
    ],
)
def test_double_quotes_and_parentheses_are_stray_marks(text: str, expected: bool) -> None:
    assert has_stray_marks(text) is expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("\n\n first line \nsecond line", "first line"),
        ('"quoted line"\nExplanation', "quoted line"),
        ("'\"both\"'", "both"),
        ('what "inner quotes" mean', 'what "inner quotes" mean'),
        ('"" \n', ""),
        ("  ' spaced '  ", "spaced"),
        ("line\r\nnext", "line"),
        ("", ""),
    ],
)
def test_a_surrogate_is_the_first_line_without_outer_space_and_quotes(raw: str, expected: str) -> None:
    assert clean(raw) == expected
    assert clean(clean(raw)) == clean(raw)


SAMPLE = Sample("s", 0, "A passage.", "pay of cashiers", "An answer.", None, "p")


def test_a_fixed_surrogate_costs_no_token() -> None:
    fixed = fixed_surrogate(SAMPLE, "static", "factual", "Pay of cashiers?")
    assert (fixed.prompt_token_count, fixed.token_count, fixed.finish) == (0, 0, "fixed")
    assert fixed.is_query
    assert not fixed.is_over_word_limit


def test_a_written_surrogate_keeps_what_its_line_cost() -> None:
    line = Completion('"a b c" \nNote', prompt_token_count=31, token_count=7, finish="length")
    written = written_surrogate(SAMPLE, "generated", "keyword_query", line, word_limit=2)
    assert (written.text, written.raw_text) == ("a b c", line.text)
    assert (written.prompt_token_count, written.token_count, written.finish) == (31, 7, "length")
    assert written.is_over_word_limit  # three words, two allowed
    assert not written_surrogate(SAMPLE, "generated", "keyword_query", line, word_limit=3).is_over_word_limit


def test_the_generated_family_without_a_model_is_a_callers_mistake() -> None:
    with pytest.raises(ValueError, match="needs a language model and generation settings"):
        write_generated([SAMPLE], Writing(seed=42, generation=GenerationSettings()))


def sample(sample_id: str, query: str = "a query") -> Sample:
    return Sample(sample_id, 0, f"Passage of {sample_id}.", query, "An answer.", None, sample_id)


def test_every_sample_gets_the_five_phrases_verbatim() -> None:
    written = write_static([sample("s"), sample("t")], Writing(seed=42))
    phrases = [  # walkthrough, output of cell 7
        ("definitional", "What is this and what does it mean?"),
        ("procedural", "How do I do this step by step?"),
        ("quantitative", "How much does this cost or how long does it take?"),
        ("factual", "What are the key facts I need to know?"),
        ("problem", "What problem does this solve?"),
    ]
    for sample_id in ("s", "t"):
        assert [(part.key, part.text) for part in written if part.sample_id == sample_id] == phrases
    assert len(written) == 10
