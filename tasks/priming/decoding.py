"""The keys and values of many lines in the making, and one step of all of them: each row's newest token.

In: prompts' caches. Out: a pack that attends as packing.py asks. Rows of like length lie in one buffer, whose length
follows from the row's own prompt, so that one product serves all of them and a row's numbers do not depend on its
mates. Only generation holds such buffers; what scoring reads is a KVCache, which cannot grow.
"""

from collections.abc import Sequence

import torch

from tasks.priming.attention import AttentionRule, attend_block
from tasks.priming.segments import KVCache, joined

# Buffers are this long or a multiple of it: rows whose lengths differ less share one.
_LENGTH_STEP = 64


class _Bucket:
    """Rows whose buffers have one length."""

    def __init__(self, rows: list[int], caches: Sequence[KVCache], length: int) -> None:
        self.rows = rows
        self.layers: list[tuple[torch.Tensor, torch.Tensor]] = []
        first = caches[0].layers[0][0]
        self.counts = torch.tensor([cache.token_count for cache in caches], device=first.device)
        for layer in range(len(caches[0].layers)):
            pair = tuple(first.new_zeros(len(rows), first.shape[1], length, first.shape[3]) for _ in range(2))
            for row, cache in enumerate(caches):
                for buffer, held in zip(pair, joined(cache, layer), strict=True):
                    buffer[row, :, : held.shape[2]] = held[0]
            self.layers.append((pair[0], pair[1]))

    def keep(self, rows: set[int]) -> None:
        """Leave out all other rows."""
        places = [place for place, row in enumerate(self.rows) if row in rows]
        if len(places) < len(self.rows):
            chosen = torch.tensor(places, dtype=torch.long, device=self.counts.device)
            self.rows = [self.rows[place] for place in places]
            self.counts = self.counts[chosen]
            self.layers = [(keys[chosen], values[chosen]) for keys, values in self.layers]

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

    def __init__(self, caches: Sequence[KVCache], room: int) -> None:
        """Copy the caches into buffers with room for so many more tokens each."""
        self.call_count = 0
        """Layers that attended."""
        lengths: dict[int, list[int]] = {}
        for row, cache in enumerate(caches):
            lengths.setdefault(-(-(cache.token_count + room) // _LENGTH_STEP) * _LENGTH_STEP, []).append(row)
        self._buckets = [
            _Bucket(rows, [caches[row] for row in rows], length) for length, rows in sorted(lengths.items())
        ]
        self._masks: dict[tuple[int, int | None], torch.Tensor] = {}

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
        self._buckets = [bucket for bucket in self._buckets if bucket.rows]

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
        output = query.new_zeros(count, query_heads, dimension)  # the pack's filling attends to nothing
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
