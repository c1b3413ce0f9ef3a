"""The keys and values of many lines in the making, and one step of all of them: each row's newest token.

In: prompts' caches. Out: a pack that attends as packing.py asks. Rows of like length lie in one buffer, whose length
follows from the row's own prompt, so that one product serves all of them and a row's numbers do not depend on its
mates. Only generation holds such buffers; what scoring reads is a KVCache, which cannot grow.
"""

import itertools
from collections.abc import Sequence

import torch

from tasks.priming.engine.attention import AttentionRule, attend_block
from tasks.priming.engine.segments import KVCache

# Buffers are this long or a multiple of it: rows whose lengths differ less share one.
_LENGTH_STEP = 64


def buffer_length(token_count: int, room: int) -> int:
    """Return the tokens of the buffer of a row whose prompt has so many, with room for more of them."""
    return -(-(token_count + room) // _LENGTH_STEP) * _LENGTH_STEP


class _Bucket:
    """Rows whose buffers have one length."""

    def __init__(self, counts: dict[int, int], length: int, like: KVCache) -> None:
        """Make empty buffers for rows whose prompts have so many tokens, of the shape of a cache's keys and values."""
        self.rows = list(counts)
        keys = like.layers[0][0]
        self.counts = torch.tensor(list(counts.values()), device=keys.device)
        shape = (len(counts), keys.shape[1], length, keys.shape[3])
        self.layers = [(keys.new_zeros(shape), keys.new_zeros(shape)) for _ in like.layers]

    def fill(self, row: int, cache: KVCache) -> None:
        """Copy a prompt's keys and values, those of the cache's parents included."""
        place = self.rows.index(row)
        link: KVCache | None = cache
        while link is not None:
            stop = link.token_count
            for buffers, held in zip(self.layers, link.layers, strict=True):
                for buffer, own in zip(buffers, held, strict=True):
                    buffer[place, :, stop - link.own_count : stop] = own[0]
            link = link.parent

    def keep(self, rows: set[int]) -> None:
        """Leave out all other rows; rows from the end take their places, so that no second buffer is needed."""
        count = sum(row in rows for row in self.rows)
        if count == len(self.rows):
            return
        free = [place for place, row in enumerate(self.rows[:count]) if row not in rows]
        moved = [place for place, row in enumerate(self.rows) if row in rows and place >= count]
        for to, origin in zip(free, moved, strict=True):
            self.rows[to] = self.rows[origin]
        del self.rows[count:]
        targets, origins = (torch.tensor(places, device=self.counts.device) for places in (free, moved))
        for tensor in (self.counts, *itertools.chain.from_iterable(self.layers)):
            if moved:
                tensor[targets] = tensor[origins]
        self.counts = self.counts[:count]
        self.layers = [(keys[:count], values[:count]) for keys, values in self.layers]

    def masks(self, window: int | None) -> torch.Tensor:
        """Return what is added to the scores, (rows, 1, 1, length): 0 up to the newest token, else -infinity."""
        keys = torch.arange(self.layers[0][0].shape[2], device=self.counts.device)
        newest = self.counts[:, None]
        is_seen = keys <= newest
        if window is not None:
            is_seen &= keys > newest - window
        added = torch.zeros(is_seen.shape, dtype=self.layers[0][0].dtype, device=self.counts.device)
        return added.masked_fill_(~is_seen, float("-inf"))[:, None, None]


class DecodingPack:
    """One token a row, each behind what was written before; travels through the model's layers as Pack does."""

    def __init__(self, counts: Sequence[int], room: int) -> None:
        """Begin with rows that `fill` is still to bring, each of so many tokens, and room for more of them.

        Args:
            counts: Tokens of each row's prompt.
            room: Tokens that may be written behind it.
        """
        self.call_count = 0
        """Layers that attended."""
        self._counts: dict[int, dict[int, int]] = {}
        for row, count in enumerate(counts):
            self._counts.setdefault(buffer_length(count, room), {})[row] = count
        self._lengths = {row: length for length, rows in self._counts.items() for row in rows}
        self._filled: dict[int, _Bucket] = {}
        self._masks: dict[tuple[int, int | None], torch.Tensor] = {}

    def fill(self, row: int, cache: KVCache) -> None:
        """Copy a prompt's cache into its row's buffer, which needs it no longer then."""
        length = self._lengths[row]
        if length not in self._filled:
            self._filled[length] = _Bucket(self._counts[length], length, cache)
        self._filled[length].fill(row, cache)

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
        """Leave out all rows but these."""
        for bucket in self._buckets:
            bucket.keep(rows)
        self._filled = {length: bucket for length, bucket in self._filled.items() if bucket.rows}

    def forget_step(self) -> None:
        """Begin a step anew: what it wrote will be written over."""
        self.call_count = 0
        self._masks.clear()

    def advance(self) -> None:
        """Count the tokens that a step has computed."""
        self.forget_step()
        for bucket in self._buckets:
            bucket.counts += 1

    def attend(
        self, layer: int, tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor], rule: AttentionRule
    ) -> torch.Tensor:
        """Write each row's newest keys and values behind its others, and attend to all of them; see Pack.attend."""
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
    """Return the attention of one token a row: (rows, query heads, dimension), as the query."""
    rows, query_heads, dimension = query.shape
    _, key_heads, length, _ = held[0].shape
    grouped = query.reshape(rows * key_heads, query_heads // key_heads, dimension)
    keys, values = (buffer.view(rows * key_heads, length, dimension) for buffer in held)
    added = mask.expand(rows, key_heads, 1, length).reshape(rows * key_heads, 1, length)
    return attend_block(grouped, keys, values, added, rule).view(rows, query_heads, dimension)
