"""A forward pass without padding: sequences laid end to end, attention within each sequence only.

In: an unmodified transformers decoder and segments of token ids, each with an optional parent. Out: the model's own
logits at chosen positions, and the keys and values of each segment.

Segments form trees: a context, the queries that follow it, the alternative answers to each query. Every token is
computed once and read by all its descendants. Linear layers see one long row of tokens; attention sees one segment and
its ancestors, so what is computed for a segment depends on these alone: its numbers are the same in every batch, order
and chunk wherever a matrix product gives a row the same bits whatever the other rows are (see numeric_path.py; every
run measures it).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch

from tasks.priming.engine.attention import AttentionRule, LastLayer, Pack
from tasks.priming.engine.batches import GPU_KEPT_ROWS, GPU_ROWS, GPU_STEP_ROWS, on_device
from tasks.priming.engine.decoding import DecodingPack
from tasks.priming.engine.segments import Segment
from tasks.priming.errors import UsageError
from tasks.priming.watching import tell_share

IMPLEMENTATION = "packed"
# oneDNN prepares a product anew for every number of rows, and 1,024 of these are kept, some megabytes each: few numbers
# of rows keep a worker's memory small. Fewer rows than 16 use other kernels, whose sums differ in the last bit.
_ROWS_STEP, _FEW_ROWS_STEP, _FEW_ROWS = 64, 16, 256
# Two threads each compute half of an elementwise function, and the end of a half that does not fill two vectors of 16
# numbers is computed by a scalar function, whose exp differs in the last bit: rows are padded such that rows times the
# width of the model's MLP is a multiple of this.
_SHARED_NUMBERS = 64
# Arguments that transformers passes to every attention function and that do not affect the numbers here.
_HARMLESS_ARGUMENTS = {"position_ids", "use_cache", "cache_position", "is_causal", "output_attentions"}


class UnsupportedModelError(UsageError):
    """The model computes attention in a way that the packed pass does not support."""


@dataclass(frozen=True, slots=True)
class PackedOutput:
    """The result of a packed pass."""

    logits: torch.Tensor | None
    """(kept positions, vocabulary), in the model's dtype after its own post-processing; None if none were requested."""
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """Per layer the keys and values of all tokens, (1, heads, tokens, dimension); empty if not requested."""


def forward_packed(
    model: Any,  # noqa: ANN401 - a transformers model: any class of causal decoder
    segments: Sequence[Segment],
    *,
    keep: Sequence[int] = (),
    keeps_keys: bool = False,
) -> PackedOutput:
    """Run an unmodified transformers decoder in evaluation mode over segments laid end to end.

    Args:
        model: The model.
        segments: Parents before children; tokens are numbered in this order, each segment's branches after its own.
        keep: Numbers of the tokens whose logits (for the token that follows) are returned.
        keeps_keys: Whether the segments' keys and values are returned.

    Raises:
        UnsupportedModelError: The model has layers or attention arguments that this pass does not support.
    """
    pack = Pack(segments, keeps_keys)
    ids = [token for segment in segments for token in segment.all_ids]
    positions = [position for segment in segments for position in segment.positions]
    padding = [0] * (_padded_count(model, len(ids), GPU_ROWS) - len(ids))
    rows = None
    if keep:
        rows = on_device([*keep, *[0] * (_padded_count(model, len(keep), GPU_KEPT_ROWS) - len(keep))], model.device)
    inputs = on_device([[*ids, *padding], [*positions, *padding]], model.device)
    with _last_layer_for(model, pack, sorted(keep), rows) as is_kept_alone:
        logits = _forward(model, inputs[:1], inputs[1:], pack, 0 if is_kept_alone and keep else rows)
    return PackedOutput(
        None if logits is None else logits[: len(keep)], tuple(pack.layers[layer] for layer in sorted(pack.layers))
    )


def step_ids(model: Any, tokens: Sequence[int]) -> torch.Tensor:  # noqa: ANN401 - as above
    """Return the newest token of each row on the model's device, padded to the rows of a pass: (1, padded rows)."""
    return on_device([[*tokens, *[0] * (_padded_count(model, len(tokens), GPU_STEP_ROWS) - len(tokens))]], model.device)


def compute_step(model: Any, ids: torch.Tensor, pack: DecodingPack) -> torch.Tensor:  # noqa: ANN401 - as above
    """Compute one more token of each row of a pack and return the logits that follow: (rows, vocabulary).

    `ids` are the newest tokens, from step_ids, in the order of `pack.rows`. All inputs are tensors on the model's
    device, so that a GPU can record the step and replay it. The pack is not advanced: Stepper does that.
    """
    count = len(pack.rows)
    positions = torch.nn.functional.pad(pack.positions, (0, ids.shape[1] - count))
    logits = _forward(model, ids, positions[None], pack, 0)
    assert logits is not None
    return logits[:count]


