"""Which rows of a data set become samples: how rows are read, which are eligible, and the seeded draw.

In: rows as a data set gives them. Out: samples in drawn order; for each a donor about another passage and distractors,
wrong answers; the first rejected rows; and a funnel that counts every row that was dropped under its reason.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeVar

import numpy as np

from tasks.priming.answer_rings import AnswerRing, Level, comparable, levels_of
from tasks.priming.errors import UsageError
from tasks.priming.records import Distractor, Reject, Sample
from tasks.priming.settings import SamplingSettings

Candidate = TypeVar("Candidate")

NO_ANSWER = ("", "[]", "No Answer Present.")
"""What stands in the data for "there is no answer"."""

COLUMNS = ("passage", "query", "answer", "passages", "answers", "wellFormedAnswers", "query_type")
"""What is read of a row; other columns are ignored."""

MAX_REJECTS = 1_000
"""Rejected rows that are kept to be looked at; all are counted."""

_EXCERPT_CHARACTERS = 80

_SHOWN_CHARACTERS = 300
"""Of a row's column names."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the rows of a known data set are."""

    location: str
    """An id on the hub, or a path from the project's folder."""
    config: str | None = None
    """The configuration's name on the hub."""
    split: str | None = None
    """The split on the hub."""


DATASETS: dict[str, Source] = {
    "example": Source("tasks/example/corpus.jsonl"),
    "msmarco-v1.1": Source("microsoft/ms_marco", "v1.1", "validation"),
}


@dataclass(frozen=True, slots=True)
class Funnel:
    """How rows of the data set became samples: the counts, complete however many rows there are."""

    rows: int
    """Rows that were read."""
    eligible: int
    """Rows that could be samples."""
    drawn: int
    """Samples drawn from them."""
    rejected: dict[str, int]
    """Rows that were dropped, by reason."""


class RowFormatError(UsageError):
    """A row has neither the columns of MS MARCO nor plain ones."""


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn from a data set."""

    samples: list[Sample]
    """The samples, in drawn order."""
    donors: list[Sample]
    """For each sample a row about another passage, which controls take words and queries from; empty where all
    eligible rows are about one passage."""
    distractors: list[Distractor]
    """For each sample wrong answers, sample by sample in drawn order; fewer than asked for where the data hold no
    more."""
    rejects: list[Reject]
    """The first rows that could not be samples, at most MAX_REJECTS."""
    funnel: Funnel
    """What became of all rows."""


def draw_samples(rows: Iterable[Mapping[str, Any]], settings: SamplingSettings, seed: int) -> Draw:
    """Return the drawn samples in order, their donors and distractors, rejected rows, and the funnel.

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
    """Return for each drawn sample another eligible row, about another passage; none if there is only one passage.

    All eligible rows stand on a ring in the order of a hash of seed and id, and a donor is the next row on it that is
    about another passage: as good as drawn at random, the same however many samples are drawn, and in n log n, also
    where nearly all rows are about one passage.
    """
    if len({sample.passage_id for sample in eligible}) < 2:
        return []
    ring = sorted(eligible, key=lambda sample: content_hash(str(seed), "donor", sample.sample_id))
    steps = [1] * len(ring)  # to the next row about another passage
    for number in [*reversed(range(len(ring)))] * 2:  # twice around, since it may stand behind the end
        following = (number + 1) % len(ring)
        if ring[number].passage_id == ring[following].passage_id:
            steps[number] = 1 + steps[following]
    donors = {row.sample_id: ring[(number + steps[number]) % len(ring)] for number, row in enumerate(ring)}
    return [donors[sample.sample_id] for sample in drawn]


def choose_distractors(eligible: Sequence[Sample], drawn: Sequence[Sample], seed: int, count: int) -> list[Distractor]:
    """Return for each drawn sample up to `count` answers to queries about other passages, none of them its own answer.

    They answer queries of the same type and are about as long: their words are in the same class (1, 2-3, 4-7, 8-15,
    ...; tokens are not known before a model is). Where a class holds too few, any length of the type is taken, then
    any answer. Answers that differ in case, space or final marks alone are one. As a donor, a distractor is as good as
    drawn at random (each distinct answer of a class alike), and the same however many samples are drawn.

    Args:
        eligible: All eligible rows, the drawn ones among them, each sample_id once.
        drawn: The samples, in drawn order.
        seed: Seed of the draw.
        count: How many for each sample; fewer where the data hold no more.
    """
    rings = _answer_rings(eligible, seed)
    distractors: list[Distractor] = []
    for sample in drawn:
        own = comparable(sample.answer)
        start = content_hash(str(seed), "distractor", sample.sample_id)
        found = chain.from_iterable(rings[level].others(start, sample.passage_id) for level in levels_of(sample, own))
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


def _answer_rings(eligible: Sequence[Sample], seed: int) -> dict[Level, AnswerRing]:
    """Return the ring of every level that has a row."""
    rows: dict[Level, dict[str, list[Sample]]] = {}
    ranks: dict[str, str] = {}
    for row in sorted(eligible, key=lambda sample: content_hash(str(seed), "distractor", sample.sample_id)):
        answer = comparable(row.answer)
        if answer not in ranks:
            ranks[answer] = content_hash(str(seed), "distractor answer", answer)
        for level in levels_of(row, answer):
            known = rows.setdefault(level, {}).setdefault(answer, [])
            # A second row serves the samples about the first one's passage; no sample needs a third.
            if len(known) < 2 and all(other.passage_id != row.passage_id for other in known):
                known.append(row)
    return {
        level: AnswerRing(sorted((ranks[answer], answer, known) for answer, known in answers.items()))
        for level, answers in rows.items()
    }


