"""The free family: what each text is made of, and that nothing but the data's eligible rows decides it."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from tasks.priming.arms.arms import ARM_GROUPS, entries_of
from tasks.priming.arms.writing import (
    Writing,
    first_sentence,
    keywords_of,
    write_echo,
    write_keywords,
    write_lead,
    write_phrase,
)
from tasks.priming.records import Sample, Surrogate
from tasks.priming.sampling import draw_samples
from tasks.priming.settings import DataSettings, SamplingSettings, resolve_settings
from tasks.sampling import drawing_call

PASSAGES = [
    "The watermill at Sample ground rye. The watermill was built in 1675, and the watermill still stands.",
    "A ferry leaves at nine. The ferry to the island takes an hour.",
    "Rye bread needs sourdough, time and a hot oven; bread without rye does not.",
    "It is what it is, and that is all there is to it.",  # stop words alone
    "Dr. Ames",
]


def rows() -> list[dict[str, str]]:
    return [
        {"passage": text, "query": f"what about {n}", "answer": f"answer {n}"}
        for n, text in enumerate([*PASSAGES, PASSAGES[0]])
    ]


def sample(passage: str) -> Sample:
    return Sample("s", 0, passage, "a query", "an answer", None, "p")


def settings(count: int) -> SamplingSettings:
    return SamplingSettings(sample_count=count, min_words=1, max_words=50)


def test_the_free_texts_are_five_entries_of_one_template() -> None:
    """Expected: the list and the texts of the design."""
    entries = {
        n: e for n, e in entries_of(resolve_settings("laptop", families=("baseline", "free"))).items() if "/" in n
    }
    assert list(entries) == [f"free/{key}" for key in ("extract", "one_word", "keywords", "lead", "echo")]
    assert {entry.contexts.context("P.", "T") for entry in entries.values()} == {"T\n\nDocument:\nP."}
    phrases = [e.wording.text for e in entries.values() if e.wording]
    assert phrases == ["Extract the key facts from this text.", "Facts"]
    assert {entry.is_routed or entry.needs_language_model for entry in entries.values()} == {False}
    assert "free/extract" not in entries_of(resolve_settings("laptop", families=("baseline",)))
    some = resolve_settings("demo", families=("baseline", "free"), free_texts=("echo", "extract"))
    assert list(entries_of(some)) == ["baseline", "free/extract", "free/echo"]
    for texts, has_keywords in ((("echo",), False), (("keywords",), True), (("all",), True)):
        drawn = drawing_call({}, some.model_copy(update={"free_texts": texts}), 5)
        assert drawn["all"]["has_keywords"] is has_keywords


def test_phrases_lead_and_echo_are_written_for_every_sample_at_no_token() -> None:
    one = sample(PASSAGES[1])
    wording = ARM_GROUPS["free/one_word"].wording
    written = [*write_phrase([one], Writing(42, wording=wording)), *write_lead([one], Writing(42))]
    written += write_echo([one], Writing(42))
    assert [(s.family, s.key, s.text) for s in written] == [
        ("free", "one_word", "Facts"),
        ("free", "lead", "A ferry leaves at nine."),
        ("free", "echo", PASSAGES[1]),
    ]
    assert {(s.prompt_token_count, s.token_count, s.finish) for s in written} == {(0, 0, "fixed")}


@pytest.mark.parametrize(
    ("passage", "expected"),
    [
        ("The mill ground rye. It stands.", "The mill ground rye."),
        ("The mill  ground\nrye! It stands.", "The mill ground rye!"),
        ('He said "it is closed today." Then he left.', 'He said "it is closed today."'),
        ("Dr. Ames of St. Ives built it. It stands.", "Dr. Ames of St."),  # the rule's own limit: from the fourth word
        ("1. Turn it off. Wait.", "1. Turn it off."),
        ("No mark at all in here", "No mark at all in here"),
        ("Costs 3.50 in all. More.", "Costs 3.50 in all."),
        ("Too short.", "Too short."),
        ("", ""),
    ],
)
def test_the_lead_ends_at_the_first_mark_from_the_fourth_word_on(passage: str, expected: str) -> None:
    """Expected: by the rule, word by word."""
    assert first_sentence(passage) == expected


def test_a_passage_of_one_endless_word_has_a_lead_at_once() -> None:
    assert first_sentence("." * 1_000_000 + ")" * 1_000_000) == "." * 1_000_000 + ")" * 1_000_000


def test_keywords_are_the_six_of_highest_tf_idf_ties_in_alphabetical_order() -> None:
    """Computed again from scikit-learn's dense table, sorted by Python."""
    found = keywords_of(PASSAGES, [*PASSAGES, PASSAGES[0]])
    vectorizer = TfidfVectorizer(stop_words="english")
    table = vectorizer.fit_transform([*PASSAGES, PASSAGES[0]]).toarray()
    words = vectorizer.get_feature_names_out()
    for row, text in zip(table, found, strict=False):
        ranked = sorted((-value, word) for value, word in zip(row, words, strict=True) if value > 0)
        assert text == ", ".join(word for _, word in ranked[:6])
    assert found[0].startswith("watermill, ")  # three times, and in no other passage
    assert found[1] == "ferry, hour, island, leaves, takes"  # five words that are no stop words; by hand
    assert found[3] == ""


