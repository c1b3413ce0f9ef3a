"""The demo corpus: the same bytes every time, the schema of MS MARCO, and nothing of evaluation in training."""

import json
import re
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tasks.demo.corpus import (
    CORPUS_SEED,
    EVALUATION_FILE,
    FULL_SIZE,
    SHIPPED_ROW_COUNT,
    evaluation_lines,
    main,
    write_passage,
    write_rows,
)
from tasks.demo.domains.all_domains import DOMAINS
from tasks.demo.drawing import Split, draw_number, draw_value, random_for, split_of
from tasks.demo.queries import STYLES, is_within_word_limits, obeys_style, templates_for, write_query, write_surrogate
from tasks.demo.schema import Attribute, Domain, Numbers, YesNo
from tasks.demo.sentences import Fact, fill_sentence

NUMBER = re.compile(r"\d[\d,.]*\d|\d")

ATTRIBUTES = [(domain, attribute) for domain in DOMAINS for attribute in domain.attributes]
# Yes/no facts say their value by a verb, not by words of its own.
WORDED = [each for each in ATTRIBUTES if not isinstance(each[1].values, YesNo)]


@pytest.fixture(scope="module")
def shipped_rows() -> list[dict[str, Any]]:
    """Return the rows that lie in the repository."""
    return [json.loads(line) for line in EVALUATION_FILE.read_text(encoding="utf-8").splitlines()]


def selected_passage(row: dict[str, Any]) -> str:
    """Return the passage that answers the query."""
    text: str = row["passages"]["passage_text"][row["passages"]["is_selected"].index(1)]
    return text


def example_facts(domain: Domain, attribute: Attribute, count: int) -> list[Fact]:
    """Return facts of an attribute, from both splits."""
    facts = []
    for number in range(count):
        source = random_for("test", domain.name, attribute.name, number)
        split: Split = "training" if number % 2 else "evaluation"
        key = None if attribute.keys is None else draw_value(attribute.keys, split, source)
        value = draw_value(attribute.values, split, source)
        facts.append(Fact(attribute, draw_value(domain.subject, split, source), key, value, "key_first"))
    return facts


def test_the_shipped_file_equals_a_regenerated_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expected: the committed bytes themselves."""
    fresh = tmp_path / "evaluation.jsonl"
    monkeypatch.setattr("sys.argv", ["corpus", "--output", str(fresh)])
    main()
    assert fresh.read_bytes() == EVALUATION_FILE.read_bytes()


def test_the_first_rows_do_not_depend_on_how_many_are_taken() -> None:
    """Expected: a prefix, computed by taking fewer rows."""
    assert evaluation_lines(40)[:15] == evaluation_lines(15)


def test_rows_have_the_schema_of_ms_marco(shipped_rows: list[dict[str, Any]]) -> None:
    """Expected: the columns of microsoft/ms_marco v1.1, one selected passage and one to three others."""
    assert len(shipped_rows) == SHIPPED_ROW_COUNT
    columns = {"query", "query_id", "query_type", "answers", "wellFormedAnswers", "passages"}
    for number, row in enumerate(shipped_rows):
        assert columns <= set(row)
        assert row["query_id"] == number
        assert set(row["passages"]) == {"passage_text", "is_selected", "url"}
        lengths = {len(column) for column in row["passages"].values()}
        assert len(lengths) == 1
        assert lengths <= {2, 3, 4}
        assert sum(row["passages"]["is_selected"]) == 1
        assert row["query"]
        assert row["answers"][0]


def test_every_shipped_passage_is_eligible(shipped_rows: list[dict[str, Any]]) -> None:
    """Expected: 50 to 200 words, the walkthrough's bounds."""
    word_counts = [len(selected_passage(row).split()) for row in shipped_rows]
    assert min(word_counts) >= 50
    assert max(word_counts) <= 200


def test_answers_stand_in_their_passage(shipped_rows: list[dict[str, Any]]) -> None:
    """Expected: the short answer is a span of the selected passage (yes and no are not)."""
    for row in shipped_rows:
        answer = row["answers"][0]
        assert answer in ("Yes", "No") or answer.lower() in selected_passage(row).lower()


def test_no_other_passage_holds_the_answers_fact(shipped_rows: list[dict[str, Any]]) -> None:
    """Expected: the subject of the answering passage is named in no unselected one."""
    for row in shipped_rows:
        for text, url, is_selected in zip(
            row["passages"]["passage_text"], row["passages"]["url"], row["passages"]["is_selected"], strict=True
        ):
            subject = url.rsplit("/", 1)[1].replace("-", " ")
            assert subject in text.lower()
            if not is_selected:
                assert subject not in selected_passage(row).lower()