def draw_notebook(
    eligible: Sequence[Candidate], sample_count: int, seed: int, *, candidate_count: int | None = None
) -> list[Candidate]:
    """Shuffle the first candidates in data set order and take the first `sample_count`: the published draw.

    Args:
        eligible: Eligible rows in data set order.
        sample_count: How many to take.
        seed: Seed of numpy's legacy generator, 42 as published.
        candidate_count: How many rows to shuffle; None: twice `sample_count`, as the 2,500-sample run did.
    """
    candidates = list(eligible[: candidate_count or 2 * sample_count])
    # The legacy generator on purpose: np.random.seed(42); np.random.shuffle(list) gives these positions.
    order = np.random.RandomState(seed).permutation(len(candidates))
    return [candidates[i] for i in order[:sample_count]]


def draw_nested(eligible: Sequence[Sample], sample_count: int, seed: int) -> list[Sample]:
    """Take the samples with the smallest hashes of seed and id: the first 500 are part of the first 2,500."""
    return sorted(eligible, key=lambda sample: content_hash(str(seed), sample.sample_id))[:sample_count]


def content_hash(*texts: str) -> str:
    """Return 32 hexadecimal digits of a hash of texts, each with its length, so that no two lists run together."""
    joined = b"".join(len(t.encode()).to_bytes(8, "little") + t.encode() for t in texts)
    return hashlib.sha256(joined).hexdigest()[:32]


def read_row(row: Mapping[str, Any], position: int, min_words: int, max_words: int) -> Sample | str:
    """Return the sample of a row, or the reason why it is none.

    The answer is the first well-formed one, else the first answer; the passage is the first selected one whose length
    is within bounds. Columns are MS MARCO's (`passages` as a dict of lists or a list of dicts) or plain `passage`,
    `query` and `answer`.

    Raises:
        RowFormatError: The row has the wrong columns or types.
    """
    try:
        query, answer, selected, has_passages = _plain_row(row) if "passage" in row else _msmarco_row(row)
    except (KeyError, TypeError, AttributeError) as error:
        raise RowFormatError(
            f"Row {position} has the columns {_named(row)}, which cannot be read ({error!r}). Allowed are query, "
            "answers, passages (with passage_text and is_selected) as in MS MARCO, or passage, query, answer. Rename "
            "or mend the columns (rows count from 0), or give other data."
        ) from None
    if not query or not has_passages:
        return "no query or no passages"
    if answer in NO_ANSWER:
        return "no answer"
    if not selected:
        return "answer but no selected passage"
    passage = next((p for p in selected if min_words <= len(p.split()) <= max_words), None)
    if passage is None:
        return f"selected passage outside {min_words}-{max_words} words"
    query_type = None if row.get("query_type") is None else str(row["query_type"])
    if any(_has_half_a_pair(text) for text in (passage, query, answer, query_type or "")):
        return "text with half a surrogate pair"
    return Sample(
        sample_id=content_hash(passage, query, answer),
        position=position,
        passage=passage,
        query=query,
        answer=answer,
        query_type=query_type,
        passage_id=content_hash(passage),
    )


def _plain_row(row: Mapping[str, Any]) -> tuple[str, str, list[str], bool]:
    """Return query, answer, the passages to choose from, and whether there are any passages at all."""
    passage = _text(row["passage"])
    return _text(row["query"]), _text(row["answer"]), [passage] if passage else [], bool(passage)


def _msmarco_row(row: Mapping[str, Any]) -> tuple[str, str, list[str], bool]:
    """As _plain_row, from MS MARCO's columns."""
    passages = row["passages"]
    if isinstance(passages, Mapping):
        texts, marks = _list(passages["passage_text"]), _list(passages["is_selected"])
    else:
        parts = _list(passages)
        texts, marks = [part["passage_text"] for part in parts], [part["is_selected"] for part in parts]
    # Marks may be fewer than passages; what has no mark was not selected.
    selected = [_text(text) for text, mark in zip(texts, marks, strict=False) if mark == 1]
    well_formed = row.get("wellFormedAnswers")
    # An empty list is written as the text "[]" in some files.
    first_well_formed = _text(well_formed[0]) if well_formed and not isinstance(well_formed, str) else ""
    answers = [] if row["answers"] == "[]" else _list(row["answers"])
    first_answer = _text(next(iter(answers), None))
    answer = first_answer if first_well_formed in NO_ANSWER else first_well_formed
    return _text(row["query"]), answer, selected, bool(texts)


def _list(value: object) -> list[Any]:
    """Return a list as it is, an empty one for None. A text is refused: its first letter would pass for an answer."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise TypeError(f"{type(value).__name__} instead of a list")
    return list(value)


def _text(value: object) -> str:
    """Return a text as it is, an empty one for None or blanks only."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of text")
    return value if value.strip() else ""


def _excerpt(row: Mapping[str, Any]) -> str:
    """Return how the first text of a row begins, on one line that every encoding can store."""
    texts = (row.get(name) for name in ("query", "passage", "answer"))
    text = next((text.strip() for text in texts if isinstance(text, str) and text.strip()), "")
    storable = text[: 10 * _EXCERPT_CHARACTERS].encode(errors="replace").decode()
    return " ".join(storable.split())[:_EXCERPT_CHARACTERS]


def _has_half_a_pair(text: str) -> bool:
    """Tell whether a text holds half of a surrogate pair, which no encoding can store and no tokenizer can read."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _named(row: Mapping[str, Any]) -> str:
    """Return a row's columns for a message; a row may have thousands, or names of any length."""
    shown = str(sorted(map(str, row)))
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{shown[:_SHOWN_CHARACTERS]}..."
