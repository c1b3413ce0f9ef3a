"""Says what the demo model can do: `python -m tasks.demo.evaluate`.

In: a model folder. Out: tables on the terminal, `evaluation.json` in the folder and the same figures in its model card.
All rows come from the evaluation split: no subject, key, name or number of theirs was in the training. The rate of
exact answers and the NLL are given for each fact order, since a causal model finds a value that follows its key by
copying, and one that stands before it only by looking back.
"""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy import stats
from transformers import AutoModelForCausalLM, AutoTokenizer

from tasks.demo.card import write_card
from tasks.demo.corpus import CORPUS_SEED, FULL_SIZE, HANDWRITTEN_FILE, write_passage, write_rows
from tasks.demo.domains.all_domains import DOMAINS
from tasks.demo.drawing import random_for
from tasks.demo.measuring import ARMS, Reading, WrittenSurrogate, read_answers, write_surrogates
from tasks.demo.queries import STYLES
from tasks.demo.training import MODEL_FOLDER
from tasks.guard import guarded

ROW_COUNT = 1_000
SURROGATE_PASSAGE_COUNT = 150
FACT_ORDERS = ("key_first", "value_first")


@dataclass(frozen=True, slots=True)
class Share:
    """A share with its 95 % Wilson interval."""

    count: int
    """How many have the property."""
    of: int
    """How many were looked at."""
    share: float
    """count / of."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean over rows with its 95 % t interval."""

    rows: int
    """How many rows."""
    mean: float
    """Their mean."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""


def share_of(properties: Sequence[bool]) -> Share:
    """Count a property.

    Source: `scipy.stats.binomtest(...).proportion_ci(method="wilson")`.
    """
    interval = stats.binomtest(sum(properties), len(properties)).proportion_ci(method="wilson")
    share = sum(properties) / len(properties)
    return Share(sum(properties), len(properties), share, float(interval.low), float(interval.high))


def mean_of(values: Sequence[float]) -> Mean:
    """Take the mean of one value per row.

    Source: `scipy.stats.t.interval` on the standard error; rows on one passage are taken as independent.
    """
    low, high = stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    return Mean(len(values), float(np.mean(values)), float(low), float(high))


def reading_figures(readings: Sequence[Reading]) -> dict[str, Any]:
    """Return per fact order the exact answers of the baseline, and per arm the NLL and the gain over the baseline."""
    nll = {(each.row_number, each.arm): each.answer_nll_sum / each.answer_token_count for each in readings}
    figures: dict[str, Any] = {}
    for order in (*FACT_ORDERS, "all"):
        chosen = [each for each in readings if each.arm == "baseline" and order in (each.fact_order, "all")]
        numbers = [each.row_number for each in chosen]
        types = sorted({each.answer_type for each in chosen})
        figures[order] = {
            "exact": asdict(share_of([each.is_exact for each in chosen])),
            "exact_by_answer_type": {
                kind: asdict(share_of([each.is_exact for each in chosen if each.answer_type == kind])) for kind in types
            },
            "nll": {arm: asdict(mean_of([nll[number, arm] for number in numbers])) for arm in ARMS},
            "improvement_over_baseline": {
                arm: asdict(mean_of([nll[number, "baseline"] - nll[number, arm] for number in numbers]))
                for arm in ARMS[1:]
            },
        }
    return figures


def surrogate_figures(surrogates: Sequence[WrittenSurrogate]) -> dict[str, Any]:
    """Return per kind and over all how many surrogates are as asked and how many name their subject."""
    figures: dict[str, Any] = {}
    for style in (*STYLES, "all"):
        chosen = [each for each in surrogates if style in (each.style, "all")]
        figures[style] = {
            "as_asked": asdict(share_of([each.is_as_asked for each in chosen])),
            "names_subject": asdict(share_of([each.names_subject for each in chosen])),
            "example": chosen[0].text,
        }
    return figures


def evaluation_passages(count: int) -> list[tuple[str, str]]:
    """Return passages with their subjects; they are not those of the evaluation rows."""
    passages = []
    for number in range(count):
        source = random_for("surrogate passages", CORPUS_SEED, number)
        passage = write_passage(DOMAINS[number % len(DOMAINS)], FULL_SIZE, "evaluation", source)
        passages.append((passage.text, passage.subject))
    return passages


def percent(share: dict[str, float]) -> str:
    """Return a share with its interval in percent."""
    return f"{share['share']:.1%} ({share['low']:.1%} to {share['high']:.1%})"


def nats(mean: dict[str, float]) -> str:
    """Return a mean with its interval in nats."""
    return f"{mean['mean']:.3f} ({mean['low']:.3f} to {mean['high']:.3f})"


def reading_table(title: str, figures: dict[str, Any]) -> Table:
    """Return reading figures as a table, one column per fact order."""
    table = Table("figure", *figures, title=f"{title}, n = {figures['all']['exact']['of']}")
    table.add_row("exact answers", *(percent(column["exact"]) for column in figures.values()))
    for arm in ARMS:
        table.add_row(f"NLL, {arm}", *(nats(column["nll"][arm]) for column in figures.values()))
    for arm in ARMS[1:]:
        table.add_row(f"gain, {arm}", *(nats(column["improvement_over_baseline"][arm]) for column in figures.values()))
    return table


def tables(figures: dict[str, Any]) -> list[Table]:
    """Return the figures as tables for the terminal."""
    reading = reading_table("Reading", figures["reading"])
    by_hand = reading_table("Reading passages written by hand", figures["handwritten"])
    surrogates = Table("surrogate", "as asked", "names subject", "example", title="Generated surrogates")
    for style, row in figures["surrogates"].items():
        surrogates.add_row(style, percent(row["as_asked"]), percent(row["names_subject"]), row["example"])
    return [reading, by_hand, surrogates]


def evaluate(folder: Path, row_count: int, passage_count: int) -> dict[str, Any]:
    """Measure the model of a folder."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="float32").eval()
    rows = list(islice(write_rows("evaluation", CORPUS_SEED), row_count))
    readings = list(read_answers(model, tokenizer, rows))
    surrogates = list(write_surrogates(model, tokenizer, evaluation_passages(passage_count), CORPUS_SEED))
    by_hand = [json.loads(line) for line in HANDWRITTEN_FILE.read_text(encoding="utf-8").splitlines()]
    return {
        "reading": reading_figures(readings),
        "handwritten": reading_figures(list(read_answers(model, tokenizer, by_hand))),
        "surrogates": surrogate_figures(surrogates),
    }


@guarded()
def main() -> int:
    """Measure, print the tables, and write figures and model card."""
    parser = argparse.ArgumentParser(description="Measure the demo model on entities it never saw.")
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER, help="the model folder")
    parser.add_argument("--rows", type=int, default=ROW_COUNT, help="how many evaluation rows to read")
    parser.add_argument(
        "--passages", type=int, default=SURROGATE_PASSAGE_COUNT, help="passages to write surrogates for"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    figures = evaluate(options.model, options.rows, options.passages)
    (options.model / "evaluation.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    write_card(options.model)
    console = Console()
    for table in tables(figures):
        console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
