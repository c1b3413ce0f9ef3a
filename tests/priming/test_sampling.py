"""The draw is the published one, eligibility is the notebook's, and every dropped row is counted under a reason."""

import dataclasses
import hashlib
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.priming.records import Distractor, Sample
from tasks.priming.sampling import (
    MAX_REJECTS,
    RowFormatError,
    RowProblem,
    choose_distractors,
    choose_donors,
    content_hash,
    draw_nested,
    draw_notebook,
    draw_samples,
    read_row,
    unselected_passages,
)
from tasks.priming.settings import DataSettings, SamplingSettings
from tests.places import GOLDEN

DRAW = json.loads((GOLDEN / "sampling.json").read_text(encoding="utf-8"))
WALKTHROUGH = json.loads((GOLDEN / "walkthrough.json").read_text(encoding="utf-8"))
PASSAGE = "A cashier earns 15,000 dollars a year."  # 7 words


def msmarco(**changes: Any) -> dict[str, Any]:
    row = {
        "query": "cashier pay",
        "query_type": "numeric",
        "answers": ["15,000 dollars."],
        "wellFormedAnswers": [],
        "passages": {"passage_text": ["Not this one, it is no answer.", PASSAGE], "is_selected": [0, 1]},
    }
    return row | changes


def read(row: dict[str, Any], words: tuple[int, int] = (1, 50)) -> Sample | str:
    return read_row(row, 3, *words)


def accepted(row: dict[str, Any]) -> Sample:
    sample = read(row)
    assert isinstance(sample, Sample), sample
    return sample


def plain(number: int, **changes: Any) -> dict[str, Any]:
    return {"query": f"query {number}", "answer": f"answer {number}", "passage": f"passage number {number}"} | changes


def settings(sample_count: int, draw: str = "nested", words: tuple[int, int] = (1, 50)) -> SamplingSettings:
    return SamplingSettings.model_validate(
        {"sample_count": sample_count, "draw": draw, "min_words": words[0], "max_words": words[1]}
    )


# --- the published draw ---


@pytest.mark.parametrize(("sizes", "first"), DRAW["first_candidate_indices"].items())
def test_the_notebook_draw_takes_the_published_candidates_first(sizes: str, first: list[int]) -> None:
    """The candidates that the published notebooks drew first, found in their outputs (golden/sampling.json)."""
    sample_count, candidate_count = (int(part.split("=")[1]) for part in sizes.split(","))
    drawn = draw_notebook(range(20_000), sample_count, DRAW["seed"], candidate_count=candidate_count)
    assert drawn[: len(first)] == first
    assert len(set(drawn)) == sample_count


def test_the_notebook_draw_equals_the_order_of_a_published_runs_200_samples() -> None:
    table = pq.read_table(GOLDEN / "paired_nll_200.parquet")  # the published run with N=200 and M=600
    assert draw_notebook(range(600), 200, 42, candidate_count=600) == table["candidate_idx"].to_pylist()