def _forward(
    model: Any,  # noqa: ANN401
    ids: torch.Tensor,
    positions: torch.Tensor,
    pack: Pack | DecodingPack,
    rows: torch.Tensor | int | None,
) -> torch.Tensor | None:
    """Run the model over a row of tokens and return the logits of the chosen `rows`; 0: of all; None: no logits."""
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    if IMPLEMENTATION not in ALL_ATTENTION_FUNCTIONS.valid_keys():
        ALL_ATTENTION_FUNCTIONS.register(IMPLEMENTATION, attend_packed)
    arguments = {"input_ids": ids, "position_ids": positions, "use_cache": False, "packed_segments": pack}
    logits = None
    previous = model.config._attn_implementation
    model.config._attn_implementation = IMPLEMENTATION
    try:
        with torch.inference_mode():
            if rows is not None:
                logits = model(**arguments, logits_to_keep=rows).logits[0]
            else:
                model.base_model(**arguments)
    finally:
        model.config._attn_implementation = previous
    # Layers other than attention would have mixed the segments.
    expected = model.config.get_text_config().num_hidden_layers
    if pack.call_count != expected:
        raise UnsupportedModelError(
            f"{type(model).__name__} has {expected} layers, of which {pack.call_count} are attention that packed "
            "scoring can separate. Use a model all of whose layers are attention, e.g. Mistral, Llama or Qwen3."
        )
    return logits


class _AttentionEndError(Exception):
    """Leaves the last layer when its attention is computed."""


@contextmanager
def _last_layer_for(
    model: Any,  # noqa: ANN401
    pack: Pack,
    keep: list[int],
    rows: torch.Tensor | None,
) -> Iterator[bool]:
    """Compute the last layer within the context for the kept rows alone, once their attention is known.

    Its output projection and MLP would serve no other row. Yields whether this is done: only where the model's layers
    are a list in its decoder, as they are in all models of the README.
    """
    layers = getattr(model.base_model, "layers", ())
    number = model.config.get_text_config().num_hidden_layers - 1
    if len(layers) != number + 1:
        yield False
        return
    layer, last = layers[number], LastLayer(number, keep, rows)
    whole = layer.forward

    def forward_kept(hidden: torch.Tensor, *others: Any, **named: Any) -> Any:  # noqa: ANN401 - the layer's own
        with suppress(_AttentionEndError):
            whole(hidden, *others, **named)
        if rows is None:
            return hidden  # only its keys and values were asked for
        count = hidden.shape[1]
        chosen = {name: _choose_rows(value, count, rows) for name, value in named.items()}
        return whole(*_choose_rows((hidden, *others), count, rows), **chosen)

    pack.last_layer = last
    layer.forward = forward_kept
    try:
        yield True
    finally:
        del layer.forward


def _choose_rows(value: Any, count: int, rows: torch.Tensor) -> Any:  # noqa: ANN401
    """Return the chosen rows of a layer's argument, if it has one row per token: (1, tokens, ...)."""
    if isinstance(value, tuple):
        return tuple(_choose_rows(part, count, rows) for part in value)
    is_by_row = isinstance(value, torch.Tensor) and value.ndim > 1 and value.shape[1] == count
    return value[:, rows] if is_by_row else value


def _padded_count(model: Any, count: int, gpu_rows: int) -> int:  # noqa: ANN401
    """Return the number of rows in which so many are computed: see _FEW_ROWS_STEP, _SHARED_NUMBERS and GPU_ROWS."""
    if model.device.type == "cuda":
        return -(-count // gpu_rows) * gpu_rows
    width = getattr(model.config.get_text_config(), "intermediate_size", None)
    multiple = _SHARED_NUMBERS // math.gcd(_SHARED_NUMBERS, width) if isinstance(width, int) else _SHARED_NUMBERS
    multiple = max(multiple, _FEW_ROWS_STEP if count <= _FEW_ROWS else _ROWS_STEP)  # all are powers of two
    return -(-count // multiple) * multiple


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
    """Attend within each segment; registered as a transformers attention function, whose signature it has.

    Query (1, query heads, tokens, dimension) and keys are already rotated. transformers makes no mask for an
    implementation that it does not know. Returns the output (1, tokens, query heads, dimension), and None for the
    attention weights.
    """
    unknown = sorted(n for n, v in others.items() if v is not None and n not in _HARMLESS_ARGUMENTS)
    if unknown or packed_segments is None or attention_mask is not None or dropout:
        raise UnsupportedModelError(
            f"The attention of {type(module).__name__} uses {', '.join(unknown) or 'a mask or dropout'}, which "
            "packed scoring does not support. Use a model with plain causal attention, e.g. Mistral, Llama or Qwen3."
        )
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    rule = AttentionRule(scale, sliding_window, softcap)
    if isinstance(packed_segments, DecodingPack):
        return packed_segments.attend(module.layer_idx, (query, key, value), rule), None
    last = packed_segments.last_layer
    if last is not None and last.output is not None and last.rows is not None:  # called again, for the kept rows
        return last.output[:, last.rows], None
    output = packed_segments.attend(module.layer_idx, (query, key, value), rule)
    tell_share(packed_segments.call_count / module.config.num_hidden_layers)  # a generator reports its own progress
    if last is not None and last.number == module.layer_idx:
        last.output = output
        raise _AttentionEndError
    return output, None
