"""The simulation of a run's scheduler gives what can be worked out by hand, and the page shows what it gives."""

from typing import Any

import pytest

from docs import scale_simulation as simulation
from docs.scale_simulation import CLIENT_SECONDS, MODEL_SECONDS, SERVER_SECONDS, forecast_table, simulate
from tasks.answers import groups_to_ask
from tasks.routing import routing_calls
from tasks.scoring import scoring_calls
from tasks.surrogates import writing_calls, writing_order
from tests.places import ROOT

RUNS = 27
"""Task runs of a chunk: 8 groups are written, 1 call routes, 12 groups are scored and 6 asked."""


def test_a_chunk_has_as_many_task_runs_as_the_flow_makes_of_it() -> None:
    """There were once four in the simulation and seven times as many in a run."""
    groups, settings, model = simulation.GROUPS, simulation.SETTINGS, {"language_model": "m"}
    chunk: dict[str, Any] = {"path": "p", "sha256": "a", "rows": 2, "start": 0, "stop": 2, "chunk": "c"}
    batch = {"0000": {"samples": chunk, "donors": chunk, "distractors": chunk, "texts": chunk}}
    calls: list[Any] = []
    made: dict[str, Any] = {}
    for entry in writing_order(groups):
        written = writing_calls(entry, batch, settings, model, made)
        made |= dict.fromkeys(written, chunk)
        calls += written
    calls += routing_calls(groups, batch, {}, made)
    calls += scoring_calls(groups, batch, model, made)
    calls += groups_to_ask(groups, settings.answers)
    assert len(calls) == sum(map(len, simulation.stages())) == RUNS


def test_the_stages_of_a_chunk_take_the_models_time() -> None:
    assert sum(map(sum, simulation.stages())) == pytest.approx(MODEL_SECONDS)


def test_one_gpu_waits_for_the_flow_at_each_stage() -> None:
    """By hand: the first task run of each stage with the model is waited for, and those without one are handed out."""
    found = simulate(200, 1, 200)
    assert found.task_runs == RUNS
    without_model = sum(seconds == 0 for stage in simulation.stages() for seconds in stage)
    with_model = sum(any(stage) for stage in simulation.stages())
    waits = (without_model + with_model) * CLIENT_SECONDS
    assert found.model_seconds == pytest.approx(200 * MODEL_SECONDS + waits)
    assert found.gpu_share == pytest.approx(200 * MODEL_SECONDS / found.model_seconds)


def test_more_gpus_than_the_flow_and_the_server_can_serve_wait_for_them() -> None:
    """By hand: with a GPU for every chunk, what is left is handing out, and taking in, one task run after the other."""
    found = simulate(2000, 2000, 1)
    assert found.model_seconds == pytest.approx(2000 * RUNS * CLIENT_SECONDS, rel=0.01)
    assert found.gpu_share < 0.01
    assert found.model_seconds + found.server_lag_seconds == pytest.approx(2000 * RUNS * SERVER_SECONDS, rel=0.01)


@pytest.mark.slow
def test_the_page_shows_what_is_forecast() -> None:
    assert forecast_table() in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