@given(st.integers(0, 60), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_the_notebook_draw_is_numpys_shuffle_of_a_list(row_count: int, sample_count: int, seed: int) -> None:
    candidates = list(range(row_count))[: 2 * sample_count]
    np.random.RandomState(seed).shuffle(candidates)  # what np.random.seed(seed); np.random.shuffle(list) does
    assert draw_notebook(range(row_count), sample_count, seed) == candidates[:sample_count]


def test_the_notebook_draw_leaves_numpys_global_generator_alone() -> None:
    np.random.seed(1)
    draw_notebook(range(100), 10, 42)
    after = np.random.random()
    assert after == np.random.RandomState(1).random()


def test_the_published_draws_land_on_the_real_candidates(shared_data: Path) -> None:
    """The table holds the candidates of the two published draws and no others: 619 = 200 + 500 - 81 in both."""
    rows = pq.read_table(shared_data / "golden" / "msmarco_validation_candidates.parquet").to_pylist()
    known = {row["candidate_idx"]: row for row in rows}
    candidates = [known.get(number) for number in range(1500)]
    small = draw_notebook(candidates, 200, 42, candidate_count=600)
    large = draw_notebook(candidates, 500, 42, candidate_count=1500)
    drawn = [row for row in (*small, *large) if row is not None]
    assert len(drawn) == 700
    assert {row["candidate_idx"] for row in drawn} == set(known)
    published = pq.read_table(GOLDEN / "paired_nll_200.parquet")  # the same draw's samples, in the run's own files
    assert [row["passage_words"] for row in small if row] == published["passage_words"].to_pylist()
    assert small[0] == known[110]  # golden/sampling.json, N=200
    assert large[0] == known[1116]  # golden/sampling.json, N=500


# --- the nested draw ---


def samples(count: int) -> list[Sample]:
    found = [read_row(plain(number), number + 1, 1, 50) for number in range(count)]
    return [sample for sample in found if isinstance(sample, Sample)]


def test_a_smaller_nested_draw_is_the_beginning_of_a_larger_one() -> None:
    eligible = samples(300)
    assert draw_nested(eligible, 50, 42) == draw_nested(eligible, 100, 42)[:50]


def test_a_nested_draw_does_not_depend_on_the_order_of_rows() -> None:
    eligible = samples(200)
    shuffled = random.Random(0).sample(eligible, len(eligible))
    assert draw_nested(shuffled, 50, 42) == draw_nested(eligible, 50, 42)


def test_a_nested_draw_keeps_its_samples_when_rows_are_added() -> None:
    """The samples of a part that are drawn from the whole are drawn from the part in the same order."""
    eligible = samples(400)
    from_part = draw_nested(eligible[:200], 200, 42)
    from_whole = [sample for sample in draw_nested(eligible, 400, 42) if sample in eligible[:200]]
    assert from_part == from_whole


def test_another_seed_draws_other_samples() -> None:
    eligible = samples(300)
    assert draw_nested(eligible, 50, 42) != draw_nested(eligible, 50, 43)


def test_a_nested_draw_is_uniform() -> None:
    """Expected: 40 of 400 rows in each of 200 draws; the counts' chi-square by scipy."""
    from scipy.stats import chisquare

    eligible = samples(400)
    counts = np.zeros(400)
    for seed in range(200):
        counts[[sample.position - 1 for sample in draw_nested(eligible, 40, seed)]] += 1
    # draws without replacement vary a little less than chi-square expects, so a uniform draw passes easily
    assert chisquare(counts).pvalue > 0.001


# --- which rows qualify ---


def test_the_walkthroughs_example_is_read_from_its_row() -> None:
    row = msmarco(
        query=WALKTHROUGH["query"],
        answers=[WALKTHROUGH["answer"]],
        passages={"passage_text": ["other", WALKTHROUGH["passage"]], "is_selected": [0, 1]},
    )
    sample = read_row(row, 0, 50, 200)
    assert isinstance(sample, Sample)
    assert (sample.query, sample.answer, sample.passage) == (
        "walgreens store sales average",  # walkthrough, output of cell 6
        "Approximately $15,000 per year.",
        WALKTHROUGH["passage"],
    )
    assert (sample.position, sample.query_type) == (0, "numeric")
    assert len(sample.passage.split()) == 59  # walkthrough, output of cell 6


def test_passages_as_a_list_of_dicts_read_the_same() -> None:
    listed = [{"passage_text": "Not this one.", "is_selected": 0}, {"passage_text": PASSAGE, "is_selected": 1}]
    assert read(msmarco(passages=listed)) == read(msmarco())


def test_plain_columns_read_the_same() -> None:
    row = {"query": "cashier pay", "answer": "15,000 dollars.", "passage": PASSAGE, "query_type": "numeric"}
    assert read(row) == read(msmarco())


def test_ids_are_hashes_of_content_alone() -> None:
    first = accepted(msmarco())
    other_query = accepted(msmarco(query="pay of cashiers"))
    elsewhere = read_row(msmarco(query_type="description"), 99, 1, 10)
    assert isinstance(elsewhere, Sample)
    assert (elsewhere.sample_id, elsewhere.passage_id) == (first.sample_id, first.passage_id)
    assert other_query.passage_id == first.passage_id
    assert other_query.sample_id != first.sample_id


def test_the_content_hash_is_sha256_of_texts_with_their_lengths() -> None:
    joined = (2).to_bytes(8, "little") + "é".encode() + (1).to_bytes(8, "little") + b"x"  # "é" is two bytes
    assert content_hash("é", "x") == hashlib.sha256(joined).hexdigest()[:32]
    assert content_hash("ab", "c") != content_hash("a", "bc")


@pytest.mark.parametrize(
    ("well_formed", "answers", "expected"),
    [
        (["Well formed."], ["first", "second"], "Well formed."),  # walkthrough, cell 5: well-formed ones first
        ([], ["first", "second"], "first"),  # cell 5
        (["[]"], ["first"], "first"),  # cell 5: the text '[]' is none
        ("[]", ["first"], "first"),  # the same, where the whole list is that text (MS MARCO's own JSON)
        (None, ["first"], "first"),
        ([None], ["first"], "first"),
        (["No Answer Present."], ["first"], "first"),
        (["  "], ["first"], "first"),
        (["Well formed."], [], "Well formed."),
        (["Well formed."], ["No Answer Present."], "Well formed."),
    ],
)
def test_the_answer_is_the_first_well_formed_one_else_the_first(
    well_formed: object, answers: list[str], expected: str
) -> None:
    assert accepted(msmarco(wellFormedAnswers=well_formed, answers=answers)).answer == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (msmarco(answers=["first", "second", "first"]), ("first", "second")),
        (msmarco(wellFormedAnswers=["Well formed.", "Also."], answers=["first"]), ("Well formed.", "Also.", "first")),
        (msmarco(wellFormedAnswers=["[]"], answers=["first", "No Answer Present.", None, " "]), ("first",)),
        (msmarco(wellFormedAnswers="[]", answers=["first"]), ("first",)),
        (plain(1, answer="one"), ("one",)),
        (plain(1, answer="one", answers=["two", "one"]), ("one", "two")),
        ({"passage": "p", "query": "q", "answers": ["one", "two"]}, ("one", "two")),
        # SQuAD's own columns, as the hub has them
        (
            {"context": "p", "question": "q", "answers": {"text": ["one", "1", "one"], "answer_start": [3, 9, 3]}},
            ("one", "1"),
        ),
    ],
)
def test_a_sample_keeps_all_accepted_answers_and_the_first_is_the_one_that_is_scored(
    row: dict[str, Any], expected: tuple[str, ...]
) -> None:
    sample = accepted(row)
    assert sample.answers == expected
    assert sample.answer == expected[0]
    assert sample.sample_id == content_hash(sample.passage, sample.query, expected[0])


