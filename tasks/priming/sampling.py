"""Which rows of a data set become samples: how rows are read, which are eligible, and the seeded draw.

In: rows of a data set. Out: samples in drawn order, for each a donor (a row about another passage) and distractors
(wrong answers); the first rejected rows; and a funnel that counts dropped rows by reason.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias, TypeVar

import numpy as np

from tasks.priming.errors import UsageError
from tasks.priming.records import Distractor, Reject, Sample
from tasks.priming.settings import SamplingSettings

Candidate = TypeVar("Candidate")

Level: TypeAlias = tuple[object, ...]
"""Which answers are comparable: (query type, length class), (query type,), or () for all."""

NO_ANSWER = ("", "[]", "No Answer Present.")  # texts that mean "there is no answer" in the data

COLUMNS = (
    "passage", "query", "answer", "passages", "answers", "wellFormedAnswers", "query_type", "context", "question",
)  # fmt: skip
"""Columns that are read; others are ignored."""

MAX_REJECTS = 1_000  # rejected rows that are kept to be looked at; all are counted

_EXCERPT_CHARACTERS = 80
_SHOWN_CHARACTERS = 300  # of a row's column names


@dataclass(frozen=True, slots=True)
class Source:
    """Location of a known data set."""

    location: str  # an id on the hub, or a path relative to the project's folder
    config: str | None = None  # name of the configuration on the hub
    split: str | None = None  # the split on the hub
    licence: str = "unknown"  # as a dataset card on the hub names it
    may_be_passed_on: bool = True  # whether the licence lets an export contain the texts


DATASETS: dict[str, Source] = {
    "example": Source("tasks/example/corpus.jsonl", licence="apache-2.0"),
    # For research that is not commercial; its terms grant no right to pass the texts on.
    "msmarco-v1.1": Source("microsoft/ms_marco", "v1.1", "validation", licence="other", may_be_passed_on=False),
}


@dataclass(frozen=True, slots=True)
class Funnel:
    """Counts of a data set's rows by what became of them."""

    rows: int  # rows read
    eligible: int  # rows that qualify
    drawn: int  # samples drawn from them
    rejected: dict[str, int]  # rows dropped, by reason


class RowFormatError(UsageError):
    """A row has the columns of neither supported format."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn from a data set."""

    samples: list[Sample]  # the samples, in drawn order
    # For each sample a row about another passage, a source of words and queries for controls; empty if all eligible
    # rows are about one passage.
    donors: list[Sample]
    # Wrong answers, sample by sample in drawn order; fewer than requested where the data have no more.
    distractors: list[Distractor]
    rejects: list[Reject]  # the first rows that cannot be samples, at most MAX_REJECTS
    funnel: Funnel  # what became of the rows


def draw_samples(rows: Iterable[Mapping[str, Any]], settings: SamplingSettings, seed: int) -> Draw:
    """Return the samples in drawn order, their donors and distractors, the first rejected rows, and the funnel.

    Raises:
        RowFormatError: A row has the wrong columns or types.
    """
    eligible: list[Sample] = []
    rejected: dict[str, int] = {}
    rejects: list[Reject] = []
    known: set[str] = set()
    count = 0
    for position, row in enumerate(rows):
        count += 1
        sample = read_row(row, position, settings.min_words, settings.max_words)
        if isinstance(sample, Sample) and sample.sample_id in known:
            sample = "duplicate of an earlier row"
        if isinstance(sample, str):
            rejected[sample] = rejected.get(sample, 0) + 1
            if len(rejects) < MAX_REJECTS:
                rejects.append(Reject(position + 1, sample, _excerpt(row)))
        else:
            known.add(sample.sample_id)
            eligible.append(sample)
    draw = draw_notebook if settings.draw == "notebook" else draw_nested
    drawn = draw(eligible, settings.sample_count, seed)
    funnel = Funnel(count, len(eligible), len(drawn), rejected)
    distractors = choose_distractors(eligible, drawn, seed, settings.distractor_count)
    return Draw(drawn, choose_donors(eligible, drawn, seed), distractors, rejects, funnel)


def choose_donors(eligible: Sequence[Sample], drawn: Sequence[Sample], seed: int) -> list[Sample]:
    """Return for each drawn sample an eligible row about another passage; none if there is only one passage.

    Eligible rows form a ring in the order of a hash of seed and id, and a donor is the next row about another passage:
    as good as a random draw, the same however many samples are drawn, and in O(n log n) even if nearly all rows are
    about one passage.
    """
    if len({sample.passage_id for sample in eligible}) < 2:
        return []
    ring = sorted(eligible, key=lambda sample: content_hash(str(seed), "donor", sample.sample_id))
    steps = _steps([sample.passage_id for sample in ring])
    donors = {row.sample_id: ring[(number + steps[number]) % len(ring)] for number, row in enumerate(ring)}
    return [donors[sample.sample_id] for sample in drawn]


