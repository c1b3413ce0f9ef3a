"""Samples are packed with their texts and numbers, within the size of a page, whatever their texts are."""

import random
import string
from typing import Any

import pytest

from tasks.pages.blocks import Value
from tasks.reading.database import MOST_SAMPLES, RunRows, read_run
from tasks.report.page import render_report
from tasks.report.samples import pack_samples
from tasks.report.tables import tables_of
from tests.report.conftest import Published, unpacked


def test_every_sample_is_in_the_page_with_the_numbers_of_sql(published: Published, query: Any) -> None:
    data = unpacked(render_report(read_run("abc123")))
    assert (data["arm"], data["reference"]) == ("generated/routed", "baseline/document")
    samples = {sample["id"]: sample for sample in data["samples"]}
    assert len(samples) == 24
    found = query(
        "SELECT sample_id, condition, nll, similarity, is_routed, family, key FROM all_runs.outcome "
        "WHERE run_id = 'abc123'"
    )
    assert len(found) == 24 * 8
    for sample_id, condition, nll, similarity, is_routed, family, key in found:
        sample = samples[sample_id]
        assert sample["nlls"][data["conditions"].index(condition)] == round(1_000_000 * nll)
        if similarity is not None:
            assert sample["surrogates"][condition]["similarity"] == round(similarity, 4)
            assert (sample["routed"][family] == key) == is_routed
    for sample_id, *texts in query("SELECT sample_id, query, answers FROM sample WHERE run_id = 'abc123'"):
        assert [samples[sample_id]["query"], samples[sample_id]["answers"]] == texts


def test_flags_are_said_in_words(published: Published) -> None:
    """The fixture: sample 0 is over its limit and cut off, sample 3 has nothing, sample 5 repeats the query."""
    samples = unpacked(render_report(read_run("abc123")))["samples"]
    assert [samples[number]["surrogates"]["generated/keyword_query"]["flags"] for number in (0, 1, 3, 5)] == [
        ["over its word limit", "cut off by the token limit"],
        [],
        ["empty"],
        ["equals the query"],
    ]


def test_samples_that_were_not_scored_have_no_explorer(published: Published) -> None:
    assert '<template id="packed">' not in render_report(read_run("fff000"))


def made(sample_count: int, words: int, arms: int = 10) -> RunRows:
    """Return a run of random words, which cannot be packed as small as those of a language."""
    generator = random.Random(1)

    def text(count: int) -> str:
        return " ".join("".join(generator.choices(string.ascii_lowercase, k=5)) for _ in range(count))

    names = [f"{number:016x}" for number in range(sample_count)]
    keys = [f"key_{number}" for number in range(arms)]
    flags = dict.fromkeys(("is_over_word_limit", "is_query", "has_stray_marks"), False)
    return RunRows(
        run={},
        tables={
            "sample": [
                {
                    "sample_id": name, "passage": text(words), "query": text(6), "answer": text(10), "answers": None,
                    "query_type": "numeric",
                }
                for name in names
            ],
            "surrogate": [
                {
                    "sample_id": name, "family": "generated", "key": key, "text": text(8), "finish": "stop",
                    "similarity": generator.random(), "is_routed": key == keys[0], **flags,
                }
                for name in names
                for key in keys
            ],
            "written": [],
            "reading": [],
        },
        nlls={f"generated/{key}": {name: generator.expovariate(1.0) for name in names} for key in keys},
    )  # fmt: skip


@pytest.mark.slow
def test_what_is_too_large_is_cut_shorter_and_then_left_out() -> None:
    """A page of 2,500 samples is to have under 3 MB, of which its plots and tables take less than one."""
    assert MOST_SAMPLES == 2_500
    short = pack_samples({"": made(50, 300)}, "", "")
    assert (short.count, short.characters) == (50, 1_600)
    large = pack_samples({"": made(2_500, 90, arms=5)}, "", "")
    assert large.count == 2_500
    assert len(large.text) <= 2_000_000
    larger = pack_samples({"": made(2_500, 90, arms=25)}, "", "")
    assert larger.characters == 100
    assert 500 < larger.count < 2_500
    assert len(larger.text) <= 2_000_000


def test_flags_are_counted_as_by_sql(published: Published, query: Any) -> None:
    table = tables_of(read_run("abc123"), [])["flags"]
    shown = {tuple(getattr(cell, "text", cell) for cell in row[:2]): row[2:8] for row in table.rows}
    for family, key, *counts in query(
        "SELECT family, key, count(*), sum((text = '')::INT), sum(is_over_word_limit::INT), sum(is_query::INT), "
        "sum(has_stray_marks::INT), sum((finish = 'length')::INT) FROM surrogate "
        "WHERE run_id = 'abc123' AND family = 'generated' GROUP BY ALL"
    ):
        assert shown.pop((family, key)) == tuple(Value(str(number), number) for number in counts)
    assert shown == {}
