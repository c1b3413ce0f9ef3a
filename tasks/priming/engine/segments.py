"""What a packed pass computes: runs of tokens, each behind another or behind a cache.

    context   c0 c1 ... cn                           a segment, or a cache from an earlier pass
    query                  q0 ... qm                 behind the context; several may stand behind one
    branches                        a0 a1            behind the query, and none of them sees another
                                    d0 d1 d2

A token's position is the number of tokens before it in its own line of descent, whoever it sees.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch


@dataclass(frozen=True, slots=True, eq=False)
class KVCache:
    """The keys and values of a run of tokens, for every layer, behind those of its parent.

    transformers appends to a cache it is given, even with `use_cache=False`: a cache that was scored once holds the
    first answer and gives other numbers the second time. This one is immutable by its type: it offers its keys and
    values to be read together with those of what stands behind it, and nothing to append with.
    """

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    """Per layer keys and values of the own tokens, (1, heads, tokens, dimension)."""
    parent: "KVCache | None" = None
    """The cache of the tokens before, shared by all its children and copied by none."""

    @property
    def own_count(self) -> int:
        """Tokens of its own."""
        return self.layers[0][0].shape[2]

    @property
    def token_count(self) -> int:
        """Tokens held, those of the parents included; the position of what follows."""
        return self.own_count + (self.parent.token_count if self.parent else 0)

    @property
    def byte_count(self) -> int:
        """Bytes of keys and values, those of the parents included."""
        own = sum(t.numel() * t.element_size() for layer in self.layers for t in layer)
        return own + (self.parent.byte_count if self.parent else 0)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A run of tokens that attends to what stands before it and to itself."""

    ids: Sequence[int]
    """Token ids, at least one."""
    parent: "Parent | None" = None
    """What stands before it, if anything: a cache, or an earlier segment of the same pass."""
    hidden: tuple[int, int] = (0, 0)
    """Positions before it, from the first up to the second number, that neither it nor its branches see."""
    branches: tuple[Sequence[int], ...] = ()
    """Alternative continuations of the segment, read by nobody else; an empty one has nothing to compute."""

    @property
    def own_count(self) -> int:
        """Tokens of its own, without its branches."""
        return len(self.ids)

    @property
    def token_count(self) -> int:
        """Tokens up to its end, those of its ancestors included: the position of what follows."""
        return len(self.ids) + (self.parent.token_count if self.parent else 0)

    @property
    def all_ids(self) -> list[int]:
        """Its token ids, its branches' behind its own."""
        return [*self.ids, *(token for branch in self.branches for token in branch)]

    @property
    def positions(self) -> list[int]:
        """The position of each of `all_ids`; branches begin where the segment ends."""
        end = self.token_count
        return [
            *range(end - len(self.ids), end),
            *(end + number for branch in self.branches for number in range(len(branch))),
        ]

    @property
    def branch_numbers(self) -> list[int]:
        """Which branch each of `all_ids` belongs to, from 1; 0 for the segment's own tokens."""
        behind = (number for number, branch in enumerate(self.branches, 1) for _ in branch)
        return [*[0] * len(self.ids), *behind]


Parent: TypeAlias = KVCache | Segment


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Consecutive tokens of one ancestor that a segment sees."""

    owner: Parent
    """The ancestor."""
    start: int
    """Its first token that is seen, counted in the ancestor."""
    stop: int
    """The one behind the last."""
    position: int
    """The position of the first."""


def visible_key_ranges(segment: Segment) -> list[KeyRange]:
    """Return what a segment sees of its ancestors, from the first position on."""
    found = []
    for owner in _ancestors(segment):
        first = owner.token_count - owner.own_count
        # Before what is hidden, and behind it.
        for low, high in ((first, segment.hidden[0]), (segment.hidden[1], owner.token_count)):
            start, stop = max(low, first), min(high, owner.token_count)
            if start < stop:
                found.append(KeyRange(owner, start - first, stop - first, start))
    return found


def _ancestors(segment: Segment) -> Iterator[Parent]:
    """Yield what stands before a segment, the root first."""
    chain: list[Parent] = []
    ancestor = segment.parent
    while ancestor is not None:
        chain.append(ancestor)
        ancestor = ancestor.parent
    yield from reversed(chain)