def choose_distractors(eligible: Sequence[Sample], drawn: Sequence[Sample], seed: int, count: int) -> list[Distractor]:
    """Return for each drawn sample up to `count` answers to queries about other passages, never its own answer.

    They answer queries of the same type and have a similar length: the same class of word counts (1, 2-3, 4-7, 8-15,
    ...; token counts would depend on the model). If a class has too few, any length of the type is taken, then any
    answer. Answers that differ only in case, space or final marks count as one. Like donors, distractors are as good as
    drawn at random (each distinct answer of a class alike), and the same however many samples are drawn.
    """
    rings = _answer_rings(eligible, seed)
    distractors: list[Distractor] = []
    for sample in drawn:
        own = _comparable(sample.answer)
        start = content_hash(str(seed), "distractor", sample.sample_id)
        found = chain.from_iterable(rings[level].others(start, sample.passage_id) for level in _levels(sample, own))
        chosen: dict[str, Sample] = {}
        for answer, row in found:
            if len(chosen) == count:
                break
            if answer != own:
                chosen.setdefault(answer, row)
        distractors += [
            Distractor(sample.sample_id, number, row.answer, row.sample_id)
            for number, row in enumerate(chosen.values())
        ]
    return distractors


class _AnswerRing:
    """The distinct answers of a level on a ring, in the order of their hashes."""

    def __init__(self, answers: Sequence[tuple[str, str, list[Sample]]]) -> None:
        """Take (hash, answer, up to two rows that give it, about different passages), in order."""
        self._answers = answers
        self._hashes = [rank for rank, _, _ in answers]
        # A walk past all answers about one passage is one step, even where nearly all rows are about it.
        self._steps = _steps([rows[0].passage_id if len(rows) == 1 else None for _, _, rows in answers])

    def others(self, start: str, passage_id: str) -> Iterator[tuple[str, Sample]]:
        """Yield each answer given about another passage and a row that gives it, once around from a hash."""
        first, step = bisect_left(self._hashes, start), 0
        while step < len(self._answers):
            number = (first + step) % len(self._answers)
            _, answer, rows = self._answers[number]
            row = next((row for row in rows if row.passage_id != passage_id), None)
            step += self._steps[number] if row is None else 1
            if row is not None:
                yield answer, row


def _answer_rings(eligible: Sequence[Sample], seed: int) -> dict[Level, _AnswerRing]:
    """Return the ring of every level that has a row."""
    rows: dict[Level, dict[str, list[Sample]]] = {}
    ranks: dict[str, str] = {}
    for row in sorted(eligible, key=lambda sample: content_hash(str(seed), "distractor", sample.sample_id)):
        answer = _comparable(row.answer)
        if answer not in ranks:
            ranks[answer] = content_hash(str(seed), "distractor answer", answer)
        for level in _levels(row, answer):
            known = rows.setdefault(level, {}).setdefault(answer, [])
            # A second row serves samples about the passage of the first; no sample needs a third.
            if len(known) < 2 and all(other.passage_id != row.passage_id for other in known):
                known.append(row)
    return {
        level: _AnswerRing(sorted((ranks[answer], answer, known) for answer, known in answers.items()))
        for level, answers in rows.items()
    }


def _levels(sample: Sample, answer: str) -> tuple[Level, ...]:
    """Return the levels that an answer belongs to, the closest first."""
    # The bit length of a word count: 1 for one word, 2 for 2-3, 3 for 4-7, 4 for 8-15.
    return (sample.query_type, len(answer.split()).bit_length()), (sample.query_type,), ()


def _comparable(answer: str) -> str:
    """Return an answer without case, doubled space and final marks: equal answers give equal texts."""
    return " ".join(answer.casefold().split()).rstrip(".!? ")


def _steps(passages: Sequence[str | None]) -> list[int]:
    """Return for each place on a ring the steps to the next place with another passage; 1 where the passage is None."""
    steps = [1] * len(passages)
    for number in [*reversed(range(len(passages)))] * 2:  # twice around, since the next may be past the end
        following = (number + 1) % len(passages)
        if passages[number] is not None and passages[number] == passages[following]:
            steps[number] = 1 + steps[following]
    return steps


def draw_notebook(
    eligible: Sequence[Candidate], sample_count: int, seed: int, *, candidate_count: int | None = None
) -> list[Candidate]:
    """Shuffle the first candidates in data set order and take the first `sample_count`: the published draw.

    Candidates are twice as many as samples, as in the published run of 2,500, unless their number is given.
    """
    candidates = list(eligible[: candidate_count or 2 * sample_count])
    # The legacy generator is intended: np.random.seed(42); np.random.shuffle(list) gives these positions.
    order = np.random.RandomState(seed).permutation(len(candidates))
    return [candidates[i] for i in order[:sample_count]]


def draw_nested(eligible: Sequence[Sample], sample_count: int, seed: int) -> list[Sample]:
    """Take the samples with the smallest hashes of seed and id: 500 of them are the first 500 of 2,500."""
    return sorted(eligible, key=lambda sample: content_hash(str(seed), sample.sample_id))[:sample_count]


