"""A forward pass without padding: sequences laid end to end, attention within each sequence only.

In: an unmodified transformers decoder and segments of token ids, each optionally behind another segment or a cache.
Out: the model's own logits at chosen positions, and each segment's keys and values.

Segments form trees: a context, the queries behind it, the alternative answers behind each query. Every token is
computed once and read by all that stands behind it. All linear layers see one long row of tokens, attention sees one
segment and what stands before it, so what is computed for a segment depends on it and its ancestors alone: its numbers
are the same in every batch, order and chunk wherever the matrix product gives a row the same bits whatever its
neighbours (see numeric_path.py; every run measures it).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from tasks.priming.engine.attention import AttentionRule, Pack
from tasks.priming.engine.decoding import DecodingPack
from tasks.priming.engine.segments import Segment
from tasks.priming.errors import UsageError
from tasks.priming.watching import tell_share

IMPLEMENTATION = "packed"
# Matrix products of fewer rows take other kernels, whose sums differ in the last bit: few rows are filled up.
_LEAST_ROWS = 16
# Two threads share an elementwise function by halves, and what of a half does not fill two vectors of 16 numbers is
# computed by a scalar function, whose exp differs in the last bit: a pack times the width of the model's MLP is filled
# up to a multiple of this.
_SHARED_NUMBERS = 64
# What transformers hands to every attention function beside the mask, without effect on the numbers here.
_HARMLESS_ARGUMENTS = {"position_ids", "use_cache", "cache_position", "is_causal", "output_attentions"}


class UnsupportedModelError(UsageError):
    """The model computes attention in a way that the packed pass does not reproduce."""


@dataclass(frozen=True, slots=True)
class PackedOutput:
    """What a packed pass returns."""

    logits: torch.Tensor | None
    """(kept positions, vocabulary), in the model's dtype after its own post-processing; None if none were asked."""
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """Per layer the keys and values of all tokens, (1, heads, tokens, dimension); empty if not asked for."""


def forward_packed(
    model: Any,  # noqa: ANN401 - a transformers model: any class of causal decoder
    segments: Sequence[Segment],
    *,
    keep: Sequence[int] = (),
    keeps_keys: bool = False,
) -> PackedOutput:
    """Run a causal decoder over segments laid end to end.

    Args:
        model: An unmodified transformers causal language model in evaluation mode.
        segments: What to compute, parents before children; their tokens are numbered through in this order, a
            segment's branches behind its own.
        keep: Numbers of the tokens whose logits (for the token that follows) are wanted.
        keeps_keys: Whether the segments' keys and values are wanted.

    Raises:
        UnsupportedModelError: The model has layers or attention arguments that this pass does not know.
    """
    pack = Pack(segments, keeps_keys)
    ids = [token for segment in segments for token in segment.all_ids]
    positions = [position for segment in segments for position in segment.positions]
    padding = [0] * (_filled_count(model, len(ids)) - len(ids))
    rows = torch.tensor([*keep, *[0] * (_LEAST_ROWS - len(keep))], device=model.device) if keep else None
    logits = _forward(
        model,
        torch.tensor([[*ids, *padding]], device=model.device),
        torch.tensor([[*positions, *padding]], device=model.device),
        pack,
        rows,
    )
    return PackedOutput(
        None if logits is None else logits[: len(keep)], tuple(pack.layers[layer] for layer in sorted(pack.layers))
    )


def step_ids(model: Any, tokens: Sequence[int]) -> torch.Tensor:  # noqa: ANN401 - as above
    """Return the newest token of each row on the model's device, filled up as a pass needs it: (1, filled rows)."""
    padding = [0] * (_filled_count(model, len(tokens)) - len(tokens))
    return torch.tensor([[*tokens, *padding]], device=model.device)


def compute_step(model: Any, ids: torch.Tensor, pack: DecodingPack) -> torch.Tensor:  # noqa: ANN401 - as above
    """Compute one more token of each of a pack's rows and return the logits that follow: (rows, vocabulary).

    Nothing but tensors on the model's device goes in, so that a GPU can record the step and repeat it. The pack is not
    advanced: stepping.py does that.

    Args:
        model: As in forward_packed.
        ids: The newest token of each row, in the order of `pack.rows`, from step_ids.
        pack: What was written so far; the tokens' keys and values are added to it.

    Raises:
        UnsupportedModelError: As in forward_packed.
    """
    count = len(pack.rows)
    positions = torch.nn.functional.pad(pack.positions, (0, ids.shape[1] - count))
    rows = torch.arange(max(count, _LEAST_ROWS), device=ids.device)
    logits = _forward(model, ids, positions[None], pack, rows)
    assert logits is not None
    return logits[:count]


