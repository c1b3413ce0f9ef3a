"""The verb `compare`: complete runs side by side, and paired differences on the samples that they share.

In: two or more runs in artifacts/results.duckdb, called A, B and so on; all are compared with the first. Out: text,
printed or shown in the UI, and the same as an HTML page with the samples that they share. Numbers are rounded here and
computed in tasks/priming/statistics/two_runs.py.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact
from prefect.runtime import flow_run

from tasks.pages.blocks import Block, Cell, Heading, Part, Quoted, Table, Value, paragraph
from tasks.pages.html import render_page, write_page
from tasks.pages.markdown import to_markdown
from tasks.pages.numbers import in_form
from tasks.pages.terminal import print_blocks
from tasks.priming.errors import UsageError
from tasks.priming.settings import flat_settings
from tasks.priming.statistics.paired import PairedStatistics
from tasks.priming.statistics.two_runs import compare_runs, compare_texts, shared_conditions
from tasks.reading.answers import by_question, improvement_of, name_of
from tasks.reading.database import PAIRING_QUERIES, QUERIES, SAMPLE_QUERIES, RunRows, read_run
from tasks.reading.runs import LATEST, PREVIOUS, find_complete_run
from tasks.report.samples import pack_samples

DEFAULT_RUNS = (PREVIOUS, LATEST)

_HASH_CHARACTERS = 40
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_IDENTITIES = {
    "data": "data_identity",
    "language model": "language_model_identity",
    "embedding model": "embedding_model_identity",
    "version": "versions",
}
_MODEL_NAMES = ("language model: sha256", "language model: revision", "language model: language_model")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add which runs."""
    parser.add_argument(
        "runs",
        metavar="RUN",
        nargs="*",
        help=f"Two or more run ids, beginnings of ids, {LATEST} or {PREVIOUS}; default: {' '.join(DEFAULT_RUNS)}. All "
        "are compared with the first.",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="Where to write the page (default: artifacts/reports/compare-<run ids>.html).",
    )


def execute(options: argparse.Namespace) -> int:
    """Print the comparison, and the path of its page."""
    runs = _find_runs(options.runs or DEFAULT_RUNS)
    print_blocks(described := describe_runs(runs))
    print_blocks(paired := describe_pairs(runs))
    try:
        path = write_comparison(runs, described + paired, options.output)
    except OSError as error:
        raise UsageError(
            f"The page cannot be written: {str(error).rstrip('.')}. Give --output a file that can be written."
        ) from error
    sys.stdout.write(f"{path}\n")
    return 0


def name_comparison() -> str:
    """Return what the UI calls a comparison: the runs as they were named."""
    return f"compare {', '.join(flow_run.get_parameters()['runs'])}"


def show_comparison(texts: Sequence[str]) -> None:
    """Show the comparison in the UI.

    Raises:
        UsageError: The runs cannot be found, or share no sample; they are described all the same.
    """
    runs = _find_runs(texts)
    blocks, description = describe_runs(runs), f"Runs {', '.join(run.run['run_id'] for run in runs)}."
    try:
        blocks += describe_pairs(runs)
        description += f" With their samples: {write_comparison(runs, blocks)}"
    finally:
        create_markdown_artifact(to_markdown(blocks), key="comparison", description=description)


def write_comparison(runs: Sequence[RunRows], blocks: Sequence[Block], output: Path | None = None) -> Path:
    """Write a comparison as an HTML page with the samples that the runs share, and return where it is.

    Args:
        runs: The runs.
        blocks: What describe_runs and describe_pairs say of them.
        output: The file; None: artifacts/reports/compare-<run ids>.html.

    Raises:
        OSError: The file cannot be written; an earlier file is left unchanged.
    """
    first, second = runs[:2]
    names = [run.run["run_id"] for run in runs]
    known = [*shared_conditions(first.nlls, second.nlls), *first.nlls]
    shown = next((name for name in known if "/routed" in name), known[0])
    # Every block belongs to the heading before it.
    titles = [block.text for block in blocks if isinstance(block, Heading)]
    parts = [[*part] for is_title, part in groupby(blocks, lambda block: isinstance(block, Heading)) if not is_title]
    page = render_page(
        "compare.html.jinja",
        names=names,
        sections=[
            (f"part-{place}", title, part) for place, (title, part) in enumerate(zip(titles, parts, strict=True))
        ],
        samples=pack_samples(
            {f"{letter} ": run for letter, run in zip(_LETTERS, runs, strict=False)}, f"B {shown}", f"A {shown}"
        ),
        shared_count=len({sample for run in runs[1:] for sample in _shared_passages(first, run)}),
    )
    return write_page(f"compare-{'-'.join(names)}", page, output)


