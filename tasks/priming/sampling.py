"""Which rows of a data set become samples: how rows are read, which are eligible, and the seeded draw.

In: rows of a data set, numbered from 1. Out: samples in drawn order, for each a donor (a row about another passage),
distractors (wrong answers) and the texts that follow from the data; the first rejected rows; and a funnel that counts
dropped rows by reason.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, TypeAlias, TypeVar

import numpy as np

from tasks.priming.arms.contexts import is_text_name
from tasks.priming.arms.writing import fixed_surrogate, keywords_of
from tasks.priming.errors import UsageError
from tasks.priming.records import Distractor, DistractorSource, Reject, Sample, Surrogate
from tasks.priming.settings import SamplingSettings

Candidate = TypeVar("Candidate")

Level: TypeAlias = tuple[object, ...]
"""Which answers are comparable: (query type, length class), (query type,), or () for all."""

NO_ANSWER = ("", "[]", "No Answer Present.")  # texts that mean "there is no answer" in the data

COLUMNS = (
    "passage", "query", "answer", "passages", "answers", "wellFormedAnswers", "query_type", "context", "question",
    "surrogates",
)  # fmt: skip
"""Columns that are read; others are ignored."""

MAX_PROVIDED = 20
"""Texts of its own that a row may have: each is an arm."""

MAX_REJECTS = 1_000  # rejected rows that are kept to be looked at; all are counted

_EXCERPT_CHARACTERS = 80
_LISTED = 10  # rows that cannot be read, in an error


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


class RowProblem(Exception):
    """Why a row cannot be read. Readers yield it in place of the row, so that all problems of a file are found."""

    def __init__(self, reason: str, detail: str) -> None:
        """Note the reason, one of few, and the detail: the value that is wrong, or a library's message."""
        super().__init__(reason)
        self.detail = _one_line(detail)


Row: TypeAlias = dict[str, Any] | RowProblem


class RowFormatError(UsageError):
    """Rows cannot be read, and they are not to be skipped."""

    def __init__(self, unreadable: Sequence[Reject], count: int) -> None:
        """Take the first of the rows, and the number of all."""
        lines = [f"  row {row.position}: {row.reason}: {row.excerpt}" for row in unreadable[:_LISTED]]
        more = [f"  and {count - _LISTED:,} more, which --dry-run lists"] if count > _LISTED else []
        super().__init__(
            "\n".join(
                (
                    f"{count:,} rows cannot be read:" if count > 1 else "A row cannot be read:",
                    *(*lines, *more),
                    "Allowed are passage, query, and answer or a list of answers, or MS MARCO's or SQuAD's columns "
                    "(docs/own_data.md). Correct the rows, name other columns with --columns passage=...,query=..., "
                    "or leave such rows out with --skip-bad-rows.",
                )
            )
        )


@dataclass(frozen=True, slots=True)
class Draw:
    """What was drawn from a data set."""

    samples: list[Sample]  # the samples, in drawn order
    # For each sample a row about another passage, a source of words and queries for controls; empty if all eligible
    # rows are about one passage.
    donors: list[Sample]
    # Wrong answers, sample by sample in drawn order; fewer than requested where the data have no more.
    distractors: list[Distractor]
    # Texts to be put before the samples' passages that follow from the data: those that rows bring themselves, and
    # keywords if they were asked for.
    texts: list[Surrogate]
    provided_keys: tuple[str, ...]  # names of the texts that rows bring, the same for all rows
    rejects: list[Reject]  # the first rows that cannot be samples, at most MAX_REJECTS
    unreadable: list[Reject]  # the first of them that cannot even be read, at most MAX_REJECTS
    unreadable_count: int  # all of those
    columns: tuple[str, ...]  # of the first row, for messages
    funnel: Funnel  # what became of the rows