def test_a_sample_of_which_no_other_answers_are_known_accepts_the_one_that_is_scored() -> None:
    assert Sample("s", 0, "a passage", "a query", "an answer", None, "p").answers == ("an answer",)


def test_real_questions_keep_several_accepted_answers(shared_data: Path) -> None:
    """Expected: read off the file itself, in which unanswerable questions say so in place of an answer."""
    rows = pq.read_table(shared_data / "data" / "squad_v2.0_dev.parquet").slice(0, 600).to_pylist()
    read_rows = [read_row(row, number, 1, 1000) for number, row in enumerate(rows)]
    several = [row for row in read_rows if isinstance(row, Sample) and len(row.answers) > 1]
    assert len(several) > 100
    for sample in several:
        assert sample.answers == tuple(dict.fromkeys(rows[sample.position]["answers"]))
    unanswerable = [number for number, row in enumerate(rows) if row["answers"] == ["No Answer Present."]]
    assert len(unanswerable) > 100
    assert {read_rows[number] for number in unanswerable} == {"no answer"}


@pytest.mark.parametrize(
    "row",
    [
        {"context": "p", "question": "q", "answers": {"text": [], "answer_start": []}},
        {"context": "p", "question": "q", "answers": None},
        plain(1, answer=None),
        {"passage": "p", "query": "q", "answers": []},
    ],
)
def test_a_question_without_an_answer_is_dropped(row: dict[str, Any]) -> None:
    assert read(row) == "no answer"


@pytest.mark.parametrize(
    "answers", [[], None, "[]", ["No Answer Present."], ["[]"], [""], ["  "], [None], ["No Answer Present.", "late"]]
)
def test_a_row_without_an_answer_is_dropped(answers: object) -> None:
    assert read(msmarco(answers=answers)) == "no answer"


@pytest.mark.parametrize(
    "changes",
    [
        {"query": ""},
        {"query": " \n"},
        {"query": None},
        {"passages": []},
        {"passages": None},
        {"passages": {"passage_text": [], "is_selected": []}},
    ],
)
def test_a_row_without_query_or_passages_is_dropped(changes: dict[str, Any]) -> None:
    assert read(msmarco(**changes)) == "no query or no passages"


@pytest.mark.parametrize("marks", [[0, 0], [], None, [0], ["0", "0"], [False, None]])
def test_a_row_whose_passages_are_not_selected_is_dropped(marks: object) -> None:
    passages = {"passage_text": ["Not this one, it is no answer.", PASSAGE], "is_selected": marks}
    assert read(msmarco(passages=passages)) == "answer but no selected passage"


def test_marks_may_be_fewer_than_passages() -> None:
    passages = {"passage_text": [PASSAGE, "Without a mark."], "is_selected": [1]}
    assert accepted(msmarco(passages=passages)).passage == PASSAGE


@pytest.mark.parametrize(
    ("words", "expected"),
    [((3, 9), "one two three"), ((4, 9), "a b c d e"), ((1, 1), None), ((6, 9), None), ((5, 5), "a b c d e")],
)
def test_the_passage_is_the_first_selected_one_within_the_word_bounds(
    words: tuple[int, int], expected: str | None
) -> None:
    passages = {"passage_text": ["x", "one two three", "a b c d e"], "is_selected": [0, 1, 1]}
    found = read(msmarco(passages=passages), words)
    if expected is None:
        assert found == f"selected passage outside {words[0]}-{words[1]} words"
    else:
        assert isinstance(found, Sample)
        assert found.passage == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "q"}, "no query or no passages"),
        ({"query": "q", "answer": "a"}, "no query or no passages"),
        ({"passage": "p", "answer": "a"}, "no query or no passages"),
        ({"passage": "p", "query": "q"}, "no answer"),
        ({"question": "q", "context": "c"}, "no answer"),
        ({"question": "q", "context": "c", "answers": {"start": [1]}}, "no answer"),
        (msmarco(passages={"text": ["a"]}), "no query or no passages"),
        (msmarco(passages=[{"passage_text": "a"}]), "answer but no selected passage"),
    ],
)
def test_a_missing_column_is_as_an_empty_one(row: dict[str, Any], reason: str) -> None:
    """They once ended in a KeyError, while parquet files, which have a null there, did not."""
    assert read(row) == reason


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        (plain(1, answers="a text"), "answers is str instead of a list", "'a text'"),
        (plain(1, answers=["a", 5]), "an answer is int instead of text", "5"),
        (plain(1, answer=["a list"]), "answer is list instead of text", r"\['a list'\]"),
        (plain(1, query=5), "query is int instead of text", "5"),
        (msmarco(query=5), "query is int instead of text", "5"),
        (msmarco(answers=5), "answers is int instead of a list", "5"),
        (msmarco(answers="Paris"), "answers is str instead of a list", "'Paris'"),  # it once became the answer "P"
        (msmarco(wellFormedAnswers=[5]), "an answer is int instead of text", "5"),
        (msmarco(passages="a passage"), "passages is str instead of a list", "'a passage'"),
        (msmarco(passages=["a passage"]), "a passage is no object with passage_text and is_selected", "'a passage'"),
        (
            msmarco(passages={"passage_text": PASSAGE, "is_selected": [1]}),
            "passages.passage_text is str instead of a list",
            "'A cashier earns",
        ),
        (msmarco(passages={"passage_text": [7], "is_selected": [1]}), "a passage is int instead of text", "7"),
    ],
)
def test_a_value_of_the_wrong_type_is_named(row: dict[str, Any], reason: str, detail: str) -> None:
    with pytest.raises(RowProblem, match=f"^{re.escape(reason)}$") as caught:
        read(row)
    assert re.match(detail, caught.value.detail)
    assert len(caught.value.detail) <= 80


