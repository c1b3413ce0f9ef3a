"""Lays rows out as tensors and attends within them: each branch sees its context and itself, never another branch.

In: rows of `training_rows.py`. Out: batches, and an attention function that unmodified transformers models run with.
Contexts stand first, padded to one length; the branches of a row follow end to end. Context and branches are attended
in two matrix products, so that no branch is computed against another; where a batch carries guides, the attention of
the guided heads is compared with them on the way.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from tasks.demo.growing import COPYING_HEADS, GATHERING_HEADS, KEY_HEADS, VALUE_HEADS, GuidedHeads
from tasks.demo.guides import Looks
from tasks.demo.training_rows import ANSWER_WEIGHT, TEXT_WEIGHT, Row

IMPLEMENTATION = "branches"

# Far below any logit, yet finite in bfloat16.
HIDDEN = -30_000.0
# Keeps the logarithm of no attention at all finite.
LEAST_ATTENTION = 1e-5


@dataclass(frozen=True, slots=True)
class HeadGuide:
    """Where some heads should look."""

    heads: GuidedHeads
    """Which."""
    is_context: bool
    """Whether it is about the tokens of contexts, or about those of branches."""
    mask: torch.Tensor
    """(batch, lookers, seen) True where a looker should look."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows of one step as tensors; each row is C context tokens, then S branch tokens."""

    token_ids: torch.Tensor
    """(batch, C + S)"""
    position_ids: torch.Tensor
    """(batch, C + S); every branch starts again at the end of its context."""
    context_length: int
    """C"""
    context_bias: torch.Tensor
    """(C, C) 0 where a context token (first axis) sees another (second axis), else HIDDEN."""
    branch_bias: torch.Tensor
    """(batch, 1, S, C + S) 0 where a branch token (third axis) sees another token (fourth axis), else HIDDEN."""
    guides: tuple[HeadGuide, ...]
    """Where heads should look; none for rows without guides."""
    predictors: torch.Tensor
    """(targets,) where in the flattened batch each target is predicted from."""
    targets: torch.Tensor
    """(targets,) the token ids to predict."""
    weights: torch.Tensor
    """(targets,) their weights in the loss."""
    token_count: int
    """Tokens without padding."""


@dataclass(frozen=True, slots=True)
class GuidanceLosses:
    """Gathers, during one forward pass, how far the guided heads look past where they should."""

    losses: dict[tuple[GuidedHeads, bool], torch.Tensor] = field(default_factory=dict)
    """(heads, is_context) -> mean of -log(attention on the targets) over lookers and heads."""


def attend_branches(
    module: Any,  # noqa: ANN401 - the attention module of any transformers decoder
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    batch: Batch,
    guidance: GuidanceLosses | None = None,
    scaling: float,
    **_: Any,  # noqa: ANN401 - what transformers passes to every attention function
) -> tuple[torch.Tensor, None]:
    """Attend contexts causally, and branch tokens to their context and their own branch.

    Args:
        module: The layer's attention; its layer_idx chooses the guides.
        query: (batch, heads, C + S, dimension)
        key: (batch, heads, C + S, dimension)
        value: (batch, heads, C + S, dimension)
        attention_mask: None: who sees whom stands in the batch.
        batch: The layout of the tokens.
        guidance: Where the losses of guided heads go; None where they are not wanted.
        scaling: What query times key is multiplied by.

    Returns:
        (batch, C + S, heads, dimension) and None in place of attention weights.
    """
    length = batch.context_length
    parts = (
        (True, query[:, :, :length], key[:, :, :length], value[:, :, :length], batch.context_bias),
        (False, query[:, :, length:], key, value, batch.branch_bias),
    )
    outputs = []
    for is_context, asking, asked, read, bias in parts:
        logits = torch.matmul(asking * scaling, asked.transpose(2, 3)) + bias.to(asking)
        weights = logits.softmax(-1, dtype=torch.float32)
        if guidance is not None:
            _compare(weights, batch.guides, module.layer_idx, is_context, guidance)
        outputs.append(torch.matmul(weights.to(read.dtype), read))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _compare(
    weights: torch.Tensor, guides: tuple[HeadGuide, ...], layer: int, is_context: bool, guidance: GuidanceLosses
) -> None:
    """Add to `guidance` how far the guided heads of a layer look past their targets."""
    for guide in guides:
        if guide.heads.layer != layer or guide.is_context != is_context:
            continue
        mask = guide.mask.to(weights.device)[:, None]
        attention = (weights[:, guide.heads.heads] * mask).sum(-1)
        is_guided = mask.any(-1).expand_as(attention)
        if is_guided.any():
            guidance.losses[guide.heads, is_context] = -(attention[is_guided] + LEAST_ATTENTION).log().mean()


def use_branch_attention(model: Any) -> None:  # noqa: ANN401
    """Let a transformers model attend by `attend_branches`; its forward passes then need the argument `batch`."""
    if IMPLEMENTATION not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, attend_branches)
        ALL_MASK_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, lambda *_, **__: None)
    model.config._attn_implementation = IMPLEMENTATION


