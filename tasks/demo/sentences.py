"""Turns a fact into sentences.

In: a fact (attribute, subject, key, value, order) and a template of its domain. Out: text. Apart from `corpus.py` so
that queries, answers and passages are all filled by the same rule.
"""

from dataclasses import dataclass

from tasks.demo.schema import Attribute

# What a yes/no value says within a sentence.
AUXILIARIES: tuple[tuple[str, str, str], ...] = (
    ("{are}", "are", "are not"),
    ("{is}", "is", "is not"),
    ("{may}", "may", "may not"),
    ("{can}", "can", "cannot"),
)


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a passage says."""

    attribute: Attribute
    """What kind of thing, with its sentences and queries."""
    subject: str
    """The subject of its passage."""
    key: str | None
    """What within the subject it is about; None if it is about the subject itself."""
    value: str
    """The short answer, as it stands in the passage (or Yes or No)."""
    order: str
    """key_first or value_first: which of the two the passage says first."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """The templates that say the fact in its order."""
        return self.attribute.key_first if self.order == "key_first" else self.attribute.value_first


def capitalised(text: str) -> str:
    """Return the text with a capital first letter, the rest as it was."""
    return text[:1].upper() + text[1:]


def with_article(text: str) -> str:
    """Return the text behind a or an."""
    return f"{'an' if text[:1].lower() in 'aeiou' else 'a'} {text}"


def fill_sentence(template: str, fact: Fact) -> str:
    """Put a fact into a template of its domain."""
    key = fact.key or fact.subject
    text = template
    for placeholder, positive, negative in AUXILIARIES:
        text = text.replace(placeholder, negative if fact.value == "No" else positive)
    for placeholder, value in (
        ("{a_key}", with_article(key)),
        ("{A_key}", capitalised(with_article(key))),
        ("{Key}", capitalised(key)),
        ("{key}", key),
        ("{Value}", capitalised(fact.value)),
        ("{value}", fact.value),
        ("{subject}", fact.subject),
    ):
        text = text.replace(placeholder, value)
    return text
