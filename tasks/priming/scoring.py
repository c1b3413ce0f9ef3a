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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from tasks.priming.batches import run_in_batches, token_budget
from tasks.priming.contexts import ContextRule, Sight
from tasks.priming.errors import UsageError
from tasks.priming.kv_cache import SharedPrefixes, common_prefix, prefill
from tasks.priming.language_model import LanguageModel, encode_context, encode_continuation, token_texts, tokens_between
from tasks.priming.likelihood import token_nlls
from tasks.priming.numeric_path import numeric_path
from tasks.priming.packing import forward_packed
from tasks.priming.prompts import query_prompt
from tasks.priming.records import Distractor, Sample, Score, Surrogate
from tasks.priming.segments import KVCache, Parent, Segment

# Shorter prefixes cost more to bring together with each row's keys than to compute again.
_LEAST_SHARED = 8


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
    def alternatives(self) -> tuple[tuple[int, ...], ...]:
        """The answer and its distractors: what may stand behind the query."""
        return self.answer, *self.distractors

    @property
    def hidden(self) -> tuple[int, int]:
        """Positions of the context that the query and all behind it do not see."""
        return self.surrogate if self.sight == "surrogate_hidden" else (0, 0)

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
    answer_tokens: tuple[str, ...]
    """The text of each answer token."""


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
    tokenizer = language_model.tokenizer
    arms = encode_arms(contexts, samples, surrogates, tokenizer, distractors)
    arms = [replace(arm, item=arm.item.without_unfit_distractors(language_model.window)) for arm in arms]
    statuses = [_status_before(arm.item, language_model.window) for arm in arms]
    feasible = [arm.item for arm, status in zip(arms, statuses, strict=True) if status == "ok"]
    prefixes = [common_prefix(*(encode_context(tokenizer, text) for text in pair)) for pair in contexts.probes]
    results = iter(score_items(feasible, language_model, prefixes=prefixes, budget_share=contexts.budget_share))
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
    answer_tokens = {sample_id: token_texts(tokenizer, ids) for sample_id, ids in answers.items()}
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
            arms.append(Arm(own, contexts.family, key, item, answer_tokens[own]))
    return arms


def score_items(
    items: Sequence[Item],
    language_model: LanguageModel,
    *,
    prefixes: Iterable[tuple[int, ...]] = (),
    budget_share: float = 1.0,
) -> list[tuple[float, ...] | None]:
    """Return per item the NLL in nats of each answer token, then of each token of its distractors.

    None where memory does not even hold one item. Each distinct context of a batch is computed once and serves every
    item that continues it.

    Args:
        items: What to score.
        language_model: The model that reads.
        prefixes: Token ids that many contexts begin with, each computed once for all of them.
        budget_share: Share of the usual tokens in a batch.
    """
    budget = int(token_budget(language_model.model.device.type) * budget_share)
    groups = _group(items, budget)
    counts = [len(items[group[0]].context) + sum(items[n].computed_count for n in group) for group in groups]
    with numeric_path(language_model.numeric_path):
        shared = SharedPrefixes(language_model.model, (p for p in prefixes if len(p) >= _LEAST_SHARED))

        def run(batch: list[list[int]]) -> list[list[tuple[float, ...]]]:
            segments: list[Segment] = []
            for group in batch:
                context = _context_segments(items[group[0]], shared)
                segments += [*context, *(_continuation(items[number], context[-1]) for number in group)]
            found = iter(_score_segments(language_model, segments, [items[n] for group in batch for n in group]))
            return [[next(found) for _ in group] for group in batch]

        outputs = run_in_batches(groups, counts, budget, run)
    results: list[tuple[float, ...] | None] = [None] * len(items)
    for group, output in zip(groups, outputs, strict=True):
        for number, nlls in zip(group, output or (), strict=bool(output)):
            results[number] = nlls
    return results