def draw_samples(rows: Iterable[Row], settings: SamplingSettings, seed: int, *, has_keywords: bool = False) -> Draw:
    """Return the samples in drawn order and what belongs to them, the first rejected rows, and the funnel.

    Args:
        rows: The data; in place of a row that cannot be read, its problem.
        settings: Which rows become samples.
        seed: The experiment's seed.
        has_keywords: Whether the keywords of each sample's passage are chosen, which takes a while in large data.

    Raises:
        RowFormatError: Rows cannot be read, have values of the wrong type, or have other texts of their own than the
            first, and the settings do not skip such rows.
    """
    eligible: list[Sample] = []
    rejected: dict[str, int] = {}
    rejects: list[Reject] = []
    unreadable: list[Reject] = []
    unselected: dict[str, tuple[str, ...]] = {}
    provided: dict[str, dict[str, str]] = {}
    columns: tuple[str, ...] = ()
    count = unreadable_count = 0
    for count, row in enumerate(rows, start=1):
        try:
            if isinstance(row, RowProblem):
                raise row
            columns = columns or tuple(sorted(map(str, row)))
            sample = read_row(row, count, settings.min_words, settings.max_words)
            if isinstance(sample, Sample) and sample.sample_id in provided:
                sample = "duplicate of an earlier row"
            if isinstance(sample, Sample):
                texts = _alike(provided_texts(row), next(iter(provided.values()), None))
                passages = unselected_passages(row)
        except RowProblem as problem:
            sample = f"unreadable: {problem}"
            reject = Reject(count, str(problem), problem.detail)
            unreadable_count += 1
            unreadable += [reject] if len(unreadable) < MAX_REJECTS else []
        if isinstance(sample, Sample):
            eligible.append(sample)
            provided[sample.sample_id] = texts
            if passages:
                unselected[sample.sample_id] = passages
            continue
        rejected[sample] = rejected.get(sample, 0) + 1
        if len(rejects) < MAX_REJECTS:
            rejects.append(Reject(count, sample, _excerpt(row)))
    if unreadable and not settings.skip_bad_rows:
        raise RowFormatError(unreadable, unreadable_count)
    draw = draw_notebook if settings.draw == "notebook" else draw_nested
    drawn = draw(eligible, settings.sample_count, seed)
    return Draw(
        drawn,
        choose_donors(eligible, drawn, seed),
        choose_distractors(eligible, drawn, seed, settings.distractor_count, unselected),
        _texts(drawn, eligible, provided, has_keywords=has_keywords),
        tuple(next(iter(provided.values()), ())),
        rejects,
        unreadable,
        unreadable_count,
        columns,
        Funnel(count, len(eligible), len(drawn), rejected),
    )


def _alike(texts: dict[str, str], first: Mapping[str, str] | None) -> dict[str, str]:
    """Return a row's own texts if they have the names of the first row's, since each is a condition."""
    if first is not None and [*texts] != [*first]:
        raise RowProblem(
            "other texts in `surrogates` than the first row",
            f"{', '.join(texts) or 'nothing'} in place of {', '.join(first) or 'nothing'}",
        )
    return texts


def _texts(
    drawn: Sequence[Sample],
    eligible: Sequence[Sample],
    provided: Mapping[str, Mapping[str, str]],
    *,
    has_keywords: bool,
) -> list[Surrogate]:
    """Return the texts that follow from the data, sample by sample: those that its row brings, then its keywords."""
    passages = [sample.passage for sample in drawn] if has_keywords else []
    keywords = keywords_of(passages, (sample.passage for sample in eligible)) if passages else []
    texts: list[Surrogate] = []
    for sample, words in zip_longest(drawn, keywords):
        texts += [fixed_surrogate(sample, "provided", *named) for named in provided.get(sample.sample_id, {}).items()]
        texts += [] if words is None else [fixed_surrogate(sample, "free", "keywords", words)]
    return texts


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