def content_hash(*texts: str) -> str:
    """Return 32 hexadecimal digits of a hash of texts; their lengths are hashed too, so that no two lists collide."""
    joined = b"".join(len(t.encode()).to_bytes(8, "little") + t.encode() for t in texts)
    return hashlib.sha256(joined).hexdigest()[:32]


def read_row(row: Mapping[str, Any], position: int, min_words: int, max_words: int) -> Sample | str:
    """Return the sample of a row, or the reason why it is not eligible.

    The answer is the first well-formed one, else the first answer; all others are accepted as well. The passage is the
    first selected one with an allowed number of words. Columns are MS MARCO's (`passages` as a dict of lists or a list
    of dicts), SQuAD's (`context`, `question`, `answers` with their `text`) or plain `passage`, `query` and `answer`, in
    whose place or after which `answers` may list several.
    """
    try:
        is_plain = "passage" in row or {"context", "question"} <= row.keys()
        query, answers, selected, has_passages = _plain_row(row) if is_plain else _msmarco_row(row)
    except (KeyError, TypeError, AttributeError) as error:
        names = str(sorted(map(str, row)))
        shown = names if len(names) <= _SHOWN_CHARACTERS else f"{names[:_SHOWN_CHARACTERS]}..."
        raise RowFormatError(
            f"Row {position} has the columns {shown}, which cannot be read ({error!r}). Allowed are query, "
            "answers, passages (with passage_text and is_selected) as in MS MARCO, context, question, answers (with "
            "text) as in SQuAD, or passage, query and answer or a list of answers. Rename or correct the columns (rows "
            "count from 0), or give other data."
        ) from None
    if not query or not has_passages:
        return "no query or no passages"
    answer = answers[0] if answers else ""
    if answer in NO_ANSWER:
        return "no answer"
    if not selected:
        return "answer but no selected passage"
    passage = next((p for p in selected if min_words <= len(p.split()) <= max_words), None)
    if passage is None:
        return f"selected passage outside {min_words}-{max_words} words"
    query_type = None if row.get("query_type") is None else str(row["query_type"])
    if any("\ud800" <= character <= "\udfff" for character in "".join((passage, query, *answers, query_type or ""))):
        return "text with half a surrogate pair"
    return Sample(
        sample_id=content_hash(passage, query, answer),
        position=position,
        passage=passage,
        query=query,
        answer=answer,
        query_type=query_type,
        passage_id=content_hash(passage),
        answers=tuple(dict.fromkeys(text for text in answers if text not in NO_ANSWER)),
    )


def _plain_row(row: Mapping[str, Any]) -> tuple[str, list[str], list[str], bool]:
    """Return query, answers, the passages to choose from, and whether there are any passages at all."""
    passage, query = (row["passage"], row["query"]) if "passage" in row else (row["context"], row["question"])
    listed = row.get("answers")
    others = _list(listed["text"] if isinstance(listed, Mapping) else listed)
    # A row that has neither column cannot be read; None in the one that it has means that there is no answer.
    answers = [row["answer"], *others] if "answer" in row or "answers" not in row else others
    text = _text(passage)
    return _text(query), [_text(answer) for answer in answers], [text] if text else [], bool(text)


def _msmarco_row(row: Mapping[str, Any]) -> tuple[str, list[str], list[str], bool]:
    """Return the same as _plain_row, from MS MARCO's columns."""
    passages = row["passages"]
    if isinstance(passages, Mapping):
        texts, marks = _list(passages["passage_text"]), _list(passages["is_selected"])
    else:
        parts = _list(passages)
        texts, marks = [part["passage_text"] for part in parts], [part["is_selected"] for part in parts]
    # There may be fewer marks than passages; a passage without a mark was not selected.
    selected = [_text(text) for text, mark in zip(texts, marks, strict=False) if mark == 1]
    well_formed = row.get("wellFormedAnswers")
    # Some files write an empty list as the text "[]".
    well_formed = [_text(text) for text in well_formed or ()] if not isinstance(well_formed, str) else []
    answers = [] if row["answers"] == "[]" else [_text(text) for text in _list(row["answers"])]
    if well_formed and well_formed[0] not in NO_ANSWER:
        answers, well_formed = well_formed, answers
    return _text(row["query"]), [*answers, *well_formed], selected, bool(texts)


def _list(value: object) -> list[Any]:
    """Return a list unchanged, an empty one for None. A text is refused: its first letter would become an answer."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise TypeError(f"{type(value).__name__} instead of a list")
    return list(value)


def _text(value: object) -> str:
    """Return a text unchanged, an empty one for None or only blanks."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of text")
    return value if value.strip() else ""


def _excerpt(row: Mapping[str, Any]) -> str:
    """Return how the first text of a row begins, on one line that every encoding can store."""
    texts = (row.get(name) for name in ("query", "passage", "answer"))
    text = next((text for text in texts if isinstance(text, str) and text.strip()), "")
    shown = text.strip()[: 10 * _EXCERPT_CHARACTERS].encode(errors="replace").decode()
    return " ".join(shown.split())[:_EXCERPT_CHARACTERS]
