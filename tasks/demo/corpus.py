"""Writes the demo corpus: passages in the voice of web answers, queries as people type them, and their answers.

In: a seed, a split and a number. Out: passages with their facts, queries, and rows in the schema of MS MARCO v1.1.
Run as `python -m tasks.demo.corpus` it writes `tasks/demo/evaluation.jsonl`, byte for byte the same every time.

It exists so that the default experiment needs no network and no foreign data, and so that its truth is known: each
fact is written key first ("A night cashier earns about $15,000") or value first ("About $15,000 is what a night cashier
earns"), and the row says which. A causal model finds the first by copying what follows a match; for the second it must
look back.
"""

import argparse
import json
import logging
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.demo.domains.all_domains import DOMAINS
from tasks.demo.domains.general import GENERAL_FILLERS
from tasks.demo.drawing import Split, draw_name, draw_number, draw_value, random_for
from tasks.demo.queries import Query, write_query
from tasks.demo.schema import Attribute, Domain, Names, Numbers, Phrases
from tasks.demo.sentences import Fact, fill_sentence
from tasks.guard import guarded

EVALUATION_FILE = Path(__file__).parent / "evaluation.jsonl"
# Passages written freely, without templates: a second, much harder test.
HANDWRITTEN_FILE = Path(__file__).parent / "handwritten.jsonl"
SHIPPED_ROW_COUNT = 400
CORPUS_SEED = 42

# Numbers that no query asks for: they are there to be passed over.
IDLE_NUMBERS = Numbers("{0}", 110, 980)
KEYS_PER_LIST = 3


@dataclass(frozen=True, slots=True)
class Size:
    """How long a passage is."""

    fact_counts: tuple[int, int]
    """The smallest and the largest number of facts."""
    word_counts: tuple[int, int]
    """Fillers are added until a number of words drawn from this range is reached."""


FULL_SIZE = Size(fact_counts=(3, 6), word_counts=(54, 125))


@dataclass(frozen=True, slots=True)
class Passage:
    """A text with its facts in the order in which they stand in it."""

    domain: Domain
    """The field it belongs to."""
    subject: str
    """The invented name it is about."""
    text: str
    """The passage itself."""
    facts: tuple[Fact, ...]
    """Everything a query can ask for."""
    sentences: tuple[str, ...]
    """The sentence that says each fact."""


def draw_keys(domain: Domain, split: Split, source: random.Random) -> dict[Names | Phrases, list[str]]:
    """Draw a few keys from each list of the domain; attributes that share a list share its keys."""
    keys: dict[Names | Phrases, list[str]] = {}
    for attribute in domain.attributes:
        if attribute.keys is not None and attribute.keys not in keys:
            drawn: list[str] = []
            while len(drawn) < KEYS_PER_LIST:
                key = draw_value(attribute.keys, split, source)
                if key not in drawn:
                    drawn.append(key)
            keys[attribute.keys] = drawn
    return keys


def candidates_of(attribute: Attribute, keys: dict[Names | Phrases, list[str]]) -> list[tuple[Attribute, str | None]]:
    """Return an attribute with each of the keys that it can be asked for."""
    return [(attribute, key) for key in (keys[attribute.keys] if attribute.keys is not None else [None])]


def draw_candidates(
    domain: Domain, keys: dict[Names | Phrases, list[str]], fact_count: int, source: random.Random
) -> list[tuple[Attribute, str | None]]:
    """Draw what the facts of a passage are about, all combinations alike."""
    candidates = [each for attribute in domain.attributes for each in candidates_of(attribute, keys)]
    return source.sample(candidates, min(fact_count, len(candidates)))


def draw_contrasting_candidates(
    domain: Domain, keys: dict[Names | Phrases, list[str]], fact_count: int, source: random.Random
) -> list[tuple[Attribute, str | None]]:
    """Draw one attribute under all its keys first: only who reads the key can then tell its values apart."""
    attributes = list(domain.attributes)
    source.shuffle(attributes)
    chosen = source.choice([attribute for attribute in attributes if attribute.keys is not None])
    first = candidates_of(chosen, keys)
    source.shuffle(first)
    others = [each for attribute in attributes if attribute is not chosen for each in candidates_of(attribute, keys)]
    source.shuffle(others)
    return (first + others)[:fact_count]


