"""A run's answers as people read them: under their questions, with rounded numbers.

In: rows of the views run_summary and what_did_it_find. Out: text and blocks for a terminal or a page. Nothing is judged
here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from tasks.pages.blocks import Block, Heading, Quoted, Table, paragraph
from tasks.pages.numbers import count, duration
from tasks.priming.records import AnswerValue

Row: TypeAlias = Mapping[str, Any]

_CHIEF = (
    "does_priming_help",
    "is_generated_better_than_static",
    "is_generation_worth_its_compute",
    "could_a_gain_be_seen",
)
"""The questions whose answers stand below the headline in a terminal."""

_SHOWN: dict[AnswerValue, str] = {
    "any_text_helps": "any text helps",
    "not_asked": "not asked",
    "controls_missing": "controls missing",
    "cannot_read": "cannot read",
    "could_not_show": "could not show",
    "depends_on_measure": "depends on measure",
    "likelihood_only": "likelihood only",
}
"""Answers in words, where those are others."""

_STATES = {"running": "has not ended", "failed": "failed", "interrupted": "was stopped", "incomplete": "is incomplete"}


def headline_of(summary: Row, answers: Sequence[Row]) -> tuple[AnswerValue, str]:
    """Return what a run comes to, as an answer and in a sentence.

    Args:
        summary: The run's row of run_summary.
        answers: Its rows of what_did_it_find: none if it is not complete, or was made by an earlier version.
    """
    status, failed = summary["status"], summary["check_failed_count"]
    if status != "complete":
        return "run_incomplete", f"No conclusions: this run {_STATES.get(status, f'is {status}')}"
    if failed:
        return "undecided", f"Do not decide by this run: {failed} of its checks failed"
    if not answers:
        return "not_asked", "No answers yet: start the same command again to compute them"
    return answers[0]["answer"], answers[0]["sentence"]


def by_question(answers: Iterable[Row]) -> dict[str, list[Row]]:
    """Return the answers under the titles of their questions, without the headline."""
    found: dict[str, list[Row]] = {}
    for row in answers:
        if row["question"] != "should_i_prime":
            found.setdefault(row["question_title"], []).append(row)
    return found


def name_of(answer: Row) -> str:
    """Return what an answer is called among those to the same question: its comparison, or what a control asks."""
    return str(answer["subject"] if "?" in answer["subject"] else answer["comparison"])


def improvement_of(answer: Row) -> str:
    """Return the mean improvement with the interval that the answer rests on, or, if there is none, the unadjusted."""
    has_own = answer["answer_low"] is not None
    ends = ("answer_low", "answer_high") if has_own else ("improvement_low", "improvement_high")
    mean, low, high = ("-" if answer[name] is None else f"{answer[name]:+.2f}" for name in ("improvement_mean", *ends))
    if low == "-":
        return f"{mean} (no interval)"
    return f"{mean} ({'' if has_own else 'unadjusted: '}{low} to {high})"


def brief_blocks(summary: Row, answers: Sequence[Row]) -> Iterator[Block]:
    """Yield what a terminal shows without scrolling: the headline, what was run, and the chief answers in a line each.

    Args:
        summary: The run's row of run_summary.
        answers: Its rows of what_did_it_find.
    """
    yield from _leading_blocks(summary, answers)
    chief = [row for row in answers if row["question"] in _CHIEF and "+" not in f"{row['arm']}{row['reference']}"]
    if chief:
        rows = tuple(
            (str(row["comparison"]), _SHOWN.get(row["answer"], str(row["answer"])), improvement_of(row))
            for row in chief
        )
        yield Table(("comparison", "answer", "points (interval)"), rows, text_columns=2)


def summary_blocks(summary: Row, answers: Sequence[Row]) -> Iterator[Block]:
    """Yield a run's headline, what was run, and the answers to each question in a table; arguments as above."""
    yield from _leading_blocks(summary, answers)
    compared = [row for row in answers if row["n"] is not None]
    if not compared:
        return
    counts = sorted({row["n"] for row in compared})
    pairs = f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"
    yield paragraph(
        "Improvements are in percentage points of an answer token's probability, positive is better; each is the mean "
        f"of {pairs} pairs. The {compared[0]['confidence_level']:.0%} intervals of a question hold together, at any "
        "look. "
        "Effect sizes, other measures, strata, costs and checks are in the report."
    )
    for title, found in by_question(answers).items():
        rows = tuple((name_of(row), row["sentence"], improvement_of(row)) for row in found)
        yield Table((title, "answer", "improvement (interval)"), rows, text_columns=2)


def _leading_blocks(summary: Row, answers: Sequence[Row]) -> Iterator[Block]:
    yield Heading(headline_of(summary, answers)[1])
    yield paragraph(
        f"Run {summary['run_id']}: {count(summary['drawn_count'])} samples of ",
        Quoted(summary["data"]),
        ", language model ",
        Quoted(summary["language_model"]),
        f" on {summary['device']}, {duration(summary['seconds'])} of computation.",
    )
