"""One sample looked at closely: the shape of a KV cache, scoring twice behind one, and the notebook's way of scoring.

In: a context, a query and an answer as text, and a model. Out: numbers that a reader can follow one by one. What an
experiment stores is computed elsewhere (scoring.py); here the notebook's function is kept as it is, mistakes included,
so that they can be shown on any model.
"""

from dataclasses import dataclass
from typing import Any

import torch

from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.engine.kv_cache import prefill
from tasks.priming.engine.model import LanguageModel, encode_answer, encode_context, encode_continuation
from tasks.priming.engine.nll import score_requests
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.engine.segments import Segment
from tasks.priming.prompts import query_prompt
from tasks.priming.records import Sample
from tasks.priming.scoring import encode_arms


@dataclass(frozen=True, slots=True)
class LayerShape:
    """What one layer of a KV cache holds."""

    layer: int
    """Its number, from 0."""
    keys: tuple[int, ...]
    """Shape of the keys: (1, heads, tokens, dimension)."""
    values: tuple[int, ...]
    """Shape of the values, likewise."""
    number_format: str
    """Of both, e.g. float32."""
    byte_count: int
    """Bytes of both together."""


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What a context's KV cache holds."""

    token_count: int
    """Tokens of the context, BOS included."""
    byte_count: int
    """Bytes over all layers."""
    layers: tuple[LayerShape, ...]
    """Layer by layer, from the first."""


@dataclass(frozen=True, slots=True)
class NotebookScore:
    """What the notebook's function made of one answer, and of the cache that it was given."""

    nll: float
    """Mean NLL of all answer tokens but the first; 0.0 for a one-token answer, as the notebook has it."""
    tokens_before: int
    """Tokens in the cache when the function was called."""
    tokens_after: int
    """Tokens in the cache when it returned."""


def describe_cache(context: str, language_model: LanguageModel) -> CacheShape:
    """Compute a context's KV cache and return its shape, layer by layer."""
    ids = encode_context(language_model, context)
    with numeric_path(language_model.numeric_path):
        (cache,) = prefill(language_model.model, [Segment(ids)])
    layers = tuple(
        LayerShape(
            layer=number,
            keys=tuple(keys.shape),
            values=tuple(values.shape),
            number_format=str(keys.dtype).removeprefix("torch."),
            byte_count=keys.numel() * keys.element_size() + values.numel() * values.element_size(),
        )
        for number, (keys, values) in enumerate(cache.layers)
    )
    return CacheShape(cache.token_count, cache.byte_count, layers)


def score_twice(sample: Sample, language_model: LanguageModel) -> tuple[tuple[float, ...] | None, ...]:
    """Return the NLLs of the answer's tokens, twice from one and the same cache of the plain document.

    A context's cache is computed once and serves both; None where memory does not hold it.
    """
    (arm,) = encode_arms(ARM_GROUPS["baseline"].contexts, [sample], [], language_model)
    return tuple(score_requests([arm.request, arm.request], language_model))


def score_as_the_notebook(
    context: str, query: str, answer: str, language_model: LanguageModel, *, times: int
) -> list[NotebookScore]:
    """Score an answer several times behind one cache by the notebook's function, which changes that cache.

    transformers appends to a cache that it is given, even with `use_cache=False`. From the second time on, the query
    therefore stands behind the first query and the whole gold answer, under an attention mask that is too short.
    The notebook also leaves out the first answer token, and takes the loss in the model's own number format. Each pass
    is an ordinary one of transformers, nothing of the packed pass.

    Args:
        context: All text before the query.
        query: As the user typed it.
        answer: The gold answer.
        language_model: The model that reads.
        times: How often.

    Returns:
        One score a time; fewer where the model's window is full, or where the model refuses a mask that is shorter
        than its cache.

    Source: the notebook's cells 14 (`build_kv_cache`) and 20 (`score_answer_with_cache`).
    """
    tokenizer = language_model.tokenizer
    context_ids = encode_context(language_model, context)
    query_ids = encode_continuation(tokenizer, query_prompt(query))
    # The notebook's ids are those of the answer alone, which with its tokenizer are the same.
    answer_ids = encode_answer(tokenizer, query_prompt(query), answer)
    appended = len(query_ids) + len(answer_ids)
    scores: list[NotebookScore] = []
    with torch.inference_mode(), numeric_path(language_model.numeric_path):
        if not answer_ids or len(context_ids) + appended > language_model.window:
            return scores
        cache = _forward(language_model.model, context_ids, len(context_ids)).past_key_values
        while len(scores) < times and cache.get_seq_length() + appended <= language_model.window:
            before = cache.get_seq_length()
            try:
                nll = _notebook_nll(language_model.model, cache, len(context_ids), (query_ids, answer_ids))
            except RuntimeError:
                if not scores:
                    raise
                break  # some models refuse the short mask of a second time
            scores.append(NotebookScore(nll, before, cache.get_seq_length()))
    return scores


def in_bfloat16(nll_sum: float) -> float:
    """Return a sum of NLLs as bfloat16 holds it, in steps of 0.25 from 32 to 64: what the notebook's losses became."""
    return float(torch.tensor(nll_sum, dtype=torch.bfloat16))


def _notebook_nll(model: Any, cache: Any, context_count: int, ids: tuple[list[int], list[int]]) -> float:  # noqa: ANN401
    """Do what `score_answer_with_cache` does; the cache is longer afterwards."""
    query_ids, answer_ids = ids
    so_far = context_count + len(query_ids)
    extended = _forward(model, query_ids, so_far, past_key_values=cache).past_key_values
    answered = _forward(model, answer_ids, so_far + len(answer_ids), past_key_values=extended, use_cache=False)
    # The logits of a token predict the next one: nothing here predicts the first answer token.
    targets = torch.tensor(answer_ids[1:], dtype=torch.long, device=model.device)
    loss = torch.nn.functional.cross_entropy(answered.logits[0, :-1], targets, reduction="sum").item()
    return loss / len(targets) if len(targets) else 0.0


def _forward(model: Any, ids: list[int], mask_length: int, *, use_cache: bool = True, **cache: Any) -> Any:  # noqa: ANN401
    """Run the model over ids behind a cache, if one is given, with an attention mask of ones."""
    return model(
        input_ids=torch.tensor([ids], device=model.device),
        attention_mask=torch.ones((1, mask_length), device=model.device),
        use_cache=use_cache,
        **cache,
    )