def test_the_evaluation_split_is_large_and_mixed() -> None:
    """Expected: the corpus's promise of 2,500 rows, all domains and styles, both orders each in 40-60 %."""
    rows = list(islice(write_rows("evaluation", CORPUS_SEED), 2_500))
    assert len({(row["query"], selected_passage(row)) for row in rows}) > 2_400
    assert {row["domain"] for row in rows} == {domain.name for domain in DOMAINS}
    assert len(DOMAINS) >= 12
    assert {row["style"] for row in rows} == set(STYLES)
    assert 0.4 < Counter(row["fact_order"] for row in rows)["key_first"] / len(rows) < 0.6
    per_passage = Counter(selected_passage(row) for row in rows)
    assert set(per_passage.values()) <= {1, 2, 3, 4}


def test_no_number_or_name_of_evaluation_is_in_training() -> None:
    """Expected: disjoint sets, counted in the written texts and not by the rule that made them."""
    numbers: dict[str, set[str]] = {"training": set(), "evaluation": set()}
    entities: dict[str, set[str]] = {"training": set(), "evaluation": set()}
    counts: dict[Split, int] = {"training": 1_500, "evaluation": 500}
    for split, count in counts.items():
        for number in range(count):
            source = random_for("test", split, number)
            passage = write_passage(DOMAINS[number % len(DOMAINS)], FULL_SIZE, split, source)
            numbers[split] |= {found.replace(",", "") for found in NUMBER.findall(passage.text)}
            entities[split].add(passage.subject)
            for fact in passage.facts:
                entities[split] |= {fact.key or passage.subject}
                if not isinstance(fact.attribute.values, YesNo):
                    entities[split].add(fact.value)
    assert len(numbers["evaluation"]) > 300
    assert not numbers["training"] & numbers["evaluation"]
    assert not entities["training"] & entities["evaluation"]


def test_a_number_keeps_its_split_with_and_without_commas() -> None:
    """A number with commas once belonged to another split than the same number without."""
    assert split_of("15,000") == split_of("15000")


def test_numbers_are_written_as_people_write_them() -> None:
    """Expected: dollars with commas, years without, by reading."""
    source = random_for("test", "numbers")
    assert re.fullmatch(r"\d,\d{3}", draw_number(Numbers("${0}", 1_000, 9_999), "training", source))
    assert re.fullmatch(r"\d{4}", draw_number(Numbers("{0}", 1_000, 1_999), "training", source))
    assert re.fullmatch(r"\d\.\d{2}", draw_number(Numbers("{0} percent", 100, 999, 1, 2), "training", source))


@pytest.mark.parametrize(("domain", "attribute"), WORDED, ids=[f"{d.name}-{a.name}" for d, a in WORDED])
def test_fact_sentences_keep_their_order(domain: Domain, attribute: Attribute) -> None:
    """Expected: in key-first sentences the key stands before the value, in value-first ones behind it."""
    fact = example_facts(domain, attribute, 1)[0]
    key = (fact.key or "").lower()
    for template in attribute.key_first:
        text = fill_sentence(template, fact).lower()
        assert text.index(key) < text.index(fact.value.lower())
    for template in attribute.value_first:
        text = fill_sentence(template, fact).lower()
        assert text.rindex(fact.value.lower()) < text.rindex(key or text[-5:])


@pytest.mark.parametrize(("domain", "attribute"), ATTRIBUTES, ids=[f"{d.name}-{a.name}" for d, a in ATTRIBUTES])
def test_no_placeholder_is_left_and_queries_name_their_subject(domain: Domain, attribute: Attribute) -> None:
    """Expected: no brace in any text; the subject in each query, so that a search engine could find the passage."""
    for fact in example_facts(domain, attribute, 6):
        templates = [*attribute.key_first, *attribute.value_first, attribute.answer]
        queries = [template for style in STYLES for template, _ in templates_for(fact, style)]
        for template in [*templates, *queries]:
            assert "{" not in fill_sentence(template, fact)
        for template in queries:
            assert fact.subject in fill_sentence(template, fact)


def test_every_surrogate_obeys_its_instruction() -> None:
    """Expected: the word limits of prompts.py and the style marks, for each style of each attribute."""
    for domain, attribute in ATTRIBUTES:
        for fact in example_facts(domain, attribute, 20):
            for style in STYLES:
                text = write_surrogate(fact, style, random_for("test", "surrogate", fact.value))
                assert is_within_word_limits(text, style), text
                assert obeys_style(text, style), text


def test_style_decides_the_length_of_the_answer() -> None:
    """Expected: keywords and messy queries want the value alone, problems and worries a sentence that holds it."""
    fact = example_facts(DOMAINS[0], DOMAINS[0].attributes[0], 1)[0]
    for number in range(50):
        query = write_query(fact, random_for("test", "answers", number))
        if query.style in ("keyword_query", "messy_realworld"):
            assert query.answer == fact.value
        if query.style in ("symptom_scenario", "misconception_negative"):
            assert query.answer == fill_sentence(fact.attribute.answer, fact)
