"""Keys and values of rows that are being generated, and the attention of one step: the newest token of every row.

Rows of similar length share a buffer whose length depends on the row's own prompt, so that one product serves them all
and a row's numbers do not depend on the other rows. Only generation has such buffers; scoring reads a KVCache, which
cannot grow.
"""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from tasks.priming.engine.attention import AttentionRule, attend_block
from tasks.priming.engine.batches import on_device
from tasks.priming.engine.segments import KeyRange, KVCache

# Buffer lengths are multiples of this: rows whose lengths differ by less share one.
_LENGTH_STEP = 64


def buffer_length(token_count: int, room: int) -> int:
    """Return the buffer length of a row whose prompt has so many tokens, with room for more."""
    return -(-(token_count + room) // _LENGTH_STEP) * _LENGTH_STEP


class _Bucket:
    """Rows whose buffers have the same length."""

    def __init__(self, counts: dict[int, int], length: int, like: KVCache) -> None:
        """Allocate buffers, shaped like the keys and values of a cache, for rows with prompts of so many tokens."""
        self.rows = list(counts)
        keys = like.layers[0][0]
        self.counts = on_device(list(counts.values()), keys.device)
        # Which positions the row's tokens attend to: of its prompt those that are filled, and all that follow.
        self.is_open = torch.arange(length, device=keys.device) >= self.counts[:, None]
        shape = (len(counts), keys.shape[1], length, keys.shape[3])
        self.layers = [(keys.new_zeros(shape), keys.new_zeros(shape)) for _ in like.layers]

    def fill(self, prompts: Mapping[int, Sequence[KeyRange]]) -> None:
        """Copy the keys and values that rows' tokens attend to: one gather per layer, whatever the number of rows."""
        parts = [(self.rows.index(row), part) for row, ranges in prompts.items() for part in ranges]
        owners = list(dict.fromkeys(part.owner for _, part in parts))
        firsts = dict(zip(owners, itertools.accumulate((o.own_count for o in owners), initial=0), strict=False))
        counts = [part.stop - part.start for _, part in parts]
        within = np.concatenate([np.arange(count) for count in counts])
        rows, positions, numbers = on_device(
            np.repeat(
                [(place, part.position, firsts[part.owner] + part.start) for place, part in parts], counts, axis=0
            ).T
            + np.stack([np.zeros_like(within), within, within]),
            self.counts.device,
        )
        self.is_open[rows, positions] = True
        for number, buffers in enumerate(self.layers):
            for kind, buffer in enumerate(buffers):
                held = torch.cat([owner.layers[number][kind] for owner in owners if isinstance(owner, KVCache)], dim=2)
                buffer.transpose(0, 1)[:, rows, positions] = held[0].index_select(1, numbers)

    def keep(self, rows: set[int]) -> None:
        """Drop all other rows; rows from the end take their places, so that no second buffer is needed."""
        count = sum(row in rows for row in self.rows)
        if count == len(self.rows):
            return
        free = [place for place, row in enumerate(self.rows[:count]) if row not in rows]
        moved = [place for place, row in enumerate(self.rows) if row in rows and place >= count]
        for to, origin in zip(free, moved, strict=True):
            self.rows[to] = self.rows[origin]
        del self.rows[count:]
        targets, origins = (torch.tensor(places, device=self.counts.device) for places in (free, moved))
        for tensor in (self.counts, self.is_open, *itertools.chain.from_iterable(self.layers)):
            if moved:
                tensor[targets] = tensor[origins]
        self.counts, self.is_open = self.counts[:count], self.is_open[:count]
        self.layers = [(keys[:count], values[:count]) for keys, values in self.layers]

    def masks(self, window: int | None) -> torch.Tensor:
        """Return what is added to the scores, (rows, 1, 1, length): 0 where the newest tokens attend, else -inf."""
        keys = torch.arange(self.layers[0][0].shape[2], device=self.counts.device)
        newest = self.counts[:, None]
        is_seen = self.is_open & (keys <= newest)
        if window is not None:
            is_seen &= keys > newest - window
        added = torch.zeros(is_seen.shape, dtype=self.layers[0][0].dtype, device=self.counts.device)
        return added.masked_fill_(~is_seen, float("-inf"))[:, None, None]


class DecodingPack:
    """One token per row, each after the row's earlier tokens; passed through the model's layers as Pack is."""

    def __init__(self, counts: Sequence[int], room: int) -> None:
        """Plan buffers for prompts of so many tokens with room for more; `fill` brings the prompts."""
        self.call_count = 0  # number of layers that have attended
        self._counts: dict[int, dict[int, int]] = {}
        for row, count in enumerate(counts):
            self._counts.setdefault(buffer_length(count, room), {})[row] = count
        self._lengths = {row: length for length, rows in self._counts.items() for row in rows}
        self._filled: dict[int, _Bucket] = {}
        self._masks: dict[tuple[int, int | None], torch.Tensor] = {}

    def fill(self, prompts: Mapping[int, Sequence[KeyRange]]) -> None:
        """Copy what rows' tokens attend to of their prompts into buffers; the caches are not needed afterwards.

        Every owner of a range is a cache.
        """
        for length in sorted({self._lengths[row] for row in prompts}):
            own = {row: ranges for row, ranges in prompts.items() if self._lengths[row] == length}
            if length not in self._filled:
                owner = next(iter(own.values()))[0].owner
                assert isinstance(owner, KVCache)
                self._filled[length] = _Bucket(self._counts[length], length, owner)
            self._filled[length].fill(own)

    @property
    def _buckets(self) -> list[_Bucket]:
        return [bucket for _, bucket in sorted(self._filled.items())]

    @property
    def rows(self) -> list[int]:
        """The rows that are computed, in the order of their tokens in a step."""
        return [row for bucket in self._buckets for row in bucket.rows]

    @property
    def positions(self) -> torch.Tensor:
        """The position of each row's next token, (rows,), in the order of `rows`."""
        return torch.cat([bucket.counts for bucket in self._buckets])

    def keep(self, rows: set[int]) -> None:
        """Drop all rows but these."""
        for bucket in self._buckets:
            bucket.keep(rows)
        self._filled = {length: bucket for length, bucket in self._filled.items() if bucket.rows}

    def forget_step(self) -> None:
        """Start a step again; the next one overwrites what it wrote."""
        self.call_count = 0
        self._masks.clear()

    def advance(self) -> None:
        """Count the tokens of a finished step."""
        self.forget_step()
        for bucket in self._buckets:
            bucket.counts += 1

    def attend(
        self, layer: int, tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor], rule: AttentionRule
    ) -> torch.Tensor:
        """Append each row's newest keys and values to its buffer and attend to all of it; see Pack.attend."""
        self.call_count += 1
        query, keys, values = tensors
        _, query_heads, count, dimension = query.shape
        output = query.new_zeros(count, query_heads, dimension)  # the pack's padding attends to nothing
        start = 0
        for number, bucket in enumerate(self._buckets):
            stop = start + len(bucket.rows)
            held = bucket.layers[layer]
            every = torch.arange(len(bucket.rows), device=query.device)
            for buffer, newest in zip(held, (keys, values), strict=True):
                buffer[every, :, bucket.counts] = newest[0, :, start:stop].transpose(0, 1)
            mask = self._masks.get((number, rule.window))
            if mask is None:
                mask = self._masks[number, rule.window] = bucket.masks(rule.window)
            output[start:stop] = _attend_rows(query[0, :, start:stop].transpose(0, 1), held, mask, rule)
            start = stop
        return output[None]


def _attend_rows(
    query: torch.Tensor, held: tuple[torch.Tensor, torch.Tensor], mask: torch.Tensor, rule: AttentionRule
) -> torch.Tensor:
    """Return the attention output of one token per row: (rows, query heads, dimension), as the query."""
    rows, query_heads, dimension = query.shape
    _, key_heads, length, _ = held[0].shape
    grouped = query.reshape(rows * key_heads, query_heads // key_heads, dimension)
    keys, values = (buffer.view(rows * key_heads, length, dimension) for buffer in held)
    added = mask.expand(rows, key_heads, 1, length).reshape(rows * key_heads, 1, length)
    return attend_block(grouped, keys, values, added, rule).view(rows, query_heads, dimension)
