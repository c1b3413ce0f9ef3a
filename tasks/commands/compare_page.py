"""A comparison of runs as a page: how they were made, their answers, and their paired differences.

In: complete runs, called A, B and so on; all others are compared with the first. Out: blocks. Numbers are rounded here
and computed in tasks/priming/statistics/two_runs.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tasks.pages.blocks import Block, Heading, Part, Quoted, Table, paragraph
from tasks.pages.numbers import in_form
from tasks.priming.errors import UsageError
from tasks.priming.settings import flat_settings
from tasks.priming.statistics.paired import PairedStatistics
from tasks.priming.statistics.two_runs import compare_runs
from tasks.reading.answers import by_question, improvement_of, name_of
from tasks.reading.database import PAIRING_QUERIES, QUERIES, RunRows, read_run

_HASH_CHARACTERS = 40
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IDENTITIES = {
    "data": "data_identity",
    "language model": "language_model_identity",
    "embedding model": "embedding_model_identity",
    "version": "versions",
}
_MODEL_NAMES = ("language model: sha256", "language model: revision", "language model: language_model")

MOST_RUNS = len(_LETTERS)
"""Runs that can be told apart by a letter."""


def read_compared(run_id: str) -> RunRows:
    """Read what is compared of a run: its answers, its NLLs, and what pairs its samples.

    Raises:
        UsageError: As in read_run.
    """
    return read_run(run_id, PAIRING_QUERIES | {"what_did_it_find": QUERIES["what_did_it_find"]})


def describe_runs(runs: Sequence[RunRows]) -> list[Block]:
    """Return how runs differ and what each found, whether or not they share samples."""
    return [*_runs(runs), *_differences_in_making(runs), *_answers(runs)]


def describe_pairs(runs: Sequence[RunRows]) -> list[Block]:
    """Return the paired differences of every other run to the first.

    Raises:
        UsageError: One of them shares no sample with the first.
    """
    first, *others = runs
    missing = [run.run["run_id"] for run in others if not _shared_passages(first, run)]
    if missing:
        raise UsageError(
            f"Run {first.run['run_id']} shares no sample with {', '.join(missing)}, so there is nothing to pair. Runs "
            "share the samples with the same passage, query and answer: use the same data, and for the draw `nested` "
            "the same seed (--seed)."
        )
    return [block for letter, run in zip(_LETTERS[1:], others, strict=False) for block in _pair(first, run, letter)]


def _runs(runs: Sequence[RunRows]) -> Iterator[Block]:
    yield Heading("Runs")
    rows: list[tuple[Part, ...]] = [
        (
            letter,
            run.run["run_id"],
            run.run["profile"],
            Quoted(run.run["data"] or "-"),
            Quoted(run.run["language_model"] or "-"),
            f"{run.run['started_at']:%Y-%m-%d %H:%M}",
            f"{len(run.tables['passage']):,}",
        )
        for letter, run in zip(_LETTERS, runs, strict=False)
    ]
    yield Table(("", "run", "profile", "data", "language model", "started (UTC)", "samples"), tuple(rows), 6)


def _differences_in_making(runs: Sequence[RunRows]) -> Iterator[Block]:
    yield Heading("How they differ")
    settings = [flat_settings(run.run["settings"]) for run in runs]
    known = {name for each in settings for name in each}
    # What is a setting too, such as the model's name, is listed once.
    identities = [
        {name: value for name, value in _identity(run).items() if name.rpartition(": ")[2] not in known} for run in runs
    ]
    for title, values, otherwise in (
        ("setting", settings, "All settings are the same."),
        ("made from", identities, "Data, models, device and versions are the same."),
    ):
        rows = tuple(_differing(values))
        yield Table((title, *_LETTERS[: len(runs)]), rows, 1 + len(runs)) if rows else paragraph(otherwise)


def _identity(run: RunRows) -> dict[str, Any]:
    """Return what a run's numbers come from besides its settings: hashes, commits, device, versions."""
    return {
        f"{name}: {part}": value
        for name, column in _IDENTITIES.items()
        for part, value in run.run[column].items()
        if part != "versions"  # listed by themselves
    }


def _differing(values: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Part, ...]]:
    """Yield a row for every name whose values are not all the same."""
    for name in dict.fromkeys(name for each in values for name in each):
        if any(each.get(name) != values[0].get(name) for each in values):
            yield name.replace("_", " ") if ": " in name else name, *(Quoted(_value(each.get(name))) for each in values)


def _value(value: Any) -> str:  # noqa: ANN401 - what JSON can say
    if isinstance(value, list):
        return ", ".join(map(str, value))
    text = "-" if value is None else str(value)
    is_hash = len(text) >= _HASH_CHARACTERS and not text.strip("0123456789abcdef")
    return f"{text[:12]}…" if is_hash else text


