"""What a packed pass computes: runs of tokens, each after an earlier segment or a cache, and how they are laid out.

    context   c0 c1 ... cn                           a segment, or a cache from an earlier pass
    query                  q0 ... qm                 after the context; several queries may share one context
    branches                        a0 a1            after the query; branches do not attend to each other
                                    d0 d1 d2

A token's position is the number of tokens before it along its own chain of parents, whatever it attends to. A part of
the context is dropped by hiding it together with all before it, and giving what must stay, the first token, its place:

    context    c0 c1 c2 c3 ... cn                  c1 and c2 are to be dropped
    first            c0                            a segment of its own at position 2, next to c3
    query                         q0 ... qm        sees c0 at position 2, then c3 ... cn
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import torch

# Rows are cut at multiples of this position, so that a causal block reads no further than its own last row. The cuts
# depend on positions alone: a row is computed the same way whether a shared prefix is a segment or a cache.
_BLOCK = 64
# A remainder of fewer rows than this joins the block before it.
_LEAST_REMAINDER = 24


@dataclass(frozen=True, slots=True, eq=False)
class KVCache:
    """The keys and values of a run of tokens in every layer, after those of its parent.

    transformers appends to a cache that it is given, even with `use_cache=False`: a cache that was scored once holds
    the first answer and gives different numbers the second time. This class is immutable: its keys and values can be
    read, and there is no method to append.
    """

    # Per layer the keys and values of its own tokens, (1, heads, tokens, dimension).
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    parent: "KVCache | None" = None  # the cache of the tokens before, shared by all children and never copied

    @property
    def own_count(self) -> int:
        """Number of its own tokens."""
        return self.layers[0][0].shape[2]

    @property
    def token_count(self) -> int:
        """Number of tokens, parents included: the position of the next token."""
        return self.own_count + (self.parent.token_count if self.parent else 0)

    @property
    def byte_count(self) -> int:
        """Bytes of keys and values, parents included."""
        own = sum(t.numel() * t.element_size() for layer in self.layers for t in layer)
        return own + (self.parent.byte_count if self.parent else 0)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A run of tokens that attends to its ancestors and to itself."""

    ids: Sequence[int]  # token ids, at least one
    parent: "Parent | None" = None  # a cache, or an earlier segment of the same pass
    hidden: tuple[int, int] = (0, 0)  # range of earlier positions that neither the segment nor its branches attend to
    # Alternative continuations of the segment; an empty one needs no computation.
    branches: tuple[Sequence[int], ...] = ()
    first: "Segment | None" = None  # an earlier segment, in hidden positions, that it attends to before its ancestors
    start: int = 0  # the position of its first token if it has no parent

    @property
    def own_count(self) -> int:
        """Number of its own tokens, branches excluded."""
        return len(self.ids)

    @property
    def token_count(self) -> int:
        """Number of tokens up to its end, ancestors included: the position of the next token."""
        return len(self.ids) + (self.parent.token_count if self.parent else self.start)

    @property
    def all_ids(self) -> list[int]:
        """Its token ids, then those of its branches."""
        return [*self.ids, *(token for branch in self.branches for token in branch)]

    @property
    def positions(self) -> list[int]:
        """The position of each of `all_ids`; every branch starts where the segment ends."""
        end = self.token_count
        after = (end + number for branch in self.branches for number in range(len(branch)))
        return [*range(end - len(self.ids), end), *after]

    @property
    def branch_numbers(self) -> list[int]:
        """The branch of each of `all_ids`, counted from 1; 0 for the segment's own tokens."""
        return [*[0] * len(self.ids), *(number for number, branch in enumerate(self.branches, 1) for _ in branch)]


Parent: TypeAlias = KVCache | Segment


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Consecutive tokens of one ancestor that a segment attends to."""

    owner: Parent  # the ancestor
    start: int  # the first token, counted within the ancestor
    stop: int  # one past the last token
    position: int  # the position of the first token


def visible_key_ranges(segment: Segment) -> list[KeyRange]:
    """Return what a segment attends to of its ancestors, and of its `first`, in order of position."""
    ancestors: list[Parent] = []
    ancestor = segment.parent
    while ancestor is not None:
        ancestors.append(ancestor)
        ancestor = ancestor.parent
    found = []
    if segment.first is not None:
        found.append(KeyRange(segment.first, 0, segment.first.own_count, segment.first.start))
    for owner in reversed(ancestors):
        first = owner.token_count - owner.own_count
        # Before and after the hidden range.
        for low, high in ((first, segment.hidden[0]), (segment.hidden[1], owner.token_count)):
            start, stop = max(low, first), min(high, owner.token_count)
            if start < stop:
                found.append(KeyRange(owner, start - first, stop - first, start))
    return found


@dataclass(slots=True)
class Layout:
    """Where a segment lies in its pack, what it attends to, and the blocks of rows in which it is computed."""

    segment: Segment  # the segment
    first_row: int  # its first row in the pack
    key_ranges: list[KeyRange]  # what it attends to of its ancestors
    # The position of each key that it attends to, its own last.
    key_positions: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    # Its rows in blocks, each from the first number up to the second, branches included.
    blocks: list[tuple[int, int]]
    # Masks that layers have asked for, by number of the block and the layer's window.
    masks: dict[tuple[int, int | None], torch.Tensor] = field(default_factory=dict)

    @property
    def before_count(self) -> int:
        """Number of keys before the segment's own."""
        return len(self.key_positions) - len(self.segment.all_ids)

    @property
    def has_gap(self) -> bool:
        """Whether a part between the keys that it attends to is hidden from it."""
        first_own = self.segment.token_count - self.segment.own_count
        return self.before_count < first_own - int(self.key_positions[0])


def lay_out(segments: Sequence[Segment]) -> list[Layout]:
    """Return the layouts of segments laid end to end, parents before children."""
    layouts = []
    first_row = 0
    for segment in segments:
        key_ranges = visible_key_ranges(segment)
        before = [np.arange(r.position, r.position + r.stop - r.start) for r in key_ranges]
        own = np.array(segment.positions)
        # Branches are computed with the segment's last rows: they are short.
        last = len(segment.ids)
        cuts = [0, *range(-int(own[0]) % _BLOCK or _BLOCK, last - _LEAST_REMAINDER + 1, _BLOCK), len(own)]
        positions, blocks = np.concatenate([*before, own]), [*itertools.pairwise(cuts)]
        layouts.append(Layout(segment, first_row, key_ranges, positions, blocks))
        first_row += len(own)
    return layouts
