"""What is computed: the negative log-likelihoods of answers, given as token ids, behind contexts.

In: items, each a context, a query and the answers that may stand behind it. Out: the NLL of every answer token. What
several items share is computed once.

    ids        c0 c1 ... cn | q0 q1 ... qm | a0 a1 a2
    computed   prefill once | continuation: q0 ... qm a0 a1     (a2 predicts nothing that is asked)
    logits                             qm  a0 a1                 (each for the token that follows)
    targets                            a0  a1 a2                 -> three NLLs, the first token's included

A distractor stands where the answer stands, behind the same context and query, whose keys and values are there by then:

    ids        c0 c1 ... cn   q0 q1 ... qm | d0 d1 d2
    computed   already                     | d0 d1                (what predicts d0 is there too: the logits of qm)
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import torch

from tasks.priming.arms.contexts import Visibility
from tasks.priming.engine.batches import run_in_batches, token_budget
from tasks.priming.engine.forward import forward_packed
from tasks.priming.engine.kv_cache import SharedPrefixes
from tasks.priming.engine.likelihood import token_nlls
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.engine.segments import KVCache, Parent, Segment

Value = TypeVar("Value")
Measure: TypeAlias = Callable[[torch.Tensor, Sequence[int], Sequence[int]], Sequence[Value]]
"""What is made of logits (rows, vocabulary), the target tokens, and the row that predicts each: a value per target."""


@dataclass(frozen=True, slots=True)
class Request:
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
    visibility: Visibility = "all"
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
        return self.surrogate if self.visibility == "surrogate_hidden" else (0, 0)

    @property
    def continuation(self) -> tuple[int, ...]:
        """Token ids that are computed behind the context's cache: all but the last, which predicts nothing asked."""
        return self.query + self.answer[:-1]

    @property
    def computed_count(self) -> int:
        """Tokens that are computed behind the context's cache: the continuation, all but the last of distractors."""
        return len(self.continuation) + sum(len(ids) - 1 for ids in self.distractors)

    def status(self, window: int) -> str:
        """Return "ok", or why the answer cannot be scored in a window of so many tokens."""
        if not self.answer:
            return "no_answer_tokens"
        return "ok" if len(self.context) + len(self.query) + len(self.answer) <= window else "too_long"

    def without_unfit_distractors(self, window: int) -> "Request":
        """Return the item without its distractors unless each has a token and fits into the window."""
        before = len(self.context) + len(self.query)
        is_fit = all(ids and before + len(ids) <= window for ids in self.distractors)
        return self if is_fit else replace(self, distractors=())


def score_requests(
    items: Sequence[Request],
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
        shared = SharedPrefixes(language_model.model, prefixes)

        def run(batch: list[list[int]]) -> list[list[tuple[float, ...]]]:
            segments: list[Segment] = []
            for group in batch:
                context = context_segments(items[group[0]], shared)
                segments += [*context, *(_continuation(items[number], context[-1]) for number in group)]
            found = iter(
                _score_segments(language_model, segments, [items[n] for group in batch for n in group], token_nlls)
            )
            return [[next(found) for _ in group] for group in batch]

        outputs = run_in_batches(groups, counts, budget, run)
    results: list[tuple[float, ...] | None] = [None] * len(items)
    for group, output in zip(groups, outputs, strict=True):
        for number, nlls in zip(group, output or (), strict=bool(output)):
            results[number] = nlls
    return results


def continue_caches(language_model: LanguageModel, pairs: Sequence[tuple[KVCache, Request]]) -> list[tuple[float, ...]]:
    """Return the token NLLs of answers, then of their distractors, from caches that are already computed.

    The caches stay as they are. Several pairs may share one cache: many queries on one document, or many answers to
    one query.
    """
    return measure_caches(language_model, pairs, token_nlls)


def measure_caches(
    language_model: LanguageModel, pairs: Sequence[tuple[KVCache, Request]], measure: Measure[Value]
) -> list[tuple[Value, ...]]:
    """As continue_caches, with what `measure` makes of the logits in place of each token's NLL."""
    segments = [_continuation(item, cache) for cache, item in pairs]
    return _score_segments(language_model, segments, [item for _, item in pairs], measure)


def _continuation(item: Request, parent: Parent) -> Segment:
    """Return an item's query behind its context, with the alternatives as branches: all but their last tokens."""
    return Segment(item.query, parent, item.hidden, tuple(ids[:-1] for ids in item.alternatives))


def _score_segments(
    language_model: LanguageModel, segments: Sequence[Segment], items: Sequence[Request], measure: Measure[Value]
) -> list[tuple[Value, ...]]:
    """Compute segments, of which those with branches are the items' continuations, and measure the alternatives."""
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
    values = iter(measure(logits, targets, rows))
    return [tuple(next(values) for ids in item.alternatives for _ in ids) for item in items]


def _group(items: Sequence[Request], budget: int) -> list[list[int]]:
    """Return the numbers of items that share a context and its sight, no more together than the budget holds."""
    groups: dict[tuple[object, ...], list[list[int]]] = {}
    left: dict[tuple[object, ...], int] = {}
    for number, item in enumerate(items):
        key = (item.context, item.surrogate, item.visibility)
        if key not in groups or left[key] < item.computed_count:
            groups.setdefault(key, []).append([])
            left[key] = budget - len(item.context)
        groups[key][-1].append(number)
        left[key] -= item.computed_count
    return [group for parts in groups.values() for group in parts]


def context_segments(item: Request, shared: SharedPrefixes) -> list[Segment]:
    """Return the segments of an item's context, the one that its query stands behind last.

    Where the passage is blind, what stands behind the surrogate does not see it, at its own positions all the same.
    """
    start, stop = item.surrogate
    if item.visibility != "passage_blind" or start == stop:
        return [shared.segment(item.context)]
    head = shared.segment(item.context[:stop])
    return [head, Segment(item.context[stop:], head, item.surrogate)]
