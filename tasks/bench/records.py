"""What a benchmark measured, and the files that hold it.

In: figures. Out: artifacts/bench/<when>.json, and artifacts/bench.json and bench.md, the newest.
"""

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from tasks.store import artifacts


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity of one method."""

    part: str  # what was done: scoring, generation, queries or identity
    model: str  # the model that computed it
    dtype: str  # number format of the model's weights
    method: str  # who did it: ours, notebook, lm-eval, padded, or products (the limit)
    quantity: str  # what was measured, e.g. times as fast as the notebook
    value: float  # the value; the median where it was measured in several rounds
    unit: str  # unit of value, low and high; x is a ratio, 1 a share
    low: float | None = None  # lowest of the rounds; None where it was measured once
    high: float | None = None  # highest of the rounds; None where it was measured once


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the benchmark."""

    measured_at: datetime  # when it ended
    seconds: float  # how long it took
    device: str  # where the language models ran: cpu or cuda
    is_quick: bool  # whether it was the quick run, whose ratios mean little
    machine: dict[str, str]  # the machine in words: processor, memory, load and so on
    numeric_paths: dict[str, str]  # by number format: which arithmetic computes on a CPU, and how fast
    versions: dict[str, str]  # version of each library that takes part
    workload: dict[str, str]  # what was computed, by part and model, in words
    notes: tuple[str, ...]  # what a reader has to know, e.g. which method was left out
    figures: tuple[Figure, ...]  # all that was measured


def write_bench(bench: Bench, page: str) -> Path:
    """Write a benchmark by the time of its end and as the newest, with its tables, and return the path of these."""
    content = json.dumps(asdict(bench), indent=1, ensure_ascii=False, default=str).encode() + b"\n"
    newest = artifacts.ARTIFACTS / "bench.md"
    artifacts.write_atomically(artifacts.ARTIFACTS / "bench" / f"{bench.measured_at:%Y%m%dT%H%M%S}.json", content)
    artifacts.write_atomically(artifacts.ARTIFACTS / "bench.json", content)
    artifacts.write_atomically(newest, page.encode())
    return newest
