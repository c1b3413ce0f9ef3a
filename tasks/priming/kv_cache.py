"""A document's KV cache: prefill a context once, continue it as often as wanted, never change it.

transformers appends to a cache it is given, even with `use_cache=False`: a cache that was scored once holds the
first answer and gives other numbers the second time. Here a cache is immutable by its type: it offers its keys and
values to be read together with those of a continuation, and nothing to append with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tasks.priming.packing import PackedOutput, Segment, forward_packed


@dataclass(frozen=True, slots=True)
class KVCache:
    """The keys and values of a run of tokens, for every layer, behind those of its parent."""

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """Per layer keys and values of the own tokens, (1, heads, tokens, dimension)."""
    parent: "KVCache | None" = None
    """The cache of the tokens before, shared by all its children and copied by none."""
    skipped_position_count: int = 0
    """Positions behind the own tokens, or among them, that nothing here stands at: those of tokens left out."""

    @property
    def token_count(self) -> int:
        """Tokens held, those of the parents included."""
        own = self.layers[0][0].shape[2]
        return own + (self.parent.token_count if self.parent else 0)

    @property
    def next_position(self) -> int:
        """The position of a token that follows."""
        own = self.layers[0][0].shape[2] + self.skipped_position_count
        return own + (self.parent.next_position if self.parent else 0)

    @property
    def byte_count(self) -> int:
        """Bytes of keys and values, those of the parents included."""
        own = sum(t.numel() * t.element_size() for layer in self.layers for t in layer)
        return own + (self.parent.byte_count if self.parent else 0)

    def join(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return this cache's keys and values with the given ones behind them, as new tensors."""
        chain = [self.layers[layer]]
        ancestor = self.parent
        while ancestor is not None:
            chain.insert(0, ancestor.layers[layer])
            ancestor = ancestor.parent
        return torch.cat([k for k, _ in chain] + [keys], dim=2), torch.cat([v for _, v in chain] + [values], dim=2)


def prefill(model: Any, contexts: Sequence[Segment]) -> list[KVCache]:  # noqa: ANN401 - any transformers decoder
    """Compute the caches of several contexts in one packed pass.

    Args:
        model: A transformers causal language model.
        contexts: Token ids, each optionally behind a KVCache that it shares with others.
    """
    return caches_of(forward_packed(model, contexts, keeps_keys=True), contexts)


def without_tokens(cache: KVCache, start: int, stop: int) -> KVCache:
    """Return a cache without the keys and values of its own tokens from `start` up to `stop`.

    What was computed from them stays: later tokens have seen them, continuations do not. Keys are rotated already, so
    the others keep their positions.
    """
    layers = tuple(
        (torch.cat([k[:, :, :start], k[:, :, stop:]], dim=2), torch.cat([v[:, :, :start], v[:, :, stop:]], dim=2))
        for k, v in cache.layers
    )
    return KVCache(layers, cache.parent, cache.skipped_position_count + stop - start)


def first_tokens(cache: KVCache, count: int) -> KVCache:
    """Return the cache of the first own tokens alone; a causal model computed them without the later ones.

    What follows it stands right behind them, where the first of the later ones stands; `without_tokens` leaves their
    places empty. Nothing is copied.
    """
    assert cache.skipped_position_count == 0, "which of the own tokens stand before the gap is not known"
    layers = tuple((keys[:, :, :count], values[:, :, :count]) for keys, values in cache.layers)
    return KVCache(layers, cache.parent)


def caches_of(output: PackedOutput, segments: Sequence[Segment]) -> list[KVCache]:
    """Return one cache a segment from a packed pass that kept the keys and values."""
    caches = []
    start = 0
    for segment in segments:
        stop = start + len(segment.ids)
        # Views of the pass's tensors: nothing is copied until a continuation is joined.
        own = tuple((keys[:, :, start:stop], values[:, :, start:stop]) for keys, values in output.layers)
        assert segment.prefix is None or isinstance(segment.prefix, KVCache)
        caches.append(KVCache(own, segment.prefix))
        start = stop
    return caches


class SharedPrefixes:
    """Caches of token prefixes that many sequences begin with, each computed once."""

    def __init__(self, model: Any, prefixes: Iterable[tuple[int, ...]]) -> None:  # noqa: ANN401
        """Compute the caches of the given prefixes; empty ones are left out."""
        # The longest first: a sequence takes the longest prefix it begins with.
        self._prefixes = sorted({p for p in prefixes if p}, key=lambda p: (-len(p), p))
        self._caches = prefill(model, [Segment(p) for p in self._prefixes]) if self._prefixes else []

    def segment(self, ids: Sequence[int]) -> Segment:
        """Return the sequence as a segment behind the longest shared prefix that it begins with.

        The rule looks at the sequence alone, never at others of the batch, so that its numbers do not depend on them.
        """
        for prefix, cache in zip(self._prefixes, self._caches, strict=True):
            if len(ids) > len(prefix) and tuple(ids[: len(prefix)]) == prefix:
                return Segment(ids[len(prefix) :], cache)
        return Segment(ids)


def common_prefix(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    """Return the token ids with which both sequences begin.

    Found on ids, never by cutting strings: a tokenizer may join the end of one piece of text with the next.
    """
    count = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return tuple(left[:count])
