"""The score: negative log-likelihood of the gold answer, and of wrong ones, read from a context's KV cache.

In: samples, their distractors and the contexts of one family's arms. Out: one Score a sample and arm, with the NLL of
every answer token and the mean NLL of each distractor. How they are computed is in items.py.

The notebook reads logits of the answer pass alone and so never scores the answer's first token; that reading is kept as
`nll_notebook`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.priming.arms.contexts import ContextRule
from tasks.priming.engine.batches import run_in_batches, token_budget
from tasks.priming.engine.kv_cache import common_prefix, prefill
from tasks.priming.engine.model import (
    LanguageModel,
    count_control_strings,
    encode_answer,
    encode_context,
    encode_continuation,
    token_texts,
    tokens_between,
)
from tasks.priming.engine.nll import Request, continue_caches, score_requests
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.engine.segments import Segment
from tasks.priming.errors import UsageError
from tasks.priming.prompts import query_prompt
from tasks.priming.records import Distractor, Sample, Score, Surrogate


@dataclass(frozen=True, slots=True)
class Arm:
    """One condition on one sample, as token ids."""

    sample_id: str
    """The sample."""
    family: str
    """The family."""
    key: str
    """The key within the family."""
    item: Request
    """What is computed."""
    answer_tokens: tuple[str, ...]
    """The text of each answer token."""
    control_string_count: int
    """Control tokens that its texts spell out."""


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
    arms = encode_arms(contexts, samples, surrogates, language_model, distractors)
    statuses = [arm.item.status(language_model.window) for arm in arms]
    feasible = [arm.item for arm, status in zip(arms, statuses, strict=True) if status == "ok"]
    prefixes = shared_prefixes(contexts, language_model)
    results = iter(score_requests(feasible, language_model, prefixes=prefixes, budget_share=contexts.budget_share))
    return [
        _score(arm, status, next(results) if status == "ok" else None)
        for arm, status in zip(arms, statuses, strict=True)
    ]


def encode_arms(
    contexts: ContextRule,
    samples: Sequence[Sample],
    surrogates: Sequence[Surrogate],
    language_model: LanguageModel,
    distractors: Sequence[Distractor] = (),
) -> list[Arm]:
    """Return the token ids of every arm of a family on every sample, arm by arm.

    An arm has no distractors where one of them does not fit into the model's window.

    Raises:
        KeyError: A surrogate of the family is missing for a sample.
    """
    tokenizer = language_model.tokenizer
    texts = {(s.sample_id, s.key): s.text for s in surrogates}
    # A query and an answer recur in every arm: each is tokenised once.
    prompts = {s.sample_id: query_prompt(s.query) for s in samples}
    queries = {own: tuple(encode_continuation(tokenizer, prompt)) for own, prompt in prompts.items()}
    answers = {s.sample_id: tuple(encode_answer(tokenizer, prompts[s.sample_id], s.answer)) for s in samples}
    spelled_out = {s.sample_id: count_control_strings(tokenizer, s.passage, s.query, s.answer) for s in samples}
    answer_tokens = {sample_id: token_texts(tokenizer, ids) for sample_id, ids in answers.items()}
    wrong: dict[str, list[tuple[int, ...]]] = {s.sample_id: [] for s in samples}
    for distractor in sorted(distractors, key=lambda d: d.number):
        own = distractor.sample_id
        wrong[own].append(tuple(encode_answer(tokenizer, prompts[own], distractor.answer)))
    arms = []
    for key in contexts.arm_keys:
        for sample in samples:
            surrogate = texts[sample.sample_id, key] if contexts.has_surrogate else None
            text = contexts.context(sample.passage, surrogate)
            context = tuple(encode_context(language_model, text))
            span = (0, 0)
            if contexts.visibility != "all":
                start = contexts.surrogate_start
                span = tokens_between(language_model, text, start, start + len(surrogate or ""))
            own = sample.sample_id
            item = Request(context, queries[own], answers[own], span, contexts.visibility, tuple(wrong[own]))
            item = item.without_unfit_distractors(language_model.window)
            count = spelled_out[own] + count_control_strings(tokenizer, surrogate or "")
            arms.append(Arm(own, contexts.family, key, item, answer_tokens[own], count))
    return arms


def shared_prefixes(contexts: ContextRule, language_model: LanguageModel) -> list[tuple[int, ...]]:
    """Return token ids with which all contexts of an arm of a family begin; each is computed once for all."""
    return [common_prefix(*(encode_context(language_model, text) for text in pair)) for pair in contexts.prefix_probes]


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
    ids = tuple(encode_context(language_model, context))
    items = [
        Request(
            ids,
            tuple(encode_continuation(tokenizer, query_prompt(query))),
            tuple(encode_answer(tokenizer, query_prompt(query), answer)),
        )
        for query, answer in questions
    ]
    for item, (query, _) in zip(items, questions, strict=True):
        if (status := item.status(language_model.window)) != "ok":
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
        control_string_count=arm.control_string_count,
    )


def _distractor_means(item: Request, nlls: tuple[float, ...]) -> tuple[float, ...] | None:
    """Return the mean NLL of each distractor; None without distractors or if one of the values is not finite."""
    left = iter(nlls)
    means = tuple(sum(next(left) for _ in ids) / len(ids) for ids in item.distractors)
    return means if means and all(map(math.isfinite, means)) else None