def choose_distractors(
    eligible: Sequence[Sample],
    drawn: Sequence[Sample],
    seed: int,
    count: int,
    unselected: Mapping[str, Sequence[str]] | None = None,
) -> list[Distractor]:
    """Return for each drawn sample up to `count` wrong answers: answers to other queries, the hardest first.

    First come answers about the sample's own passage, then about passages that its row lists without selecting them,
    then about any other: an answer about something else is unlikely whatever the context does. Of each, those to
    queries of the same type come first that have a similar length (the same class of word counts: 1, 2-3, 4-7, 8-15,
    ...; token counts would depend on the model), then any length of the type, then any answer.

    None equals an answer that any row gives to the same query about the sample's passage. Answers that differ only in
    case, space or final marks count as one. Like donors, distractors are as good as drawn at random (each distinct
    answer of a class alike), and the same however many samples are drawn.

    Args:
        eligible: All rows that could be samples.
        drawn: The samples.
        seed: The experiment's seed.
        count: Wrong answers per sample.
        unselected: sample_id -> passage_ids that its row lists without selecting them, where there are any.
    """
    candidates = _Candidates(eligible, seed, unselected or {})
    return [
        Distractor(sample.sample_id, number, row.answer, row.sample_id, source)
        for sample in drawn
        for number, (row, source) in enumerate(candidates.first(sample, count))
    ]


class _Candidates:
    """The answers that may be distractors, by what they are about."""

    def __init__(self, eligible: Sequence[Sample], seed: int, unselected: Mapping[str, Sequence[str]]) -> None:
        """Take what choose_distractors takes."""
        self._seed = seed
        self._unselected = unselected
        self._rows: dict[str, list[Sample]] = {}  # by passage
        self._accepted: dict[tuple[str, str], set[str]] = {}  # by question
        for row in eligible:
            self._rows.setdefault(row.passage_id, []).append(row)
            self._accepted.setdefault(_question(row), set()).update(map(_comparable, row.answers))
        self._everywhere = _answer_rings(eligible, seed)
        self._by_passage: dict[str, dict[Level, _AnswerRing]] = {}
        self._same_passage: dict[tuple[object, ...], dict[str, Sample]] = {}

    def first(self, sample: Sample, count: int) -> list[tuple[Sample, DistractorSource]]:
        """Return up to `count` rows with different wrong answers, and what each is about."""
        question, levels = _question(sample), _levels(sample, _comparable(sample.answer))
        accepted, start = self._accepted[question], self._start(sample.sample_id)
        same = self._about_own(question, levels, count)
        listed = {passage for passage in self._unselected.get(sample.sample_id, ()) if passage in self._rows}
        order = sorted(listed - {question[0]}, key=lambda passage: self._start(sample.sample_id, passage))
        walks = (self._about(passage, level).walk(start) for level in levels for passage in order)
        # Where the same query was asked about the other passage, its answer may be right here as well.
        middle = ((answer, row) for answer, row in chain.from_iterable(walks) if _question(row)[1] != question[1])
        unselected = _take(middle, count - len(same), accepted, same)
        far = chain.from_iterable(self._everywhere[level].walk(start, question[0]) for level in levels)
        other = _take(far, count - len(same) - len(unselected), accepted, same, unselected)
        found: list[tuple[Sample, DistractorSource]] = [(row, "same_passage") for row in same.values()]
        found += [(row, "unselected_passage") for row in unselected.values()]
        return [*found, *((row, "other_passage") for row in other.values())]

    def _about_own(self, question: tuple[str, str], levels: tuple[Level, ...], count: int) -> dict[str, Sample]:
        """Return up to `count` wrong answers about the passage of a question, each with its row.

        The same for all rows of a question, so that many right answers to it are walked past once.
        """
        if len(self._rows[question[0]]) == 1:  # as in most data: nobody has asked anything else
            return {}
        if (question, levels) not in self._same_passage:
            start = self._start(*question)
            walk = chain.from_iterable(self._about(question[0], level).walk(start) for level in levels)
            self._same_passage[question, levels] = _take(walk, count, self._accepted[question])
        return self._same_passage[question, levels]

    def _start(self, *texts: str) -> str:
        """Return where a walk begins."""
        return content_hash(str(self._seed), "distractor", *texts)

    def _about(self, passage_id: str, level: Level) -> "_AnswerRing":
        """Return the ring of a level among the answers about one passage."""
        if passage_id not in self._by_passage:
            self._by_passage[passage_id] = _answer_rings(self._rows[passage_id], self._seed)
        return self._by_passage[passage_id].get(level, _AnswerRing([]))


