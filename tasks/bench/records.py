"""What a benchmark measured: its fields and their types, and the files that hold it.

In: figures. Out: artifacts/bench/<id>.json, named by its content, and artifacts/bench.json, the newest.
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from tasks.priming.errors import UsageError
from tasks.store import artifacts


class _Frozen(BaseModel):
    # An earlier version can read what a later one adds within this format.
    model_config = ConfigDict(frozen=True, extra="ignore")


class Figure(_Frozen):
    """One measured quantity of one method."""

    part: str
    """What was done: scoring, generation, queries, embedding or identity."""
    model: str
    """The model that computed it."""
    dtype: str
    """Number format of the model's weights."""
    method: str
    """Who did it: ours, notebook, lm-eval, padded, or products (the limit)."""
    quantity: str
    """What was measured, e.g. times as fast as the notebook."""
    value: FiniteFloat
    """The value; the median where it was measured in several rounds."""
    unit: str
    """Unit of value, low and high; x is a ratio, 1 a share."""
    low: FiniteFloat | None = None
    """Lowest of the rounds; None where it was measured once."""
    high: FiniteFloat | None = None
    """Highest of the rounds; None where it was measured once."""


class Bench(_Frozen):
    """One run of the benchmark."""

    format: Literal[1] = 1  # raised when an earlier version could no longer read the file
    measured_at: AwareDatetime  # when it ended
    seconds: FiniteFloat  # how long it took
    device: Literal["cpu", "cuda"]  # where the language models ran
    is_quick: bool  # whether it was the quick run, whose ratios mean little
    machine: dict[str, str]  # the machine in words: processor, memory, load and so on
    numeric_paths: dict[str, str] = {}  # by number format: which arithmetic computes on a CPU, and how fast
    versions: dict[str, str]  # version of each library that takes part
    workload: dict[str, str]  # what was computed, by part and model, in words
    notes: tuple[str, ...] = ()  # what a reader has to know, e.g. which method was left out
    figures: tuple[Figure, ...] = Field(min_length=1)  # all that was measured

    @property
    def bench_id(self) -> str:
        """Hash of the content."""
        return artifacts.digest(self.model_dump(mode="json"))[:16]


def write_bench(bench: Bench) -> Path:
    """Write a benchmark under its id and as the newest, and return the former's path."""
    content = json.dumps(bench.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"
    path = artifacts.ARTIFACTS / "bench" / f"{bench.bench_id}.json"
    artifacts.write_atomically(path, content)
    artifacts.write_atomically(artifacts.ARTIFACTS / "bench.json", content)
    return path


def read_newest() -> Bench:
    """Return the newest benchmark.

    Raises:
        UsageError: There is none, or its file cannot be read.
    """
    path = artifacts.ARTIFACTS / "bench.json"
    try:
        return Bench.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except OSError as error:
        problem = str(error)
    raise UsageError(f"{path} holds no benchmark ({problem}). The benchmark writes it when it ends: make bench")
