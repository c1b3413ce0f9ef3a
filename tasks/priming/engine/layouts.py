"""Where the segments of a pack stand, what each sees, and the blocks of rows in which it is computed."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from tasks.priming.engine.segments import KeyRange, Segment, visible_key_ranges

# Rows are cut at multiples of this position: a causal block reads no further than its own last row. The cuts follow
# from positions, so that a row is computed alike whether a shared prefix stands in its own segment or in a cache.
_BLOCK = 64
# A remainder of fewer rows than this is computed with the block before it.
_LEAST_REMAINDER = 24


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a segment, and how many of the keys that the segment sees they reach."""

    start: int
    """The first row, counted in the segment and its branches."""
    stop: int
    """The one behind the last."""
    key_count: int
    """Keys from the first on that one of the rows sees."""


@dataclass(slots=True)
class Layout:
    """Where a segment stands in its pack, what it sees, and the blocks in which it is computed."""

    segment: Segment
    """The segment."""
    first_row: int
    """Its first row in the pack."""
    key_ranges: list[KeyRange]
    """What it sees of its ancestors."""
    key_positions: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    """The position of each key that it sees, its own last."""
    blocks: list[Block]
    """How its rows are cut."""
    masks: dict[tuple[int, int | None], torch.Tensor] = field(default_factory=dict)
    """What is added to the scores of a block, by its number and the layer's window, as layers ask for it."""

    @property
    def before_count(self) -> int:
        """Keys before the segment's own."""
        return len(self.key_positions) - len(self.segment.all_ids)

    @property
    def has_gap(self) -> bool:
        """Whether something before the segment is hidden from it."""
        return self.before_count < self.segment.token_count - self.segment.own_count


def lay_out(segments: Sequence[Segment]) -> list[Layout]:
    """Return the layouts of segments laid end to end, parents before children."""
    ends = itertools.accumulate((len(segment.all_ids) for segment in segments), initial=0)
    return [_lay_out(segment, first_row) for segment, first_row in zip(segments, ends, strict=False)]


def _lay_out(segment: Segment, first_row: int) -> Layout:
    key_ranges = visible_key_ranges(segment)
    before = [np.arange(s.position, s.position + s.stop - s.start) for s in key_ranges]
    before_count = sum(len(part) for part in before)
    own = np.array(segment.positions)
    first = int(own[0])
    # Branches are one block with the last rows of the segment: they are few.
    last = len(segment.ids)
    cuts = [0, *range(-first % _BLOCK or _BLOCK, last - _LEAST_REMAINDER + 1, _BLOCK), len(own)]
    blocks = [Block(start, stop, before_count + stop) for start, stop in itertools.pairwise(cuts)]
    return Layout(segment, first_row, key_ranges, np.concatenate([*before, own]), blocks)