def _take(walk: Iterator[tuple[str, Sample]], count: int, *without: Collection[str]) -> dict[str, Sample]:
    """Return the first `count` answers of a walk, each with its row, without those in some collections."""
    found: dict[str, Sample] = {}
    while len(found) < count and (step := next(walk, None)):
        if not any(step[0] in answers for answers in without):
            found.setdefault(*step)
    return found


def _question(sample: Sample) -> tuple[str, str]:
    """Return what makes two rows ask the same: the passage, and the query but for case, space and final marks."""
    return sample.passage_id, _comparable(sample.query)


class _AnswerRing:
    """The distinct answers of a level on a ring, in the order of their hashes."""

    def __init__(self, answers: Sequence[tuple[str, str, list[Sample]]]) -> None:
        """Take (hash, answer, up to two rows that give it, about different passages), in order."""
        self._answers = answers
        self._hashes = [rank for rank, _, _ in answers]
        # A walk past all answers about one passage is one step, even where nearly all rows are about it.
        self._steps = _steps([rows[0].passage_id if len(rows) == 1 else None for _, _, rows in answers])

    def walk(self, start: str, left_out: str | None = None) -> Iterator[tuple[str, Sample]]:
        """Yield each answer and a row that gives it, once around from a hash, without those about one passage."""
        first, step = bisect_left(self._hashes, start), 0
        while step < len(self._answers):
            number = (first + step) % len(self._answers)
            _, answer, rows = self._answers[number]
            row = next((row for row in rows if row.passage_id != left_out), None)
            step += self._steps[number] if row is None else 1
            if row is not None:
                yield answer, row


def _answer_rings(given: Sequence[Sample], seed: int) -> dict[Level, _AnswerRing]:
    """Return the ring of every level that has a row."""
    rows: dict[Level, dict[str, list[Sample]]] = {}
    ranks: dict[str, str] = {}
    for row in sorted(given, key=lambda sample: content_hash(str(seed), "distractor", sample.sample_id)):
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
    whose place or after which `answers` may list several. A column that is missing counts as an empty one.

    Raises:
        RowProblem: A value is of the wrong type.
    """
    query = _text(_either(row, "query", "question"), "query")
    answers = _answers(row)
    if _is_plain(row):
        marked = [(_text(_either(row, "passage", "context"), "passage"), 1)]
        selected = [text for text, _ in marked if text]
    else:
        marked = _marked_passages(row)
        selected = [_text(text, "a passage") for text, mark in marked if mark == 1]
    if not query or not marked or (_is_plain(row) and not selected):
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
    if _has_half_a_pair("".join((passage, query, *answers, query_type or ""))):
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


def _either(row: Mapping[str, Any], name: str, other: str) -> Any:  # noqa: ANN401 - any value
    """Return what a row has in one column, or in another one if it has nothing there."""
    return row.get(other) if row.get(name) is None else row[name]


def _is_plain(row: Mapping[str, Any]) -> bool:
    """Tell whether a row has its passage in a column of its own, as plain rows and SQuAD's have."""
    return _either(row, "passage", "context") is not None or row.get("passages") is None


def _has_half_a_pair(text: str) -> bool:
    """Tell whether a text holds half a surrogate pair, which no file can store."""
    return any("\ud800" <= character <= "\udfff" for character in text)


