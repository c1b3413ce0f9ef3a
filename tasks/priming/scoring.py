"""The score: negative log-likelihood of the gold answer, read from a context's KV cache.

In: samples and the contexts of one family's arms. Out: one Score a sample and arm, with the NLL of every answer token.

    ids        c0 c1 ... cn | q0 q1 ... qm | a0 a1 a2
    computed   prefill once | continuation: q0 ... qm a0 a1     (a2 predicts nothing that is asked)
    logits                             qm  a0 a1                 (each for the token that follows)
    targets                            a0  a1 a2                 -> three NLLs, the first token's included

The notebook reads logits of the answer pass alone and so never scores a0; that reading is kept as `nll_notebook`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from tasks.priming.batches import run_in_batches, token_budget
from tasks.priming.contexts import ContextRule, Sight
from tasks.priming.kv_cache import KVCache, first_tokens, prefill, without_tokens
from tasks.priming.language_model import LanguageModel, encode_context, encode_continuation, tokens_between
from tasks.priming.numeric_path import numeric_path
from tasks.priming.packing import Segment, forward_packed
from tasks.priming.prompts import query_prompt
from tasks.priming.records import Sample, Score, Surrogate

# float32 logits of this many elements at a time: 256 MB.
_LOGITS_AT_ONCE = 64_000_000


@dataclass(frozen=True, slots=True)
class Item:
    """One answer to be scored behind one context."""

    context: tuple[int, ...]
    """Token ids of the context, BOS included."""
    query: tuple[int, ...]
    """Token ids of the query prompt."""
    answer: tuple[int, ...]
    """Token ids of the answer."""
    surrogate: tuple[int, int] = (0, 0)
    """Which tokens of the context hold a character of the surrogate: from the first up to the second number; asked
    for only where somebody does not see it."""
    sight: Sight = "all"
    """Who sees the surrogate."""

    @property
    def prefilled(self) -> "Prefilled":
        """What the cache behind which the answer is scored depends on."""
        return self.context, self.surrogate, self.sight

    @property
    def continuation(self) -> tuple[int, ...]:
        """Token ids that are computed behind the context's cache: all but the last, which predicts nothing asked."""
        return self.query + self.answer[:-1]


Prefilled: TypeAlias = tuple[tuple[int, ...], tuple[int, int], Sight]
"""Context, surrogate tokens and sight: items that share them share a cache."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One condition on one sample, as token ids."""

    sample_id: str
    """The sample."""
    family: str
    """The family."""
    key: str
    """The key within the family."""
    item: Item
    """What is computed."""


def score_family(
    contexts: ContextRule, samples: Sequence[Sample], surrogates: Sequence[Surrogate], language_model: LanguageModel
) -> list[Score]:
    """Score every arm of a family on every sample, arm by arm in the family's order.

    Args:
        contexts: The family's arms and the template of their contexts.
        samples: The samples.
        surrogates: The family's surrogates of these samples; empty for a family that has none.
        language_model: The model that reads.

    Raises:
        KeyError: A surrogate of the family is missing for a sample.
    """
    arms = encode_arms(contexts, samples, surrogates, language_model.tokenizer)
    statuses = [_status_before(arm.item, language_model.window) for arm in arms]
    feasible = [arm.item for arm, status in zip(arms, statuses, strict=True) if status == "ok"]
    results = iter(score_items(feasible, language_model, contexts.budget_share))
    return [
        _score(arm, status, next(results) if status == "ok" else None)
        for arm, status in zip(arms, statuses, strict=True)
    ]


def encode_arms(
    contexts: ContextRule,
    samples: Sequence[Sample],
    surrogates: Sequence[Surrogate],
    tokenizer: Any,  # noqa: ANN401 - any transformers tokenizer
) -> list[Arm]:
    """Return the token ids of every arm of a family on every sample, arm by arm.

    Raises:
        KeyError: A surrogate of the family is missing for a sample.
    """
    texts = {(s.sample_id, s.key): s.text for s in surrogates}
    # A query and an answer recur in every arm: each is tokenised once.
    queries = {s.sample_id: tuple(encode_continuation(tokenizer, query_prompt(s.query))) for s in samples}
    answers = {s.sample_id: tuple(encode_continuation(tokenizer, s.answer)) for s in samples}
    arms = []
    for key in contexts.arm_keys:
        for sample in samples:
            surrogate = texts[sample.sample_id, key] if contexts.has_surrogate else None
            text = contexts.context(sample.passage, surrogate)
            context = tuple(encode_context(tokenizer, text))
            span = (0, 0)
            if contexts.sight != "all":
                start = contexts.surrogate_start
                span = tokens_between(tokenizer, text, start, start + len(surrogate or ""))
            item = Item(context, queries[sample.sample_id], answers[sample.sample_id], span, contexts.sight)
            arms.append(Arm(sample.sample_id, contexts.family, key, item))
    return arms


