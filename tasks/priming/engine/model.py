"""A loaded language model and the rules by which text becomes its token ids.

The rules change numbers, so they are here and not where models are loaded. Every context begins with the same token.
The query prompt is tokenised on its own and joined to the context as ids, as in the notebook. The answer has the ids
that it has after the query prompt and a space. Passages, queries and surrogates are untrusted: a "</s>" in them is five
characters, never the end of a text.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tasks.priming.errors import UsageError
from tasks.priming.prompts import ANSWER_DELIMITER
from tasks.priming.statistics.run_data import ModelFacts

_DOCUMENT_SEPARATOR = "<|endoftext|>"
"""Separates documents in the training data of models whose tokenizers add no BOS (SmolLM2, Qwen, GPT-2)."""

_FIXED_ROTATIONS = ("default", "linear", "llama3", "yarn")
"""Ways to choose the frequencies of rotary positions once for all texts; "dynamic" and "longrope" choose by length."""


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal decoder with its tokenizer."""

    model: Any  # an unmodified transformers model in evaluation mode
    tokenizer: Any  # its transformers tokenizer
    window: int  # maximum number of tokens, context and continuation together
    numeric_path: str  # the arithmetic it is computed with; see numeric_path.py
    first_token: str = "auto"  # the setting of the token that every context begins with; see first_token_id

    @property
    def parameter_count(self) -> int:
        """Number of parameters, each counted once, also when stored in four bits."""
        return int(self.model.num_parameters())

    @property
    def has_fixed_rotation(self) -> bool:
        """Whether positions enter through rotations of keys and queries that do not depend on the text's length.

        Only then is attention a function of distances, so that a part of a context can be dropped after it is computed.
        """
        rotations = getattr(self.model.config.get_text_config(), "rope_parameters", None) or {}
        per_layer = [part for part in rotations.values() if isinstance(part, dict)] or [rotations]
        return all(part.get("rope_type") in _FIXED_ROTATIONS for part in per_layer)

    @property
    def facts(self) -> ModelFacts:
        """What FLOPs and bytes are computed from, read from the model's configuration.

        Grouped heads share keys and values, so the cache may be narrower than the attention. Keys and values have the
        dtype that the model computes in, also when its weights are stored in four bits.
        """
        from tasks.priming.engine.numeric_path import is_batch_invariant  # imports torch

        first = first_token_id(self.tokenizer, self.first_token)
        shape = self.model.config.get_text_config()
        head_dimension = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
        key_heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
        embeddings, output = self.model.get_input_embeddings().weight, self.model.get_output_embeddings().weight
        return ModelFacts(
            parameter_count=self.parameter_count,
            embedding_parameter_count=0 if embeddings is output else embeddings.numel(),
            layer_count=shape.num_hidden_layers,
            attention_width=shape.num_attention_heads * head_dimension,
            cache_bytes_per_token=2 * shape.num_hidden_layers * key_heads * head_dimension * self.model.dtype.itemsize,
            is_batch_invariant=is_batch_invariant(self.numeric_path),
            first_token=None if first is None else self.tokenizer.convert_ids_to_tokens(first),
        )


class TokenizerError(UsageError):
    """The tokenizer cannot follow the rules of this module."""


@lru_cache(maxsize=4)  # called for every text
def first_token_id(tokenizer: Any, choice: str) -> int | None:  # noqa: ANN401 - any transformers tokenizer
    """Return the id that every context begins with, or None if there is none.

    The first position attracts attention whatever token it holds (an attention sink). Without a fixed first token this
    would be the context's first word, which differs between the arms that are compared.

    The choice is auto (BOS if the tokenizer begins texts with it; else <|endoftext|> if that is a special token; else
    EOS; else none), none, or a token.

    Raises:
        TokenizerError: The tokenizer has no token of that name.

    Source: Xiao et al. 2024, "Efficient Streaming Language Models with Attention Sinks", arXiv:2309.17453.
    """
    if choice == "none":
        return None
    if choice == "auto":
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        if bos is not None and _parsed(tokenizer, "a", adds_special_tokens=True)[:1] == [bos]:
            return int(bos)
        if _DOCUMENT_SEPARATOR not in _control_strings(tokenizer):
            return None if eos is None else int(eos)
        choice = _DOCUMENT_SEPARATOR
    found = tokenizer.convert_tokens_to_ids(choice)
    if found is None or tokenizer.convert_ids_to_tokens(found) != choice:
        raise TokenizerError(
            f"The tokenizer has no token {choice!r} for `first_token`. Allowed are auto, none and its own tokens, e.g. "
            f"{', '.join(sorted(_control_strings(tokenizer))[:4])}. Leave it out to use auto."
        )
    return int(found)