def test_all_rows_that_cannot_be_read_are_refused_together_with_their_numbers() -> None:
    rows: list[Any] = [plain(1), RowProblem("not JSON", "Expecting value at character 1"), plain(2, answer=4), plain(3)]
    with pytest.raises(RowFormatError) as caught:
        draw_samples([*rows, *(plain(n, query=[n]) for n in range(11))], settings(5), 42)
    lines = str(caught.value).splitlines()
    assert lines[:4] == [
        "13 rows cannot be read:",
        "  row 2: not JSON: Expecting value at character 1",
        "  row 3: answer is int instead of text: 4",
        "  row 5: query is list instead of text: [0]",
    ]
    assert lines[11:12] == ["  and 3 more, which --dry-run lists"]
    assert re.match(
        r"Allowed are passage, .* Correct the rows, .* or leave such rows out with --skip-bad-rows\.", lines[-1]
    )


def test_rows_that_cannot_be_read_are_rejected_with_their_reasons_if_they_may_be_skipped() -> None:
    rows: list[Any] = [
        plain(1),
        RowProblem("not JSON", "why"),
        plain(2, answer=4),
        plain(3, answer=5),
        plain(4, surrogates=[]),
    ]
    found = draw_samples(rows, settings(5).model_copy(update={"skip_bad_rows": True}), 42)
    assert [sample.position for sample in found.samples] == [1]
    assert found.funnel.rejected == {
        "unreadable: not JSON": 1,
        "unreadable: answer is int instead of text": 2,
        "unreadable: surrogates are not 1 to 20 texts, as a list or by names such as my_text": 1,
    }
    assert [(row.position, row.excerpt) for row in found.rejects] == [
        (2, "why"),
        (3, "query 2"),
        (4, "query 3"),
        (5, "query 4"),
    ]
    assert [row.excerpt for row in found.unreadable] == ["why", "4", "5", "[]"]


# --- the funnel ---


def test_every_row_is_counted_once() -> None:
    rows = [
        plain(1),
        plain(2),
        plain(1),  # a duplicate
        plain(1, query_type="another label"),  # the same text: a duplicate too
        plain(3, answer="No Answer Present."),
        plain(4, answer="[]"),
        plain(5, query=""),
        plain(6, passage="word " * 51),
        plain(7, answer="\ud83d"),
        msmarco(passages={"passage_text": ["x"], "is_selected": [0]}),
    ]
    found = draw_samples(rows, settings(5), 42)
    drawn, funnel = found.samples, found.funnel
    # counted by hand from the list above
    assert (funnel.rows, funnel.eligible, funnel.drawn) == (10, 2, 2)
    assert funnel.rejected == {
        "duplicate of an earlier row": 2,
        "no answer": 2,
        "no query or no passages": 1,
        "selected passage outside 1-50 words": 1,
        "text with half a surrogate pair": 1,
        "answer but no selected passage": 1,
    }
    assert sorted(sample.position for sample in drawn) == [1, 2]


def test_the_first_rejected_rows_are_kept_to_be_looked_at() -> None:
    rows = [
        plain(1),
        plain(1),
        plain(2, query="who\n is  it? " * 20, answer=""),
        plain(3, query="a \ud83d", passage="x"),
        plain(4, query="", passage="A passage."),
        msmarco(query="", passages={"passage_text": [], "is_selected": []}),
        *(plain(number, answer="") for number in range(MAX_REJECTS)),
    ]
    found = draw_samples(rows, settings(5), 42)
    assert (
        [(row.position, row.reason, row.excerpt) for row in found.rejects[:5]]
        == [  # by hand from the list above
            (2, "duplicate of an earlier row", rows[0]["query"]),
            (3, "no answer", ("who is it? " * 8)[:80]),
            (4, "text with half a surrogate pair", "a ?"),
            (5, "no query or no passages", "A passage."),
            (6, "no query or no passages", ""),
        ]
    )
    assert len(found.rejects) == MAX_REJECTS
    assert sum(found.funnel.rejected.values()) == MAX_REJECTS + 5


