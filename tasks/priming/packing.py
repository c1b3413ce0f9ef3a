"""A forward pass without padding: sequences laid end to end, attention within each sequence only.

In: an unmodified transformers decoder and segments of token ids, each optionally behind a prefix whose keys and values
are already computed. Out: the model's own logits at chosen positions, and each segment's keys and values.

All linear layers see one long row of tokens, attention sees one segment at a time, so what is computed for a segment
depends on that segment alone: its numbers are the same in every batch, order and chunk wherever the matrix product
gives a row the same bits whatever its neighbours (see numeric_path.py; every run measures it).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

from tasks.priming.errors import UsageError

IMPLEMENTATION = "packed"
# Matrix products of fewer rows take other kernels, whose sums differ in the last bit: few rows are filled up.
_LEAST_ROWS = 16
# Two threads share an elementwise function by halves, and what of a half does not fill two vectors of 16 numbers is
# computed by a scalar function, whose exp differs in the last bit: packs are filled up to a multiple of this.
_ROW_MULTIPLE = 64
# What transformers hands to every attention function beside the mask, without effect on the numbers here.
_HARMLESS_ARGUMENTS = {"position_ids", "use_cache", "cache_position", "is_causal", "output_attentions"}


class UnsupportedModelError(UsageError):
    """The model computes attention in a way that the packed pass does not reproduce."""


class Prefix(Protocol):
    """Keys and values that stand before a segment."""

    @property
    def token_count(self) -> int:
        """Tokens in the prefix."""

    @property
    def next_position(self) -> int:
        """The position of the segment's first token: more than `token_count` where tokens were left out."""

    def join(self, layer: int, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the prefix's and the given (1, heads, tokens, dimension) keys and values, in that order."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens that attends to its prefix and to itself."""

    ids: Sequence[int]
    """Token ids, at least one."""
    prefix: Prefix | None = None
    """What stands before it, if anything."""


@dataclass(slots=True)
class _Pack:
    """What travels through the model's layers as a keyword argument; there is no global."""

    spans: list[tuple[int, int, Prefix | None]]
    keeps_keys: bool
    layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    call_count: int = 0


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
        segments: What to compute; their tokens are numbered through in this order.
        keep: Numbers of the tokens whose logits (for the token that follows) are wanted.
        keeps_keys: Whether the segments' keys and values are wanted.

    Raises:
        UnsupportedModelError: The model has layers or attention arguments that this pass does not know.
    """
    ids: list[int] = []
    positions: list[int] = []
    spans: list[tuple[int, int, Prefix | None]] = []
    filling = Segment([0] * (-sum(len(s.ids) for s in segments) % _ROW_MULTIPLE))
    for segment in (*segments, filling) if filling.ids else segments:
        first = segment.prefix.next_position if segment.prefix else 0
        spans.append((len(ids), len(ids) + len(segment.ids), segment.prefix))
        ids += segment.ids
        positions += range(first, first + len(segment.ids))
    pack = _Pack(spans, keeps_keys)
    arguments = {
        "input_ids": torch.tensor([ids], device=model.device),
        "position_ids": torch.tensor([positions], device=model.device),
        "use_cache": False,
        "packed_segments": pack,
    }
    with torch.inference_mode(), _packed_attention_of(model):
        if keep:
            rows = torch.tensor([*keep, *[0] * max(0, _LEAST_ROWS - len(keep))], device=model.device)
            logits = model(**arguments, logits_to_keep=rows).logits[0, : len(keep)]
        else:
            model.base_model(**arguments)
            logits = None
    _require_every_layer(model, pack)
    return PackedOutput(logits, tuple(pack.layers[layer] for layer in sorted(pack.layers)))


def attend_packed(
    module: Any,  # noqa: ANN401 - transformers' signature
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packed_segments: _Pack | None = None,
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
        sliding_window: A token sees itself and the `sliding_window - 1` tokens before it; None: all of them.
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
    pack = packed_segments
    pack.call_count += 1
    if pack.keeps_keys:
        pack.layers[module.layer_idx] = (key, value)
    outputs = []
    for start, stop, prefix in pack.spans:
        keys, values = key[:, :, start:stop], value[:, :, start:stop]
        if prefix is not None:
            _refuse_gap_in_window(prefix, stop - start, sliding_window)
            keys, values = prefix.join(module.layer_idx, keys, values)
        outputs.append(_attend(query[:, :, start:stop], keys, values, scaling, sliding_window, softcap))
    return torch.cat(outputs, dim=2).transpose(1, 2).contiguous(), None


def _refuse_gap_in_window(prefix: Prefix, count: int, window: int | None) -> None:
    """Refuse a prefix with tokens left out where a layer sees a window of it: the window counts tokens that are there.

    Raises:
        UnsupportedModelError: The window is shorter than prefix and segment together.
    """
    has_gap = prefix.next_position > prefix.token_count
    if has_gap and window is not None and window < prefix.next_position + count:
        raise UnsupportedModelError(
            f"A layer sees {window} tokens back, less than the {prefix.next_position + count} of context and "
            "continuation, so a surrogate cannot be hidden from one of them. Leave out the family control."
        )


def _attend(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scaling: float | None,
    window: int | None,
    softcap: float | None,
) -> torch.Tensor:
    """Causal attention of the last tokens of a sequence to all of it: (1, heads, query tokens, dimension)."""
    count, total = query.shape[2], keys.shape[2]
    is_windowed = window is not None and window < total
    grouped = query.shape[1] != keys.shape[1]
    if softcap is None and not is_windowed and count in (1, total):
        return scaled_dot_product_attention(query, keys, values, is_causal=count > 1, scale=scaling, enable_gqa=grouped)
    # Row i is token total - count + i: it sees the keys up to its own, and no further back than the window.
    mask = torch.ones(count, total, dtype=torch.bool, device=query.device).tril_(total - count)
    if window is not None:
        mask = mask.triu_(total - count - window + 1)
    if softcap is None:
        return scaled_dot_product_attention(query, keys, values, attn_mask=mask, scale=scaling, enable_gqa=grouped)
    if grouped:
        keys, values = (t.repeat_interleave(query.shape[1] // keys.shape[1], dim=1) for t in (keys, values))
    scores = query @ keys.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    scores = (torch.tanh(scores / softcap) * softcap).masked_fill(~mask, float("-inf"))
    return torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype) @ values


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


def _require_every_layer(model: Any, pack: _Pack) -> None:  # noqa: ANN401
    """Refuse models with layers that are not attention: those would have mixed the segments."""
    expected = model.config.get_text_config().num_hidden_layers
    if pack.call_count != expected:
        raise UnsupportedModelError(
            f"{type(model).__name__} has {expected} layers, of which {pack.call_count} are attention that packed "
            "scoring can separate. Use a model all of whose layers are attention, e.g. Mistral, Llama or Qwen3."
        )