def encode_context(language_model: LanguageModel, text: str) -> list[int]:
    """Return the ids of a text at the start of a sequence: the first token, if there is one, then the text."""
    first = first_token_id(language_model.tokenizer, language_model.first_token)
    ids = encode_continuation(language_model.tokenizer, text)
    return ids if first is None else [first, *ids]


def first_token_count(language_model: LanguageModel) -> int:
    """Return the number of tokens that precede the text in every context: one or none."""
    return 0 if first_token_id(language_model.tokenizer, language_model.first_token) is None else 1


def tokens_between(language_model: LanguageModel, text: str, start: int, stop: int) -> tuple[int, int]:
    """Return the range of tokens of `encode_context(text)` that hold any of the characters from `start` up to `stop`.

    (0, 0) for an empty range.

    Raises:
        TokenizerError: The tokenizer does not report character offsets.
    """
    tokenizer = language_model.tokenizer
    if not tokenizer.is_fast:
        raise TokenizerError(
            f"{type(tokenizer).__name__} does not report character offsets, so a text can be neither dropped nor "
            "hidden. Use a model with a fast tokenizer (tokenizer.json), or keep every text in sight: --treatments "
            "kept"
        )
    encoded = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
    places = enumerate(encoded["offset_mapping"], start=first_token_count(language_model))
    found = [number for number, (low, high) in places if low < stop and high > start and high > low]
    return (found[0], found[-1] + 1) if found and stop > start else (0, 0)


def encode_continuation(tokenizer: Any, text: str) -> list[int]:  # noqa: ANN401
    """Return the ids of a text within a sequence, tokenised on its own and without special tokens."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return ids


def encode_answer(tokenizer: Any, prompt: str, answer: str) -> list[int]:  # noqa: ANN401
    """Return the ids that an answer has after a query prompt (see prompts.query_prompt) and a space.

    They are the ids of the joint text less those of the prompt. A tokenizer that marks the start of a word on its first
    token (all byte-level ones) would otherwise read "Answer:Approximately", whose first token is so unlikely that it
    outweighs the rest of the answer. Where the tokenizer merges the end of the prompt with the answer, the space and
    the answer are tokenised on their own.

    Source: for Mistral's first tokenizer these are the ids of the answer on its own, as in the notebook.
    """
    if not answer:
        return []
    before, joint = (encode_continuation(tokenizer, t) for t in (prompt, f"{prompt}{ANSWER_DELIMITER}{answer}"))
    if joint[: len(before)] == before:
        return joint[len(before) :]
    return encode_continuation(tokenizer, f"{ANSWER_DELIMITER}{answer}")


def token_texts(tokenizer: Any, ids: Sequence[int]) -> tuple[str, ...]:  # noqa: ANN401
    """Return what each id adds to the decoded text; a character of several ids is added by the last of them."""
    # An incomplete character is decoded as a replacement mark, which the next id may remove.
    begun = [tokenizer.decode(ids[:count]).rstrip("\ufffd") for count in range(len(ids))]
    return tuple(text[len(before) :] for before, text in itertools.pairwise([*begun, tokenizer.decode(ids)]))


# Take the place of the user's message while the chat template is filled; no chat template contains them.
_PLACEHOLDER, _OTHER_PLACEHOLDER = "qzuserxmessageqz", "jvotherxmatterjv"


def encode_chat(language_model: LanguageModel, message: str) -> list[int]:
    """Return the ids of a user's message in the model's chat format, up to the start of the assistant's reply.

    Control tokens of the chat template are control tokens; those spelled out in the message are text. There is exactly
    one BOS, at the start, if the template or the tokenizer adds it. Without a chat template the message is encoded as a
    context, followed by an empty line.
    """
    tokenizer = language_model.tokenizer
    if not tokenizer.chat_template:
        return encode_context(language_model, f"{message}\n\n")
    try:
        parts, others = (_chat_around(tokenizer, word) for word in (_PLACEHOLDER, _OTHER_PLACEHOLDER))
    except Exception as error:  # a template is a program by the model's authors and may fail in any way
        raise TokenizerError(
            f"The tokenizer's chat template cannot be filled ({type(error).__name__}: {error}). Correct it, use "
            "another model, or remove it to send instructions as plain text: delete chat_template.jinja"
        ) from error
    if len(parts) == 1:
        raise TokenizerError("The tokenizer's chat template drops the user's message; use another model.")
    if parts != others:
        raise TokenizerError("The tokenizer's chat template changes the user's message; use another model.")
    whole, *apart = (_parsed(tokenizer, text) for text in (message.join(parts), *parts))
    control = _control_ids(tokenizer)
    is_spelled_out = any(token in message for token in _control_strings(tokenizer))
    # A tokenizer that normalises text first may find control tokens that are spelled with other characters.
    expected = [i for ids in apart for i in ids if i in control]
    if not is_spelled_out and [i for i in whole if i in control] == expected:
        return _with_one_bos(tokenizer, whole)
    # Rare and hostile: the message is tokenised separately, so that what it spells out stays text.
    own = encode_continuation(tokenizer, message)
    return _with_one_bos(tokenizer, apart[0] + [i for ids in apart[1:] for i in (*own, *ids)])


def _chat_around(tokenizer: Any, word: str) -> list[str]:  # noqa: ANN401
    """Return the parts of a filled chat template before, between and after the places of the user's message."""
    conversation = [{"role": "user", "content": word}]
    return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)).split(word)


