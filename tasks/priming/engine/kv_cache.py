"""A document's KV cache: prefill a context once, continue it as often as wanted, never change it."""

from collections.abc import Iterable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch

from tasks.priming.engine.forward import PackedOutput, forward_packed
from tasks.priming.engine.segments import KVCache, Parent, Segment

# Shorter prefixes are cheaper to recompute than to concatenate with each row's keys.
_LEAST_SHARED = 8

_MOST_KEPT = 64
"""Prefixes whose caches a process keeps of a model, tens of tokens each."""

_kept: "WeakKeyDictionary[Any, dict[tuple[object, ...], KVCache]]" = WeakKeyDictionary()
"""By model, then by number format, torch's precision of products and token ids."""


def prefill(model: Any, contexts: Sequence[Segment]) -> list[KVCache]:  # noqa: ANN401 - any transformers decoder
    """Compute the caches of several contexts in one packed pass."""
    return caches_of(forward_packed(model, contexts, keeps_keys=True), contexts)


def caches_of(output: PackedOutput, segments: Sequence[Segment]) -> list[KVCache]:
    """Return one cache per segment, branches excluded, from a packed pass that kept keys and values."""
    caches: dict[Parent, KVCache] = {}
    start = 0
    for segment in segments:
        stop = start + segment.own_count
        # Views of the pass's tensors: nothing is copied.
        own = tuple((keys[:, :, start:stop], values[:, :, start:stop]) for keys, values in output.layers)
        parent = segment.parent
        caches[segment] = KVCache(own, caches[parent] if isinstance(parent, Segment) else parent)
        start += len(segment.all_ids)
    return list(caches.values())


class SharedPrefixes:
    """Caches of token prefixes that many texts begin with: each computed once in a process, in a pass of its own."""

    def __init__(self, model: Any, prefixes: Iterable[tuple[int, ...]]) -> None:  # noqa: ANN401
        """Compute the caches of the prefixes that are long enough to be worth it."""
        # The longest first: a sequence takes the longest prefix it begins with.
        self._prefixes = sorted({p for p in prefixes if len(p) >= _LEAST_SHARED}, key=lambda p: (-len(p), p))
        kept = _kept.setdefault(model, {})
        keys = [(model.dtype, torch.get_float32_matmul_precision(), prefix) for prefix in self._prefixes]
        if len(kept) > _MOST_KEPT:
            kept.clear()
        for key, prefix in zip(keys, self._prefixes, strict=True):
            if key not in kept:
                kept[key] = prefill(model, [Segment(prefix)])[0]
        self._caches = [kept[key] for key in keys]

    def segment(self, ids: Sequence[int]) -> Segment:
        """Return a sequence as a segment after the longest shared prefix that it begins with.

        The choice depends on the sequence alone, not on the rest of the batch, and so do its numbers.
        """
        for prefix, cache in zip(self._prefixes, self._caches, strict=True):
            if len(ids) > len(prefix) and tuple(ids[: len(prefix)]) == prefix:
                return Segment(ids[len(prefix) :], cache)
        return Segment(ids)


def common_prefix(left: Sequence[int], right: Sequence[int]) -> tuple[int, ...]:
    """Return the token ids with which both sequences begin.

    Compared as ids, not as strings: a tokenizer may join the end of one piece of text with the next.
    """
    count = next((i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right)))
    return tuple(left[:count])
