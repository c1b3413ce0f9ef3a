"""Checks that a run makes of its own scoring, on a few of its samples with its own model.

In: samples, their surrogates and their stored scores. Out: Check rows. A property that holds in tests with small models
may fail with another model, number format or machine, so every run measures it where it runs.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch

from tasks.priming.arms.contexts import ContextRule
from tasks.priming.engine.kv_cache import SharedPrefixes, prefill
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, context_segments, measure_caches
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.records import Check, Distractor, Sample, Score, Surrogate
from tasks.priming.scoring import Treatments, encode_arms, shared_prefixes
from tasks.priming.statistics.run_data import ModelFacts

_COMPARED_TOKENS = 20
"""Number of most probable next tokens that are compared at each position, besides the one that is scored."""

_ROUNDINGS_PER_LAYER = 40
"""Rounding steps that a layer may add to a log-probability; see docs/findings.md for measurements."""


@dataclass(frozen=True, slots=True)
class CheckedFamily:
    """The rows of one family of a run, of at least the checked samples; scores as the run has stored them."""

    contexts: ContextRule
    surrogates: Sequence[Surrogate]
    scores: Sequence[Score]
    treatments: Treatments | None = None  # as in score_family


@dataclass(frozen=True, slots=True)
class Seen:
    """What was observed when one arm of one sample was computed again."""

    # Largest difference between log-probabilities from the cache and from a plain pass.
    log_probability_difference: float
    # Largest difference between a token's NLL computed alone and the stored one, computed in a batch.
    batch_difference: float
    is_cache_changed: bool  # whether scoring changed the cache
    is_second_different: bool  # whether scoring with the same cache again gave different bits


@dataclass(frozen=True, slots=True)
class SeenFamily:
    """What was observed of a family, and the model that computed it."""

    arms: list[Seen]  # one entry per arm and sample that has a score
    facts: ModelFacts
    numeric_path: str
    rounding_limit: float  # tolerance between two correct ways to compute a log-probability, in nats


def choose_checked(scores: Iterable[Score], count: int) -> list[str]:
    """Return the sample_ids of the `count` highest losses of one arm, where an error has the most room to show.

    The highest comes first; ties go to the lower sample_id, so that the order of rows does not matter.
    """
    known = [(-score.nll, score.sample_id) for score in scores if score.nll is not None]
    return [sample_id for _, sample_id in sorted(known)[:count]]


def check_scoring(
    families: Sequence[CheckedFamily],
    samples: Sequence[Sample],
    distractors: Sequence[Distractor],
    language_model: LanguageModel,
) -> list[Check]:
    """Return the checks of scoring on all arms of a few samples, chosen by choose_checked from the first family."""
    assert [sample.sample_id for sample in samples] == choose_checked(families[0].scores, len(samples))
    return judge([look_again(family, samples, distractors, language_model) for family in families], len(samples))


def judge(families: Sequence[SeenFamily], sample_count: int) -> list[Check]:
    """Return the checks that follow from what was observed of all families of a run."""
    seen = [arm for family in families for arm in family.arms]
    facts, path, limit = families[0].facts, families[0].numeric_path, families[0].rounding_limit
    scope = f"samples with the highest loss: {sample_count}, conditions: {len(seen)}, with their distractors"
    begins = (
        "no first token: the attention sink differs between arms; set first_token"
        if facts.first_token is None
        else f"every context begins with {facts.first_token}"
    )
    return [
        _check(
            "cache_equals_plain_pass",
            max((arm.log_probability_difference for arm in seen), default=0.0),
            limit,
            f"largest |difference| of a log-probability, nats, among the scored and the {_COMPARED_TOKENS} most "
            f"probable tokens at each position; {scope}",
        ),
        _check(
            "cache_unchanged_by_scoring",
            float(sum(arm.is_cache_changed for arm in seen)),
            0.0,
            f"caches that changed; {scope}",
        ),
        _check(
            "scored_twice_same_bits",
            float(sum(arm.is_second_different for arm in seen)),
            0.0,
            f"answers scored differently; {scope}",
        ),
        _check(
            "alone_equals_batched",
            max((arm.batch_difference for arm in seen), default=0.0),
            0.0 if facts.is_batch_invariant else None,
            f"largest |difference| between a token's stored NLL and its NLL computed alone, nats, on {path}; {scope}",
        ),
        _check("contexts_begin_with_the_same_token", float(facts.first_token is not None), None, begins),
    ]


def look_again(
    family: CheckedFamily,
    samples: Sequence[Sample],
    distractors: Sequence[Distractor],
    language_model: LanguageModel,
) -> SeenFamily:
    """Compute every arm of a family again, alone from a cache and by a plain pass; see check_scoring."""
    model = language_model.model
    stored = {(score.sample_id, score.key, score.treatment): score for score in family.scores}
    own = {sample.sample_id for sample in samples}
    surrogates = [surrogate for surrogate in family.surrogates if surrogate.sample_id in own]
    seen = []
    with torch.inference_mode(), numeric_path(language_model.numeric_path):
        shared = SharedPrefixes(model, shared_prefixes(family.contexts, language_model))
        arms = encode_arms(family.contexts, samples, surrogates, language_model, distractors, family.treatments)
        for arm in arms:
            score, request = stored[arm.sample_id, arm.key, arm.treatment], arm.request
            if score.status != "ok":
                continue
            cache = prefill(model, context_segments(request, shared))[-1]
            before = [keys_or_values.clone() for layer in cache.layers for keys_or_values in layer]
            pairs = [(cache, request)]
            (first,), (second,) = (measure_caches(language_model, pairs, log_softmax_rows) for _ in range(2))
            after = [keys_or_values for layer in cache.layers for keys_or_values in layer]
            plain = log_softmax_rows(plain_logits(request, language_model), *_targets(request))
            seen.append(
                Seen(
                    _largest_difference(first, plain, request),
                    _stored_difference(first, score, request),
                    not all(map(torch.equal, before, after)),
                    not torch.equal(first, second),
                )
            )
    # The error grows with the number of layers and the rounding step of the model's dtype. Four-bit weights are the
    # same in both computations, so the dtype of the arithmetic counts.
    step = torch.finfo(model.dtype).eps
    limit = float(_ROUNDINGS_PER_LAYER * step * (1 + language_model.facts.layer_count))
    return SeenFamily(seen, language_model.facts, language_model.numeric_path, limit)


def log_softmax_rows(logits: torch.Tensor, targets: Sequence[int], rows: Sequence[int]) -> torch.Tensor:
    """Return for each target all log-probabilities at its position, (targets, vocabulary) in float32."""
    return torch.log_softmax(logits.float(), dim=-1)[torch.tensor(rows, device=logits.device)]


def plain_logits(request: Request, language_model: LanguageModel) -> torch.Tensor:
    """Return the logits of one ordinary forward pass over all ids, without a cache: the second way to compute.

    Uses the attention that transformers chose for the model and none of the packed pass. A dense mask lets each token
    attend to the tokens before it on its own path (context, query, one alternative), except those hidden from it. Where
    a part of the context is dropped, the tokens before it are there twice: at their own positions for the context, and
    next to the tokens that stay for the query and the alternatives.

    Returns:
        (rows, vocabulary): the query's last token, then all but the last token of each alternative in turn.
    """
    model, sight = language_model.model, request.sight
    context_count = len(request.context)
    (blind_start, blind_stop), (start, stop) = sight.hidden_from_passage, sight.hidden_from_query
    moved = start if sight.closes_gap else 0  # tokens that are there twice
    before, query_start = context_count + moved, context_count
    trunk = before + len(request.query)
    branches = [ids[:-1] for ids in request.alternatives]
    ids = [*request.context, *request.context[:moved], *request.query, *chain.from_iterable(branches)]
    query_stop = query_start + len(request.query)
    positions = [
        *range(context_count),
        *range(stop - moved, stop),
        *range(query_start, query_stop),
        *(query_stop + place for branch in branches for place in range(len(branch))),
    ]
    path = torch.tensor([0] * trunk + [n for n, branch in enumerate(branches, 1) for _ in branch])
    sees = (torch.tril(torch.ones(len(ids), len(ids), dtype=torch.bool))) & (
        (path[None, :] == 0) | (path[None, :] == path[:, None])
    )
    sees[blind_stop:context_count, blind_start:blind_stop] = False
    sees[before:, start:stop] = False
    if moved:
        sees[context_count:before, :context_count] = False
        sees[before:, :stop] = False
    where = torch.tensor([positions], device=model.device)
    mask = _dense_mask(model, sees.to(model.device), where[0])
    inputs = torch.tensor([ids], device=model.device)
    found = model(input_ids=inputs, position_ids=where, attention_mask=mask, use_cache=False)
    logits: torch.Tensor = found.logits[0, trunk - 1 :]
    return logits


def _dense_mask(model: Any, sees: torch.Tensor, positions: torch.Tensor) -> Any:  # noqa: ANN401 - a transformers model
    """Return a mask in the form that transformers accepts: a tensor, or one per kind of layer."""
    shape = model.config.get_text_config()
    kinds = set(getattr(shape, "layer_types", None) or ())
    window = getattr(shape, "sliding_window", None)

    def additive(allowed: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros(allowed.shape, dtype=model.dtype, device=allowed.device)
        return mask.masked_fill(~allowed, torch.finfo(model.dtype).min)[None, None]

    if window is None or kinds == {"full_attention"}:
        return additive(sees)
    near = additive(sees & (positions[:, None] - positions[None, :] < window))
    return {"full_attention": additive(sees), "sliding_attention": near} if "full_attention" in kinds else near


def _targets(request: Request) -> tuple[list[int], list[int]]:
    """Return the tokens of all alternatives, and the row of plain_logits that predicts each."""
    targets: list[int] = []
    rows: list[int] = []
    row = 0
    for ids in request.alternatives:
        targets += ids
        rows += [0, *range(row + 1, row + len(ids))]
        row += len(ids) - 1
    return targets, rows


def _largest_difference(left: torch.Tensor, right: torch.Tensor, request: Request) -> float:
    """Return the largest difference among the scored and the most probable tokens; infinity if it is not finite."""
    targets = torch.tensor(_targets(request)[0], device=right.device)[:, None]
    likely = right.topk(min(_COMPARED_TOKENS, right.shape[-1]), dim=-1).indices
    chosen = torch.cat([likely, targets], dim=-1)
    difference = float((left.gather(1, chosen) - right.gather(1, chosen)).abs().max())
    return difference if math.isfinite(difference) else math.inf


def _stored_difference(rows: torch.Tensor, score: Score, request: Request) -> float:
    """Return the largest difference between the stored values and the answer's NLLs or the distractors' means."""
    targets = torch.tensor(_targets(request)[0], device=rows.device)[:, None]
    nlls: list[float] = (-rows.gather(1, targets)[:, 0]).tolist()
    count = len(request.answer)
    differences: list[float] = [abs(a - b) for a, b in zip(nlls[:count], score.token_nlls or (), strict=True)]
    for ids, mean in zip(request.distractors, score.distractor_nlls or (), strict=bool(score.distractor_nlls)):
        # Means are stored in 32 bits.
        own = np.float32(sum(nlls[count : count + len(ids)]) / len(ids))
        differences.append(abs(float(own) - float(np.float32(mean))))
        count += len(ids)
    return max(differences)


def _check(name: str, value: float, limit: float | None, detail: str) -> Check:
    known = value if math.isfinite(value) else None
    passed = None if limit is None else known is not None and known <= limit
    return Check(name, known, limit, passed, detail)