def score_items(
    items: Sequence[Item], language_model: LanguageModel, budget_share: float = 1.0
) -> list[tuple[float, ...] | None]:
    """Return per item the NLL in nats of each answer token; None where memory does not even hold one item.

    Each distinct context of a batch is prefilled once and serves every item that continues it.

    Args:
        items: What to score.
        language_model: The model that reads.
        budget_share: Share of the usual tokens in a batch.
    """
    groups: dict[Prefilled, list[int]] = {}
    for number, item in enumerate(items):
        groups.setdefault(item.prefilled, []).append(number)
    contexts = list(groups)
    budget = int(token_budget(language_model.model.device.type) * budget_share)

    def run(batch: list[Prefilled]) -> list[list[tuple[float, ...]]]:
        caches = prefill_contexts(language_model, batch)
        pairs = [
            (cache, items[number]) for cache, context in zip(caches, batch, strict=True) for number in groups[context]
        ]
        found = iter(continue_caches(language_model, pairs))
        return [[next(found) for _ in groups[context]] for context in batch]

    counts = [len(c[0]) + sum(len(items[n].continuation) for n in groups[c]) for c in contexts]
    with numeric_path(language_model.numeric_path):
        outputs = run_in_batches(contexts, counts, budget, run)
    results: list[tuple[float, ...] | None] = [None] * len(items)
    for context, output in zip(contexts, outputs, strict=True):
        for number, nlls in zip(groups[context], output or (), strict=bool(output)):
            results[number] = nlls
    return results


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
        rests.append(Segment(ids[stop:], first_tokens(caches[number], start)))
    for number, rest in zip(blind, prefill(language_model.model, rests) if rests else [], strict=True):
        caches[number] = KVCache(rest.layers, caches[number])
    for number, (_, (start, stop), sight) in enumerate(contexts):
        if sight == "surrogate_hidden" and stop > start:
            caches[number] = without_tokens(caches[number], start, stop)
    return caches


def continue_caches(language_model: LanguageModel, pairs: Sequence[tuple[KVCache, Item]]) -> list[tuple[float, ...]]:
    """Return the token NLLs of answers behind caches that are already computed; the caches stay as they are.

    Several pairs may share one cache: many queries on one document, or many answers to one query.
    """
    segments = [Segment(item.continuation, cache) for cache, item in pairs]
    keep: list[int] = []
    start = 0
    for (_, item), segment in zip(pairs, segments, strict=True):
        stop = start + len(segment.ids)
        keep += range(stop - len(item.answer), stop)
        start = stop
    logits = forward_packed(language_model.model, segments, keep=keep).logits
    assert logits is not None
    nlls = iter(_token_nlls(logits, [token for _, item in pairs for token in item.answer]))
    return [tuple(next(nlls) for _ in item.answer) for _, item in pairs]


def plain_token_nlls(item: Item, language_model: LanguageModel) -> tuple[float, ...]:
    """Return the token NLLs from one ordinary forward pass over all ids, without a cache: the second way to compute.

    Uses the attention that transformers chose for the model, and nothing of the packed pass.
    """
    ids = item.context + item.continuation
    with torch.inference_mode(), numeric_path(language_model.numeric_path):
        inputs = torch.tensor([ids], device=language_model.model.device)
        logits = language_model.model(input_ids=inputs, use_cache=False).logits[0, -len(item.answer) :]
        return tuple(_token_nlls(logits, item.answer))


def _token_nlls(logits: torch.Tensor, targets: Sequence[int]) -> list[float]:
    """Return -log softmax(logits)[target] per row, in float32 whatever the logits are.

    A loss taken in bfloat16 is off by 0.02 to 0.05 nats, as large as the effects that are measured.
    """
    nlls: list[float] = []
    rows = max(1, _LOGITS_AT_ONCE // logits.shape[-1])
    for start in range(0, len(targets), rows):
        piece = logits[start : start + rows].float()
        wanted = torch.tensor(targets[start : start + rows], device=piece.device)
        nlls += torch.nn.functional.cross_entropy(piece, wanted, reduction="none").tolist()
    return nlls


def _status_before(item: Item, window: int) -> str:
    if not item.answer:
        return "no_answer_tokens"
    return "ok" if len(item.context) + len(item.query) + len(item.answer) <= window else "too_long"


def _score(arm: Arm, status: str, nlls: tuple[float, ...] | None) -> Score:
    if status == "ok" and nlls is None:
        status = "out_of_memory"
    elif nlls is not None and not all(map(math.isfinite, nlls)):
        status = "not_finite"
    means = nlls if status == "ok" and nlls is not None else ()
    return Score(
        sample_id=arm.sample_id,
        family=arm.family,
        key=arm.key,
        status=status,
        token_nlls=nlls,
        nll=sum(means) / len(means) if means else None,
        nll_notebook=sum(means[1:]) / (len(means) - 1) if len(means) > 1 else None,
        context_token_count=len(arm.item.context),
        query_token_count=len(arm.item.query),
        answer_token_count=len(arm.item.answer),
    )
