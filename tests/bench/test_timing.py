"""Arms take turns in a rotated order, ratios are taken within a round, and figures are medians of rounds."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from tasks.bench import timing
from tasks.bench.timing import Arm, Measured, Part, peak_cpu_bytes, rotated, time_on_cpu


@pytest.fixture
def part() -> Part:
    return Part("scoring", "small", "cpu", report=lambda _: None)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say what the arms took, call by call; elapsed time is twice that."""

    def follow(*seconds: float) -> None:
        left = iter(seconds)

        def measure(run: Callable[[], Any]) -> Measured:
            result, each = run(), next(left)
            return Measured(each, 2 * each, 500, result)

        def peak(run: Callable[[], Any]) -> int:
            run()
            return 1000

        monkeypatch.setitem(timing._TIMERS, "cpu", measure)
        monkeypatch.setitem(timing._MEMORY_METERS, "cpu", peak)

    return follow


def arm(name: str, calls: list[str], rounds: int | None = None, work: int = 1) -> Arm:
    return Arm((name, "float32"), work, calls.append, name, f"warm {name}", rounds)


def values(part: Part) -> dict[tuple[str, str], tuple[float, float | None, float | None]]:
    return {(each.method, each.quantity): (each.value, each.low, each.high) for each in part.figures}


def test_the_order_is_rotated_from_round_to_round(part: Part, script: Callable[..., None]) -> None:
    calls: list[str] = []
    arms = [arm("a", calls), arm("b", calls), arm("c", calls)]
    script(*[1.0] * 12)
    part.time(arms, 4)
    assert calls[:3] == ["warm a", "warm b", "warm c"]
    assert "".join(calls[3:]) == "abc" + "bca" + "cab" + "abc"  # by hand
    assert [each.name[0] for each in rotated(arms, 5)] == ["c", "a", "b"]


def test_an_arm_may_take_part_in_fewer_rounds(part: Part, script: Callable[..., None]) -> None:
    script(1.0, 2.0, 3.0, 4.0)
    part.measure([arm("a", []), arm("b", [], rounds=1)], 3, "tokens")
    found = values(part)
    assert found["a", "seconds"] == (3.0, 1.0, 4.0)
    assert found["b", "seconds"] == (2.0, None, None)  # what was measured once has no range
    assert found["b", "peak memory"] == (1000, None, None)  # the larger of warming up and of the round


def test_ratios_are_taken_within_a_round_and_per_unit_of_work(part: Part, script: Callable[..., None]) -> None:
    # By hand: 10 s for 10 units, 2 s for 20; 30 s and 10 s; the third round has only the first.
    script(10.0, 2.0, 10.0, 30.0, 20.0)
    part.measure([arm("notebook", [], work=10), arm("ours", [], rounds=2, work=20)], 3, "tokens")
    found = values(part)
    assert found["ours", "times as fast as the notebook"] == (8.0, 6.0, 10.0)
    assert found["notebook", "times as fast as the notebook"] == (1.0, 1.0, 1.0)
    assert found["ours", "tokens per second"] == (6.0, 2.0, 10.0)


def test_ours_is_compared_with_the_limit_which_has_no_memory(part: Part, script: Callable[..., None]) -> None:
    script(8.0, 4.0, 3.0)
    part.measure([arm("notebook", []), arm("ours", []), arm("products", [])], 1, "tokens")
    found = values(part)
    assert found["ours", "share of the matrix products' speed"] == (0.75, None, None)
    assert ("notebook", "share of the matrix products' speed") not in found
    assert ("ours", "peak memory") in found
    assert ("products", "peak memory") not in found


def test_results_of_the_last_round_are_compared_with_the_first_arms(part: Part, script: Callable[..., None]) -> None:
    script(*[1.0] * 4)
    counts = iter([0, 0, 1, 2, 40, 30])  # two warm up; the second round begins with the other arm
    arms = [Arm((name, "float32"), 1, lambda _: next(counts), None, None) for name in ("notebook", "ours")]
    part.measure(arms, 2, "tokens", lambda found, base: [("distance", found - base, "nats")])
    assert values(part)["ours", "distance"][0] == 10  # by hand: 40 - 30
    assert ("notebook", "distance") not in values(part)


def test_a_busy_machine_shows_in_the_time_that_passed(part: Part) -> None:
    assert part.waiting == 0
    part.rounds = {
        ("a", ""): {0: Measured(1.0, 1.5, 0, None), 1: Measured(2.0, 2.0, 0, None)},
        ("b", ""): {0: Measured(1.0, 3.0, 0, None)},
    }
    assert part.waiting == 1.5  # the median of 1.5, 1 and 3


def test_the_processor_is_not_charged_for_sleeping() -> None:
    measured = time_on_cpu(lambda: time.sleep(0.1))
    assert measured.wall_seconds >= 0.1
    assert measured.seconds < 0.05


def test_memory_is_what_was_held_on_top() -> None:
    peak_cpu_bytes(lambda: bytearray(90_000_000))  # what was held earlier does not count
    assert peak_cpu_bytes(lambda: bytearray(50_000_000)) == pytest.approx(50_000_000, rel=0.2)
