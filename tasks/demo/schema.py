"""What a domain of the demo corpus is made of: its value kinds, its attributes and its sentences, as plain records.

In: nothing. Out: the types that `tasks/demo/domains/` fills in and `tasks/demo/corpus.py` writes passages from.
They stand apart so that a domain file holds sentences and lists only.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Numbers:
    """A value with one number in it."""

    pattern: str
    """The text around the number; `{0}` is where it stands, e.g. "${0} per year"."""
    low: int
    """The smallest number, in units of the last decimal place."""
    high: int
    """The largest number, likewise."""
    step: int = 1
    """The distance between two allowed numbers."""
    decimals: int = 0
    """How many digits follow the decimal point."""


@dataclass(frozen=True, slots=True)
class Phrases:
    """A value, a key or a number-free text that is put together from lists of words."""

    pattern: str
    """The text around the parts; `{0}`, `{1}`, ... are where they stand."""
    parts: tuple[tuple[str, ...], ...]
    """For each place the words it may hold."""


@dataclass(frozen=True, slots=True)
class Names:
    """An invented proper name."""

    kind: str
    """Which syllables it is made from: place, brand, person or term."""
    pattern: str = "{0}"
    """The text around the name."""


@dataclass(frozen=True, slots=True)
class YesNo:
    """A value that is Yes or No; the sentences say it by `{are}`, `{is}`, `{may}` and `{can}`."""


Value = Numbers | Phrases | Names | YesNo


@dataclass(frozen=True, slots=True)
class Attribute:
    """One thing that a passage can say of its subject, or of a key within it, and how people ask for it.

    Sentences and queries may use {subject}, {key}, {a_key} (with article), {Key} (capitalised), {value}, {Value} and,
    for yes/no values, {are}, {is}, {may}, {can} with or without "not".
    """

    name: str
    """What the value is, in one word."""
    answer_type: str
    """MS MARCO's label of the query: numeric, entity, location, person or description; or yes_no."""
    values: Value
    """Where the value is drawn from."""
    key_first: tuple[str, ...]
    """Sentences in which the key stands before the value."""
    value_first: tuple[str, ...]
    """Sentences in which the value stands before the key."""
    answer: str
    """The answer as a full sentence."""
    question: tuple[str, ...]
    """Full questions of 5-12 words; the first asks for a short answer, the others for a sentence."""
    keywords: tuple[str, ...]
    """Keyword queries of 3-6 words."""
    problem: tuple[str, ...]
    """Descriptions of the problem of 4-10 words that has someone look for this."""
    worry: tuple[str, ...]
    """Worries and misconceptions of 4-10 words."""
    keys: Phrases | Names | None = None
    """What the fact is about within the subject; None if it is about the subject itself."""


@dataclass(frozen=True, slots=True)
class Domain:
    """One field of life with the sentences that web answers about it are made of."""

    name: str
    """One word, also part of the passages' addresses."""
    subject: Names
    """What a passage of this domain is about."""
    openings: tuple[str, ...]
    """First sentences; each names {subject}."""
    fillers: tuple[str, ...]
    """Sentences that answer no query; {number} is a number that no query asks for."""
    attributes: tuple[Attribute, ...]
    """The facts."""
