"""The answers of a data set on rings, from which distractors are taken: near ones first, each distinct answer once.

In: rows with their answers. Out: for a sample, one answer after the other that is given about another passage, without
a walk over the data a sample, however often an answer or a passage recurs.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from tasks.priming.records import Sample

Level: TypeAlias = tuple[object, ...]
"""Which answers stand on a ring: (query type, length class), (query type,) or () for all."""


class AnswerRing:
    """The distinct answers of a level on a ring, in the order of their hashes."""

    def __init__(self, answers: Sequence[tuple[str, str, list[Sample]]]) -> None:
        """Take (hash, answer, up to two rows that give it, about different passages), in order."""
        self._answers = answers
        self._hashes = [rank for rank, _, _ in answers]
        # Steps to the next answer that is not about the same single passage: a walk past all answers about one
        # passage, as long as the data where nearly all rows are about it, is one leap.
        self._leaps = [1] * len(answers)
        passages = [rows[0].passage_id if len(rows) == 1 else None for _, _, rows in answers]
        for number in [*reversed(range(len(answers)))] * 2:  # twice around, since a leap may pass the end
            following = (number + 1) % len(answers)
            if passages[number] is not None and passages[number] == passages[following]:
                self._leaps[number] = 1 + self._leaps[following]

    def others(self, start: str, passage_id: str) -> Iterator[tuple[str, Sample]]:
        """Yield each answer that is given about another passage and a row that gives it, once around from a hash."""
        first, step = bisect_left(self._hashes, start), 0
        while step < len(self._answers):
            number = (first + step) % len(self._answers)
            _, answer, rows = self._answers[number]
            row = next((row for row in rows if row.passage_id != passage_id), None)
            step += self._leaps[number] if row is None else 1
            if row is not None:
                yield answer, row


def levels_of(sample: Sample, answer: str) -> tuple[Level, ...]:
    """Return the levels that an answer belongs to, the closest first."""
    # The bit length of a word count: 1 for one word, 2 for 2-3, 3 for 4-7, 4 for 8-15.
    return (sample.query_type, len(answer.split()).bit_length()), (sample.query_type,), ()


def comparable(answer: str) -> str:
    """Return what is left of an answer without case, doubled space and final marks: equal answers, equal texts."""
    return " ".join(answer.casefold().split()).rstrip(".!? ")
