"""The simulation of a run's scheduler gives what can be worked out by hand, and the page shows what it gives."""

import pytest

from docs.scale_simulation import CLIENT_SECONDS, MODEL_SECONDS, SERVER_SECONDS, forecast_table, simulate
from tests.places import ROOT


def test_one_gpu_waits_for_the_flow_once() -> None:
    """By hand: while one chunk is computed the next is handed out, so only the first is waited for."""
    found = simulate(200, 1, 50)
    assert found.task_runs == 4 * (1 + 3)  # chunks; written once, read in three families
    assert found.model_seconds == pytest.approx(CLIENT_SECONDS + 200 * MODEL_SECONDS)
    assert found.gpu_share == pytest.approx(200 * MODEL_SECONDS / found.model_seconds)


def test_more_gpus_than_the_flow_and_the_server_can_serve_wait_for_them() -> None:
    """By hand: with a GPU for every chunk, what is left is handing out, and taking in, one task run after the other."""
    found = simulate(2000, 2000, 1)
    assert found.model_seconds == pytest.approx(8000 * CLIENT_SECONDS, rel=0.01)
    assert found.gpu_share < 0.01
    assert found.model_seconds + found.server_lag_seconds == pytest.approx(8000 * SERVER_SECONDS, rel=0.01)


def test_the_page_shows_what_is_forecast() -> None:
    assert forecast_table() in (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
