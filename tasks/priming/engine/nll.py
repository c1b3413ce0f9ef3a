"""What is computed: negative log-likelihoods (NLLs) of answers after contexts, all given as token ids.

In: requests, each a context, a query and the answers that may follow. Out: the NLL of every answer token. What several
requests share is computed once.

    ids        c0 c1 ... cn | q0 q1 ... qm | a0 a1 a2
    computed   prefill once | continuation: q0 ... qm a0 a1     (a2 predicts no token that is scored)
    logits                             qm  a0 a1                 (each for the token that follows)
    targets                            a0  a1 a2                 -> three NLLs, the first token's included

A distractor takes the place of the answer, after the same context and query, whose keys and values exist by then:

    ids        c0 c1 ... cn   q0 q1 ... qm | d0 d1 d2
    computed   already                     | d0 d1                (d0 is predicted by the logits of qm, also computed)
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch

from tasks.priming.arms.treatments import ALL_IN_SIGHT, Sight
from tasks.priming.engine.batches import on_device, pass_share, run_in_batches, token_budget
from tasks.priming.engine.forward import forward_packed
from tasks.priming.engine.kv_cache import SharedPrefixes
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.engine.segments import KVCache, Parent, Segment

_ELEMENTS_AT_ONCE = {"cpu": 2_000_000, "cuda": 64_000_000}
"""Logits normalised at a time, in float32: 8 MB, within a CPU's cache; 256 MB on a GPU, in fewer launches."""

Measure: TypeAlias = Callable[[torch.Tensor, Sequence[int], Sequence[int]], torch.Tensor]
"""(logits of shape (rows, vocabulary), target tokens, the row that predicts each target) -> one row per target."""


@dataclass(frozen=True, slots=True)
class Request:
    """One answer, and its distractors, to be scored with one context."""

    context: tuple[int, ...]  # token ids of the context, BOS included
    query: tuple[int, ...]  # token ids of the query prompt
    answer: tuple[int, ...]  # token ids of the answer
    sight: Sight = ALL_IN_SIGHT  # which part of the context is out of sight, and of what
    distractors: tuple[tuple[int, ...], ...] = ()  # token ids of each distractor, at least one per distractor

    @property
    def alternatives(self) -> tuple[tuple[int, ...], ...]:
        """The answer and its distractors: what may follow the query."""
        return self.answer, *self.distractors

    @property
    def continuation(self) -> tuple[int, ...]:
        """Token ids computed after the context: all but the last, which predicts no token that is scored."""
        return self.query + self.answer[:-1]

    @property
    def computed_count(self) -> int:
        """Tokens to compute after the context: the query and all but the last token of each alternative."""
        moved = self.sight.hidden_from_query[0] if self.sight.closes_gap else 0  # see continuation_segments
        return moved + len(self.query) + sum(len(ids[:-1]) for ids in self.alternatives)

    @property
    def kept_count(self) -> int:
        """Rows whose logits are read: the query's last and those of the alternatives."""
        return 1 + sum(len(ids[:-1]) for ids in self.alternatives)

    @property
    def cached_count(self) -> int:
        """Tokens of the context that are stored: the position at which the query begins."""
        return len(self.context) - self.sight.dropped_count

    @property
    def cached_ids(self) -> tuple[int, ...]:
        """The ids of these tokens."""
        start, stop = self.sight.hidden_from_query if self.sight.closes_gap else (0, 0)
        return self.context[:start] + self.context[stop:]

    def status(self, window: int) -> str:
        """Return "ok", or why the answer cannot be scored in a window of so many tokens."""
        if not self.answer:
            return "no_answer_tokens"
        if not self.context:
            return "no_context_tokens"
        longest = max(len(self.context), self.cached_count + len(self.query) + len(self.answer))
        return "ok" if longest <= window else "too_long"

    def without_unfit_distractors(self, window: int) -> "Request":
        """Return the request without distractors unless each of them has a token and fits into the window."""
        before = self.cached_count + len(self.query)
        is_fit = all(ids and before + len(ids) <= window for ids in self.distractors)
        return self if is_fit else replace(self, distractors=())


def score_requests(
    requests: Sequence[Request],
    language_model: LanguageModel,
    *,
    prefixes: Iterable[tuple[int, ...]] = (),
    budget_share: float = 1.0,
) -> list[tuple[float, ...] | None]:
    """Return per request the NLL in nats of each answer token, then of each token of its distractors.

    None where a request does not fit into memory by itself. Each distinct context of a batch is computed once and
    shared by all requests that continue it.

    Args:
        requests: What to score.
        language_model: The model that scores.
        prefixes: Token ids that many contexts begin with, each computed once.
        budget_share: Fraction of the usual number of tokens in a batch.
    """
    device = language_model.model.device.type
    budget = int(token_budget(device) * budget_share)
    groups = group_requests(requests, budget)
    counts = [
        pass_share(
            len(requests[group[0]].context) + sum(requests[n].computed_count for n in group),
            sum(requests[n].kept_count for n in group),
            device,
        )
        for group in groups
    ]
    with numeric_path(language_model.numeric_path):
        shared = SharedPrefixes(language_model.model, prefixes)

        def run(batch: list[list[int]]) -> list[list[torch.Tensor]]:
            segments: list[Segment] = []
            for group in batch:
                context = context_segments(requests[group[0]], shared)
                segments += context
                for number in group:
                    segments += continuation_segments(requests[number], context[-1])
            members = [requests[number] for group in batch for number in group]
            nlls = iter(_score_segments(language_model, segments, members, token_nlls))
            return [[next(nlls) for _ in group] for group in batch]

        outputs = run_in_batches(groups, counts, budget, run)
    # Read at the end: the host lays out the next pack while a GPU computes.
    fitting = [(group, output) for group, output in zip(groups, outputs, strict=True) if output is not None]
    found = {number: nlls for group, output in fitting for number, nlls in zip(group, output, strict=True)}
    values = iter(torch.cat([*found.values()]).tolist() if found else ())
    results = {number: tuple(itertools.islice(values, len(nlls))) for number, nlls in found.items()}
    return [results.get(number) for number in range(len(requests))]


