"""A comparison of runs as a page: what differs in how they were made, their answers, and their paired differences.

In: the rows of complete runs, the first of which all others are compared with. Out: blocks. Numbers are rounded here
and computed in tasks/priming/statistics/two_runs.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.pages.blocks import Block, Heading, Paragraph, Part, Quoted, Table, paragraph
from tasks.priming.statistics.paired import PairedStatistics
from tasks.priming.statistics.two_runs import RunDifference, compare_runs
from tasks.reading.answers import by_question, improvement_of, name_of
from tasks.reading.run_rows import RunRows

_VALUE_CHARACTERS = 40
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

MOST_RUNS = len(_LETTERS)
"""Runs that can be told apart by a letter."""


def describe_runs(runs: Sequence[RunRows]) -> list[Block]:
    """Return what is said of runs whether they share samples or not: how they differ, and what they found."""
    return [*_runs(runs), *_differences_in_making(runs), *_answers(runs)]


def describe_pair(first: RunRows, second: RunRows, letters: tuple[str, str]) -> list[Block]:
    """Return the paired differences of two runs that share samples."""
    passages = shared_passages(first, second)
    level = first.settings["confidence_level"]
    differences = compare_runs(first.nlls, second.nlls, passages, level)
    a, b = letters
    blocks: list[Block] = [
        Heading(f"{a} and {b} on the samples that they share"),
        paragraph(
            f"{a} has {len(first.passages):,} samples, {b} {len(second.passages):,}; {len(passages):,} are in both, on "
            f"{len(set(passages.values())):,} passages. {_same_texts(first, second)}"
        ),
        *_warnings(first, second, letters),
        paragraph(
            f"NLL of {a} minus that of {b}, nats per answer token: positive where {b} is better. Intervals are "
            f"{level:.0%}, clustered by passage, not adjusted for their number; equal: samples with the same number in "
            "both."
        ),
        _nll_table(differences, letters),
    ]
    excesses = [difference for difference in differences if difference.excess is not None]
    if excesses:
        blocks += [
            paragraph(f"Improvement over each run's own baseline, of {a}, of {b}, and that of {b} minus that of {a}:"),
            _improvement_table(excesses, letters),
        ]
    return blocks


def letter(number: int) -> str:
    """Return what the page calls a run."""
    return _LETTERS[number]


def shared_passages(first: RunRows, second: RunRows) -> dict[str, str]:
    """Return sample_id -> passage_id of the samples that both runs have."""
    return {sample_id: passage for sample_id, passage in first.passages.items() if sample_id in second.passages}


def _runs(runs: Sequence[RunRows]) -> Iterator[Block]:
    yield Heading("Runs")
    rows: list[tuple[Part, ...]] = [
        (
            letter(number),
            run.run_id,
            run.facts["profile"],
            Quoted(run.facts["data"] or "-"),
            Quoted(run.facts["language_model"] or "-"),
            f"{run.facts['started_at']:%Y-%m-%d %H:%M}",
            f"{len(run.passages):,}",
        )
        for number, run in enumerate(runs)
    ]
    yield Table(("", "run", "profile", "data", "language model", "started (UTC)", "samples"), tuple(rows), 6)


def _differences_in_making(runs: Sequence[RunRows]) -> Iterator[Block]:
    yield Heading("How they differ")
    settings = _differing([run.settings for run in runs])
    known = {name for run in runs for name in run.settings}
    # What is a setting too, e.g. the model's name, is said once.
    identities = [{n: v for n, v in run.identity.items() if n.rpartition(": ")[2] not in known} for run in runs]
    identity = _differing(identities)
    letters = [letter(number) for number in range(len(runs))]
    if settings:
        yield Table(("setting", *letters), tuple(settings), 1 + len(runs))
    else:
        yield paragraph("All settings are the same.")
    if identity:
        yield Table(("made from", *letters), tuple(identity), 1 + len(runs))
    else:
        yield paragraph("Data, models, device and versions are the same.")


def _answers(runs: Sequence[RunRows]) -> Iterator[Block]:
    yield Heading("What they found")
    yield paragraph("Each run's own answers on its own samples; improvements are in nats per answer token.")
    answers = [by_question(run.answers) for run in runs]
    for title in dict.fromkeys(title for answer in answers for title in answer):
        found = [{name_of(row): row for row in answer.get(title, [])} for answer in answers]
        rows: list[tuple[Part, ...]] = []
        for name in dict.fromkeys(name for by_name in found for name in by_name):
            for number, by_name in enumerate(found):
                row = by_name.get(name)
                answer, numbers = (row["sentence"], " ".join(improvement_of(row))) if row else ("not run", "-")
                rows.append((name if number == 0 else "", f"{letter(number)} {answer}", numbers))
        yield Table((title, "answer", "improvement (interval)"), tuple(rows), 2)


def _differing(values: Sequence[Mapping[str, Any]]) -> list[tuple[Part, ...]]:
    """Return a row for every name whose values are not all the same."""
    names = dict.fromkeys(name for each in values for name in each)
    rows: list[tuple[Part, ...]] = []
    for name in names:
        shown = [_value(each[name]) if name in each else "-" for each in values]
        if any(each.get(name) != values[0].get(name) for each in values):
            rows.append((name.replace("_", " ") if ": " in name else name, *map(Quoted, shown)))
    return rows


def _value(value: Any) -> str:  # noqa: ANN401 - what JSON can say
    if isinstance(value, list):
        return ", ".join(map(str, value))
    text = "-" if value is None else str(value)
    is_hash = len(text) >= _VALUE_CHARACTERS and all(c in "0123456789abcdef" for c in text)
    return f"{text[:12]}…" if is_hash else text


def _same_texts(first: RunRows, second: RunRows) -> str:
    """Return how many generated surrogates have the same text in both runs."""
    both = [
        (text, second.surrogates[name])
        for name, text in first.surrogates.items()
        if name in second.surrogates and name[1] == "generated"
    ]
    if not both:
        return ""
    same = sum(one == other for one, other in both)
    return f"Of their {len(both):,} generated surrogates {same:,} have the same text in both."


def _warnings(first: RunRows, second: RunRows, letters: tuple[str, str]) -> Iterator[Paragraph]:
    """Warn where NLLs cannot be compared."""
    names = ("language model: sha256", "language model: revision", "language model: language_model")
    if all(first.identity.get(name) == second.identity.get(name) for name in names):
        return
    counts = [(first.answer_token_counts[s], second.answer_token_counts[s]) for s in shared_passages(first, second)]
    split = sum(one != other for one, other in counts)
    a, b = letters
    yield paragraph(
        f"{a} and {b} have different language models. "
        + (
            f"Their tokenizers make different numbers of tokens of {split:,} of {len(counts):,} answers: NLLs are per "
            "token and not comparable between tokenizers. Improvements over each run's own baseline can be compared "
            "with care: they are in nats per token of that model."
            if split
            else "Their tokenizers make as many tokens of every answer, so NLLs per token can be compared; they say "
            "which model expects the answers, and nothing about priming."
        )
    )


def _nll_table(differences: Sequence[RunDifference], letters: tuple[str, str]) -> Table:
    a, b = letters
    rows: list[tuple[Part, ...]] = [
        (
            difference.condition,
            f"{difference.nll.n:,}",
            f"{difference.nll.tie_count:,}",
            _number(difference.nll.nll_reference_mean, ".4f"),
            _number(difference.nll.nll_arm_mean, ".4f"),
            *_mean(difference.nll),
        )
        for difference in differences
    ]
    return Table(("condition", "n", "equal", f"NLL {a}", f"NLL {b}", f"{a} - {b}", "interval"), tuple(rows))


def _improvement_table(differences: Sequence[RunDifference], letters: tuple[str, str]) -> Table:
    a, b = letters
    rows: list[tuple[Part, ...]] = [
        (
            difference.condition,
            f"{difference.excess.n:,}",
            _number(difference.improvement_first, "+.4f"),
            _number(difference.improvement_second, "+.4f"),
            *_mean(difference.excess),
        )
        for difference in differences
        if difference.excess
    ]
    headings = ("condition", "n", a, b, f"{b} - {a}", "interval")
    return Table(headings, tuple(rows))


def _mean(found: PairedStatistics) -> tuple[str, str]:
    """Return a mean difference and its interval."""
    if found.n and found.tie_count == found.n:
        return "0", "all equal"
    mean, low, high = found.improvement_mean, found.improvement_low, found.improvement_high
    return _number(mean, "+.4f"), "-" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