def score_queries(
    context: str, questions: Sequence[tuple[str, str]], language_model: LanguageModel
) -> list[tuple[float, ...] | None]:
    """Return the NLL in nats of each answer token, for many questions about one document.

    The document's cache is computed once and read by all questions; what a KV cache is for in production.

    Args:
        context: All text before the query: a document, with or without a template around it (see contexts.py).
        questions: Queries as a user types them, each with the answer to be scored.
        language_model: The model that reads.

    Returns:
        One tuple a question; None where memory does not even hold one.

    Raises:
        UsageError: A question or its answer is empty, or does not fit into the model's window behind the context.
    """
    tokenizer = language_model.tokenizer
    ids = tuple(encode_context(tokenizer, context))
    items = [
        Item(
            ids,
            tuple(encode_continuation(tokenizer, query_prompt(query))),
            tuple(encode_continuation(tokenizer, answer)),
        )
        for query, answer in questions
    ]
    for item, (query, _) in zip(items, questions, strict=True):
        if (status := _status_before(item, language_model.window)) != "ok":
            raise UsageError(
                f"The question {query!r} cannot be scored behind this context: {status}. The answer needs a token, and "
                f"all together at most {language_model.window}. Shorten the context or leave the question out."
            )
    budget = token_budget(language_model.model.device.type)
    with numeric_path(language_model.numeric_path):
        cache = prefill(language_model.model, [Segment(ids)])[0]
        return run_in_batches(
            items,
            [item.computed_count for item in items],
            budget,
            lambda batch: continue_caches(language_model, [(cache, item) for item in batch]),
        )


def continue_caches(language_model: LanguageModel, pairs: Sequence[tuple[KVCache, Item]]) -> list[tuple[float, ...]]:
    """Return the token NLLs of answers, then of their distractors, behind caches that are already computed.

    The caches stay as they are. Several pairs may share one cache: many queries on one document, or many answers to
    one query.
    """
    segments = [_continuation(item, cache) for cache, item in pairs]
    return _score_segments(language_model, segments, [item for _, item in pairs])


def _continuation(item: Item, parent: Parent) -> Segment:
    """Return an item's query behind its context, with the alternatives as branches: all but their last tokens."""
    return Segment(item.query, parent, item.hidden, tuple(ids[:-1] for ids in item.alternatives))


def _score_segments(
    language_model: LanguageModel, segments: Sequence[Segment], items: Sequence[Item]
) -> list[tuple[float, ...]]:
    """Compute segments, of which those with branches are the items' continuations, and score the alternatives."""
    keep: list[int] = []
    rows: list[int] = []  # of the kept logits: which one predicts each target
    start = 0
    waiting = iter(items)
    for segment in segments:
        stop = start + len(segment.all_ids)
        if segment.branches:
            behind_query = row = len(keep)
            for ids in next(waiting).alternatives:
                # The query's last token predicts every alternative's first one.
                rows += [behind_query, *range(row + 1, row + len(ids))]
                row += len(ids) - 1
            keep += range(start + len(segment.ids) - 1, stop)
        start = stop
    logits = forward_packed(language_model.model, segments, keep=keep).logits
    assert logits is not None
    targets = [token for item in items for ids in item.alternatives for token in ids]
    nlls = iter(token_nlls(logits, targets, rows))
    return [tuple(next(nlls) for ids in item.alternatives for _ in ids) for item in items]


def _group(items: Sequence[Item], budget: int) -> list[list[int]]:
    """Return the numbers of items that share a context and its sight, no more together than the budget holds."""
    groups: dict[tuple[object, ...], list[list[int]]] = {}
    left: dict[tuple[object, ...], int] = {}
    for number, item in enumerate(items):
        key = (item.context, item.surrogate, item.sight)
        if key not in groups or left[key] < item.computed_count:
            groups.setdefault(key, []).append([])
            left[key] = budget - len(item.context)
        groups[key][-1].append(number)
        left[key] -= item.computed_count
    return [group for parts in groups.values() for group in parts]


def _context_segments(item: Item, shared: SharedPrefixes) -> list[Segment]:
    """Return the segments of an item's context, the one that its query stands behind last.

    Where the passage is blind, what stands behind the surrogate does not see it, at its own positions all the same.
    """
    start, stop = item.surrogate
    if item.sight != "passage_blind" or start == stop:
        return [shared.segment(item.context)]
    head = shared.segment(item.context[:stop])
    return [head, Segment(item.context[stop:], head, item.surrogate)]


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
        answer_tokens=arm.answer_tokens,
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
