"""TREATMENTS: what is done with a context once it is computed, before the query reads it.

A condition is a text, put before a document, and a treatment. A treatment is one function here and one entry in the
table; an entry in arms.py names those that its arms get. The context is computed once for all treatments that leave its
computation alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from tasks.priming.arms.contexts import ContextRule
from tasks.priming.engine.model import LanguageModel, first_token_count, tokens_between
from tasks.priming.records import KEPT

TokenRange: TypeAlias = tuple[int, int]
"""The first token and one past the last, counted within a context; (0, 0) for none."""


@dataclass(frozen=True, slots=True)
class Sight:
    """Which part of a context is out of sight, and of what."""

    hidden_from_passage: TokenRange = (0, 0)  # what later tokens of the context do not attend to
    hidden_from_query: TokenRange = (0, 0)  # what the query and the answers do not attend to
    # Whether what is hidden from the query is dropped: the tokens before it move up to those after it.
    closes_gap: bool = False

    @property
    def dropped_count(self) -> int:
        """Number of tokens that are not stored."""
        start, stop = self.hidden_from_query
        return stop - start if self.closes_gap else 0


ALL_IN_SIGHT = Sight()


@dataclass(frozen=True)
class Parts:
    """Where the parts of a context lie, as ranges of its tokens; found when a treatment asks for them."""

    language_model: LanguageModel
    contexts: ContextRule
    passage: str
    surrogate_text: str | None

    @cached_property
    def _text(self) -> str:
        return self.contexts.context(self.passage, self.surrogate_text or "")

    @cached_property
    def surrogate(self) -> TokenRange:
        """The tokens that hold a character of the surrogate."""
        start = self.contexts.surrogate_start
        return tokens_between(self.language_model, self._text, start, start + len(self.surrogate_text or ""))

    @cached_property
    def prefix(self) -> TokenRange:
        """The tokens that hold a character before the document's frame; not the first token of all contexts."""
        start = self.contexts.document_start(self._text, self.passage)
        stop = tokens_between(self.language_model, self._text, 0, start)[1]
        return (first_token_count(self.language_model), stop) if stop else (0, 0)


Treatment: TypeAlias = Callable[[Parts], Sight]
"""What a treatment is: the parts of a context -> which of them is out of sight."""


def keep(parts: Parts) -> Sight:
    """Leave everything in sight: the cache as it is computed."""
    return ALL_IN_SIGHT


def strip(parts: Parts) -> Sight:
    """Drop the prefix once the document is computed: a cache of the plain document's size, at its positions.

    The document's keys and values were computed with the prefix in sight. What is stored is the first token, and the
    document with its frame.
    """
    return Sight(hidden_from_query=parts.prefix, closes_gap=True)


def hide(parts: Parts) -> Sight:
    """Hide the surrogate from the query: only the document has read it."""
    return Sight(hidden_from_query=parts.surrogate)


def blind(parts: Parts) -> Sight:
    """Hide the surrogate from the document: only the query reads it."""
    return Sight(hidden_from_passage=parts.surrogate)


def mask(parts: Parts) -> Sight:
    """Hide the surrogate from both, in the places that it takes up."""
    return Sight(hidden_from_passage=parts.surrogate, hidden_from_query=parts.surrogate)


TREATMENTS: dict[str, Treatment] = {KEPT: keep, "stripped": strip, "hidden": hide, "blind": blind, "masked": mask}
"""Every treatment by its name."""
