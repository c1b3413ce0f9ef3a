"""The caches of contexts of which not everybody sees the surrogate: the passage, or the query.

In: contexts as token ids, where the surrogate stands in each and who sees it. Out: one KVCache each, behind which a
query and an answer are computed as behind any other.
"""

from collections.abc import Sequence
from typing import TypeAlias

from tasks.priming.contexts import Sight
from tasks.priming.kv_cache import KVCache, prefill, without_tokens
from tasks.priming.language_model import LanguageModel
from tasks.priming.packing import Segment

Prefilled: TypeAlias = tuple[tuple[int, ...], tuple[int, int], Sight]
"""Context, surrogate tokens and sight: items that share them share a cache."""


def prefill_contexts(language_model: LanguageModel, contexts: Sequence[Prefilled]) -> list[KVCache]:
    """Compute the caches of several contexts, each with the sight that it asks for.

    Where the passage is blind, all up to the surrogate's end is computed first, and the rest behind what stands before
    the surrogate alone, at its own positions. Where the surrogate is hidden, its keys and values are dropped then.
    A context without a surrogate is computed as any other.
    """
    is_blind = [sight == "passage_blind" and stop > start for _, (start, stop), sight in contexts]
    firsts = [
        Segment(ids[: span[1]] if blind else ids) for (ids, span, _), blind in zip(contexts, is_blind, strict=True)
    ]
    caches = prefill(language_model.model, firsts)
    blind = [number for number, is_one in enumerate(is_blind) if is_one]
    rests = []
    for number in blind:
        ids, (start, stop), _ = contexts[number]
        rests.append(Segment(ids[stop:], without_tokens(caches[number], start, stop)))
    for number, rest in zip(blind, prefill(language_model.model, rests) if rests else [], strict=True):
        caches[number] = KVCache(rest.layers, caches[number])
    for number, (_, (start, stop), sight) in enumerate(contexts):
        if sight == "surrogate_hidden" and stop > start:
            caches[number] = without_tokens(caches[number], start, stop)
    return caches
