"""Says where attention should look while the demo model learns whose fact is asked for.

In: a passage within its context, its queries and answers, and a tokenizer that tells where its tokens stand. Out: for
tokens of the context and of each branch, the tokens that a guided head should look at. The corpus knows where the key
and the value of each fact stand, so this can be shown to the model instead of being left for it to find: from answers
alone, a model of this size needs far more text than one processor core reads in an hour (docs/findings.md).
"""

from dataclasses import dataclass, field
from typing import TypeAlias

from transformers import PreTrainedTokenizerBase

from tasks.demo.corpus import Passage
from tasks.demo.queries import Query
from tasks.priming.prompts import query_prompt

Looks: TypeAlias = dict[int, list[int]]
"""Token -> the tokens that it should look at."""


@dataclass(frozen=True, slots=True)
class BranchGuide:
    """Where the tokens of one query and its answer should look; tokens are counted from the start of the branch."""

    key_in_query: Looks = field(default_factory=dict)
    """Tokens behind the key that the query names -> that key, in the same branch."""
    value_in_context: Looks = field(default_factory=dict)
    """Tokens that predict a token of the value -> that token in the context (the whole sentence for yes and no)."""
    key_in_context: Looks = field(default_factory=dict)
    """The same tokens, for facts whose value stands first -> the fact's key in the context."""


@dataclass(frozen=True, slots=True)
class Guide:
    """Where the tokens of a row should look."""

    within_sentence: Looks
    """In the context: tokens behind a fact's key -> that key; keys that stand behind their value -> that value."""
    branches: tuple[BranchGuide, ...]
    """One per branch of the row."""


@dataclass(frozen=True, slots=True)
class FactTokens:
    """Where a fact stands in a context."""

    sentence: list[int]
    """All tokens of its sentence."""
    key: list[int]
    """Those of its key; empty where it is about the subject itself."""
    value: list[int]
    """Those of its value; empty for yes and no, which the sentence says by a verb."""


class TokenPlaces:
    """A text with the places of its tokens."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, text: str, first: int = 0) -> None:
        """Tokenise a text on its own; its first token has the number `first`."""
        encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        self.text = text
        self.ids: list[int] = encoded["input_ids"]
        self._offsets: list[tuple[int, int]] = encoded["offset_mapping"]
        self._first = first

    def tokens_between(self, start: int, stop: int) -> list[int]:
        """Return the tokens that hold any character from `start` up to `stop`."""
        places = enumerate(self._offsets, start=self._first)
        return [token for token, (low, high) in places if low < stop and high > start and high > low]

    def tokens_of(self, piece: str, start: int = 0, stop: int | None = None) -> list[int]:
        """Return the tokens of the first occurrence of a piece of text, capital letters or not; none where it is not.

        Args:
            piece: The text to look for.
            start: Where in the text to begin to look, in characters.
            stop: Where to end.
        """
        found = self.text.lower().find(piece.lower(), start, len(self.text) if stop is None else stop)
        return [] if found < 0 else self.tokens_between(found, found + len(piece))


def locate_facts(context: TokenPlaces, passage: Passage) -> list[FactTokens]:
    """Say where each fact of a passage stands in the context that ends with it."""
    located = []
    passage_start = context.text.rindex(passage.text)
    for fact, sentence in zip(passage.facts, passage.sentences, strict=True):
        start = context.text.index(sentence, passage_start)
        stop = start + len(sentence)
        located.append(
            FactTokens(
                sentence=context.tokens_between(start, stop),
                key=context.tokens_of(fact.key, start, stop) if fact.key else [],
                value=[] if fact.value in ("Yes", "No") else context.tokens_of(fact.value, start, stop),
            )
        )
    return located


def looks_within_sentences(passage: Passage, located: list[FactTokens]) -> Looks:
    """Say where the tokens of the facts' sentences should look."""
    looks: Looks = {}
    for fact, tokens in zip(passage.facts, located, strict=True):
        if tokens.key and fact.order == "key_first":
            looks.update((token, tokens.key) for token in tokens.sentence if token > tokens.key[-1])
        elif tokens.key and tokens.value:
            looks.update((token, tokens.value) for token in tokens.key)
    return looks


def guide_branch(
    query: Query, tokens: FactTokens, context_ids: list[int], tokenizer: PreTrainedTokenizerBase
) -> BranchGuide:
    """Say where the tokens of a query and its answer (with the end token behind it) should look."""
    prompt = TokenPlaces(tokenizer, query_prompt(query.text))
    answer = TokenPlaces(tokenizer, query.answer)
    prompt_length = len(prompt.ids)
    key = prompt.tokens_of(query.fact.key or query.fact.subject)
    behind_key = range(key[-1] + 1, prompt_length + len(answer.ids) + 1) if key else ()
    key_in_query = dict.fromkeys(behind_key, key)
    if not tokens.value:
        return BranchGuide(key_in_query, {prompt_length - 1: tokens.sentence})
    value_in_context: Looks = {}
    for source, copied in zip(tokens.value, answer.tokens_of(query.fact.value), strict=False):
        if context_ids[source] == answer.ids[copied]:
            # The token at position p is predicted at p - 1.
            value_in_context[prompt_length + copied - 1] = [source]
    is_value_first = query.fact.order == "value_first"
    return BranchGuide(
        key_in_query, value_in_context, dict.fromkeys(value_in_context, tokens.key) if is_value_first else {}
    )


def guide_row(
    context: TokenPlaces, context_ids: list[int], passage: Passage, queries: list[Query],
    tokenizer: PreTrainedTokenizerBase,
) -> Guide:  # fmt: skip
    """Say where the tokens of a primed passage and of the queries behind it should look.

    Args:
        context: The context's text, its tokens counted as in `context_ids`.
        context_ids: The tokens of the context, the begin token included.
        passage: The passage that the context ends with.
        queries: The query of each branch.
        tokenizer: The tokenizer of all of them.
    """
    located = locate_facts(context, passage)
    of_fact = {id(fact): tokens for fact, tokens in zip(passage.facts, located, strict=True)}
    return Guide(
        looks_within_sentences(passage, located),
        tuple(guide_branch(query, of_fact[id(query.fact)], context_ids, tokenizer) for query in queries),
    )
