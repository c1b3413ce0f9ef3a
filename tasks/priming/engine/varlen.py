"""Attention of a whole pack in one call of torch's varlen kernel, on GPUs in 16 bits.

In: a pack's layouts. Out: its rows as sequences, each with the numbers of the keys that it attends to. The kernel
supports causal attention from the last rows of a sequence to all of it, and no other mask, so each branch becomes a
sequence of its own after copies of the keys before it; grouped heads keep those small. Tested with a
stand-in that follows the kernel's documentation; not yet run on a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.attention.varlen import varlen_attn

from tasks.priming.engine.batches import on_device
from tasks.priming.engine.segments import KVCache, Layout, Parent

_OLDEST_CAPABILITY = (8, 0)
"""Compute capability of the first GPUs that the kernel runs on (Ampere); on others, such as T4 and V100, it raises."""


@dataclass(frozen=True, slots=True)
class VarlenPlan:
    """A pack's sequences, ready for the kernel in every layer."""

    caches: tuple[KVCache, ...]  # caches whose keys are numbered after the pack's own, in this order
    row_numbers: torch.Tensor  # (rows,) the pack's rows, sequence by sequence
    key_numbers: torch.Tensor  # (keys,) numbers of the keys that each sequence attends to, sequence by sequence
    row_ends: torch.Tensor  # (sequences + 1,) int32: 0, then the number of rows up to the end of each sequence
    key_ends: torch.Tensor  # (sequences + 1,) int32: the same for keys
    most_rows: int  # rows of the longest sequence
    most_keys: int  # keys of the longest sequence


def is_usable(query: torch.Tensor, softcap: float | None) -> bool:
    """Tell whether the kernel can be used: on a GPU that is recent enough, in 16 bits, without a soft cap."""
    if not query.is_cuda or query.dtype not in (torch.float16, torch.bfloat16):
        return False
    is_new_enough = torch.cuda.get_device_capability(query.device) >= _OLDEST_CAPABILITY
    return is_new_enough and softcap is None and query.shape[-1] <= 256


def plan_sequences(layouts: Sequence[Layout], row_count: int, device: torch.device) -> VarlenPlan:
    """Return the sequences of a pack of `row_count` rows, padding included."""
    first_numbers: dict[Parent, int] = {layout.segment: layout.first_row for layout in layouts}
    caches: list[KVCache] = []
    next_number = row_count
    rows: list[range] = []
    keys: list[range] = []
    key_lengths: list[int] = []
    for layout in layouts:
        seen: list[range] = []
        for key_range in layout.key_ranges:
            if key_range.owner not in first_numbers:
                assert isinstance(key_range.owner, KVCache), "a parent lies before its children"
                first_numbers[key_range.owner] = next_number
                caches.append(key_range.owner)
                next_number += key_range.owner.own_count
            first = first_numbers[key_range.owner]
            seen.append(range(first + key_range.start, first + key_range.stop))
        start = layout.first_row
        for number, own in enumerate((layout.segment.ids, *layout.segment.branches)):
            if own:
                rows.append(range(start, start + len(own)))
                keys += [*seen, rows[-1]]
                key_lengths.append(sum(map(len, seen)) + len(own))
                start += len(own)
            if number == 0:
                seen.append(rows[-1])
    row_lengths = [*map(len, rows)]
    ends = on_device(np.cumsum([[0, *row_lengths], [0, *key_lengths]], axis=1), device).int()
    row_numbers, key_numbers = (
        on_device(np.concatenate([np.arange(r.start, r.stop) for r in part]), device) for part in (rows, keys)
    )
    return VarlenPlan(tuple(caches), row_numbers, key_numbers, ends[0], ends[1], max(row_lengths), max(key_lengths))


def attend_varlen(
    plan: VarlenPlan,
    layer: int,
    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    scale: float,
    window: int | None,
    output: torch.Tensor,
) -> torch.Tensor:
    """Write the attention output of the plan's rows into that of the pack, (1, tokens, query heads, dimension)."""
    query, keys, values = tensors
    seen_keys, seen_values = (
        torch.cat([tensor, *(cache.layers[layer][place] for cache in plan.caches)], dim=2)[0]
        .index_select(1, plan.key_numbers)
        .transpose(0, 1)
        for place, tensor in enumerate((keys, values))
    )
    found = varlen_attn(
        query[0].transpose(0, 1).index_select(0, plan.row_numbers),
        seen_keys,
        seen_values,
        plan.row_ends,
        plan.key_ends,
        plan.most_rows,
        plan.most_keys,
        scale=scale,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != keys.shape[1],
        num_splits=1,  # so that bits do not depend on the other sequences
    )
    assert isinstance(found, torch.Tensor), "only the output is requested"
    output[0].index_copy_(0, plan.row_numbers, found)
    return output