def as_batch(rows: list[Row], pad_id: int) -> Batch:
    """Lay rows out as tensors, contexts and branches each padded at the end to the longest."""
    context_length = max(len(row.context_ids) for row in rows)
    branch_length = max(row.token_count - len(row.context_ids) for row in rows)
    length = context_length + branch_length
    token_ids = torch.full((len(rows), length), pad_id)
    position_ids = torch.zeros((len(rows), length), dtype=torch.long)
    segments = torch.full((len(rows), length), -1)
    predictors: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    for number, row in enumerate(rows):
        base = number * length
        own = len(row.context_ids)
        token_ids[number, :own] = torch.tensor(row.context_ids)
        position_ids[number, :own] = torch.arange(own)
        segments[number, :own] = 0
        if row.trains_on_text:
            predictors.extend(range(base, base + own - 1))
            targets.extend(row.context_ids[1:])
            weights.extend([TEXT_WEIGHT] * (own - 1))
        start = context_length
        for branch_number, branch in enumerate(row.branches, start=1):
            ids = branch.prompt_ids + branch.target_ids
            end = start + len(ids)
            token_ids[number, start:end] = torch.tensor(ids)
            position_ids[number, start:end] = torch.arange(own, own + len(ids))
            segments[number, start:end] = branch_number
            # The branch's first token is predicted from the context's last, wherever it lies in the row.
            before = [base + own - 1, *range(base + start, base + end - 1)]
            skipped = 0 if row.trains_on_text else len(branch.prompt_ids)
            predictors.extend(before[skipped:])
            targets.extend(ids[skipped:])
            text_weights = [TEXT_WEIGHT] * (len(branch.prompt_ids) - skipped)
            weights.extend(text_weights + [ANSWER_WEIGHT] * len(branch.target_ids))
            start = end
    return Batch(
        token_ids=token_ids,
        position_ids=position_ids,
        context_length=context_length,
        context_bias=torch.full((context_length, context_length), HIDDEN).triu(1),
        branch_bias=branch_bias(segments, context_length),
        guides=guide_masks(rows, context_length, branch_length),
        predictors=torch.tensor(predictors),
        targets=torch.tensor(targets),
        weights=torch.tensor(weights),
        token_count=sum(row.token_count for row in rows),
    )


def branch_bias(segments: torch.Tensor, context_length: int) -> torch.Tensor:
    """Return what hides from branch tokens all but their context and the earlier tokens of their own branch.

    Args:
        segments: (batch, C + S) 0 for the context, 1, 2, ... for the branches, -1 for padding.
        context_length: C

    Returns:
        (batch, 1, S, C + S) 0 where the token of the third axis sees the token of the fourth, else HIDDEN.
    """
    branches = segments[:, context_length:]
    count = branches.shape[1]
    is_earlier = torch.ones(count, count, dtype=torch.bool).tril()
    sees_own = (branches[:, :, None] == branches[:, None, :]) & is_earlier
    sees_context = (segments[:, None, :context_length] == 0).expand(-1, count, -1)
    is_seen = torch.cat([sees_context, sees_own], dim=2)[:, None]
    return torch.zeros(is_seen.shape).masked_fill(~is_seen, HIDDEN)


def guide_masks(rows: list[Row], context_length: int, branch_length: int) -> tuple[HeadGuide, ...]:
    """Return the guides of a batch as masks; none where no row has one."""
    if all(row.guide is None for row in rows):
        return ()
    in_context = torch.zeros(len(rows), context_length, context_length, dtype=torch.bool)
    gathering, key, value, copying = torch.zeros(
        4, len(rows), branch_length, context_length + branch_length, dtype=torch.bool
    )

    def mark(mask: torch.Tensor, looks: Looks, looker_start: int = 0, seen_start: int = 0) -> None:
        for looker, seen in looks.items():
            mask[looker_start + looker, [seen_start + token for token in seen]] = True

    for number, row in enumerate(rows):
        if row.guide is None:
            continue
        mark(in_context[number], row.guide.within_sentence)
        start = 0
        for branch, guide in zip(row.branches, row.guide.branches, strict=True):
            mark(gathering[number], guide.key_in_query, start, context_length + start)
            mark(key[number], guide.key_in_context, start)
            mark(copying[number], guide.value_in_context, start)
            # Where the value stands before the key, what is known of the key leads to the key, not to the value.
            direct = {at: seen for at, seen in guide.value_in_context.items() if not guide.key_in_context.get(at)}
            mark(value[number], direct, start)
            start += len(branch.prompt_ids) + len(branch.target_ids)
    return (
        HeadGuide(GATHERING_HEADS, True, in_context),
        HeadGuide(GATHERING_HEADS, False, gathering),
        HeadGuide(VALUE_HEADS, False, value),
        HeadGuide(KEY_HEADS, False, key),
        HeadGuide(COPYING_HEADS, False, copying),
    )