def continue_caches(language_model: LanguageModel, pairs: Sequence[tuple[KVCache, Request]]) -> list[tuple[float, ...]]:
    """Return the token NLLs of answers, then of their distractors, given caches that are already computed.

    The caches are not changed. Several pairs may share one cache: many queries on one document, or many answers to
    one query.
    """
    return [tuple(nlls.tolist()) for nlls in measure_caches(language_model, pairs, token_nlls)]


def measure_caches(
    language_model: LanguageModel, pairs: Sequence[tuple[KVCache, Request]], measure: Measure
) -> list[torch.Tensor]:
    """Do the same as continue_caches, with `measure` applied to the logits; return per pair one row per token."""
    segments = [segment for cache, request in pairs for segment in continuation_segments(request, cache)]
    return _score_segments(language_model, segments, [request for _, request in pairs], measure)


def token_nlls(logits: torch.Tensor, targets: Sequence[int], rows: Sequence[int] | None = None) -> torch.Tensor:
    """Return -log softmax(logits[row])[target] per target, in float32 whatever the dtype of the logits.

    A loss computed in bfloat16 is off by 0.02 to 0.05 nats, as large as the effects that are measured. `logits` are
    (rows, vocabulary); `rows` are those that predict each target, by default the row of the target's number.
    """
    wanted = np.arange(len(targets)) if rows is None else np.asarray(rows)
    order = np.argsort(wanted, kind="stable")
    step = max(1, _ELEMENTS_AT_ONCE[logits.device.type] // logits.shape[-1])
    starts = range(0, len(logits), step)
    ends = np.searchsorted(wanted[order], [*starts, len(logits)])  # of the targets that each piece of rows predicts
    places = on_device(np.stack([wanted[order], np.asarray(targets)[order], np.argsort(order)]), logits.device)
    found = []
    for start, (first, last) in zip(starts, itertools.pairwise(ends), strict=True):
        normalised = torch.log_softmax(logits[start : start + step].float(), dim=-1)
        found.append(-normalised[places[0, first:last] - start, places[1, first:last]])
    return torch.cat(found)[places[2]]


def context_segments(request: Request, shared: SharedPrefixes) -> list[Segment]:
    """Return the segments of a request's context; the query follows the last one.

    What is hidden from the passage keeps its positions, and ends a segment: the tokens after it do not attend to it.
    """
    hidden = request.sight.hidden_from_passage
    if hidden == (0, 0):
        return [shared.segment(request.context)]
    head = shared.segment(request.context[: hidden[1]])
    return [head, Segment(request.context[hidden[1] :], head, hidden)]


def continuation_segments(request: Request, parent: Parent) -> list[Segment]:
    """Return the query as a segment after its context; the alternatives are its branches, less their last tokens.

    Where a part of the context is dropped, the tokens before it come first, next to those after it. Rotary attention
    depends on distances alone, so that a cache stored without the part, its keys rotated to the positions that they
    then have, gives the same numbers. The tokens before it, computed at their new positions, are what rotating their
    keys would give, without rounding them twice: the first token of a context attends to itself alone, wherever it is.
    """
    hidden, sight = request.sight.hidden_from_query, request.sight
    branches = tuple(ids[:-1] for ids in request.alternatives)
    if not sight.closes_gap or hidden[0] == 0:
        return [Segment(request.query, parent, hidden, branches)]
    first = Segment(request.context[: hidden[0]], start=sight.dropped_count)
    return [first, Segment(request.query, parent, (0, hidden[1]), branches, first)]


def _score_segments(
    language_model: LanguageModel, segments: Sequence[Segment], requests: Sequence[Request], measure: Measure
) -> list[torch.Tensor]:
    """Compute segments, of which those with branches continue the requests, and measure the alternatives."""
    keep: list[int] = []
    rows: list[int] = []  # which of the kept logits predicts each target
    start = 0
    waiting = iter(requests)
    for segment in segments:
        stop = start + len(segment.all_ids)
        if segment.branches:
            query_end = row = len(keep)
            for ids in next(waiting).alternatives:
                # The query's last token predicts the first token of every alternative.
                rows += [query_end, *range(row + 1, row + len(ids))]
                row += len(ids) - 1
            keep += range(start + len(segment.ids) - 1, stop)
        start = stop
    logits = forward_packed(language_model.model, segments, keep=keep).logits
    assert logits is not None
    targets = [token for request in requests for ids in request.alternatives for token in ids]
    counts = [sum(map(len, request.alternatives)) for request in requests]
    return [*torch.split(measure(logits, targets, rows), counts)]


def group_requests(requests: Sequence[Request], budget: int) -> list[list[int]]:
    """Return groups of numbers of requests whose contexts are computed the same way, each within the token budget."""
    groups: dict[tuple[object, ...], list[list[int]]] = {}
    left: dict[tuple[object, ...], int] = {}
    for number, request in enumerate(requests):
        key = (request.context, request.sight.hidden_from_passage)
        if key not in groups or left[key] < request.computed_count:
            groups.setdefault(key, []).append([])
            left[key] = budget - len(request.context)
        groups[key][-1].append(number)
        left[key] -= request.computed_count
    return [group for parts in groups.values() for group in parts]
