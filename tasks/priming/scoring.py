"""The score: negative log-likelihood of the gold answer, and of wrong ones, read from a context's KV cache.

In: samples, their distractors and the contexts of one family's arms. Out: one Score a sample and arm, with the NLL of
every answer token and the mean NLL of each distractor.

    ids        c0 c1 ... cn | q0 q1 ... qm | a0 a1 a2
    computed   prefill once | continuation: q0 ... qm a0 a1     (a2 predicts nothing that is asked)
    logits                             qm  a0 a1                 (each for the token that follows)
    targets                            a0  a1 a2                 -> three NLLs, the first token's included

A distractor stands where the answer stands, behind the same context and query, whose keys and values are there by then:

    ids        c0 c1 ... cn   q0 q1 ... qm | d0 d1 d2
    computed   already                     | d0 d1                (what predicts d0 is there too: the logits of qm)

The notebook reads logits of the answer pass alone and so never scores a0; that reading is kept as `nll_notebook`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tasks.priming.batches import run_in_batches, token_budget
from tasks.priming.context_caches import Prefilled, prefill_contexts
from tasks.priming.contexts import ContextRule, Sight
from tasks.priming.kv_cache import KVCache, caches_of, first_tokens
from tasks.priming.language_model import LanguageModel, encode_context, encode_continuation, tokens_between
from tasks.priming.likelihood import alternative_nlls, token_nlls
from tasks.priming.numeric_path import numeric_path
from tasks.priming.packing import Segment, forward_packed
from tasks.priming.prompts import query_prompt
from tasks.priming.records import Distractor, Sample, Score, Surrogate


@dataclass(frozen=True, slots=True)
class Item:
    """One answer, and its distractors, to be scored behind one context."""

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
    distractors: tuple[tuple[int, ...], ...] = ()
    """Token ids of each distractor, at least one."""

    @property
    def prefilled(self) -> "Prefilled":
        """What the cache behind which the answer is scored depends on."""
        return self.context, self.surrogate, self.sight

    @property
    def continuation(self) -> tuple[int, ...]:
        """Token ids that are computed behind the context's cache: all but the last, which predicts nothing asked."""
        return self.query + self.answer[:-1]

    @property
    def computed_count(self) -> int:
        """Tokens that are computed behind the context's cache: the continuation, all but the last of distractors."""
        return len(self.continuation) + sum(len(ids) - 1 for ids in self.distractors)

    def without_unfit_distractors(self, window: int) -> "Item":
        """Return the item without its distractors unless each has a token and fits into the window."""
        before = len(self.context) + len(self.query)
        is_fit = all(ids and before + len(ids) <= window for ids in self.distractors)
        return self if is_fit else replace(self, distractors=())


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
    contexts: ContextRule,
    samples: Sequence[Sample],
    surrogates: Sequence[Surrogate],
    language_model: LanguageModel,
    distractors: Sequence[Distractor] = (),
) -> list[Score]:
    """Score every arm of a family on every sample, arm by arm in the family's order.

    Where a distractor does not fit into the window behind an arm's context, that score has no distractor NLLs at all: a
    mean over fewer would be another measure than the other arms'. The answer is scored as ever.

    Args:
        contexts: The family's arms and the template of their contexts.
        samples: The samples.
        surrogates: The family's surrogates of these samples; empty for a family that has none.
        language_model: The model that reads.
        distractors: Distractors of these samples, in whatever order.

    Raises:
        KeyError: A surrogate of the family is missing for a sample.
    """
    arms = encode_arms(contexts, samples, surrogates, language_model.tokenizer, distractors)
    arms = [replace(arm, item=arm.item.without_unfit_distractors(language_model.window)) for arm in arms]
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
    distractors: Sequence[Distractor] = (),
) -> list[Arm]:
    """Return the token ids of every arm of a family on every sample, arm by arm.

    Raises:
        KeyError: A surrogate of the family is missing for a sample.
    """
    texts = {(s.sample_id, s.key): s.text for s in surrogates}
    # A query and an answer recur in every arm: each is tokenised once.
    queries = {s.sample_id: tuple(encode_continuation(tokenizer, query_prompt(s.query))) for s in samples}
    answers = {s.sample_id: tuple(encode_continuation(tokenizer, s.answer)) for s in samples}
    wrong: dict[str, list[tuple[int, ...]]] = {s.sample_id: [] for s in samples}
    for distractor in sorted(distractors, key=lambda d: d.number):
        wrong[distractor.sample_id].append(tuple(encode_continuation(tokenizer, distractor.answer)))
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
            own = sample.sample_id
            item = Item(context, queries[own], answers[own], span, contexts.sight, tuple(wrong[own]))
            arms.append(Arm(own, contexts.family, key, item))
    return arms


