"""What a run verifies about its own scoring, on a few of its samples with its own model.

In: samples, their texts and their stored scores. Out: Check rows. A property that holds in tests with small models may
fail with another model, number format or machine, so every run measures it where it runs.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
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
from tasks.priming.engine.segments import KVCache
from tasks.priming.records import Check, Distractor, Sample, Score, Surrogate
from tasks.priming.scoring import encode_arms, shared_prefixes
from tasks.priming.statistics.run_data import ModelFacts

_COMPARED_TOKENS = 20
"""How many of the most probable next tokens are compared at each position, next to the one that is scored."""

_ROUNDINGS_PER_LAYER = 40
"""Rounding steps that a layer may add to a log-probability; see docs/findings.md for what was measured."""


@dataclass(frozen=True, slots=True)
class CheckedFamily:
    """One family of a run, as far as the checked samples go."""

    contexts: ContextRule
    """Its arms and the template of their contexts."""
    surrogates: Sequence[Surrogate]
    """Its surrogates; empty for a family without."""
    scores: Sequence[Score]
    """Its scores, as the run stores them."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was seen when one arm of one sample was computed again."""

    log_probability_difference: float
    """Largest difference between log-probabilities from the cache and from a plain pass."""
    batch_difference: float
    """Largest difference between a token's NLL alone and the stored one, which was computed in a batch."""
    is_cache_changed: bool
    """Whether scoring changed the cache."""
    is_second_different: bool
    """Whether scoring the same cache again gave other bits."""


@dataclass(frozen=True, slots=True)
class SeenFamily:
    """What was seen of a family, and of the model that computed it."""

    arms: list[Seen]
    """Arm by arm and sample by sample; those without a score are left out."""
    facts: ModelFacts
    """The model's shape, and what its contexts begin with."""
    numeric_path: str
    """Which arithmetic computed it."""
    rounding_limit: float
    """How far two correct ways to compute a log-probability may lie apart, in nats."""


def choose_checked(scores: Iterable[Score], count: int) -> list[str]:
    """Return the sample_ids of the highest losses among scores of one arm: where an error has the most room to show.

    The highest loss comes first; ties go to the lower sample_id, so that the order of rows does not matter.
    """
    known = [(-score.nll, score.sample_id) for score in scores if score.nll is not None]
    return [sample_id for _, sample_id in sorted(known)[:count]]


def check_scoring(
    families: Sequence[CheckedFamily],
    samples: Sequence[Sample],
    distractors: Sequence[Distractor],
    language_model: LanguageModel,
) -> list[Check]:
    """Return the checks of scoring on all arms of the given samples.

    Args:
        families: The families of the run, baseline first.
        samples: A few samples, as choose_checked has them.
        distractors: Their distractors.
        language_model: The model that scored.
    """
    assert [sample.sample_id for sample in samples] == choose_checked(families[0].scores, len(samples))
    return judge([look_again(family, samples, distractors, language_model) for family in families], len(samples))


def judge(families: Sequence[SeenFamily], sample_count: int) -> list[Check]:
    """Return the checks that follow from what was seen of all families of a run, on so many samples."""
    seen = [arm for family in families for arm in family.arms]
    facts, path, limit = families[0].facts, families[0].numeric_path, families[0].rounding_limit
    scope = f"samples with the highest loss: {sample_count}, arms: {len(seen)}, with their distractors"
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
            f"largest |difference| between a token's stored NLL and that of its context computed alone, nats, on "
            f"{path}; {scope}",
        ),
        _check("contexts_begin_with_the_same_token", float(facts.first_token is not None), None, begins),
    ]


def rounding_limit(language_model: LanguageModel) -> float:
    """Return how far two correct ways to compute a log-probability may lie apart, in nats.

    The error of a deep model grows with its layers and with the rounding step of its number format; four-bit weights
    are the same in both ways, so that the format of the arithmetic counts.
    """
    step = torch.finfo(language_model.model.dtype).eps
    return float(_ROUNDINGS_PER_LAYER * step * (1 + language_model.facts.layer_count))


def look_again(
    family: CheckedFamily,
    samples: Sequence[Sample],
    distractors: Sequence[Distractor],
    language_model: LanguageModel,
) -> SeenFamily:
    """Compute every arm of a family again, alone from a cache and by a plain pass.

    Args:
        family: The family, with the scores and surrogates of at least these samples.
        samples: A few samples.
        distractors: Their distractors.
        language_model: The model that scored.
    """
    with torch.inference_mode(), numeric_path(language_model.numeric_path):
        arms = [*_look_at_arms(family, samples, distractors, language_model)]
    path, limit = language_model.numeric_path, rounding_limit(language_model)
    return SeenFamily(arms, language_model.facts, path, limit)


def _look_at_arms(
    family: CheckedFamily,
    samples: Sequence[Sample],
    distractors: Sequence[Distractor],
    language_model: LanguageModel,
) -> Iterator[Seen]:
    model = language_model.model
    shared = SharedPrefixes(model, shared_prefixes(family.contexts, language_model))
    stored = {(score.sample_id, score.key): score for score in family.scores}
    own = {sample.sample_id for sample in samples}
    surrogates = [surrogate for surrogate in family.surrogates if surrogate.sample_id in own]
    for arm in encode_arms(family.contexts, samples, surrogates, language_model, distractors):
        score, item = stored[arm.sample_id, arm.key], arm.item
        if score.status != "ok":
            continue
        cache = prefill(model, context_segments(item, shared))[-1]
        before = _copy(cache)
        first, second = (_rows(measure_caches(language_model, [(cache, item)], log_softmax_rows)) for _ in range(2))
        plain = log_softmax_rows(plain_logits(item, language_model), *_targets(item))
        yield Seen(
            _largest_difference(first, torch.stack(plain), item),
            _stored_difference(first, score, item),
            not _equal(before, cache),
            not torch.equal(first, second),
        )


