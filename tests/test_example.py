"""The example corpus is what its README says: readable by the ordinary loader, answerable, without repetition."""

import json
from collections import Counter
from typing import Any

import pytest

from tasks.loading.data import identify_data, load_rows
from tasks.priming.sampling import draw_samples
from tasks.priming.settings import DataSettings, SamplingSettings
from tests.places import ROOT

CORPUS = ROOT / "tasks" / "example" / "corpus.jsonl"
YES_OR_NO = ("yes", "no")


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]


def selected(row: dict[str, Any]) -> str:
    (text,) = [passage["passage_text"] for passage in row["passages"] if passage["is_selected"]]
    return str(text)


def unselected(row: dict[str, Any]) -> list[str]:
    return [passage["passage_text"] for passage in row["passages"] if not passage["is_selected"]]


def words(text: str) -> list[str]:
    return [word.strip(".,;:!?\"'()[]‘’“”").lower() for word in text.split()]


def test_every_row_becomes_a_sample_by_the_ordinary_loader(rows: list[dict[str, Any]]) -> None:
    data = DataSettings(data="example")
    drawn = draw_samples(load_rows(identify_data(data)), SamplingSettings(sample_count=1000), 42)
    assert drawn.funnel.rejected == {}
    assert {(s.query, s.answer, s.passage) for s in drawn.samples} == {
        (row["query"], row["answers"][0], selected(row)) for row in rows
    }


def test_there_are_as_many_texts_and_queries_as_the_readme_says(rows: list[dict[str, Any]]) -> None:
    texts = {passage["passage_text"] for row in rows for passage in row["passages"]}
    readme = (CORPUS.parent / "README.md").read_text(encoding="utf-8")
    assert f"{len(rows)} queries on {len(texts)} short texts" in readme
    assert len(texts) >= 160
    assert len(rows) >= 240
    assert all(50 <= len(text.split()) <= 150 for text in texts)
    assert max(Counter(selected(row) for row in rows).values()) <= 4
    answers = Counter(len(row["answers"]) for row in rows)
    assert f"{answers[1]} queries have one accepted answer,\n{answers[2]} two and {answers[3]} three" in readme


def test_nothing_is_there_twice(rows: list[dict[str, Any]]) -> None:
    assert len({row["query"].lower() for row in rows}) == len(rows)
    for row in rows:
        assert len({answer.lower() for answer in row["answers"]}) == len(row["answers"])
        assert len({passage["passage_text"] for passage in row["passages"]}) == len(row["passages"])
    openings = Counter(" ".join(words(text)[:4]) for text in {selected(row) for row in rows})
    assert openings.most_common(1)[0][1] <= 2  # no template shows


def test_answers_are_few_and_short_ones_stand_in_the_selected_passage_alone(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert 1 <= len(row["answers"]) <= 3
        assert all(answer.strip() == answer != "" for answer in row["answers"])
        first = row["answers"][0]
        if len(first.split()) <= 5 and words(first)[0] not in YES_OR_NO:
            assert " ".join(words(first)) in " ".join(words(selected(row))), row["query"]
    kinds = Counter(words(row["answers"][0])[0] in YES_OR_NO for row in rows)
    assert kinds[True] >= 15


def test_every_query_has_near_misses(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        assert 3 <= len(unselected(row)) <= 7
        assert row["query_type"] in ("DESCRIPTION", "NUMERIC", "ENTITY", "LOCATION", "PERSON")
