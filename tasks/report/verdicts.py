"""The first screen of a report: whether to pay for priming, and the answers with the comparisons that they rest on.

In: a run's rows. Out: sentences with their numbers, and where to draw each comparison. No answer is made here; runs
that are not complete have none.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks.pages.numbers import count, interval, ratio
from tasks.priming.records import AnswerValue
from tasks.reading.answers import headline_of
from tasks.reading.database import Row, RunRows
from tasks.report.tables import label_of, role_of


@dataclass(frozen=True, slots=True)
class Headline:
    """What the run comes to."""

    text: str
    """The line on top."""
    tone: str
    """yes, no or open."""
    details: Sequence[str]
    """Sentences below it."""


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison that an answer rests on."""

    label: str
    """What the arm is compared with."""
    numbers: str
    """Mean and interval of the improvement."""
    role: str
    """The colour of the arm's family."""
    strip: Mapping[str, float]
    """Where low, mean, high, zero and both ends of the margin lie on a scale that all lines share (percent)."""


@dataclass(frozen=True, slots=True)
class Card:
    """One answer with the comparisons that it rests on."""

    row: Row
    """The answer."""
    tone: str
    """yes, no or open."""
    lines: Sequence[Line]
    """The comparisons, that of the question first."""


_TONES: Mapping[AnswerValue, str] = {
    "yes": "yes",
    "negligible": "no",
    "any_text_helps": "no",
    "equivalent": "no",
    "hurts": "no",
}
"""Answer -> its tone; any other is open."""

_ON_TOP = ("does_priming_help", "is_generated_better_than_static", "is_generation_worth_its_compute")
"""The questions of the first screen."""

_NUMBERS = ("improvement_mean", "answer_low", "answer_high")

_HAPPENED = {
    "running": "It had not ended when the database was published",
    "failed": "It ended with an error",
    "interrupted": "It was stopped",
    "incomplete": "It was complete once, but files of it are missing or damaged since",
}


def make_headline(rows: RunRows) -> Headline:
    """Return what a run comes to, and the sentences that put it in proportion."""
    (summary,) = rows.tables["run_summary"]
    answer, text = headline_of(summary, rows.tables["what_did_it_find"])
    if not rows.is_complete:
        details = [_incomplete(summary)]
    elif summary["check_failed_count"]:
        details = ["The answers below stand only if the failure, listed under Checks, turns out to be harmless."]
    else:
        details = [*_looks(rows), *_prices(rows), *_margins(rows)]
    return Headline(text, tone_of(answer), details)


def make_cards(rows: RunRows) -> list[Card]:
    """Return the answers of the first screen with what they rest on, on one scale; none for an incomplete run."""
    asked = [(row, _rests_on(rows, row)) for row in rows.tables["what_did_it_find"] if row["question"] in _ON_TOP]
    place = _scale([comparison for _, comparisons in asked for comparison in comparisons])
    return [
        Card(
            row=row,
            tone=tone_of(row["answer"]),
            lines=[
                Line(
                    label=f"over {label_of(comparison['comparison']).partition(' vs ')[2].replace('_', ' ')}",
                    numbers=interval(*(comparison[name] for name in _NUMBERS)),
                    role=role_of(comparison["arm"]),
                    strip=place(comparison),
                )
                for comparison in comparisons
            ],
        )
        for row, comparisons in asked
    ]


def tone_of(answer: AnswerValue) -> str:
    """Return whether an answer says yes, no, or neither: only a plain yes is a yes."""
    return _TONES.get(answer, "open")


def _rests_on(rows: RunRows, answer: Row) -> list[Row]:
    """Return the comparisons that an answer rests on: its own, and for a routed arm those with the controls."""
    own = next(known for known in rows.tables["comparison"] if known["comparison"] == answer["comparison"])
    others = [
        known
        for known in rows.tables["comparison"]
        if own["kind"] == known["kind"] == "routed" and known["arm"] == own["arm"] and known is not own
    ]
    return [own, *others]


def _scale(comparisons: Sequence[Row]) -> Callable[[Row], dict[str, float]]:
    """Return what places a comparison on a scale that holds all of them, zero and the margin."""
    margin = max((row["equivalence_margin"] for row in comparisons), default=0.0)
    ends = [row[name] for row in comparisons for name in _NUMBERS if row[name] is not None] + [-margin, margin]
    room = 0.05 * (max(ends) - min(ends) or 1.0)
    low, span = min(ends) - room, max(ends) - min(ends) + 2 * room

    def place(row: Row) -> dict[str, float]:
        mean = row["improvement_mean"] or 0.0
        values = {
            "mean": mean,
            "low": mean if row["answer_low"] is None else row["answer_low"],
            "high": mean if row["answer_high"] is None else row["answer_high"],
            "zero": 0.0,
            "least": -margin,
            "most": margin,
        }
        return {name: round(100 * (value - low) / span, 2) for name, value in values.items()}

    return place


def _looks(rows: RunRows) -> list[str]:
    """Say whether the run was grown: answers hold at any look, so that this takes nothing from them."""
    before = rows.run["looks_before"]
    if not before:
        return []
    return [
        f"This is look {rows.run['look']} at a run that was grown, after {before} samples: its answers allow for any "
        "number of looks."
    ]


def _prices(rows: RunRows) -> list[str]:
    """Return what generation costs."""
    return [
        f"Generated surrogates{', dropped from the cache,' if '+' in row['subject'] else ''} take "
        f"{ratio(row['index_flops_ratio'])} times the operations to index a document, "
        f"{ratio(row['cache_bytes_ratio'])} times the cache memory, and {count(row['written_tokens'])} more tokens "
        "read and written by the model for each document."
        for row in rows.tables["is_generation_worth_its_compute"]
        if row["index_flops_ratio"]
    ]


def _margins(rows: RunRows) -> list[str]:
    return [
        "Improvements are in percentage points of an answer token's probability, positive is better. The "
        f"{100 * comparison['confidence_level']:g} % intervals of a question hold together, however often a "
        "growing run is looked at. "
        f"Differences within ±{comparison['equivalence_margin']:g} (shaded) were declared negligible before the run."
        for comparison in rows.tables["comparison"][:1]
    ]


def _incomplete(summary: Row) -> str:
    """Say what there is of a run that is not complete, and how to complete it."""
    there = ", ".join(f"{count(summary[f'{name}_count'])} {name}s" for name in ("sample", "surrogate", "score"))
    return (
        f"{_HAPPENED.get(summary['status'], 'It did not come to its end')}. What there is of it is shown below without "
        f"conclusions: {there}. Start the same command again: what is finished is remembered."
    )
