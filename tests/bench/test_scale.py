"""The simulation of a run's scheduler gives what can be reckoned by hand, and the page shows what it gives."""

import pytest

from tasks.bench import scale
from tasks.bench.scale import CLIENT_SECONDS, MODEL_SECONDS, SERVER_SECONDS, Plan, forecast_table, simulate
from tests.places import ROOT

PAGE = ROOT / "docs" / "scale.md"


def test_one_gpu_waits_for_the_flow_once() -> None:
    """By hand: while one chunk is computed the next is handed out, so only the first is waited for."""
    found = simulate(Plan(sample_count=200, gpu_count=1, chunk_size=50))
    assert found.task_runs == 4 * (1 + 3)  # chunks; written once, read in three families
    assert found.model_seconds == pytest.approx(CLIENT_SECONDS + 200 * MODEL_SECONDS)
    assert found.gpu_share == pytest.approx(200 * MODEL_SECONDS / found.model_seconds)


def test_chunks_are_all_samples() -> None:
    assert Plan(130, 1, 50).chunks == [50, 50, 30]
    assert Plan(100, 1, 50).chunks == [50, 50]
    assert Plan(7, 1, 50).chunks == [7]


def test_two_gpus_take_half_the_time() -> None:
    one, two = (simulate(Plan(10_000, gpus, 50)).model_seconds for gpus in (1, 2))
    assert one / two == pytest.approx(2, rel=0.01)


def test_more_gpus_than_the_flow_can_serve_wait_for_it() -> None:
    """By hand: with a GPU for every chunk, what is left is handing out one task run after the other."""
    found = simulate(Plan(2000, 2000, 1))
    assert found.model_seconds == pytest.approx(8000 * CLIENT_SECONDS, rel=0.01)
    assert found.client_share == pytest.approx(1, rel=0.01)
    assert found.gpu_share < 0.01


def test_a_server_that_is_told_of_more_than_it_takes_in_is_late() -> None:
    """By hand: it begins with the first that ends, and is busy until the last is taken in."""
    busy = simulate(Plan(2000, 2000, 1))
    assert busy.model_seconds + busy.server_lag_seconds == pytest.approx(8000 * SERVER_SECONDS, rel=0.01)
    idle = simulate(Plan(2000, 1, 50))
    assert idle.server_lag_seconds == pytest.approx(SERVER_SECONDS)  # the last one alone


@pytest.mark.parametrize("gpus", scale.GPUS)
def test_a_sensible_chunk_leaves_the_server_half_idle(gpus: int) -> None:
    found = simulate(Plan(1_000_000, gpus, scale.sensible_chunk_size(gpus)))
    assert found.task_runs * SERVER_SECONDS / found.model_seconds <= 0.51
    assert found.gpu_share > 0.95


def test_files_and_the_servers_records_grow_as_the_task_runs_do() -> None:
    few, many = (simulate(Plan(count, 8, 50)) for count in (10_000, 80_000))
    assert (many.files, many.server_bytes) == (8 * few.files, 8 * few.server_bytes)
    assert many.files_in_folder == 1600  # by hand: 80,000 / 50


def test_the_page_shows_what_is_forecast() -> None:
    assert forecast_table() == forecast_table()
    assert forecast_table() in PAGE.read_text(encoding="utf-8")