def test_keywords_of_data_without_a_word_are_empty() -> None:
    assert keywords_of(["it is", "!"], ["it is", "!"]) == ["", ""]


def test_keywords_follow_from_the_eligible_rows_alone() -> None:
    """Expected: the same for a sample however many are drawn, and in whatever order the rows come."""
    shuffled = random.Random(0).sample(rows(), len(rows()))
    few, many, other = (
        {text.sample_id: text for text in draw_samples(data, settings(count), 42, has_keywords=True).texts}
        for data, count in ((rows(), 2), (rows(), 6), (shuffled, 6))
    )
    assert len(few) == 2
    assert few.items() <= many.items()
    assert many == other
    common = [{"passage": f"A watermill, number {n}.", "query": "q", "answer": "a"} for n in range(40)]
    more = {t.sample_id: t for t in draw_samples([*rows(), *common], settings(46), 42, has_keywords=True).texts}
    changed = [many[sample_id].text for sample_id in many if more[sample_id] != many[sample_id]]
    assert changed == [text for text in changed if "watermill" in text] != []  # other eligible rows, other weights


def test_keywords_are_chosen_only_where_they_are_asked_for() -> None:
    assert draw_samples(rows(), settings(3), 42).texts == []


def test_a_chunk_has_the_keywords_of_its_samples(artifacts_folder: Path, tmp_path: Path) -> None:
    """The same ones in a longer run are the same chunk."""
    from prefect.logging import disable_run_logger

    from tasks.loading.data import identify_data
    from tasks.sampling import draw_samples as stage
    from tasks.store.artifacts import read_rows

    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows())), encoding="utf-8")
    identity = identify_data(DataSettings(data=str(tmp_path / "rows.jsonl")))
    with disable_run_logger():
        short, long = (stage.fn(identity, settings(count), 42, 2, has_keywords=True) for count in (4, 6))
    for drawn in (short, long):
        for chunk in drawn["chunks"]:
            samples = read_rows(chunk["samples"], Sample)
            texts = read_rows(chunk["texts"], Surrogate)
            written = write_keywords(samples, Writing(42, data_texts=texts))
            assert [text.text for text in written] == keywords_of(
                [one.passage for one in samples], [row["passage"] for row in rows()]
            )
    assert [chunk["texts"]["chunk"] for chunk in short["chunks"]] == [
        chunk["texts"]["chunk"] for chunk in long["chunks"][:2]
    ]


def test_ties_are_ties_to_the_last_bit() -> None:
    """Words that occur as often in as many passages have the same bits, so that the alphabet decides, not rounding."""
    generator = np.random.default_rng(0)
    vocabulary = [f"word{number:03}" for number in range(60)]
    passages: list[Any] = [" ".join(generator.permutation(vocabulary)[:30]) for _ in range(3)]
    for text in keywords_of(passages, passages * 7):
        found = text.split(", ")
        counts = [sum(word in passage.split() for passage in passages) for word in found]
        assert [pair for _, pair in sorted(zip(counts, found, strict=True))] == found
