"""Whether to pay for priming, as a complete run answers it: one line, and the questions behind it.

In: rows of the question views. Out: sentences with their numbers. No verdict is made here: the answers are the views',
and the line on top only says what they come to for somebody who must decide. Other runs give no conclusions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tasks.pages.numbers import count, interval, number, ratio
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
    """One comparison behind an answer."""

    label: str
    """What the arm is compared with."""
    numbers: str
    """Mean and interval of the improvement."""
    role: str
    """The colour of the arm's family."""
    strip: Mapping[str, float]
    """Where low, mean, high, zero and both ends of the margin lie on a scale that all lines share (percent)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of a question view, with the comparisons that it rests on."""

    question: str
    """The question."""
    subject: str
    """Of what it is asked."""
    answer: str
    """The view's answer."""
    tone: str
    """yes, no or open."""
    lines: Sequence[Line]
    """The comparisons, that of the view first."""


_QUESTIONS: tuple[tuple[str, str], ...] = (
    ("does_priming_help", "Does priming help?"),
    ("is_generated_better_than_static", "Is generated better than static?"),
    ("is_generation_worth_its_compute", "Is generation worth its compute?"),
)

_STATES = {"running": "has not ended", "failed": "failed", "interrupted": "was stopped", "incomplete": "is incomplete"}

_NUMBERS = ("improvement_mean", "improvement_low", "improvement_high")

# What the families' answers come to, the first that applies: how an answer to "does priming help?" begins -> the line.
_WITHOUT_A_YES: tuple[tuple[str, str, str], ...] = (
    ("undecided: controls", "Undecided: the controls were not run", "open"),
    ("yes in NLL", "Do not pay yet: answers become likelier, but no more preferred to wrong ones", "no"),
    ("any text helps, that", "Undecided: any text helps; that its content does is not shown", "open"),
    ("undecided", "Undecided: this run cannot tell whether priming helps", "open"),
    ("any text helps", "Do not pay for surrogates: any text in their place helps as much", "no"),
    ("yes, but negligibly", "Do not pay for priming: what it gains is negligible", "no"),
    ("no", "Do not pay for priming", "no"),
)


def make_headline(rows: RunRows) -> Headline:
    """Return what a run comes to."""
    failed, status = sum(row["passed"] is False for row in rows.tables["check"]), rows.run["status"]
    if not rows.is_complete:
        return Headline(f"No conclusions: this run {_STATES.get(status, f'is {status}')}", "open", [_incomplete(rows)])
    if failed:
        return Headline(
            f"Do not decide by this run: {failed} of its checks failed",
            "open",
            ["The answers below stand only if the failure, listed under Checks, turns out to be harmless."],
        )
    text, tone = _decide(rows)
    return Headline(text, tone, [*_prices(rows), *_margins(rows)])


def make_answers(rows: RunRows) -> list[Answer]:
    """Return the questions of the first screen with what they rest on, on one scale; none for an incomplete run."""
    asked = [(title, row, _behind(rows, row)) for view, title in _QUESTIONS for row in rows.tables[view]]
    place = _scale([comparison for _, _, behind in asked for comparison in behind])
    return [
        Answer(
            question=title,
            subject=str(row["comparison"]).partition(" vs ")[0],
            answer=row["answer"],
            tone=tone_of(row["answer"]),
            lines=[
                Line(
                    label=f"over {label_of(comparison['comparison']).partition(' vs ')[2].replace('_', ' ')}",
                    numbers=interval(*(comparison[name] for name in _NUMBERS)),
                    role=role_of(comparison["arm"]),
                    strip=place(comparison),
                )
                for comparison in behind
            ],
        )
        for title, row, behind in asked
    ]


def _behind(rows: RunRows, row: Row) -> list[Row]:
    """Return the comparisons that an answer rests on: its own, and for a routed arm those with the controls."""
    own = next(known for known in rows.tables["comparison"] if known["comparison"] == row["comparison"])
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
            "low": mean if row["improvement_low"] is None else row["improvement_low"],
            "high": mean if row["improvement_high"] is None else row["improvement_high"],
            "zero": 0.0,
            "least": -margin,
            "most": margin,
        }
        return {name: round(100 * (value - low) / span, 2) for name, value in values.items()}

    return place


def tone_of(answer: str | None) -> str:
    """Return whether an answer of a view says yes, no, or neither."""
    if answer is None:
        return "open"
    if answer == "yes":
        return "yes"
    return "no" if answer.startswith(("no", "any text helps, its")) else "open"


def _decide(rows: RunRows) -> tuple[str, str]:
    """Return the line on top and its tone, from the answers of the views alone."""
    helps = {row["comparison"].split(" ")[0]: row["answer"] for row in rows.tables["does_priming_help"]}
    worth = next((row["answer"] for row in rows.tables["is_generation_worth_its_compute"]), None)
    if not helps:
        return "No answer: no surrogate was routed in this run", "open"
    helping = sorted(family for family, answer in helps.items() if answer == "yes")
    if not helping:
        return next(
            (text, tone)
            for beginning, text, tone in _WITHOUT_A_YES
            if any(answer.startswith(beginning) for answer in helps.values())
        )
    if worth is None:
        return f"Priming helps ({' and '.join(helping)})", "yes"
    if "generated" in helping and worth == "yes":
        return "Pay for generated surrogates: they gain more than anything that is free", "yes"
    if not worth.startswith("no"):
        return "Priming helps; whether generated surrogates are worth their compute is undecided", "yes"
    if "static" in helping:
        return "Prime with fixed phrases, which are free; do not pay for generation", "yes"
    return "Priming helps, but something that is free does as well: do not pay for generation", "no"


def _prices(rows: RunRows) -> list[str]:
    """Return what generation costs."""
    priced = [row for row in rows.tables["is_generation_worth_its_compute"] if row["index_flops_ratio"]]
    return [
        f"Generated surrogates take {ratio(row['index_flops_ratio'])} times the operations to index a document, "
        f"{ratio(row['cache_bytes_ratio'])} times the cache memory, and {count(row['written_tokens'])} more tokens "
        "read and written by the model for each document."
        for row in priced
    ]


def _margins(rows: RunRows) -> list[str]:
    comparison = next(iter(rows.tables["comparison"]), None)
    if comparison is None:
        return []
    return [
        f"Improvements are in nats per answer token, positive is better, with {100 * comparison['confidence_level']:g} "
        f"% intervals. Differences within ±{number(comparison['equivalence_margin'])} (shaded) were declared "
        "negligible before the run."
    ]


def _incomplete(rows: RunRows) -> str:
    """Say what there is of a run that is not complete, and how to complete it."""
    summary = rows.tables["run_summary"][0]
    there = ", ".join(f"{count(summary[f'{name}_count'])} {name}s" for name in ("sample", "surrogate", "score"))
    happened = {
        "running": "It had not ended when the database was published",
        "failed": "It ended with an error",
        "interrupted": "It was stopped",
        "incomplete": "It was complete once, but files of it are missing or damaged since",
    }.get(rows.run["status"], "It did not come to its end")
    return (
        f"{happened}. What there is of it is shown below without conclusions: {there}. Start the same command again: "
        "what is finished is remembered."
    )
