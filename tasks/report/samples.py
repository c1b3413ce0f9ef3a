"""Single samples: what was written for them, and which gained and lost most, token by token.

In: rows of examples, flags and extremes. Out: records for the template, which escapes every text in them.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from tasks.pages.numbers import count, number
from tasks.reading.database import Row, RunRows
from tasks.report.tables import Table, make_table, number_column, text_column

_MOST_TOKENS = 150
_HEAT_NATS = 3.0
_FLAGS = {
    "is_over_word_limit": "over its word limit",
    "is_query": "equals the query",
    "has_stray_marks": "stray marks",
}


@dataclass(frozen=True, slots=True)
class SurrogateExample:
    """A surrogate of a sample."""

    arm: str
    """Family and key."""
    text: str
    """What stands in the template."""
    similarity: float | None
    """To the query."""
    is_routed: bool
    """Whether the router chose it within its family."""
    improvement: float | None
    """Over the baseline."""
    flags: Sequence[str]
    """What is wrong with it, in words."""


@dataclass(frozen=True, slots=True)
class SampleExample:
    """A sample with all its surrogates."""

    query: str
    """Its query."""
    passage: str
    """Its passage."""
    answer: str
    """Its gold answer."""
    surrogates: Sequence[SurrogateExample]
    """By family and key."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer behind one context."""

    text: str | None
    """Its text; None where the database does not have it."""
    nll: str
    """Nats, as shown."""
    heat: float
    """How unlikely it was found, from 0 to 100: 28 at one nat, 63 at three, 96 at ten."""


@dataclass(frozen=True, slots=True)
class ExtremeExample:
    """A sample that gained or lost much."""

    sample: SampleExample
    """The sample, without surrogates."""
    arm: str
    """The arm that the router chose."""
    surrogate: str | None
    """Its text."""
    improvement: float
    """Over the baseline."""
    readings: Sequence[tuple[str, float, Sequence[Token]]]
    """Name, NLL and tokens: behind the baseline's context and behind the arm's."""
    left_out: int
    """Tokens that are not shown."""


def surrogate_examples(rows: RunRows) -> list[SampleExample]:
    """Return the samples whose surrogates are shown."""
    return [
        _sample(found[0], [_surrogate(row) for row in found])
        for _, group in groupby(rows.tables["example"], key=lambda row: row["sample_id"])
        for found in [list(group)]
    ]


def flagged_examples(rows: RunRows) -> list[tuple[str, SurrogateExample]]:
    """Return flagged surrogates, each with its query."""
    return [(row["query"], _surrogate(row)) for row in rows.tables["flagged"]]


def flag_table(rows: RunRows) -> Table:
    """Return how often surrogates of each kind carry each flag."""
    columns = [
        text_column("family", "family"),
        text_column("key", "key"),
        *(
            number_column(heading, name, count)
            for heading, name in (
                ("written", "surrogates"), ("empty", "empty"), ("over word limit", "over_word_limit"),
                ("equals query", "equals_query"), ("stray marks", "stray_marks"), ("cut off", "cut_off"),
            )
        ),
        number_column("mean tokens", "tokens", lambda value: number(value, 1)),
    ]  # fmt: skip
    return make_table("Flags of written surrogates", columns, rows.tables["flag"], "surrogate")


def extreme_examples(found: Iterable[Row]) -> list[ExtremeExample]:
    """Return samples with the NLL of each answer token behind the baseline's context and the arm's."""
    return [
        ExtremeExample(
            sample=_sample(row, []),
            arm=f"{row['family']}/{row['key']}",
            surrogate=row["surrogate"],
            improvement=row["improvement"],
            readings=[
                ("baseline", row["reference_nll"], _tokens(row["reference_token_nlls"], row["answer_tokens"])),
                ("primed", row["arm_nll"], _tokens(row["arm_token_nlls"], row["answer_tokens"])),
            ],
            left_out=max(0, len(row["arm_token_nlls"]) - _MOST_TOKENS),
        )
        for row in found
    ]


def _tokens(nlls: Sequence[float], texts: Sequence[str] | None) -> list[Token]:
    """Return tokens with their texts; without, where there are none or not one for each NLL."""
    known = texts if texts is not None and len(texts) == len(nlls) else [None] * len(nlls)
    return [
        Token(text, f"{nll:.2f}", round(100 * (1 - math.exp(-max(nll, 0.0) / _HEAT_NATS)), 1))
        for text, nll in zip(known[:_MOST_TOKENS], nlls[:_MOST_TOKENS], strict=True)
    ]


def _sample(row: Row, surrogates: Sequence[SurrogateExample]) -> SampleExample:
    return SampleExample(row["query"], row["passage"], row["answer"], surrogates)


def _surrogate(row: Row) -> SurrogateExample:
    flags = [words for name, words in _FLAGS.items() if row[name]]
    flags += ["empty"] if not row["text"] else []
    flags += ["cut off by the token limit"] if row["finish"] == "length" else []
    return SurrogateExample(
        arm=f"{row['family']}/{row['key']}",
        text=row["text"],
        similarity=row.get("similarity"),
        is_routed=bool(row.get("is_routed")),
        improvement=row.get("improvement"),
        flags=flags,
    )