def _find_runs(texts: Sequence[str]) -> list[RunRows]:
    if not 2 <= len(texts) <= len(_LETTERS):
        raise UsageError(
            f"{len(texts)} run was named; 2 to {len(_LETTERS)} can be compared. "
            f"Name another one, for example: python -m flows compare {' '.join(texts[:1])} {LATEST}"
        )
    found = [find_complete_run(text) for text in texts]
    for number, run_id in enumerate(found):
        if run_id in found[:number]:
            raise UsageError(
                f"{texts[found.index(run_id)]!r} and {texts[number]!r} are the same run, {run_id}. "
                "Name each run once; python -m flows runs lists them."
            )
    queries = PAIRING_QUERIES | SAMPLE_QUERIES | {"what_did_it_find": QUERIES["what_did_it_find"]}
    return [read_run(run_id, queries) for run_id in found]


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
    columns = ("name", "run", "profile", "data", "language model", "started (UTC)", "samples")
    yield Table(columns, tuple(rows), 6, "The runs")


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
        columns = (title, *_LETTERS[: len(runs)])
        yield Table(columns, rows, len(columns), f"By {title}") if rows else paragraph(otherwise)


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
        return ", ".join(map(_value, value))
    if isinstance(value, dict):  # a text of one's own
        return "; ".join(f"{name.replace('_', ' ')} {_value(own)}" for name, own in value.items() if own)
    text = "-" if value is None else str(value)
    is_hash = len(text) >= _HASH_CHARACTERS and not text.strip("0123456789abcdef")
    return f"{text[:12]}…" if is_hash else text


def _answers(runs: Sequence[RunRows]) -> Iterator[Block]:
    yield Heading("What they found")
    yield paragraph(
        "Each run's own answers on its own samples; improvements are in percentage points of an answer token's "
        "probability."
    )
    answers = [by_question(run.tables["what_did_it_find"]) for run in runs]
    for title in dict.fromkeys(title for answer in answers for title in answer):
        found = [{name_of(row): row for row in answer.get(title, [])} for answer in answers]
        rows: list[tuple[Part, ...]] = []
        for name in dict.fromkeys(name for by_name in found for name in by_name):
            for number, by_name in enumerate(found):
                row = by_name.get(name)
                answer, numbers = (row["sentence"], improvement_of(row)) if row else ("not run", "-")
                rows.append(("" if number else name, f"{_LETTERS[number]} {answer}", numbers))
        yield Table((title, "answer", "improvement (interval)"), tuple(rows), 2, title)


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
        f"Probability of an answer's token in percent, 100 exp(-NLL), and how many points higher it is in {letter}: "
        f"positive where {letter} is better. Intervals are {level:.0%}, clustered by passage, not adjusted for "
        "multiple comparisons; equal: samples with the same number in both."
    )
    found = compare_runs(first.nlls, second.nlls, passages, level)
    shortfalls = {each.condition: each.shortfall for each in found}
    yield _table("Probability of an answer's token, %", shortfalls, f"{letter} - A", top=100)
    gains = {each.condition: each.excess for each in found if each.excess and each.excess.n}
    if gains:
        yield paragraph(
            f"Improvement over each run's own baseline, of A, of {letter}, and {letter} minus A, in points:"
        )
        yield _table("Improvement over each run's own baseline, points", gains, f"{letter} - A", top=0)
    texts = compare_texts(_f1s(first), _f1s(second), passages, level)
    if texts:
        yield paragraph("F1 of written answers in percent, by words:")
        yield _table("F1 of written answers, %", texts, f"{letter} - A", top=100)
    yield paragraph(f"NLL of A minus that of {letter}, nats per answer token: positive where {letter} is better.")
    yield _table("NLL, nats per answer token", {each.condition: each.nll for each in found}, f"A - {letter}")


def _f1s(run: RunRows) -> dict[str, dict[str, float]]:
    """Return condition -> sample_id -> F1 of the written answer."""
    found: dict[str, dict[str, float]] = {}
    for row in run.tables["f1"]:
        found.setdefault(row["condition"], {})[row["name"]] = row["value"]
    return found


def _table(caption: str, found: Mapping[str, PairedStatistics], difference: str, *, top: float | None = None) -> Table:
    """Return the table of a measure.

    Args:
        caption: What is compared.
        found: Condition -> the values of both runs, paired.
        difference: The heading of the differences, such as "B - A"; its letters are those of the runs.
        top: What the values are lacking to; None: they are shown as they are, in nats.
    """
    form = ".4f" if top is None else ".2f"

    def cells(condition: str, pairs: PairedStatistics) -> Iterator[Cell]:
        means = [pairs.reference_mean, pairs.arm_mean]
        sides = [mean if top is None or mean is None else top - mean for mean in means]
        yield condition
        yield from (Value(f"{number:,}", number) for number in (pairs.n, pairs.tie_count))
        yield from (Value(in_form(side, form), side) for side in sides)
        if pairs.tie_count == pairs.n:
            yield from (Value("0", 0.0), "all equal")
            return
        mean, low, high = pairs.improvement_mean, pairs.improvement_low, pairs.improvement_high
        yield Value(in_form(mean, f"+{form}"), mean)
        yield "-" if low is None or high is None else f"{low:+{form}} to {high:+{form}}"

    letters = sorted(difference.split(" - "))
    rows = tuple(tuple(cells(condition, pairs)) for condition, pairs in found.items())
    return Table(("condition", "n", "equal", *letters, difference, "interval"), rows, caption=caption)


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
            "and probabilities per token cannot be compared. Improvements over each run's own baseline can, with care: "
            "they are of that model's tokens."
        )
    return (
        "Their tokenizers split every answer into the same number of tokens, so NLLs per token can be compared; they "
        "say which model expects the answers, and nothing about priming."
    )