def draw_facts(
    domain: Domain, fact_count: int, split: Split, source: random.Random, contrast_share: float = 0.0
) -> list[Fact]:
    """Draw facts that differ in key or attribute; all their values but Yes and No differ too.

    Args:
        domain: The field.
        fact_count: How many, where the domain has so many.
        split: Which names and numbers they may hold.
        source: Where the draws come from.
        contrast_share: How likely it is that one attribute stands in them under all its keys.
    """
    contrasts = contrast_share > 0 and source.random() < contrast_share
    subject = draw_value(domain.subject, split, source)
    keys = draw_keys(domain, split, source)
    draw = draw_contrasting_candidates if contrasts else draw_candidates
    facts: list[Fact] = []
    for attribute, key in draw(domain, keys, fact_count, source):
        value = draw_value(attribute.values, split, source)
        while value not in ("Yes", "No") and value in {fact.value for fact in facts}:
            value = draw_value(attribute.values, split, source)
        order = "key_first" if source.random() < 0.5 else "value_first"
        facts.append(Fact(attribute=attribute, subject=subject, key=key, value=value, order=order))
    if contrasts:
        source.shuffle(facts)
    return facts


def write_passage(
    domain: Domain, size: Size, split: Split, source: random.Random, contrast_share: float = 0.0
) -> Passage:
    """Write one passage: an opening sentence, then facts and fillers in random order."""
    facts = draw_facts(domain, source.randint(*size.fact_counts), split, source, contrast_share)
    subject = facts[0].subject
    opening = fill_sentence(source.choice(domain.openings), facts[0])
    by_sentence = {fill_sentence(source.choice(fact.sentences), fact): fact for fact in facts}
    sentences = list(by_sentence)
    fillers = list(domain.fillers + GENERAL_FILLERS)
    # The domain's own fillers stand first in the list and are therefore used more often.
    fillers.sort(key=lambda filler: source.random() * (1 if filler in domain.fillers else 3))
    word_count = source.randint(*size.word_counts)
    while len(" ".join([opening, *sentences]).split()) < word_count:
        filler = fillers.pop(0)
        number = draw_number(IDLE_NUMBERS, split, source)
        name = draw_name("person", split, source)
        sentences.append(filler.replace("{number}", number).replace("{person}", name).replace("{subject}", subject))
    source.shuffle(sentences)
    ordered = {sentence: by_sentence[sentence] for sentence in sentences if sentence in by_sentence}
    return Passage(
        domain=domain,
        subject=subject,
        text=" ".join([opening, *sentences]),
        facts=tuple(ordered.values()),
        sentences=tuple(ordered),
    )


def ms_marco_row(query: Query, query_id: int, passage: Passage, others: list[Passage], position: int) -> dict[str, Any]:
    """Return one row in the schema of MS MARCO v1.1, with the columns style, domain and fact_order beside it.

    Args:
        query: The query and its answers.
        query_id: The row's number.
        passage: The passage that answers the query.
        others: Passages of the same domain that do not.
        position: Where among the others the answering passage stands, from 0.
    """
    passages = [*others[:position], passage, *others[position:]]
    return {
        "query": query.text,
        "query_id": query_id,
        "query_type": f"{query.fact.attribute.answer_type}_{query.fact.order}",
        "answers": [query.fact.value],
        "wellFormedAnswers": [query.answer] if query.is_long else [],
        "passages": {
            "passage_text": [each.text for each in passages],
            "is_selected": [int(each is passage) for each in passages],
            "url": [
                f"https://{each.domain.name}.example/{each.subject.lower().replace(' ', '-')}" for each in passages
            ],
        },
        "style": query.style,
        "domain": passage.domain.name,
        "fact_order": query.fact.order,
    }


def write_rows(split: Split, seed: int) -> Iterator[dict[str, Any]]:
    """Yield rows without end, 1-4 queries a passage; the first n are the same however many are taken."""
    query_id = 0
    number = 0
    while True:
        source = random_for("rows", seed, split, number)
        domain = DOMAINS[number % len(DOMAINS)]
        passage = write_passage(domain, FULL_SIZE, split, source)
        for fact in source.sample(passage.facts, min(source.randint(1, 4), len(passage.facts))):
            others = [write_passage(domain, FULL_SIZE, split, source) for _ in range(source.randint(1, 3))]
            yield ms_marco_row(write_query(fact, source), query_id, passage, others, source.randint(0, len(others)))
            query_id += 1
        number += 1


def evaluation_lines(row_count: int) -> list[str]:
    """Return the first rows of the evaluation split as lines of JSON."""
    rows = write_rows("evaluation", CORPUS_SEED)
    return [json.dumps(next(rows), ensure_ascii=False) for _ in range(row_count)]


@guarded()
def main() -> int:
    """Write the evaluation rows that are shipped."""
    parser = argparse.ArgumentParser(description="Write the demo's evaluation rows as JSON lines (MS MARCO schema).")
    parser.add_argument("--rows", type=int, default=SHIPPED_ROW_COUNT, help="how many rows to write")
    parser.add_argument("--output", type=Path, default=EVALUATION_FILE, help="the file to write")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.output.write_text("\n".join(evaluation_lines(options.rows)) + "\n", encoding="utf-8", newline="\n")
    logging.info("wrote %d rows to %s", options.rows, options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