def test_no_rows_give_an_empty_draw_and_funnel() -> None:
    found = draw_samples([], settings(5), 42)
    drawn, funnel = found.samples, found.funnel
    assert found.donors == []
    assert found.distractors == []
    assert (drawn, funnel.rows, funnel.eligible, funnel.drawn, funnel.rejected) == ([], 0, 0, 0, {})
    assert found.rejects == []


@pytest.mark.parametrize("draw", ["notebook", "nested"])
def test_as_many_samples_are_drawn_as_asked_for_without_repeats(draw: str) -> None:
    found = draw_samples((plain(number) for number in range(100)), settings(30, draw), 42)
    drawn, funnel = found.samples, found.funnel
    assert (len(drawn), funnel.drawn, funnel.eligible) == (30, 30, 100)
    assert len({sample.sample_id for sample in drawn}) == 30


@pytest.mark.parametrize("draw", ["notebook", "nested"])
def test_a_donor_is_about_another_passage_and_the_same_however_many_are_drawn(draw: str) -> None:
    """Expected: the passages differ, by reading; the first donors of a nested draw are those of the smaller one."""
    rows = [
        {"passage": f"Passage {number % 7} of a few.", "query": f"q{number}", "answer": "a"} for number in range(40)
    ]
    few, many = (draw_samples(rows, settings(count, draw), 42) for count in (5, 30))
    for found in (few, many):
        assert len(found.donors) == len(found.samples)
        pairs = zip(found.samples, found.donors, strict=True)
        assert all(sample.passage_id != donor.passage_id for sample, donor in pairs)
    donor_of = {sample.sample_id: donor for sample, donor in zip(many.samples, many.donors, strict=True)}
    pairs = zip(few.samples, few.donors, strict=True)
    assert all(donor_of.get(sample.sample_id, donor) == donor for sample, donor in pairs)
    assert len({donor.sample_id for donor in many.donors}) > 5


def test_donors_follow_the_seed_as_the_draw_does() -> None:
    """Expected: of fifty rows hardly any has the same donor by two seeds."""
    rows = [Sample(f"s{number}", number, f"Passage {number}.", "q", "a", None, f"p{number}") for number in range(50)]
    first, second = (choose_donors(rows, rows, seed) for seed in (1, 2))
    assert sum(one == other for one, other in zip(first, second, strict=True)) < 10


def test_one_passage_has_no_donor() -> None:
    rows = [{"passage": "The only passage here.", "query": f"q{number}", "answer": "a"} for number in range(4)]
    assert draw_samples(rows, settings(4), 42).donors == []


# --- distractors ---

# Few answers, passages and types, so that rows often share them; each line holds equal ones.
ANSWERS = [
    *("yes", "Yes.", " YES !", "no", "No", "7"),
    *("two words", "Two  words?!", "another two"),
    *("one answer of some words", "the answer of other words"),
    "...",
]
ROWS = st.lists(
    st.tuples(st.sampled_from(ANSWERS), st.integers(0, 3), st.sampled_from(["numeric", "description", None])),
    min_size=1,
    max_size=25,
)


def answered(rows: list[tuple[str, int, str | None]]) -> list[Sample]:
    return [
        Sample(content_hash(f"row {number}"), number, f"P{passage}", f"query {number}", answer, kind, f"P{passage}")
        for number, (answer, passage, kind) in enumerate(rows)
    ]


def bare(answer: str) -> str:
    """The second way to compare answers: word by word, without marks."""
    return " ".join(word for word in (part.rstrip(".!?") for part in answer.lower().split()) if word)


def length_class(answer: str) -> int:
    bounds = [0, 1, 3, 7, 15, 31]  # 0, 1, 2-3, 4-7, 8-15, 16-31 words
    return next(number for number, bound in enumerate(bounds) if len(bare(answer).split()) <= bound)


def of_sample(distractors: list[Distractor], sample: Sample) -> list[Distractor]:
    return [distractor for distractor in distractors if distractor.sample_id == sample.sample_id]


def question(sample: Sample) -> tuple[str, str]:
    return sample.passage_id, bare(sample.query)


def in_order(sample: Sample, rows: list[Sample]) -> list[list[Sample]]:
    """Return the rows of each level, the closest first: type and length, type, any."""
    typed = [row for row in rows if row.query_type == sample.query_type]
    return [[row for row in typed if length_class(row.answer) == length_class(sample.answer)], typed, rows]


