"""Attention of a pack's tokens to their own segment and its ancestors: in blocks of rows, or by torch's varlen kernel.

How a segment is computed depends on the segment and its ancestors alone, never on other segments of the pack.

On a CPU, two matrix products per block of rows with a mask between them are 1.3 to 3 times as fast as torch's scaled
dot product attention for segments of this length (float32; 1 to 1.8 times in bfloat16); see docs/performance.md.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tasks.priming.engine.batches import on_device
from tasks.priming.engine.segments import KVCache, Layout, Segment, lay_out
from tasks.priming.engine.varlen import VarlenPlan, attend_varlen, is_usable, plan_sequences


@dataclass(frozen=True, slots=True)
class AttentionRule:
    """A layer's attention parameters."""

    scale: float  # factor of the scores
    window: int | None  # a token attends to itself and the `window - 1` positions before it; None: to all of them
    # Scores become softcap * tanh(score / softcap); None: they stay as they are (Gemma 2 has one).
    softcap: float | None


@dataclass(slots=True)
class LastLayer:
    """Which rows of a pass's last layer are computed beyond their keys and values: those whose logits are kept."""

    number: int  # the layer
    keep: list[int]  # the rows, in ascending order
    rows: torch.Tensor | None  # the same and their padding, in the order of the logits; None: no row is kept
    output: torch.Tensor | None = None  # what the layer's attention gave


