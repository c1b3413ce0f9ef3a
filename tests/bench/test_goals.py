"""The goals stand in docs/performance.md, and a benchmark can be compared with them."""

import pytest

from tasks.bench.records import Bench, write_bench
from tests.bench.conftest import LARGEST, RATIO
from tests.bench.goals import compare, main, read_goals


def test_the_pages_goals_are_read() -> None:
    goals = read_goals()
    assert len(goals) == 24  # counted in the page
    assert ("scoring", "small", "float32", RATIO, ">=", 7.5) in goals
    assert ("generation", "mistral-7b", "bfloat16", "peak memory with the weights", "<=", 40e9) in goals


def test_what_was_measured_is_compared(bench: Bench) -> None:
    found = dict(compare(bench))
    assert found == {
        f"scoring, small, float32, {RATIO}: 6.04, >= 7.5": False,
        f"scoring, small, float32, {LARGEST}: 2.04e-06, <= 1e-05": True,
        "identity, small, float32, answers identical: alone: 704 of 704": True,
        "identity, small, bfloat16, answers identical: alone: 703 of 704": False,
    }


@pytest.mark.usefixtures("artifacts_folder")
def test_a_missed_goal_is_an_exit_status(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    write_bench(bench)
    assert main() == 1
    assert capsys.readouterr().out.count("missed") == 2
