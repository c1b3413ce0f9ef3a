"""Samples for a page that explores them: texts and numbers of each, packed so that a page can carry thousands.

In: rows of one run, or of several on the samples that they share. Out: base64 of deflated JSON, which the page's script
unpacks and shows as text; invisible characters are spelled out here.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.pages.texts import clipped, visible
from tasks.reading.database import Row, RunRows

_MOST_BYTES = 2_000_000
_CHARACTERS, _FEWEST_CHARACTERS = 1_600, 100
_TOKENS, _TOKEN_CHARACTERS = 100, 40
_PER_NAT = 1_000_000
"""NLLs are whole millionths of a nat, which tells equal ones from different ones."""

_FLAGS = {
    "is_over_word_limit": "over its word limit",
    "is_query": "equals the query",
    "has_stray_marks": "stray marks",
    "is_empty": "empty",
    "is_cut_off": "cut off by the token limit",
}


@dataclass(frozen=True, slots=True)
class PackedSamples:
    """What a page carries."""

    text: str
    """Base64 of deflated JSON."""
    count: int
    """Samples in it."""
    characters: int
    """The most characters of each text."""


def pack_samples(runs: Mapping[str, RunRows], arm: str, reference: str) -> PackedSamples:
    """Pack the samples of the first run, in the order of a hash of their texts; of several runs, those that it shares.

    Where they would be too large, texts are cut shorter, and then samples are left out.

    Args:
        runs: What stands before the conditions of a run, such as "A " or nothing -> the run, read with SAMPLE_QUERIES.
        arm: The condition that the page shows first.
        reference: The one that it is compared with.
    """
    stored = [f"{name}{condition}" for name, rows in runs.items() for condition in rows.nlls]
    samples, characters = _samples(runs), _CHARACTERS
    while True:
        text = _packed(
            {
                "arm": arm,
                "reference": reference,
                "listed": sorted(stored, key=lambda condition: "/routed" not in condition),
                "conditions": [condition for condition in stored if "/routed" not in condition],
                "samples": [_cut(sample, characters) for sample in samples],
            }
        )
        if len(text) <= _MOST_BYTES:
            return PackedSamples(text, len(samples), characters)
        if characters > _FEWEST_CHARACTERS:
            characters //= 2
        else:
            samples = samples[: len(samples) // 2]


def _packed(data: Mapping[str, Any]) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode(errors="backslashreplace"), 9)).decode("ascii")


def _samples(runs: Mapping[str, RunRows]) -> list[Row]:
    """Return each sample with what every run has of it."""
    first, *others = runs.values()
    shared = {row["sample_id"] for rows in others for row in rows.tables["sample"]}
    samples: dict[str, Row] = {
        row["sample_id"]: {
            "id": row["sample_id"],
            "query": row["query"],
            "passage": row["passage"],
            "answers": row["answers"] or [row["answer"]],
            "type": row["query_type"] or "",
            "nlls": [
                None if (nll := nlls.get(row["sample_id"])) is None else round(_PER_NAT * nll)
                for rows in runs.values()
                for condition, nlls in rows.nlls.items()
                if "/routed" not in condition
            ],
            "routed": {},
            "surrogates": {},
            "written": {},
            "tokens": [],
            "readings": {},
        }
        for row in first.tables["sample"]
        if not others or row["sample_id"] in shared
    }
    for name, rows in runs.items():
        for table, add in (("surrogate", _add_surrogate), ("written", _add_written), ("reading", _add_reading)):
            for row in rows.tables[table]:
                if row["sample_id"] in samples:
                    add(samples[row["sample_id"]], name, row)
    return [*samples.values()]


def _add_surrogate(sample: Row, name: str, row: Row) -> None:
    """Add a surrogate, and whether the router chose it."""
    if row["is_routed"]:
        sample["routed"][f"{name}{row['family']}"] = row["key"]
    flagged = row | {"is_empty": not row["text"], "is_cut_off": row["finish"] == "length"}
    sample["surrogates"][f"{name}{row['family']}/{row['key']}"] = {
        "text": row["text"],
        "similarity": None if row["similarity"] is None else round(row["similarity"], 4),
        "flags": [words for flag, words in _FLAGS.items() if flagged[flag]],
    }


def _add_written(sample: Row, name: str, row: Row) -> None:
    sample["written"][f"{name}{row['condition']}"] = {"text": row["text"], "f1": round(row["f1"], 3)}


def _add_reading(sample: Row, name: str, row: Row) -> None:
    """Add the NLL of each token of the answer, in hundredths of a nat."""
    arm = f"{name}{row['family']}/{row['key']}"
    sample["readings"][arm] = [round(100 * nll) for nll in row["token_nlls"][:_TOKENS]]
    texts = row["answer_tokens"] or []
    if len(texts) == len(row["token_nlls"]) and not sample["tokens"]:
        sample["tokens"] = [visible(clipped(text, _TOKEN_CHARACTERS)) for text in texts[:_TOKENS]]


def _cut(sample: Row, characters: int) -> Row:
    """Return a sample whose texts have at most so many characters, all of them visible."""

    def shown(text: str) -> str:
        return visible(clipped(text, characters))

    def shown_texts(found: Mapping[str, Row]) -> dict[str, Row]:
        return {name: row | {"text": shown(row["text"])} for name, row in found.items()}

    return sample | {
        "query": shown(sample["query"]),
        "passage": shown(sample["passage"]),
        "answers": [shown(answer) for answer in sample["answers"]],
        "type": visible(clipped(sample["type"], _TOKEN_CHARACTERS)),
        "surrogates": shown_texts(sample["surrogates"]),
        "written": shown_texts(sample["written"]),
    }