def count_control_strings(tokenizer: Any, *texts: str) -> int:  # noqa: ANN401
    """Return how many control tokens, e.g. "</s>", are spelled out in texts; each is encoded as plain text.

    Counted by parsing the texts for control tokens, less those found without: unknown characters have one of their own.
    """
    control = _control_ids(tokenizer) | {tokenizer.unk_token_id}
    found = [i for text in texts for i in _parsed(tokenizer, text) if i in control]
    if not found:
        return 0
    return len(found) - sum(i in control for text in texts for i in encode_continuation(tokenizer, text))


def make_text_stay_text(tokenizer: Any) -> None:  # noqa: ANN401
    """Mark all control tokens of a newly loaded tokenizer as such, and make sure that no text becomes one.

    Some files name control tokens without marking them, and a passage that spells one out would become one.

    Raises:
        TokenizerError: The tokenizer makes control tokens of text all the same.
    """
    name = type(tokenizer).__name__
    try:
        marked = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        if unmarked := sorted(_control_strings(tokenizer) - marked):
            tokenizer.add_tokens(unmarked, special_tokens=True)
        control = _control_ids(tokenizer)
        strings = sorted(_control_strings(tokenizer))
        broken = [text for text in strings if control & set(encode_continuation(tokenizer, f"{text} a{text}"))]
    except (TypeError, ValueError, AttributeError):  # from tokenizers that are not transformers' own
        raise TokenizerError(
            f"{name} cannot be told to leave control tokens in a text alone, so a passage could end its own context. "
            "Use a model with a tokenizer.json."
        ) from None
    if broken:
        raise TokenizerError(
            f"{name} makes a control token of the text {broken[0]!r} whatever its settings, so a passage could end its "
            "own context. Use a model with a tokenizer.json."
        )


def _parsed(tokenizer: Any, text: str, *, adds_special_tokens: bool = False) -> list[int]:  # noqa: ANN401
    """Return the ids of a text, parsing control tokens."""
    ids: list[int] = tokenizer(text, add_special_tokens=adds_special_tokens)["input_ids"]
    return ids


def _control_strings(tokenizer: Any) -> set[str]:  # noqa: ANN401
    """Return every string that the tokenizer parses as a control token."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return added | set(tokenizer.all_special_tokens)


def _control_ids(tokenizer: Any) -> set[int]:  # noqa: ANN401
    """Return the ids of control tokens, except that of unknown characters, which any text may contain."""
    return set(tokenizer.convert_tokens_to_ids(sorted(_control_strings(tokenizer)))) - {tokenizer.unk_token_id}


def _with_one_bos(tokenizer: Any, ids: list[int]) -> list[int]:  # noqa: ANN401
    """Prepend BOS if the tokenizer begins texts with it and the ids do not."""
    bos = tokenizer.bos_token_id
    if bos is None or ids[:1] == [bos] or _parsed(tokenizer, "a", adds_special_tokens=True)[:1] != [bos]:
        return ids
    return [bos, *ids]


def stop_ids(language_model: LanguageModel) -> frozenset[int]:
    """Return the ids that end a generated text: those of the generation configuration and of the tokenizer."""
    configured = language_model.model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(i for i in [*listed, language_model.tokenizer.eos_token_id] if i is not None)
