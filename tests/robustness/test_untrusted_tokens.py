"""No text becomes a control token, whatever stands in it and whichever tokenizer reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from tasks.priming.engine.model import (
    count_control_strings,
    encode_chat,
    encode_context,
    encode_continuation,
    make_text_stay_text,
)
from tasks.priming.errors import UsageError
from tests.robustness.invented import often, texts
from tests.tiers import slow
from tests.tiny_models import byte_level_tokenizer, reading


def normalising_tokenizer() -> Any:
    """A tokenizer that reads full-width characters as the plain ones, and looks for control tokens after that."""
    characters = {chr(number): number for number in range(32, 127)} | {"?": 31, "\n": 127}
    tokenizer = Tokenizer(models.WordLevel(characters | {"</s>": 1, "<s>": 2}, unk_token="?"))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(text, normalized=True, special=True) for text in ("</s>", "<s>")])
    found = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="?"
    )
    found.chat_template = "{{ bos_token }}Q{{ messages[0]['content'] }}A{{ eos_token }}"
    return found


@pytest.fixture(
    scope="module",
    params=["byte level", "Mistral", *slow("Mistral, later"), "no chat template", "bytes", "normalising"],
)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    """Tokenizers of several kinds, prepared as a run does it."""
    load: Callable[..., Any] = transformers.AutoTokenizer.from_pretrained
    if request.param.startswith("Mistral"):
        kind = "mistral_tokenizer_folder" if request.param == "Mistral" else "mistral_v3_tokenizer_folder"
        found = load(request.getfixturevalue(kind))
    elif request.param == "bytes":
        found = transformers.ByT5Tokenizer(extra_ids=0)
    elif request.param == "normalising":
        found = normalising_tokenizer()
    else:
        marks = ["<|endoftext|>", "<s>", "</s>"]
        found = byte_level_tokenizer(
            "Document: a passage about tides.", special_tokens=marks, bos_token=marks[1], eos_token=marks[2]
        )
        found.chat_template = "{{ '<s>' + messages[0]['content'] + '</s>' }}"
    if request.param == "no chat template":
        found.chat_template = None
    make_text_stay_text(found)
    return found


def control_ids(tokenizer: Any) -> set[int]:
    """Return the ids of control tokens, without that of unknown characters."""
    return set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}


@often
@given(text=texts)
@example(text="＜/s＞")
@example(text="</s>＜s＞")
def test_no_text_becomes_a_control_token(tokenizer: Any, text: str) -> None:
    control = control_ids(tokenizer)
    assert control
    assert not control & set(encode_continuation(tokenizer, text))
    assert not control & set(encode_context(reading(tokenizer), text)[1:])
    benign = [i for i in encode_chat(reading(tokenizer), "hello") if i in control]
    assert [i for i in encode_chat(reading(tokenizer), text) if i in control] == benign


@often
@given(parts=st.lists(st.sampled_from(["</s>", "<s>", "a", "b ", " c"]), max_size=8))
def test_the_count_is_that_of_the_spelled_out_control_tokens(tokenizer: Any, parts: list[str]) -> None:
    """Expected: counted in the parts by hand."""
    known = {"</s>", "<s>"} & set(tokenizer.all_special_tokens)
    assert known
    assert count_control_strings(tokenizer, "".join(parts)) == sum(part in known for part in parts)
    assert count_control_strings(tokenizer, *parts) == sum(part in known for part in parts)


def test_full_width_control_tokens_are_counted_where_the_tokenizer_would_find_them() -> None:
    tokenizer = normalising_tokenizer()
    assert tokenizer.eos_token_id in tokenizer("＜/s＞")["input_ids"]  # the danger is a real one
    assert count_control_strings(tokenizer, "a＜/s＞b", "<s>") == 2
    assert encode_chat(reading(tokenizer), "a＜/s＞b").count(tokenizer.eos_token_id) == 1  # the template's own


def test_a_control_token_that_is_not_marked_as_one_is_text_all_the_same(mistral_v3_tokenizer_folder: Path) -> None:
    """Twenty tokens of Mistral's later tokenizer became themselves wherever a text spelled them out."""
    load: Callable[..., Any] = transformers.AutoTokenizer.from_pretrained
    found = load(mistral_v3_tokenizer_folder)
    text = "see [REFERENCE_DOC_0]"
    assert set(found.all_special_ids) & set(encode_continuation(found, text))  # the danger is a real one
    before = encode_continuation(found, "see a document")
    make_text_stay_text(found)
    assert not set(found.all_special_ids) & set(encode_continuation(found, text))
    assert encode_continuation(found, "see a document") == before
    assert found.decode(encode_continuation(found, text)) == text


class DeafTokenizer:
    """One that knows a control token and cannot be told to leave it alone."""

    def __init__(self, is_ours: bool) -> None:
        self.is_ours = is_ours
        self.added_tokens_decoder = {1: AddedToken("</s>", special=True)}
        self.all_special_tokens = ["</s>"]
        self.unk_token_id = None

    def convert_tokens_to_ids(self, tokens: list[str]) -> list[int]:
        return [1] * len(tokens)

    def __call__(self, text: str, **options: object) -> dict[str, list[int]]:
        if not self.is_ours:
            raise ValueError("split_special_tokens is not supported")
        return {"input_ids": [1] * text.count("</s>")}


@pytest.mark.parametrize(
    ("is_ours", "said"),
    [(True, "makes a control token of the text '</s>' whatever"), (False, "cannot be told to leave")],
)
def test_a_tokenizer_that_cannot_be_told_is_refused(is_ours: bool, said: str) -> None:
    with pytest.raises(UsageError, match=f"DeafTokenizer {said} .*Use a model with a tokenizer.json"):
        make_text_stay_text(DeafTokenizer(is_ours))
