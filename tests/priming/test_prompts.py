"""The texts that are sent to models are the walkthrough's, and untrusted values go into them verbatim."""

import ast
import hashlib
from pathlib import Path
from typing import Any

import pytest
import transformers

from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.engine.model import encode_continuation
from tasks.priming.prompts import (
    BASELINE_TEMPLATE,
    GENERATION_INSTRUCTIONS,
    QUERY_TEMPLATE,
    STATIC_SURROGATES,
    SURROGATE_TEMPLATE,
    fill,
    generation_prompt,
    query_prompt,
)
from tests.places import WALKTHROUGH

TEXTS = {
    "BASELINE_TEMPLATE": BASELINE_TEMPLATE,
    "SURROGATE_TEMPLATE": SURROGATE_TEMPLATE,
    "QUERY_TEMPLATE": QUERY_TEMPLATE,
    **STATIC_SURROGATES,
    **{key: instruction.text for key, instruction in GENERATION_INSTRUCTIONS.items()},
}
# The first 16 digits of the sha256 of the literals in the walkthrough's cells 7, 8 and 12, parsed from its source.
WALKTHROUGH_SHA256 = {
    "BASELINE_TEMPLATE": "fcaaf72956d1711d",
    "SURROGATE_TEMPLATE": "4b99aaf855204909",
    "QUERY_TEMPLATE": "e01843f986b90293",
    "definitional": "c857b93f550a471a",
    "procedural": "6e8c9e68bea15740",
    "quantitative": "958943ffade66dc7",
    "factual": "12c046141f0513f6",
    "problem": "6617a672464df2cb",
    "target_question": "869f55c713fedb7d",
    "keyword_query": "53825c98b117f4be",
    "symptom_scenario": "2dfb12b98e6d5f5d",
    "misconception_negative": "4b4d99f98c7266b2",
    "messy_realworld": "64d6e33a3e41ada7",
}


def literal(source: str, name: str) -> Any:
    """Return the value that a cell of the walkthrough assigns to a name."""
    lines = source[source.index(f"\n{name} = ") + 1 :].splitlines()
    for length in range(1, 80):
        try:
            (statement,) = ast.parse("\n".join(lines[:length])).body
        except SyntaxError:
            continue
        assert isinstance(statement, ast.Assign)
        return ast.literal_eval(statement.value)
    raise AssertionError(name)


def test_every_text_is_the_walkthroughs_byte_for_byte() -> None:
    hashes = {name: hashlib.sha256(text.encode()).hexdigest()[:16] for name, text in TEXTS.items()}
    assert hashes == WALKTHROUGH_SHA256


def test_every_text_equals_the_literal_in_the_walkthroughs_source(shared_data: Path) -> None:
    source = (shared_data / "reference" / "walkthrough.txt").read_text(encoding="utf-8")
    templates = {name: literal(source, name) for name in TEXTS if name.isupper()}
    static = {key: value["query"] for key, value in literal(source, "STATIC_SURROGATES").items()}
    generated = {key: value["prompt"] for key, value in literal(source, "GENERATED_TEMPLATES").items()}
    expected = templates | static | generated
    assert list(expected.items()) == list(TEXTS.items())  # in this order, which breaks the router's ties


def test_contexts_are_printed_as_in_the_walkthrough() -> None:
    baseline = ARM_GROUPS["baseline"].contexts.context("[passage text]", None)
    primed = ARM_GROUPS["generated"].contexts.context("[passage text]", "[surrogate query]")
    # the walkthrough's output of cell 12
    assert baseline == "Document:\n[passage text]"
    assert primed == ("This document may be relevant to queries like: [surrogate query]\n\nDocument:\n[passage text]")
    assert query_prompt("[user query]") == "\n\nQuery: [user query]\n\nAnswer:"


def test_the_generation_prompt_is_instruction_blank_line_text_and_passage() -> None:
    expected = f"{GENERATION_INSTRUCTIONS['keyword_query'].text}\n\nText:\nThe passage."  # f-string of cell 9
    assert generation_prompt("keyword_query", "The passage.") == expected


def test_word_limits_are_those_of_the_instructions() -> None:
    limits = {key: instruction.word_limit for key, instruction in GENERATION_INSTRUCTIONS.items()}
    stated = {}
    for key, instruction in GENERATION_INSTRUCTIONS.items():
        stated[key] = int(instruction.text.split("-")[-1].split(" words)")[0])  # "... (5-12 words), nothing else."
    assert limits == stated == dict(zip(limits, (12, 6, 10, 10, 8), strict=True))  # cell 8


@pytest.mark.parametrize(
    ("template", "token_count"),
    [
        (QUERY_TEMPLATE, 16),
        (QUERY_TEMPLATE + "\n", 17),  # a final newline is a token more
        (QUERY_TEMPLATE.removeprefix("\n\n"), 13),  # without the two leading newlines
    ],
)
def test_the_query_template_has_the_walkthroughs_token_count(
    mistral_tokenizer_folder: Path, template: str, token_count: int
) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(mistral_tokenizer_folder)
    assert len(encode_continuation(tokenizer, fill(template, query=WALKTHROUGH["query"]))) == token_count


@pytest.mark.parametrize(
    "template",
    [
        "{document.__class__.__mro__}",
        "{document[0]}",
        "{document!r}",
        "{document:>100000000}",
        "{document:{document}}",
        "{}",
        "{0}",
        "{other} {document}",
        "{ document}",
    ],
)
def test_a_template_with_more_than_plain_fields_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"plain fields only are allowed here: \{document\}"):
        fill(template, document="D")


def test_a_template_that_lacks_a_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"lacks the field\(s\) \['document'\]"):
        fill("Document:", document="D")


@pytest.mark.parametrize("template", ["{document", "document}", "{document} {"])
def test_a_template_with_a_single_brace_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"Single '[{}]' encountered|expected '}'"):
        fill(template, document="D")