def _answers(runs: Sequence[RunRows]) -> Iterator[Block]:
    yield Heading("What they found")
    yield paragraph("Each run's own answers on its own samples; improvements are in nats per answer token.")
    answers = [by_question(run.tables["what_did_it_find"]) for run in runs]
    for title in dict.fromkeys(title for answer in answers for title in answer):
        found = [{name_of(row): row for row in answer.get(title, [])} for answer in answers]
        rows: list[tuple[Part, ...]] = []
        for name in dict.fromkeys(name for by_name in found for name in by_name):
            for number, by_name in enumerate(found):
                row = by_name.get(name)
                answer, numbers = (row["sentence"], improvement_of(row)) if row else ("not run", "-")
                rows.append(("" if number else name, f"{_LETTERS[number]} {answer}", numbers))
        yield Table((title, "answer", "improvement (interval)"), tuple(rows), 2)


def _values(run: RunRows, query: str) -> dict[str, Any]:
    """Return the pairs of one of the PAIRING_QUERIES."""
    return {row["name"]: row["value"] for row in run.tables[query]}


def _shared_passages(first: RunRows, second: RunRows) -> dict[str, str]:
    """Return sample_id -> passage_id of the samples that both runs have."""
    known = _values(second, "passage")
    return {sample_id: passage for sample_id, passage in _values(first, "passage").items() if sample_id in known}


def _pair(first: RunRows, second: RunRows, letter: str) -> Iterator[Block]:
    """Yield the paired differences of run A and another run that shares samples with it."""
    passages = _shared_passages(first, second)
    level = flat_settings(first.run["settings"])["confidence_level"]
    sizes = f"A has {len(first.tables['passage']):,} samples, {letter} {len(second.tables['passage']):,}"
    yield Heading(f"A and {letter} on the samples that they share")
    yield paragraph(
        f"{sizes}; {len(passages):,} are in both, on {len(set(passages.values())):,} passages. "
        + _same_texts(first, second)
    )
    if any(_identity(first).get(name) != _identity(second).get(name) for name in _MODEL_NAMES):
        yield paragraph(f"A and {letter} have different language models. {_tokenizers(first, second)}")
    yield paragraph(
        f"NLL of A minus that of {letter}, nats per answer token: positive where {letter} is better. Intervals are "
        f"{level:.0%}, clustered by passage, not adjusted for multiple comparisons; equal: samples with the same "
        "number in both."
    )
    nlls: list[tuple[Part, ...]] = []
    improvements: list[tuple[Part, ...]] = []
    for found in compare_runs(first.nlls, second.nlls, passages, level):
        nll, excess = found.nll, found.excess
        means = in_form(nll.nll_reference_mean, ".4f"), in_form(nll.nll_arm_mean, ".4f")
        nlls.append((found.condition, f"{nll.n:,}", f"{nll.tie_count:,}", *means, *_difference(nll)))
        if excess:
            means = in_form(found.improvement_first, "+.4f"), in_form(found.improvement_second, "+.4f")
            improvements.append((found.condition, f"{excess.n:,}", *means, *_difference(excess)))
    headings = ("condition", "n", "equal", "NLL A", f"NLL {letter}", f"A - {letter}", "interval")
    yield Table(headings, tuple(nlls))
    if improvements:
        yield paragraph(f"Improvement over each run's own baseline, of A, of {letter}, and {letter} minus A:")
        yield Table(("condition", "n", "A", letter, f"{letter} - A", "interval"), tuple(improvements))


def _same_texts(first: RunRows, second: RunRows) -> str:
    """Say how many generated surrogates have the same text in both runs."""
    texts, others = _values(first, "written_text"), _values(second, "written_text")
    both = texts.keys() & others.keys()
    if not both:
        return ""
    same = sum(texts[name] == others[name] for name in both)
    return f"Of their {len(both):,} generated surrogates {same:,} have the same text in both."


def _tokenizers(first: RunRows, second: RunRows) -> str:
    """Say whether NLLs per token of two language models can be compared."""
    lengths, others = _values(first, "answer_length"), _values(second, "answer_length")
    shared = _shared_passages(first, second)
    split = sum(lengths[sample_id] != others[sample_id] for sample_id in shared)
    if split:
        return (
            f"Their tokenizers split {split:,} of {len(shared):,} answers into different numbers of tokens, so NLLs "
            "per token cannot be compared. Improvements over each run's own baseline can, with care: they are in nats "
            "per token of that model."
        )
    return (
        "Their tokenizers split every answer into the same number of tokens, so NLLs per token can be compared; they "
        "say which model expects the answers, and nothing about priming."
    )


def _difference(found: PairedStatistics) -> tuple[str, str]:
    """Return a mean difference and its interval."""
    if found.n and found.tie_count == found.n:
        return "0", "all equal"
    mean, low, high = found.improvement_mean, found.improvement_low, found.improvement_high
    return in_form(mean, "+.4f"), "-" if low is None or high is None else f"{low:+.4f} to {high:+.4f}"
