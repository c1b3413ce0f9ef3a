"""Single samples: what was written for them, and which gained and lost most, token by token.

In: a run's rows. Out: rows for the template, which escapes every text in them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from tasks.reading.database import Row, RunRows

_MOST_TOKENS = 150
_HEAT_NATS = 3.0
_FLAGS = {
    "is_over_word_limit": "over its word limit",
    "is_query": "equals the query",
    "has_stray_marks": "stray marks",
    "is_empty": "empty",
    "is_cut_off": "cut off by the token limit",
}


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer, scored after one context."""

    text: str | None
    """Its text; None where the database does not have it."""
    nll: str
    """Nats, as shown."""
    heat: float
    """How unlikely it was found, from 0 to 100: 28 at one nat, 63 at three, 96 at ten."""


def surrogate_examples(rows: RunRows) -> list[list[Row]]:
    """Return, for each sample that is shown, its surrogates by family and key, each with the sample's texts."""
    groups = groupby(rows.tables["example"], key=lambda row: row["sample_id"])
    return [[_with_flags(row) for row in group] for _, group in groups]


def written_examples(rows: RunRows) -> list[list[Row]]:
    """Return, for each sample that is shown, what the model wrote after each condition, the plain document first."""
    return [[*group] for _, group in groupby(rows.tables["written"], key=lambda row: row["sample_id"])]


def flagged_examples(rows: RunRows) -> list[Row]:
    """Return the flagged surrogates that are shown, each with its query."""
    return [_with_flags(row) for row in rows.tables["flagged"]]


def extreme_examples(rows: Sequence[Row]) -> list[Row]:
    """Return rows of the queries `best` or `worst`, with the answer's tokens after each of the two contexts."""
    found = []
    for row in rows:
        readings = [
            (name, row[f"{side}_nll"], _tokens(row[f"{side}_token_nlls"], row["answer_tokens"]))
            for name, side in (("baseline", "reference"), ("primed", "arm"))
        ]
        left_out = max(0, len(row["arm_token_nlls"]) - _MOST_TOKENS)
        found.append(row | {"arm": f"{row['family']}/{row['key']}", "readings": readings, "left_out": left_out})
    return found


def _tokens(nlls: Sequence[float], texts: Sequence[str] | None) -> list[Token]:
    """Return tokens with their texts; without, unless there is one for each NLL."""
    known = texts if texts is not None and len(texts) == len(nlls) else [None] * len(nlls)
    return [
        Token(text, f"{nll:.2f}", round(100 * (1 - math.exp(-max(nll, 0.0) / _HEAT_NATS)), 1))
        for text, nll in zip(known[:_MOST_TOKENS], nlls[:_MOST_TOKENS], strict=True)
    ]


def _with_flags(row: Row) -> Row:
    """Return a surrogate with its arm, and what is wrong with it in words."""
    flagged = row | {"is_empty": not row["text"], "is_cut_off": row["finish"] == "length"}
    flags = [words for name, words in _FLAGS.items() if flagged[name]]
    return row | {"arm": f"{row['family']}/{row['key']}", "flags": flags}