@given(ROWS, st.data(), st.integers(0, 4), st.integers(0, 3))
def test_distractors_are_the_closest_wrong_answers_there_are(
    rows: list[tuple[str, int, str | None]], data: st.DataObject, count: int, seed: int
) -> None:
    """Expected: the admissible answers of each source and level, found by walking all rows for each sample."""
    eligible = answered(rows)
    lists = st.lists(st.sampled_from(["P0", "P1", "P2", "P3", "no row's"]), max_size=3)
    unselected = {row.sample_id: data.draw(lists) for row in eligible}
    row_of = {row.sample_id: row for row in eligible}
    distractors = choose_distractors(eligible, eligible, seed, count, unselected)
    for sample in eligible:
        own = of_sample(distractors, sample)
        right = {bare(row.answer) for row in eligible if question(row) == question(sample)}
        wrong = [row for row in eligible if bare(row.answer) not in right]
        others = [row for row in wrong if row.passage_id != sample.passage_id]
        listed = [row for row in others if row.passage_id in unselected[sample.sample_id]]
        sources = {
            "same_passage": [row for row in wrong if row.passage_id == sample.passage_id],
            "unselected_passage": [row for row in listed if bare(row.query) != bare(sample.query)],
            "other_passage": others,
        }
        assert [distractor.number for distractor in own] == list(range(len(own)))
        assert all(row_of[d.source_id].answer == d.answer and row_of[d.source_id] in sources[d.source] for d in own)
        found = [bare(distractor.answer) for distractor in own]
        assert len(set(found)) == len(found)
        known: set[str] = set()
        for source, admissible in sources.items():
            for level in in_order(sample, admissible):
                known |= {bare(row.answer) for row in level}
                first = own[: len(known)]
                assert len(first) == min(count, len(known))
                assert {bare(distractor.answer) for distractor in first} <= known
                assert list(sources).index(source) >= max((list(sources).index(d.source) for d in first), default=0)


def test_a_wrong_answer_is_sought_on_the_passage_then_on_passages_of_the_row_then_anywhere() -> None:
    """Expected: by reading. "nine" is right, and of the same query about the row's other passage the answer may be."""
    mill, river, far = "The mill ground rye.", "The river was moved.", "A ferry leaves."

    def listed(query: str, answer: str, selected: str, *others: str) -> dict[str, Any]:
        marks = [1, *(0 for _ in others)]
        return {
            "query": query,
            "answers": [answer],
            "passages": {"passage_text": [selected, *others], "is_selected": marks},
        }

    rows = [
        listed("when", "At nine.", mill, river),
        listed("When?", "nine", mill),
        listed("who", "A miller", mill),
        listed("what", "a miller.", mill),
        listed("where", "In Sample.", river),
        listed("when", "In June.", river),
        listed("how", "By boat.", far),
    ]
    drawn = draw_samples(rows, settings(7).model_copy(update={"distractor_count": 4}), 42)
    (sample,) = (sample for sample in drawn.samples if sample.answer == "At nine.")
    found = of_sample(drawn.distractors, sample)
    assert bare(found[0].answer) == "a miller"
    assert [(d.answer, d.source) for d in found[1:2]] == [("In Sample.", "unselected_passage")]
    assert {(d.answer, d.source) for d in found[2:]} == {("By boat.", "other_passage"), ("In June.", "other_passage")}
    assert [d.source for d in found] == ["same_passage", "unselected_passage", "other_passage", "other_passage"]


@pytest.mark.parametrize(
    "passages",
    [
        {"passage_text": ["A", "B", "C", None, " ", "D \ud83d"], "is_selected": [1, 0]},
        [{"passage_text": text, "is_selected": mark} for text, mark in (("A", 1), ("B", 0), ("C", None), (7, 0))],
    ],
)
def test_passages_without_a_mark_are_unselected_and_what_is_no_text_is_none(passages: Any) -> None:
    assert unselected_passages(msmarco(passages=passages)) == (content_hash("B"), content_hash("C"))
    assert unselected_passages(plain(1)) == ()


@given(ROWS, st.randoms(use_true_random=False))
def test_distractors_depend_on_neither_the_order_of_rows_nor_what_else_is_drawn(
    rows: list[tuple[str, int, str | None]], shuffle: random.Random
) -> None:
    eligible = answered(rows)
    listed = {row.sample_id: ["P3", "P1"] for row in eligible}
    everyones = choose_distractors(eligible, eligible, 42, 2, listed)
    drawn = shuffle.sample(eligible, shuffle.randint(1, len(eligible)))
    found = choose_distractors(shuffle.sample(eligible, len(eligible)), drawn, 42, 2, listed)
    assert found == [distractor for sample in drawn for distractor in of_sample(everyones, sample)]
    fewer = choose_distractors(eligible, drawn, 42, 1, {row: ["P1", "P3"] for row in listed})
    assert of_sample(fewer, drawn[0]) == of_sample(everyones, drawn[0])[:1]


def test_distractors_spread_over_the_answers_and_change_with_the_seed() -> None:
    """Expected: an answer is taken if one of 200 hashes falls between it and the last but one: 1 - (1/2)^2 of 200."""
    eligible = answered([(f"answer number {number}", number, "numeric") for number in range(200)])
    distractors = choose_distractors(eligible, eligible, 42, 2)
    counts = np.unique([distractor.answer for distractor in distractors], return_counts=True)[1]
    assert len(distractors) == 400
    assert len(counts) == pytest.approx(150, abs=20)
    assert counts.max() < 20
    assert choose_distractors(eligible, eligible, 43, 2) != distractors