class Pack:
    """Segments laid end to end; passed through the model's layers as a keyword argument, so nothing is global."""

    def __init__(self, segments: Sequence[Segment], keeps_keys: bool) -> None:
        """Lay out the segments, parents before children."""
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        """Keys and values of each layer, if they are kept."""
        self.call_count = 0  # number of layers that have attended
        self.last_layer: LastLayer | None = None
        self._layouts = lay_out(segments)
        self._first_rows = {layout.segment: layout.first_row for layout in self._layouts}
        self._keeps_keys = keeps_keys
        self._plans: dict[bool, VarlenPlan | None] = {}

    def attend(
        self, layer: int, tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor], rule: AttentionRule
    ) -> torch.Tensor:
        """Return the attention output of all tokens, (1, tokens, query heads, dimension).

        `tensors` are queries (1, query heads, tokens, dimension), and keys and values (1, key heads, tokens,
        dimension).
        """
        query, keys, values = tensors
        self.call_count += 1
        if self._keeps_keys:
            self.layers[layer] = (keys, values)
        if not is_usable(query, rule.softcap):
            return self._attend_blocks(tensors, layer, rule, self._layouts)
        # The kernel's window counts keys that are present, a model's counts positions.
        has_window = rule.window is not None
        gapped = [layout for layout in self._layouts if has_window and layout.has_gap]
        if has_window not in self._plans:
            others = [layout for layout in self._layouts if not (has_window and layout.has_gap)]
            self._plans[has_window] = plan_sequences(others, query.shape[2], query.device) if others else None
        plan = self._plans[has_window]
        output = self._attend_blocks(tensors, layer, rule, gapped)
        return attend_varlen(plan, layer, tensors, rule.scale, rule.window, output) if plan else output

    def _attend_blocks(
        self,
        tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        layer: int,
        rule: AttentionRule,
        layouts: Sequence[Layout],
    ) -> torch.Tensor:
        query, keys, values = tensors
        _, query_heads, count, dimension = query.shape
        if not layouts:
            return query.new_zeros(1, count, query_heads, dimension)
        key_heads = keys.shape[1]
        group = query_heads // key_heads
        # Query heads that share keys become rows of one product: row t * group + h is token t, head h of the group.
        rows = query[0].reshape(key_heads, group, count, dimension).transpose(1, 2).reshape(key_heads, -1, dimension)
        output = torch.zeros_like(rows)  # the pack's padding attends to nothing
        for layout in layouts:
            blocks = [
                number for number, (first, last) in enumerate(layout.blocks) if self._serves(layer, layout, first, last)
            ]
            if not blocks:
                continue
            seen_keys, seen_values = self._seen(layout, layer, keys, values)
            for number in blocks:
                first, last = layout.blocks[number]
                mask = _mask(layout, number, rule.window, group, query)
                start, stop = ((layout.first_row + row) * group for row in (first, last))
                key_count = layout.before_count + last
                output[:, start:stop] = attend_block(
                    rows[:, start:stop], seen_keys[:, :key_count], seen_values[:, :key_count], mask, rule
                )
        return output.view(key_heads, count, group, dimension).transpose(0, 1).reshape(1, count, query_heads, dimension)

    def _serves(self, layer: int, layout: Layout, first: int, last: int) -> bool:
        """Tell whether any of a segment's rows from `first` up to `last` is computed further in a layer."""
        if self.last_layer is None or self.last_layer.number != layer:
            return True
        keep = self.last_layer.keep
        return bisect_left(keep, layout.first_row + first) < bisect_left(keep, layout.first_row + last)

    def _seen(
        self, layout: Layout, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the (key heads, keys, dimension) keys and values that a segment attends to, its own last."""
        ranges: list[tuple[KVCache | None, int, int]] = []
        for key_range in layout.key_ranges:
            if isinstance(key_range.owner, KVCache):
                ranges.append((key_range.owner, key_range.start, key_range.stop))
            else:
                first = self._first_rows[key_range.owner]
                ranges.append((None, first + key_range.start, first + key_range.stop))
        own = (layout.first_row, layout.first_row + len(layout.segment.all_ids))
        if ranges and ranges[-1][0] is None and ranges[-1][2] == own[0]:
            own = (ranges.pop()[1], own[1])  # the parent lies directly before it: nothing to concatenate
        ranges.append((None, *own))
        parts = [
            tuple(t[0, :, start:stop] for t in (cache.layers[layer] if cache else (keys, values)))
            for cache, start, stop in ranges
        ]
        if len(parts) == 1:
            return parts[0][0], parts[0][1]
        return torch.cat([part[0] for part in parts], dim=1), torch.cat([part[1] for part in parts], dim=1)


def _mask(layout: Layout, number: int, window: int | None, group: int, like: torch.Tensor) -> torch.Tensor:
    """Return what is added to a block's scores, (1, rows * group, keys): 0 for a visible key, else -infinity."""
    if (number, window) not in layout.masks:
        first, last = layout.blocks[number]
        before = layout.before_count
        key_count = before + last
        branch = np.array(layout.segment.branch_numbers)
        row, key = np.arange(first, last)[:, None], np.arange(key_count) - before
        key_branch = np.where(key < 0, 0, branch[np.maximum(key, 0)])
        is_seen = (key <= row) & ((key_branch == 0) | (key_branch == branch[row]))
        if window is not None:
            position = layout.key_positions
            is_seen &= position[:key_count] > position[before + row] - window
        added = np.where(is_seen, 0.0, -np.inf).astype(np.float32).repeat(group, axis=0)
        layout.masks[number, window] = on_device(added, like.device, like.dtype)[None]
    return layout.masks[number, window]


def attend_block(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, rule: AttentionRule
) -> torch.Tensor:
    """Return softmax(query keys^T scale + mask) values, one product per key head."""
    if len(query) == 1 and query.device.type == "cpu" and torch.get_num_threads() > 1:
        # MKL shares a single product among threads, and sums differently then; of two, each thread computes one.
        query, keys, values = (tensor.expand(2, -1, -1) for tensor in (query, keys, values))
        return attend_block(query, keys, values, mask, rule)[:1]
    if rule.softcap is None:
        scores = torch.baddbmm(mask.expand(len(query), -1, -1), query, keys.transpose(1, 2), alpha=rule.scale)
        return torch.bmm(torch.softmax(scores, dim=-1), values)
    scores = torch.bmm(query, keys.transpose(1, 2)).mul_(rule.scale / rule.softcap).tanh_().mul_(rule.softcap)
    weights = torch.softmax(scores.add_(mask), dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.bmm(weights, values)
