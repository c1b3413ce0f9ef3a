"""Arms take turns in a rotated order, and ratios are taken within a round."""

import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tasks.bench.timing import Arm, CpuMeter, Measured, Timing, rotated, speed_ratios, time_rounds, waiting
from tests.waiting import wait_for


class ScriptedMeter:
    """Says that the arms took what a script says, call by call."""

    def __init__(self, seconds: list[float]) -> None:
        self._seconds = iter(seconds)

    def warm_up(self, run: Callable[[], Any]) -> int:
        run()
        return 1000

    def time(self, run: Callable[[], Any]) -> Measured:
        seconds = next(self._seconds)
        return Measured(seconds, 2 * seconds, 500, run())


def arm(name: str, calls: list[str], rounds: int | None = None, work: int = 1) -> Arm:
    return Arm(name, "float32", work, lambda: calls.append(name), lambda: calls.append(f"warm {name}"), rounds)


def test_the_order_is_rotated_from_round_to_round() -> None:
    calls: list[str] = []
    arms = [arm("a", calls), arm("b", calls), arm("c", calls)]
    time_rounds(arms, 4, meter=ScriptedMeter([1.0] * 12), report=lambda _: None)
    assert calls[:3] == ["warm a", "warm b", "warm c"]
    assert "".join(calls[3:]) == "abc" + "bca" + "cab" + "abc"  # by hand
    assert [each.method for each in rotated(arms, 5)] == ["c", "a", "b"]


def test_an_arm_may_take_part_in_fewer_rounds() -> None:
    calls: list[str] = []
    arms = [arm("a", calls), arm("b", calls, rounds=1)]
    timings = time_rounds(arms, 3, meter=ScriptedMeter([1.0, 2.0, 3.0, 4.0]), report=lambda _: None)
    assert timings["a", "float32"].seconds == {0: 1.0, 1: 3.0, 2: 4.0}
    assert timings["b", "float32"].seconds == {0: 2.0}
    assert timings["b", "float32"].wall_seconds == {0: 4.0}
    assert timings["b", "float32"].peak_bytes == 1000  # the larger of warming up and of the round


def test_ratios_are_taken_within_a_round_and_per_unit_of_work() -> None:
    slow = Timing(work=10, seconds={0: 10.0, 1: 30.0, 2: 20.0})
    fast = Timing(work=20, seconds={0: 2.0, 2: 10.0})
    # By hand: 1 s a unit against 0.1; 2 s a unit against 0.5; the second round had only one of them.
    assert speed_ratios(fast, slow) == (10.0, 4.0)
    assert speed_ratios(slow, slow) == (1.0, 1.0, 1.0)


def test_what_an_arm_found_is_that_of_its_last_round() -> None:
    found = iter([1, 2, 3])
    only = Arm("a", "float32", 1, lambda: next(found), lambda: None)
    timings = time_rounds([only], 3, meter=ScriptedMeter([1.0] * 3), report=lambda _: None)
    assert timings["a", "float32"].result == 3


def test_a_busy_machine_shows_in_the_time_that_passed() -> None:
    timings = {("a", ""): Timing(1, {0: 1.0, 1: 2.0}, {0: 1.5, 1: 2.0}), ("b", ""): Timing(1, {0: 1.0}, {0: 3.0})}
    assert waiting(timings) == 1.5  # the median of 1.5, 1 and 3


def test_the_processor_is_not_charged_for_sleeping() -> None:
    measured = CpuMeter().time(lambda: time.sleep(0.1))
    assert measured.wall_seconds >= 0.1
    assert measured.seconds < 0.05


def test_memory_is_what_was_held_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = []
    look = psutil.Process.memory_info

    def noted(process: psutil.Process) -> Any:
        looks.append(look(process))
        return looks[-1]

    monkeypatch.setattr(psutil.Process, "memory_info", noted)
    held = bytearray(10_000_000)

    def hold_more() -> None:
        more = bytearray(50_000_000)
        count = len(looks)
        wait_for("two looks at the memory", lambda: len(looks), enough=lambda seen: seen >= count + 2)
        del more

    assert CpuMeter().warm_up(hold_more) == pytest.approx(50_000_000, rel=0.2)
    del held
