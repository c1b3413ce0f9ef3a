"""Chunks take about two minutes each, and those that an earlier run has computed are found again."""

from typing import Any

import pytest

from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.numeric_path import choose_numeric_path
from tasks.store import manifests
from tasks.workers.chunking import choose_chunk_size, size_at, tokens_per_second
from tests.tiny_models import tiny_mistral

MODEL = {"language_model": "no/such-model", "sha256": "ab", "device": "cpu"}
REFERENCE = {"path": "sampling/x.parquet", "sha256": "cd", "rows": 4}


def start(run_id: str, model: dict[str, Any]) -> manifests.Attempt:
    description = manifests.RunDescription(run_id=run_id, profile="demo", settings={"seed": 1}, language_model=model)
    return manifests.start_run(description)


def chunks_of(run_id: str) -> list[str]:
    manifest = manifests.read_manifest(run_id)
    assert manifest is not None
    return sorted(manifest.artifacts.get("score", {}))


@pytest.mark.parametrize(
    ("pace", "size"),
    # by hand: 120 s of 1,100 tokens a sample: 0.3, 21.8, 76 and 3,270 samples
    [(3.0, 1), (200.0, 20), (700.0, 100), (30_000.0, 500)],
)
def test_a_chunk_takes_about_two_minutes(pace: float, size: int) -> None:
    assert size_at(pace) == size


@pytest.mark.slow
def test_the_speed_is_that_of_the_model_here() -> None:
    model = LanguageModel(tiny_mistral(), None, 256, choose_numeric_path("cpu", "float32"))
    assert tokens_per_second(language_model=model) > 100


@pytest.mark.usefixtures("artifacts_folder")
def test_a_run_takes_the_size_of_an_earlier_one_with_the_same_model() -> None:
    """Its own before others'; nothing is measured, for which this model would have to exist."""
    manifests.extend_run(start("aaaa", {**MODEL, "parameter_count": 7}), {}, {"chunk_size": 20})
    manifests.extend_run(start("bbbb", {**MODEL, "sha256": "other"}), {}, {"chunk_size": 200})
    assert choose_chunk_size("cccc", MODEL, 100) == 20
    manifests.extend_run(start("cccc", MODEL), {}, {"chunk_size": 5})
    assert choose_chunk_size("cccc", MODEL, 100) == 5
    assert choose_chunk_size("aaaa", MODEL, 100) == 20


@pytest.mark.usefixtures("artifacts_folder")
def test_chunks_of_another_size_take_the_place_of_the_earlier_ones() -> None:
    """Both would hold the same samples, and a database takes each but once."""
    attempt = start("aaaa", MODEL)
    facts: dict[str, Any] = {"chunk_size": 1, "stage_seconds": {"score/static/0002": 1.0}}
    manifests.extend_run(attempt, {"score": {f"static/{n:04}": REFERENCE for n in range(3)}}, facts)
    manifests.extend_run(start("aaaa", MODEL), {"score": {"static/0000": REFERENCE}}, {"chunk_size": 1})
    assert chunks_of("aaaa") == ["static/0000", "static/0001", "static/0002"]
    manifests.extend_run(start("aaaa", MODEL), {"score": {"static/0000": REFERENCE}}, {"chunk_size": 2})
    assert chunks_of("aaaa") == ["static/0000"]
    manifest = manifests.read_manifest("aaaa")
    assert manifest is not None
    assert manifest.stage_seconds == {}


@pytest.mark.usefixtures("artifacts_folder")
def test_few_samples_are_shared_among_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen samples in one chunk left the second worker idle while the first wrote for a minute."""
    monkeypatch.setattr(
        "tasks.workers.chunking.with_language_model", lambda function, model: (3_000.0, 0.1)
    )  # tokens a second
    monkeypatch.setattr("tasks.workers.chunking.worker_count", lambda: 2)
    sizes = [choose_chunk_size("aaaa", MODEL, count) for count in (1, 15, 16, 10_000)]
    assert sizes == [1, 8, 8, size_at(3_000.0)]
