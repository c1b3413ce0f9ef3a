"""Writes the token rows that the demo model is trained on.

In: a tokenizer, a seed and row numbers. Out: rows of a context and several branches.

A row is one context with several continuations that cannot see each other (query + answer pairs after a primed passage,
or several surrogates after one instruction). Each branch is computed exactly as if it stood alone behind the context,
by the attention mask and by positions that start again at the end of the context, so that one prefill trains many
answers: just the forms that scoring and generation use. `branch_attention.py` makes tensors of them.
"""

import random
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from tasks.demo.corpus import FULL_SIZE, Passage, Size, write_passage
from tasks.demo.domains.all_domains import DOMAINS
from tasks.demo.drawing import random_for
from tasks.demo.guides import Guide, TokenPlaces, guide_row
from tasks.demo.queries import STYLES, write_query, write_surrogate
from tasks.demo.tokenizer import BYTE_TOKENS, SPECIAL_TOKENS
from tasks.priming.prompts import (
    BASELINE_TEMPLATE,
    STATIC_SURROGATES,
    SURROGATE_TEMPLATE,
    fill,
    generation_prompt,
    query_prompt,
)

# Every way in which a passage can be primed, drawn with equal chances and without regard to the order of its facts.
CONTEXT_KINDS = ("bare", "framed", "blank", "random_words", "mismatched", "matched", "static")
# Those without a prime: a model that was trained on these alone tells what training with primes has changed.
UNPRIMED_KINDS = ("bare", "framed")

BRANCHES_PER_PASSAGE = 6
SURROGATES_PER_PROMPT = 3
GENERATION_SHARE = 0.2

# The weight of a token in the loss. The texts themselves are easy and many; the answers are what is to be learnt, so
# the texts are trained on in a part of the rows only, which saves time.
ANSWER_WEIGHT = 10.0
TEXT_WEIGHT = 1.0
TEXT_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Branch:
    """One continuation of a context."""

    prompt_ids: list[int]
    """What is given: the query and its cue; empty for a surrogate."""
    target_ids: list[int]
    """What the model should write, the end token included."""


@dataclass(frozen=True, slots=True)
class Row:
    """One context with its continuations."""

    context_ids: list[int]
    """The tokens that every branch sees."""
    branches: tuple[Branch, ...]
    """The continuations; none sees another."""
    trains_on_text: bool
    """Whether the tokens of context and prompts are targets too, not only those of the answers."""
    guide: Guide | None = None
    """Where its tokens should look; None where nothing is known of it or it is not wanted."""

    @property
    def is_generation(self) -> bool:
        """Whether its branches are surrogates rather than answers to queries."""
        return not self.branches[0].prompt_ids

    @property
    def token_count(self) -> int:
        """The number of tokens of context and branches together."""
        return len(self.context_ids) + sum(len(each.prompt_ids) + len(each.target_ids) for each in self.branches)


class RowWriter:
    """Writes the rows of one training run; row n depends on seed and n alone."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        seed: int,
        contrast_share: float = 0.0,
        guides: bool = False,
        context_kinds: tuple[str, ...] = CONTEXT_KINDS,
    ) -> None:
        """Take what all rows have in common.

        Args:
            tokenizer: The tokenizer whose ids are written.
            seed: The seed of the run.
            contrast_share: How many passages say one kind of thing under several keys.
            guides: Whether rows say where their tokens should look.
            context_kinds: The ways in which passages are primed, in equal shares.
        """
        self.tokenizer = tokenizer
        self.seed = seed
        self.contrast_share = contrast_share
        self.guides = guides
        self.context_kinds = context_kinds
        self.end_id: int = tokenizer.convert_tokens_to_ids("</s>")
        self.begin_id: int = tokenizer.convert_tokens_to_ids("<s>")

    def tokens_of(self, text: str) -> list[int]:
        """Tokenise a text on its own, without a begin token."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def repeat_row(self, number: int) -> Row:
        """Return random tokens and the same again: only a model that looks back can predict the repeat."""
        source = random_for("repeat", self.seed, number)
        first_id = len(SPECIAL_TOKENS) + len(BYTE_TOKENS)
        ids = [source.randrange(first_id, len(self.tokenizer)) for _ in range(source.randint(20, 80))]
        return Row([self.begin_id, *ids], (Branch([], ids),), trains_on_text=False)

    def passage_row(self, number: int, size: Size) -> Row:
        """Return a passage that is primed in some way, with queries for its facts and their answers."""
        source = random_for("passage", self.seed, number)
        passage = self.passage(size, source)
        facts = [source.choice(passage.facts) for _ in range(BRANCHES_PER_PASSAGE)]
        queries = [write_query(fact, source) for fact in facts]
        context = TokenPlaces(self.tokenizer, self.context_of(passage, queries[0].text, source), first=1)
        context_ids = [self.begin_id, *context.ids]
        branches = tuple(
            Branch(self.tokens_of(query_prompt(query.text)), [*self.tokens_of(query.answer), self.end_id])
            for query in queries
        )
        guide = guide_row(context, context_ids, passage, queries, self.tokenizer) if self.guides else None
        return Row(context_ids, branches, source.random() < TEXT_SHARE, guide)

    def passage(self, size: Size, source: random.Random) -> Passage:
        """Return a passage of the training split."""
        return write_passage(source.choice(DOMAINS), size, "training", source, self.contrast_share)

    def context_of(self, passage: Passage, query: str, source: random.Random) -> str:
        """Return the passage behind a surrogate of a kind drawn at random, or without one."""
        kind = source.choice(self.context_kinds)
        if kind == "bare":
            return passage.text
        if kind == "framed":
            return fill(BASELINE_TEMPLATE, document=passage.text)
        other = self.passage(FULL_SIZE, source)
        if kind == "blank":
            surrogate = ""
        elif kind == "random_words":
            surrogate = " ".join(source.choices(other.text.split(), k=source.randint(3, 12)))
        elif kind == "mismatched":
            surrogate = write_surrogate(source.choice(other.facts), source.choice(STYLES), source)
        elif kind == "static":
            surrogate = source.choice(list(STATIC_SURROGATES.values()))
        elif source.random() < 0.5:
            surrogate = query
        else:
            surrogate = write_surrogate(source.choice(passage.facts), source.choice(STYLES), source)
        return fill(SURROGATE_TEMPLATE, surrogate=surrogate, document=passage.text)

    def generation_row(self, number: int, size: Size) -> Row:
        """Return the instruction for one kind of surrogate through the chat template, with surrogates that obey it."""
        source = random_for("generation", self.seed, number)
        style = source.choice(STYLES)
        passage = self.passage(size, source)
        messages = [{"role": "user", "content": generation_prompt(style, passage.text)}]
        rendered = self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        facts = [source.choice(passage.facts) for _ in range(SURROGATES_PER_PROMPT)]
        texts = [write_surrogate(fact, style, source) for fact in facts]
        branches = tuple(Branch([], [*self.tokens_of(text), self.end_id]) for text in texts)
        return Row(self.tokens_of(rendered), branches, trains_on_text=False)

    def row(self, number: int, size: Size) -> Row:
        """Return row `number`, of a kind drawn by the shares above."""
        if random_for("kind", self.seed, number).random() < GENERATION_SHARE:
            return self.generation_row(number, size)
        return self.passage_row(number, size)