def score_items(
    items: Sequence[Item], language_model: LanguageModel, budget_share: float = 1.0
) -> list[tuple[float, ...] | None]:
    """Return per item the NLL in nats of each answer token, then of each token of its distractors.

    None where memory does not even hold one item. Each distinct context of a batch is prefilled once and serves every
    item that continues it.

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

    counts = [len(c[0]) + sum(items[n].computed_count for n in groups[c]) for c in contexts]
    with numeric_path(language_model.numeric_path):
        outputs = run_in_batches(contexts, counts, budget, run)
    results: list[tuple[float, ...] | None] = [None] * len(items)
    for context, output in zip(contexts, outputs, strict=True):
        for number, nlls in zip(groups[context], output or (), strict=bool(output)):
            results[number] = nlls
    return results


def continue_caches(language_model: LanguageModel, pairs: Sequence[tuple[KVCache, Item]]) -> list[tuple[float, ...]]:
    """Return the token NLLs of answers, then of their distractors, behind caches that are already computed.

    The caches stay as they are. Several pairs may share one cache: many queries on one document, or many answers to
    one query.
    """
    items = [item for _, item in pairs]
    segments = [Segment(item.continuation, cache) for cache, item in pairs]
    keep: list[int] = []
    first_rows: list[int] = []  # of the logits that predict an answer's first token, hence a distractor's
    stop = 0
    for item in items:
        stop += len(item.continuation)
        first_rows.append(len(keep))
        keep += range(stop - len(item.answer), stop)
    has_distractors = any(item.distractors for item in items)
    output = forward_packed(language_model.model, segments, keep=keep, keeps_keys=has_distractors)
    assert output.logits is not None
    nlls = iter(token_nlls(output.logits, [token for item in items for token in item.answer]))
    answers = [tuple(next(nlls) for _ in item.answer) for item in items]
    if not has_distractors:
        return answers
    continued = caches_of(output, segments)
    others = alternative_nlls(
        language_model.model,
        [first_tokens(cache, len(item.query)) for cache, item in zip(continued, items, strict=True)],
        output.logits[first_rows],
        [item.distractors for item in items],
    )
    return [answer + other for answer, other in zip(answers, others, strict=True)]


def plain_token_nlls(item: Item, language_model: LanguageModel) -> tuple[float, ...]:
    """Return the token NLLs from one ordinary forward pass over all ids, without a cache: the second way to compute.

    Uses the attention that transformers chose for the model, and nothing of the packed pass.
    """
    ids = item.context + item.continuation
    with torch.inference_mode(), numeric_path(language_model.numeric_path):
        inputs = torch.tensor([ids], device=language_model.model.device)
        logits = language_model.model(input_ids=inputs, use_cache=False).logits[0, -len(item.answer) :]
        return tuple(token_nlls(logits, item.answer))


def _status_before(item: Item, window: int) -> str:
    if not item.answer:
        return "no_answer_tokens"
    return "ok" if len(item.context) + len(item.query) + len(item.answer) <= window else "too_long"


def _score(arm: Arm, status: str, nlls: tuple[float, ...] | None) -> Score:
    """Return the score of an arm from the NLLs of its answer's tokens and, behind them, its distractors'."""
    item = arm.item
    answer = None if nlls is None else nlls[: len(item.answer)]
    if status == "ok" and answer is None:
        status = "out_of_memory"
    elif answer is not None and not all(map(math.isfinite, answer)):
        status = "not_finite"
    means = answer if status == "ok" and answer is not None else ()
    nll = sum(means) / len(means) if means else None
    distractor_nlls = None if nll is None or nlls is None else _distractor_means(item, nlls[len(item.answer) :])
    return Score(
        sample_id=arm.sample_id,
        family=arm.family,
        key=arm.key,
        status=status,
        token_nlls=answer,
        nll=nll,
        nll_notebook=sum(means[1:]) / (len(means) - 1) if len(means) > 1 else None,
        distractor_nlls=distractor_nlls,
        margin=None if nll is None or not distractor_nlls else sum(distractor_nlls) / len(distractor_nlls) - nll,
        context_token_count=len(item.context),
        query_token_count=len(item.query),
        answer_token_count=len(item.answer),
    )


def _distractor_means(item: Item, nlls: tuple[float, ...]) -> tuple[float, ...] | None:
    """Return the mean NLL of each distractor; None without distractors or if one of the values is not finite."""
    left = iter(nlls)
    means = tuple(sum(next(left) for _ in ids) / len(ids) for ids in item.distractors)
    return means if means and all(map(math.isfinite, means)) else None