def log_softmax_rows(logits: torch.Tensor, targets: Sequence[int], rows: Sequence[int]) -> list[torch.Tensor]:
    """Return for each target all log-probabilities at its position, (vocabulary,) in float32."""
    chosen = torch.tensor(rows, device=logits.device)
    return list(torch.log_softmax(logits.float(), dim=-1)[chosen])


def plain_logits(item: Request, language_model: LanguageModel) -> torch.Tensor:
    """Return the logits from one ordinary forward pass over all ids, without a cache: the second way to compute.

    Uses the attention that transformers chose for the model and nothing of the packed pass. Who sees whom is said by
    a dense mask: a token sees what stands before it on its own line, from the context over the query to one
    alternative, less what is hidden from it.

    Returns:
        (rows, vocabulary): the query's last token, then all but the last token of each alternative in turn.
    """
    model = language_model.model
    trunk = len(item.context) + len(item.query)
    branches = [ids[:-1] for ids in item.alternatives]
    ids = [*item.context, *item.query, *chain.from_iterable(branches)]
    positions = [*range(trunk), *(trunk + place for branch in branches for place in range(len(branch)))]
    line = torch.tensor([0] * trunk + [n for n, branch in enumerate(branches, 1) for _ in branch])
    sees = (torch.tril(torch.ones(len(ids), len(ids), dtype=torch.bool))) & (
        (line[None, :] == 0) | (line[None, :] == line[:, None])
    )
    start, stop = item.surrogate
    if item.visibility == "surrogate_hidden":
        sees[len(item.context) :, start:stop] = False
    elif item.visibility == "passage_blind":
        sees[stop : len(item.context), start:stop] = False
    where = torch.tensor([positions], device=model.device)
    mask = _dense_mask(model, sees.to(model.device), where[0])
    inputs = torch.tensor([ids], device=model.device)
    found = model(input_ids=inputs, position_ids=where, attention_mask=mask, use_cache=False)
    logits: torch.Tensor = found.logits[0, trunk - 1 :]
    return logits


def _dense_mask(model: Any, sees: torch.Tensor, positions: torch.Tensor) -> Any:  # noqa: ANN401 - a transformers model
    """Return a mask as transformers takes a ready one: a tensor, or one for each kind of layer."""
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


def _targets(item: Request) -> tuple[list[int], list[int]]:
    """Return the tokens of all alternatives, and which row of plain_logits predicts each."""
    targets: list[int] = []
    rows: list[int] = []
    row = 0
    for ids in item.alternatives:
        targets += ids
        rows += [0, *range(row + 1, row + len(ids))]
        row += len(ids) - 1
    return targets, rows


def _rows(found: list[tuple[torch.Tensor, ...]]) -> torch.Tensor:
    """Return what was measured of a single item, (targets, vocabulary)."""
    (rows,) = found
    return torch.stack(rows)


def _largest_difference(left: torch.Tensor, right: torch.Tensor, item: Request) -> float:
    """Return the largest difference among the scored and the most probable tokens; infinity where one is no number."""
    targets = torch.tensor(_targets(item)[0], device=right.device)[:, None]
    likely = right.topk(min(_COMPARED_TOKENS, right.shape[-1]), dim=-1).indices
    chosen = torch.cat([likely, targets], dim=-1)
    difference = float((left.gather(1, chosen) - right.gather(1, chosen)).abs().max())
    return difference if math.isfinite(difference) else math.inf


def _stored_difference(rows: torch.Tensor, score: Score, item: Request) -> float:
    """Return the largest difference of the answer's token NLLs, and of the distractors' means, from the stored ones."""
    targets = torch.tensor(_targets(item)[0], device=rows.device)[:, None]
    nlls: list[float] = (-rows.gather(1, targets)[:, 0]).tolist()
    count = len(item.answer)
    differences: list[float] = [abs(a - b) for a, b in zip(nlls[:count], score.token_nlls or (), strict=True)]
    for ids, mean in zip(item.distractors, score.distractor_nlls or (), strict=bool(score.distractor_nlls)):
        # A stored mean has 32 bits.
        own = np.float32(sum(nlls[count : count + len(ids)]) / len(ids))
        differences.append(abs(float(own) - float(np.float32(mean))))
        count += len(ids)
    return max(differences)


def _check(name: str, value: float, limit: float | None, detail: str) -> Check:
    known = value if math.isfinite(value) else None
    passed = None if limit is None else known is not None and known <= limit
    return Check(name, known, limit, passed, detail)


def _copy(cache: KVCache) -> KVCache:
    return KVCache(tuple((keys.clone(), values.clone()) for keys, values in cache.layers), cache.parent)


def _equal(left: KVCache, right: KVCache) -> bool:
    if left.token_count != right.token_count:
        return False
    pairs = zip(left.layers, right.layers, strict=True)
    return all(torch.equal(a[0], b[0]) and torch.equal(a[1], b[1]) for a, b in pairs)
