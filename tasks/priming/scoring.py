"""The score: negative log-likelihood of the gold answer, and of wrong ones, given a context's KV cache.

In: samples, their distractors, the contexts of one family's arms and what is done with them. Out: one Score per sample
and condition, with the NLL of every answer token and the mean NLL of each distractor. How they are computed is in
engine/nll.py.

The notebook reads logits of the answer pass alone and so never scores the answer's first token; its score is kept as
`nll_notebook`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeAlias

from tasks.priming.arms.contexts import ContextRule
from tasks.priming.arms.treatments import Parts, Treatment, keep
from tasks.priming.engine.batches import run_in_batches, token_budget
from tasks.priming.engine.kv_cache import common_prefix, prefill
from tasks.priming.engine.model import (
    LanguageModel,
    count_control_strings,
    encode_answer,
    encode_context,
    encode_continuation,
    token_texts,
)
from tasks.priming.engine.nll import Request, continue_caches, score_requests
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.engine.segments import Segment
from tasks.priming.errors import UsageError
from tasks.priming.prompts import BASELINE_TEMPLATE, fill, query_prompt
from tasks.priming.records import KEPT, Distractor, Sample, Score, Surrogate

Treatments: TypeAlias = Mapping[str, Mapping[str, Treatment]]
"""Key of an arm -> the name of each of its treatments -> the treatment. Passed from outside, so that another treatment
in the table is no other code for arms that it is not named for."""

_KEPT_TEXTS = 2048
"""Samples and answers whose token ids a process keeps: more than a chunk has."""

_ALL_KEPT: Mapping[str, Treatment] = {KEPT: keep}


@dataclass(frozen=True, slots=True)
class Arm:
    """One condition on one sample, as token ids."""

    sample_id: str
    family: str
    key: str
    treatment: str
    request: Request  # what is computed
    answer_tokens: tuple[str, ...]  # the text of each answer token
    control_string_count: int  # number of control tokens spelled out in its texts
    has_document_ids: bool | None  # whether what is left of the context are the plain document's token ids


def score_family(
    contexts: ContextRule,
    samples: Sequence[Sample],
    surrogates: Sequence[Surrogate],
    language_model: LanguageModel,
    distractors: Sequence[Distractor] = (),
    treatments: Treatments | None = None,
) -> list[Score]:
    """Score every arm of a family on every sample, arm by arm in the family's order, treatment by treatment.

    A context is computed once for all treatments that leave its computation alone. Where a distractor does not fit into
    the window after an arm's context, that score has no distractor NLLs at all: a mean over fewer would not be
    comparable with the other arms'. The answer is scored as usual. Surrogates and distractors are those of the samples,
    in any order. Without `treatments` all contexts are kept as they are.

    Raises:
        KeyError: A sample lacks a surrogate of the family.
    """
    arms = encode_arms(contexts, samples, surrogates, language_model, distractors, treatments)
    statuses = [status_of(arm.request, language_model) for arm in arms]
    feasible = [arm.request for arm, status in zip(arms, statuses, strict=True) if status == "ok"]
    prefixes = shared_prefixes(contexts, language_model)
    results = iter(score_requests(feasible, language_model, prefixes=prefixes, budget_share=contexts.budget_share))
    return [
        _score(arm, status, next(results) if status == "ok" else None)
        for arm, status in zip(arms, statuses, strict=True)
    ]


def status_of(request: Request, language_model: LanguageModel) -> str:
    """Return "ok", or why the model cannot score a request."""
    status = request.status(language_model.window)
    if status == "ok" and request.sight.dropped_count and not language_model.has_fixed_rotation:
        return "cannot_strip"
    return status


def encode_arms(
    contexts: ContextRule,
    samples: Sequence[Sample],
    surrogates: Sequence[Surrogate],
    language_model: LanguageModel,
    distractors: Sequence[Distractor] = (),
    treatments: Treatments | None = None,
) -> list[Arm]:
    """Return the token ids of every arm on every sample, in the order of score_family, whose arguments it has."""
    tokenizer = language_model.tokenizer
    texts = {(s.sample_id, s.key): s.text for s in surrogates}
    encoded = {s.sample_id: _encode_sample(tokenizer, s.passage, s.query, s.answer) for s in samples}
    prompts = {s.sample_id: query_prompt(s.query) for s in samples}
    wrong: dict[str, list[tuple[int, ...]]] = {s.sample_id: [] for s in samples}
    for distractor in sorted(distractors, key=lambda d: d.number):
        own = distractor.sample_id
        wrong[own].append(_encode_answer(tokenizer, prompts[own], distractor.answer))
    documents: dict[str, tuple[int, ...]] = {}  # as the baseline has them, where they are asked for
    arms = []
    for key in contexts.arm_keys:
        kept: list[tuple[Arm, Sample, Parts]] = []
        for sample in samples:
            own = sample.sample_id
            query, answer, answer_tokens, spelled_out = encoded[own]
            surrogate = texts[own, key] if contexts.has_surrogate else None
            context = tuple(encode_context(language_model, contexts.context(sample.passage, surrogate)))
            request = Request(context, query, answer, distractors=tuple(wrong[own]))
            count = spelled_out + count_control_strings(tokenizer, surrogate or "")
            arm = Arm(own, contexts.family, key, KEPT, request, answer_tokens, count, None)
            kept.append((arm, sample, Parts(language_model, contexts, sample.passage, surrogate)))
        for name, treat in (_ALL_KEPT if treatments is None else treatments[key]).items():
            for arm, sample, parts in kept:
                request = replace(arm.request, sight=treat(parts))
                is_document = None
                if request.sight.closes_gap:
                    if sample.sample_id not in documents:
                        plain = fill(BASELINE_TEMPLATE, document=sample.passage)
                        documents[sample.sample_id] = tuple(encode_context(language_model, plain))
                    is_document = request.cached_ids == documents[sample.sample_id]
                request = request.without_unfit_distractors(language_model.window)
                arms.append(replace(arm, treatment=name, request=request, has_document_ids=is_document))
    return arms


@lru_cache(maxsize=_KEPT_TEXTS)
def _encode_answer(tokenizer: Any, prompt: str, answer: str) -> tuple[int, ...]:  # noqa: ANN401 - as encode_answer
    return tuple(encode_answer(tokenizer, prompt, answer))


@lru_cache(maxsize=_KEPT_TEXTS)  # the same for every family and arm
def _encode_sample(
    tokenizer: Any,  # noqa: ANN401
    passage: str,
    query: str,
    answer: str,
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...], int]:
    """Return the ids of a query and an answer, the text of each answer token, and the control strings of all three."""
    prompt = query_prompt(query)
    ids = _encode_answer(tokenizer, prompt, answer)
    count = count_control_strings(tokenizer, passage, query, answer)
    return tuple(encode_continuation(tokenizer, prompt)), ids, token_texts(tokenizer, ids), count


def shared_prefixes(contexts: ContextRule, language_model: LanguageModel) -> list[tuple[int, ...]]:
    """Return the token ids that all contexts of an arm begin with, for each arm; each prefix is computed once."""
    return [common_prefix(*(encode_context(language_model, text) for text in pair)) for pair in contexts.prefix_probes]


def score_queries(
    context: str, questions: Sequence[tuple[str, str]], language_model: LanguageModel
) -> list[tuple[float, ...] | None]:
    """Return the NLL in nats of each answer token, for many questions about one document.

    The document's cache is computed once and read by all questions; this is the use of a KV cache in production.

    Args:
        context: All text before the query: a document, with or without a template around it (see contexts.py).
        questions: Queries as a user types them, each with the answer to be scored.
        language_model: The model that scores.

    Returns:
        One tuple per question; None where a question does not fit into memory by itself.

    Raises:
        UsageError: A question or its answer is empty, or does not fit into the model's window after the context.
    """
    tokenizer = language_model.tokenizer
    ids = tuple(encode_context(language_model, context))
    requests = []
    for query, answer in questions:
        prompt = query_prompt(query)
        query_ids, answer_ids = encode_continuation(tokenizer, prompt), encode_answer(tokenizer, prompt, answer)
        requests.append(Request(ids, tuple(query_ids), tuple(answer_ids)))
        if (status := requests[-1].status(language_model.window)) != "ok":
            raise UsageError(
                f"The question {query!r} cannot be scored with this context: {status}. The answer needs a token, and "
                f"context, question and answer at most {language_model.window}. Shorten the context or leave the "
                "question out."
            )
    with numeric_path(language_model.numeric_path):
        cache = prefill(language_model.model, [Segment(ids)])[0]
        return run_in_batches(
            requests,
            [request.computed_count for request in requests],
            token_budget(language_model.model.device.type),
            lambda batch: continue_caches(language_model, [(cache, request) for request in batch]),
        )


def _score(arm: Arm, status: str, nlls: tuple[float, ...] | None) -> Score:
    """Return the score of an arm from the NLLs of its answer's tokens, then its distractors'."""
    request = arm.request
    answer = None if nlls is None else nlls[: len(request.answer)]
    if status == "ok" and answer is None:
        status = "out_of_memory"
    elif answer is not None and not all(map(math.isfinite, answer)):
        status = "not_finite"
    scored = answer if status == "ok" and answer is not None else ()
    nll = sum(scored) / len(scored) if scored else None
    distractor_nlls = None
    if nll is not None and nlls is not None and request.distractors:
        left = iter(nlls[len(request.answer) :])
        means = tuple(sum(next(left) for _ in ids) / len(ids) for ids in request.distractors)
        distractor_nlls = means if all(map(math.isfinite, means)) else None
    return Score(
        sample_id=arm.sample_id,
        family=arm.family,
        key=arm.key,
        treatment=arm.treatment,
        status=status,
        token_nlls=answer,
        answer_tokens=arm.answer_tokens,
        nll=nll,
        nll_notebook=sum(scored[1:]) / (len(scored) - 1) if len(scored) > 1 else None,
        distractor_nlls=distractor_nlls,
        margin=None if nll is None or not distractor_nlls else sum(distractor_nlls) / len(distractor_nlls) - nll,
        context_token_count=len(request.context),
        cached_token_count=request.cached_count,
        has_document_ids=arm.has_document_ids,
        query_token_count=len(request.query),
        answer_token_count=len(request.answer),
        control_string_count=arm.control_string_count,
    )
