"""Writes queries the way people type them, and with the same templates the surrogates that a good guesser would write.

In: a fact. Out: a query with its style and gold answer, or a surrogate for one of the five generation instructions.
Style decides the length of the answer, so that it can be learnt: keywords, messy queries and the plain first question
want the value alone, all others a sentence.
"""

import random
from dataclasses import dataclass

from tasks.demo.sentences import Fact, fill_sentence
from tasks.priming.prompts import GENERATION_INSTRUCTIONS

# The five styles are those of the five generated surrogates.
STYLES: tuple[str, ...] = tuple(GENERATION_INSTRUCTIONS)

# The fewest words that each instruction allows (prompts.py holds the most).
FEWEST_WORDS: dict[str, int] = {
    "target_question": 5,
    "keyword_query": 3,
    "symptom_scenario": 4,
    "misconception_negative": 4,
    "messy_realworld": 3,
}

MESSY_FORMS: tuple[str, ...] = (
    "{0} plz",
    "need {0} asap",
    "{0} help",
    "quick {0} pls",
    "help {0}",
    "{0} asap plz",
    "idk {0} help",
    "{0} rn pls",
    "omg need {0}",
    "{0} thx",
)
MESSY_WORDS = frozenset(["plz", "need", "asap", "help", "pls", "idk", "rn", "omg", "thx"])

ABBREVIATIONS: dict[str, str] = {
    "salary": "sal",
    "yearly": "yrly",
    "hourly": "hrly",
    "minutes": "mins",
    "hours": "hrs",
    "years": "yrs",
    "weeks": "wks",
    "weight": "wt",
    "temperature": "temp",
    "location": "loc",
    "record": "rec",
    "monthly": "mthly",
    "degrees": "deg",
    "with": "w",
    "to": "2",
    "long": "lng",
}

CONCERN_WORDS = frozenset(
    [
        *("worried", "afraid", "not", "wrong", "bad", "mistake", "waste", "myth", "scam", "rip"),
        *("never", "no", "normal", "cheat", "unknown", "too"),
    ]
)


@dataclass(frozen=True, slots=True)
class Query:
    """What a user types, and what would be the right answer."""

    text: str
    """The query."""
    style: str
    """Which of the five styles it is typed in."""
    answer: str
    """The gold answer."""
    is_long: bool
    """Whether the answer is a full sentence."""
    fact: Fact
    """The fact it asks for."""


def templates_for(fact: Fact, style: str) -> list[tuple[str, bool]]:
    """Return the templates of a style, each with whether it wants a full sentence as its answer."""
    attribute = fact.attribute
    if style == "target_question":
        return [(template, number > 0) for number, template in enumerate(attribute.question)]
    if style == "keyword_query":
        return [(template, False) for template in attribute.keywords]
    if style == "symptom_scenario":
        return [(template, True) for template in attribute.problem]
    if style == "misconception_negative":
        return [(template, True) for template in attribute.worry]
    return [
        (form.replace("{0}", abbreviated(keywords)), False) for keywords in attribute.keywords for form in MESSY_FORMS
    ]


def abbreviated(template: str) -> str:
    """Shorten a template's own words as people in a hurry do; names and keys stay as they are."""
    return " ".join(ABBREVIATIONS.get(word, word) for word in template.split(" "))


def is_within_word_limits(text: str, style: str) -> bool:
    """Say whether a text has as many words as the style's instruction asks for."""
    return FEWEST_WORDS[style] <= len(text.split()) <= GENERATION_INSTRUCTIONS[style].word_limit


def obeys_style(text: str, style: str) -> bool:
    """Say whether a text reads as its instruction asks, by marks that can be checked without taste."""
    words = {word.strip(".,!?").lower() for word in text.split()}
    if style == "target_question":
        return text.endswith("?") and text[:1].isupper()
    if style == "keyword_query":
        return not text.endswith(("?", ".", "!"))
    if style == "symptom_scenario":
        return not text.endswith("?")
    if style == "misconception_negative":
        return bool(words & CONCERN_WORDS)
    return bool(words & MESSY_WORDS)


def write_query(fact: Fact, source: random.Random) -> Query:
    """Write a query for a fact in a style drawn at random."""
    style = source.choice(STYLES)
    candidates = [
        (text, is_long)
        for template, is_long in templates_for(fact, style)
        if is_within_word_limits(text := fill_sentence(template, fact), style)
    ]
    text, is_long = source.choice(candidates)
    answer = fill_sentence(fact.attribute.answer, fact) if is_long else fact.value
    return Query(text=text, style=style, answer=answer, is_long=is_long, fact=fact)


def write_surrogate(fact: Fact, style: str, source: random.Random) -> str:
    """Write the surrogate of a style that guesses this fact; it obeys the style's instruction."""
    candidates = [fill_sentence(template, fact) for template, _ in templates_for(fact, style)]
    return source.choice(
        [text for text in candidates if is_within_word_limits(text, style) and obeys_style(text, style)]
    )