@pytest.mark.slow
@pytest.mark.parametrize("prevailing", ["question", "answer and passage", "answer", "passage"])
def test_distractors_are_found_at_once_where_one_answer_passage_or_question_prevails(prevailing: str) -> None:
    """Walking all rows with the same answer, or about the same passage, takes minutes here: 20,000 times 20,000."""
    rows: list[tuple[str, int, str | None]]
    if "answer" in prevailing:
        rows = [("Yes." if n else "no", min(n, 1) if "passage" in prevailing else n, None) for n in range(20_000)]
    else:
        rows = [(f"answer {number}", min(number, 1), None) for number in range(20_000)]
    eligible = answered(rows)
    if prevailing == "question":
        eligible = [dataclasses.replace(row, query="the same") for row in eligible]
    distractors = choose_distractors(eligible, eligible, 42, 2)
    if prevailing == "passage":  # of all others, about the passage; the one row about another has none of its own
        sources = Counter(d.source for d in distractors)
        assert sources == {"same_passage": 2 * 19_999, "other_passage": 2}
        return
    # the one row with another answer or passage is everybody's only distractor, and has itself one or two
    assert {d.source_id for d in distractors if d.sample_id != eligible[0].sample_id} == {eligible[0].sample_id}
    assert len(distractors) == 19_999 + (2 if prevailing == "question" else 1)


def test_a_chunk_of_samples_finds_its_own_distractors_the_same_in_a_longer_run(
    artifacts_folder: Path, tmp_path: Path
) -> None:
    """Some samples have one distractor, some two: to one question both "yes" and "no" are right."""
    from prefect.logging import disable_run_logger

    from tasks.loading.data import identify_data
    from tasks.sampling import draw_samples
    from tasks.store.artifacts import read_rows

    lines = [plain(number, answer=("yes", "maybe")[number % 2]) for number in range(60)]
    lines += [
        plain(number, answer=("yes", "no")[number % 2], passage="the same", query="the same" + "?" * number)
        for number in range(60, 90)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    data = DataSettings(data=str(tmp_path / "rows.jsonl"))
    with disable_run_logger():
        short, long = (
            draw_samples.fn(identify_data(data), settings(count, words=(1, 50)), 42, 7) for count in (21, 45)
        )
    for samples in (short, long):
        everyones = read_rows(samples["distractors"], Distractor)
        chunked = []
        for chunk in samples["chunks"]:
            distractors = read_rows(chunk["distractors"], Distractor)
            drawn = {sample.sample_id for sample in read_rows(chunk["samples"], Sample)}
            assert {distractor.sample_id for distractor in distractors} == drawn
            chunked += distractors
        assert chunked == everyones
        assert {len(of_sample(everyones, sample)) for sample in read_rows(samples, Sample)} == {1, 2}
    known = [[chunk["distractors"]["chunk"] for chunk in samples["chunks"]] for samples in (short, long)]
    assert known[1][:3] == known[0]
    assert len(set(known[1])) == 7
    assert short["distractors"]["sha256"] != long["distractors"]["sha256"]


def test_no_distractors_are_an_empty_file_and_empty_chunks(artifacts_folder: Path, tmp_path: Path) -> None:
    from prefect.logging import disable_run_logger

    from tasks.loading.data import identify_data
    from tasks.sampling import draw_samples
    from tasks.store.artifacts import read_rows

    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(plain(n)) for n in range(5)), encoding="utf-8")
    data = DataSettings(data=str(tmp_path / "rows.jsonl"))
    none = settings(5).model_copy(update={"distractor_count": 0})
    with disable_run_logger():
        samples = draw_samples.fn(identify_data(data), none, 42, 3)
    assert [read_rows(chunk["distractors"], Distractor) for chunk in samples["chunks"]] == [[], []]
    assert samples["distractors"]["rows"] == 0


# --- texts that rows bring ---


def test_texts_of_rows_are_kept_by_name_for_the_drawn_samples() -> None:
    """Expected: by reading; a mapping's names in alphabetical order whatever the row's, a list's by their places."""
    mapped = [
        plain(n, surrogates={"b": f"B{n}", "a": f"A{n}"} if n % 2 else {"a": f"A{n}", "b": f"B{n}"}) for n in range(9)
    ]
    found = draw_samples(mapped, settings(4), 42)
    assert found.provided_keys == ("a", "b")
    assert [(t.sample_id, t.family, t.key, t.text) for t in found.texts] == [
        (s.sample_id, "provided", key, f"{key.upper()}{s.position - 1}") for s in found.samples for key in ("a", "b")
    ]
    listed = draw_samples([plain(n, surrogates=[f"first {n}", plain(n)["query"]]) for n in range(3)], settings(3), 42)
    assert listed.provided_keys == ("text_1", "text_2")
    assert [text.is_query for text in listed.texts] == [False, True] * 3