def _forward(
    model: Any,  # noqa: ANN401
    ids: torch.Tensor,
    positions: torch.Tensor,
    pack: Pack | DecodingPack,
    rows: torch.Tensor | None,
) -> torch.Tensor | None:
    """Run the model over a row of tokens and return the logits of chosen ones, if any are chosen."""
    arguments = {"input_ids": ids, "position_ids": positions, "use_cache": False, "packed_segments": pack}
    logits = None
    with torch.inference_mode(), _packed_attention_of(model):
        if rows is not None:
            logits = model(**arguments, logits_to_keep=rows).logits[0]
        else:
            model.base_model(**arguments)
    _require_every_layer(model, pack)
    return logits


def _filled_count(model: Any, count: int) -> int:  # noqa: ANN401
    """Return how many rows a pass of so many tokens has."""
    multiple = _row_multiple(model)
    return max(-(-count // multiple) * multiple, _LEAST_ROWS)


def _row_multiple(model: Any) -> int:  # noqa: ANN401
    """Return the number of rows of which a pack is filled up to a multiple, so that threads share vectors evenly."""
    width = getattr(model.config.get_text_config(), "intermediate_size", None)
    return _SHARED_NUMBERS // math.gcd(_SHARED_NUMBERS, width) if isinstance(width, int) else _SHARED_NUMBERS


def attend_packed(
    module: Any,  # noqa: ANN401 - transformers' signature
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_segments: Pack | DecodingPack | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **others: object,
) -> tuple[torch.Tensor, None]:
    """Attend within each segment; registered as a transformers attention function.

    Args:
        module: The attention layer.
        query: (1, query heads, tokens, dimension), already rotated, as are the keys.
        key: (1, key heads, tokens, dimension).
        value: (1, key heads, tokens, dimension).
        attention_mask: None: transformers makes no mask for an implementation it does not know.
        packed_segments: The pack, from forward_packed.
        scaling: Factor of the scores.
        dropout: 0 in evaluation mode.
        sliding_window: A token sees itself and the `sliding_window - 1` positions before it; None: all of them.
        softcap: Scores are softcap * tanh(score / softcap), where given (Gemma 2).
        **others: Anything else that the model passes.

    Returns:
        The output (1, tokens, query heads, dimension), and None for the attention weights.

    Raises:
        UnsupportedModelError: An argument that would change the result is not known here.
    """
    unknown = sorted(n for n, v in others.items() if v is not None and n not in _HARMLESS_ARGUMENTS)
    if unknown or packed_segments is None or attention_mask is not None or dropout:
        raise UnsupportedModelError(
            f"The attention of {type(module).__name__} asks for {', '.join(unknown) or 'a mask or dropout'}, which "
            "packed scoring does not know. Use a model with plain causal attention, e.g. Mistral, Llama or Qwen3."
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rule = AttentionRule(scale, sliding_window, softcap)
    output = packed_segments.attend(module.layer_idx, (query, key, value), rule)
    if isinstance(packed_segments, Pack):  # who takes steps tells how many there will be
        tell_share(packed_segments.call_count / module.config.num_hidden_layers)
    return output, None


@contextmanager
def _packed_attention_of(model: Any) -> Iterator[None]:  # noqa: ANN401
    """Have the model call attend_packed, and its own attention again afterwards."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if IMPLEMENTATION not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, attend_packed)
    previous = model.config._attn_implementation
    model.config._attn_implementation = IMPLEMENTATION
    try:
        yield
    finally:
        model.config._attn_implementation = previous


def _require_every_layer(model: Any, pack: Pack | DecodingPack) -> None:  # noqa: ANN401
    """Refuse models with layers that are not attention: those would have mixed the segments."""
    expected = model.config.get_text_config().num_hidden_layers
    if pack.call_count != expected:
        raise UnsupportedModelError(
            f"{type(model).__name__} has {expected} layers, of which {pack.call_count} are attention that packed "
            "scoring can separate. Use a model all of whose layers are attention, e.g. Mistral, Llama or Qwen3."
        )