def _answers(row: Mapping[str, Any]) -> list[str]:
    """Return the accepted answers of a row, the one that is scored first."""
    listed, well_formed = row.get("answers"), row.get("wellFormedAnswers")
    listed = listed.get("text") if isinstance(listed, Mapping) else listed
    # Some files write an empty list as the text "[]".
    answers = [] if listed == "[]" else [_text(text, "an answer") for text in _list(listed, "answers")]
    usual = [] if isinstance(well_formed, str) else [_text(t, "an answer") for t in _list(well_formed, "answers")]
    own = _text(row.get("answer"), "answer")
    first = [own] if own else []
    return [*first, *usual, *answers] if usual and usual[0] not in NO_ANSWER else [*first, *answers, *usual]


def provided_texts(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row's own texts to be put before its passage, by key; none where it has no column `surrogates`.

    The texts of a list are named text_1, text_2 and so on, those of a mapping by its keys, in alphabetical order.

    Raises:
        RowProblem: The column holds anything but 1 to MAX_PROVIDED texts, or a key is no name.
    """
    column = row.get("surrogates")
    if column is None:
        return {}
    named = [(f"text_{number}", text) for number, text in enumerate(column, 1)] if isinstance(column, list) else None
    if isinstance(column, Mapping):
        named = sorted(column.items(), key=lambda item: str(item[0]))
    if (
        not named
        or len(named) > MAX_PROVIDED
        or not all(isinstance(text, str) and text.strip() and not _has_half_a_pair(text) for _, text in named)
        or not all(is_text_name(key) for key, _ in named)
    ):
        raise RowProblem(
            f"surrogates are not 1 to {MAX_PROVIDED} texts, as a list or by names such as my_text", ascii(column)
        )
    return dict(named)


def unselected_passages(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the passage_ids of a readable row's passages that are not selected; none for plain columns."""
    marked = () if _is_plain(row) else _marked_passages(row)
    texts = (text for text, mark in marked if mark != 1 and isinstance(text, str) and text.strip())
    return tuple(content_hash(text) for text in texts if not _has_half_a_pair(text))


def _marked_passages(row: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    """Return what stands for the passages of a row with MS MARCO's columns, each with its mark: 1 if it is selected."""
    passages = row["passages"]
    if isinstance(passages, Mapping):
        texts, marks = (_list(passages.get(name), f"passages.{name}") for name in ("passage_text", "is_selected"))
    else:
        parts = _list(passages, "passages")
        if wrong := [part for part in parts if not isinstance(part, Mapping)]:
            raise RowProblem("a passage is no object with passage_text and is_selected", ascii(wrong[0]))
        texts, marks = ([part.get(name) for part in parts] for name in ("passage_text", "is_selected"))
    # There may be fewer marks than passages; a passage without a mark was not selected.
    return [*zip_longest(texts, marks[: len(texts)])]


def _list(value: object, name: str) -> list[Any]:
    """Return a list unchanged, an empty one for None. A text is refused: its first letter would become an answer."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise RowProblem(f"{name} is {type(value).__name__} instead of a list", ascii(value))
    return list(value)


def _text(value: object, name: str) -> str:
    """Return a text unchanged, an empty one for None or only blanks."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowProblem(f"{name} is {type(value).__name__} instead of text", ascii(value))
    return value if value.strip() else ""


def _excerpt(row: Row) -> str:
    """Return how the first text of a row begins, or what is wrong with one that cannot be read."""
    if isinstance(row, RowProblem):
        return row.detail
    texts = (row.get(name) for name in ("query", "passage", "answer"))
    return _one_line(next((text for text in texts if isinstance(text, str) and text.strip()), ""))


def _one_line(text: str) -> str:
    """Return how a text begins, on one line that every encoding can store."""
    shown = text.strip()[: 10 * _EXCERPT_CHARACTERS].encode(errors="replace").decode()
    return " ".join(shown.split())[:_EXCERPT_CHARACTERS]