@pytest.mark.parametrize("column", [None, "absent"])
def test_rows_without_texts_of_their_own_have_no_family_of_them(column: str | None) -> None:
    found = draw_samples([plain(n) if column else plain(n, surrogates=None) for n in range(3)], settings(3), 42)
    assert (found.texts, found.provided_keys) == ([], ())


OTHERS = r"other texts in `surrogates` than the first row: {} in place of text_1, text_2"
NOT_TEXTS = "surrogates are not 1 to 20 texts, as a list or by names such as my_text: "


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (["one"], OTHERS.format("text_1")),
        ({"text_1": "a", "other": "b"}, OTHERS.format("other, text_1")),
        (None, OTHERS.format("nothing")),
        ([], NOT_TEXTS),
        ({}, NOT_TEXTS),
        ("a text", f"{NOT_TEXTS}'a text'"),
        (7, f"{NOT_TEXTS}7"),
        (["a", None], rf"{NOT_TEXTS}\['a', None\]"),
        (["a", "  "], NOT_TEXTS),
        (["a", ["b"]], NOT_TEXTS),
        (["a", "half \ud83d"], f"{NOT_TEXTS}.*ud83d"),
        (["a"] * 21, NOT_TEXTS),
        ({"../a": "a", "b": "b"}, NOT_TEXTS),
        ({"routed": "a", "b": "b"}, f"{NOT_TEXTS}.*routed"),
        (["\x1b[2J" * 1000, 1], NOT_TEXTS),
    ],
)
def test_other_texts_in_some_rows_are_refused_with_the_row(column: Any, said: str) -> None:
    rows = [plain(n, surrogates=["a", "b"]) for n in range(5)]
    rows[2]["surrogates"] = column
    with pytest.raises(RowFormatError, match=f"A row cannot be read:\n  row 3: {said}") as caught:
        draw_samples(rows, settings(2), 42)
    assert len(str(caught.value)) < 1000
    assert str(caught.value).replace("\n", "").isprintable()


def test_the_texts_of_a_row_that_is_dropped_do_not_matter() -> None:
    rows = [plain(0, surrogates=["a"]), plain(1, answer="", surrogates=7), plain(0, surrogates=["b", "c"])]
    assert [text.text for text in draw_samples(rows, settings(2), 42).texts] == ["a"]


def test_parquet_and_json_bring_the_same_texts(tmp_path: Path) -> None:
    from tasks.loading.data import identify_data, load_rows

    for name, column in (("list", ["one", "two"]), ("mapping", {"a": "one", "b": "two"})):
        rows = [plain(n, surrogates=column) for n in range(3)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        found = [
            draw_samples(
                load_rows(identify_data(DataSettings(data=str(tmp_path / f"{name}{suffix}")))), settings(3), 42
            )
            for suffix in (".jsonl", ".parquet")
        ]
        assert found[0].texts == found[1].texts != []


def test_the_draw_that_the_settings_name_is_the_one_that_is_made() -> None:
    rows = [plain(number) for number in range(100)]
    notebook = draw_samples(rows, settings(10, "notebook"), 42).samples
    nested = draw_samples(rows, settings(10, "nested"), 42).samples
    # the first of np.random.seed(42); shuffle(list(range(20))): the first 2 x 10 rows only
    assert [row.position - 1 for row in notebook] == np.random.RandomState(42).permutation(20)[:10].tolist()
    assert nested == draw_nested(samples(100), 10, 42)


def test_the_funnel_of_the_real_rows(shared_data: Path) -> None:
    rows = pq.read_table(shared_data / "data" / "msmarco_v1.1_sample.parquet").to_pylist()
    found = draw_samples(rows, settings(184, words=(50, 200)), 42)
    drawn, funnel = found.samples, found.funnel
    # counted by hand: 251 = 184 eligible + 54 outside 50-200 words + 9 without an answer + 4 without a selected passage
    assert (funnel.rows, funnel.eligible, funnel.drawn, len(drawn)) == (251, 184, 184, 184)
    assert funnel.rejected == {
        "selected passage outside 50-200 words": 54,
        "no answer": 9,
        "answer but no selected passage": 4,
    }
    first = min(drawn, key=lambda sample: sample.position)
    assert first.query == "walgreens store sales average"  # golden/sampling.json: find_good_example, no shuffle
    assert (first.passage, first.answer) == (WALKTHROUGH["passage"], WALKTHROUGH["answer"])


def test_a_wrong_answer_is_none_of_the_accepted_ones() -> None:
    """Expected: read off the three rows; "9" answers another query, and is right here as well."""
    passage = {"passage": "The ferry leaves at nine from pier 9 and takes 40 minutes."}
    rows = [
        passage | {"query": "when", "answers": ["nine", "9"]},
        passage | {"query": "which pier", "answers": ["9"]},
        passage | {"query": "how long", "answers": ["40 minutes"]},
    ]
    drawn = draw_samples(rows, settings(3), 42)
    (first,) = (sample for sample in drawn.samples if sample.query == "when")
    wrong = {found.answer for found in drawn.distractors if found.sample_id == first.sample_id}
    assert wrong == {"40 minutes"}
