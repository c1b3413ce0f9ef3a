"""A model small enough to be benchmarked in a test, and a benchmark's result made by hand."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tasks.bench.records import Bench, Figure
from tasks.bench.workload import Subject, plan_of
from tasks.priming.engine.model import LanguageModel

RATIO = "times as fast as the notebook"
LARGEST = "largest difference in mean NLL"


@pytest.fixture(scope="session")
def tiny_models() -> dict[str, LanguageModel]:
    """The benchmark's smallest model in both number formats."""
    pytest.importorskip("mistral_common", reason="the real Mistral tokenizer comes with the extra `offline`")
    from tasks.bench.models import load_models

    return load_models("tiny", ("float32", "bfloat16"), "cpu")


@pytest.fixture
def tiny(tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    """The benchmark's smallest model in float32."""
    return tiny_models["float32"]


@pytest.fixture
def subject(tiny: LanguageModel) -> Iterator[Subject]:
    """The smallest model in float32 with the quick plan, computing with one thread as the benchmark does."""
    from tasks.bench.identity import threads

    with threads(1):
        plan = plan_of("tiny", "cpu", is_quick=True)._replace(rounds=1)
        yield Subject("tiny", {"float32": tiny}, plan, report=lambda _: None)


@pytest.fixture
def bench() -> Bench:
    """A result with a ratio below its goal, a difference within its goal, and counts of identical answers."""
    return Bench(
        measured_at=datetime(2026, 11, 25, 4, 30, tzinfo=UTC),
        seconds=90.0,
        device="cpu",
        is_quick=False,
        machine={"processor": "A Processor", "cores": "2"},
        numeric_paths={"float32": "cpu-float32-onednn, 99 GFLOP/s a core (torch's default: 75)"},
        versions={"torch": "2.13.0"},
        workload={"scoring, small": "12 samples in 11 contexts, 24,000 tokens"},
        notes=("lm-eval was left out",),
        figures=(
            figure("scoring", "notebook", "seconds", 12.0, unit="s", low=11.0, high=14.0),
            figure("scoring", "notebook", "tokens per second", 2000.0, unit="tokens/s"),
            figure("scoring", "ours", RATIO, 6.04, unit="x", low=5.5, high=6.5),
            figure("scoring", "ours", LARGEST, 2.04e-6, unit="nats"),
            figure("scoring", "products", RATIO, 9.02, unit="x"),
            figure("identity", "ours", "answers compared", 704.0, unit="answers"),
            figure("identity", "ours", "answers identical: alone", 704.0, unit="answers"),
            figure("identity", "ours", "answers compared", 704.0, unit="answers", dtype="bfloat16"),
            figure("identity", "ours", "answers identical: alone", 703.0, unit="answers", dtype="bfloat16"),
        ),
    )


def figure(part: str, method: str, quantity: str, value: float, **others: Any) -> Figure:
    """Return a figure of the small model, in float32 unless said otherwise."""
    known: dict[str, Any] = {"part": part, "model": "small", "dtype": "float32", "method": method, "quantity": quantity}
    return Figure(**known | {"value": value} | others)
