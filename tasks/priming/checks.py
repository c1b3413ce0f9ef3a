"""What a run verifies about its own scoring, on a few of its samples with its own model.

In: samples and their surrogates. Out: Check rows. A property that holds in tests with small models may fail with
another model, number format or machine, so every run measures it where it runs.
"""

import math
from collections.abc import Sequence

import torch

from tasks.priming.contexts import ContextRule
from tasks.priming.items import Item, continue_caches, plain_token_nlls, score_items
from tasks.priming.kv_cache import prefill
from tasks.priming.language_model import LanguageModel
from tasks.priming.numeric_path import is_batch_invariant, numeric_path
from tasks.priming.records import Check, Sample, Surrogate
from tasks.priming.scoring import encode_arms
from tasks.priming.segments import KVCache, Segment

# A cached and a plain pass sum in another order; in float32 that moves a mean NLL by 2e-6 to 9e-6.
_FLOAT32_LIMIT = 1e-5


def check_scoring(
    families: Sequence[tuple[ContextRule, Sequence[Surrogate]]],
    samples: Sequence[Sample],
    language_model: LanguageModel,
) -> list[Check]:
    """Return the checks of scoring on all arms of the given samples.

    Args:
        families: Per family of the run its arms, and the surrogates of at least these samples (none for a family
            without).
        samples: A few samples.
        language_model: The model that scores.
    """
    items = [
        arm.item
        for contexts, surrogates in families
        for arm in encode_arms(contexts, samples, surrogates, language_model.tokenizer)
        # Where somebody does not see the surrogate, no plain pass computes the same.
        if contexts.sight == "all"
        and arm.item.answer
        and len(arm.item.context + arm.item.continuation) < language_model.window
    ]
    scope = f"{len(samples)} samples, {len(items)} arms"
    together = score_items(items, language_model)
    return [
        _cached_equals_plain(items, together, language_model, scope),
        *_cache_stays_unchanged(items, language_model, scope),
        _alone_equals_together(items, together, language_model, scope),
    ]


def _cached_equals_plain(
    items: Sequence[Item],
    together: Sequence[tuple[float, ...] | None],
    language_model: LanguageModel,
    scope: str,
) -> Check:
    """Largest difference of the mean NLL between prefill + continuation and one plain forward pass."""
    plain = [plain_token_nlls(item, language_model) for item in items]
    differences = [_mean_difference(a, b) for a, b in zip(together, plain, strict=True)]
    is_float32 = language_model.numeric_path.startswith("cpu-float32") and "nf4" not in language_model.numeric_path
    rms = math.sqrt(sum(d * d for d in differences) / len(differences)) if differences else 0.0
    return _check(
        "cache_equals_plain_pass",
        max(differences, default=0.0),
        _FLOAT32_LIMIT if is_float32 else None,
        f"largest |difference of mean NLL|, nats per token; rms {rms:.3g}; {scope}",
    )


def _cache_stays_unchanged(items: Sequence[Item], language_model: LanguageModel, scope: str) -> list[Check]:
    """Caches whose length or values changed by being scored, and scores that differ the second time."""
    changed = different = 0
    with numeric_path(language_model.numeric_path):
        for item in items:
            cache = prefill(language_model.model, [Segment(item.context)])[0]
            before = _copy(cache)
            first = continue_caches(language_model, [(cache, item)])
            second = continue_caches(language_model, [(cache, item)])
            changed += not _equal(before, cache)
            different += first != second
    return [
        _check("cache_unchanged_by_scoring", float(changed), 0.0, f"caches that changed; {scope}"),
        _check("scored_twice_same_bits", float(different), 0.0, f"answers scored differently; {scope}"),
    ]


def _alone_equals_together(
    items: Sequence[Item],
    together: Sequence[tuple[float, ...] | None],
    language_model: LanguageModel,
    scope: str,
) -> Check:
    """Largest difference between scoring each item alone and all in one batch."""
    alone = [score_items([item], language_model)[0] for item in items]
    return _check(
        "alone_equals_batched",
        max((_mean_difference(a, b) for a, b in zip(together, alone, strict=True)), default=0.0),
        0.0 if is_batch_invariant(language_model.numeric_path) else None,
        f"largest |difference of mean NLL|, nats per token, on {language_model.numeric_path}; {scope}",
    )


def _check(name: str, value: float, limit: float | None, detail: str) -> Check:
    known = value if math.isfinite(value) else None
    passed = None if limit is None else known is not None and known <= limit
    return Check(name, known, limit, passed, detail)


def _mean_difference(left: tuple[float, ...] | None, right: tuple[float, ...] | None) -> float:
    """Return |difference of the means|; infinity where one is missing or not finite."""
    if left is None or right is None:
        return math.inf
    difference = abs(sum(left) / len(left) - sum(right) / len(right))
    return difference if math.isfinite(difference) else math.inf


def _copy(cache: KVCache) -> KVCache:
    return KVCache(tuple((keys.clone(), values.clone()) for keys, values in cache.layers), cache.parent)


def _equal(left: KVCache, right: KVCache) -> bool:
    if left.token_count != right.token_count:
        return False
    pairs = zip(left.layers, right.layers, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)
