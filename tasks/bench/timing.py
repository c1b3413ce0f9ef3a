"""Rounds of methods that take turns, timed in one process.

In: arms, each something to compute. Out: per arm the seconds of every round. The order is rotated from round to round,
and ratios are taken within a round, so that what disturbs a machine for a while disturbs both sides of a ratio. On a
CPU the seconds are those that the process computed, not those that it waited; on a GPU those between two events on it.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch

from tasks.bench.memory import peak_cpu_bytes


@dataclass(frozen=True, slots=True)
class Arm:
    """One method with one number format."""

    method: str
    """Who computes, e.g. notebook."""
    dtype: str
    """Number format of the weights."""
    work: int
    """How much is computed, in a unit that all arms of a part share; rates and ratios are per unit."""
    run: Callable[[], Any]
    """Computes it and returns what was found."""
    warm_up: Callable[[], Any]
    """Computes a little of it: the first call pays for what later ones find ready."""
    rounds: int | None = None
    """Most rounds to take part in; None: all."""

    @property
    def name(self) -> tuple[str, str]:
        """What tells it from other arms of the part."""
        return self.method, self.dtype


@dataclass(slots=True)
class Timing:
    """What an arm took."""

    work: int
    """As in Arm."""
    seconds: dict[int, float] = field(default_factory=dict)
    """By round: of computing."""
    wall_seconds: dict[int, float] = field(default_factory=dict)
    """By round: that passed."""
    peak_bytes: int = 0
    """Most memory held at a time beyond what was held before."""
    result: Any = None
    """What the arm found, in its last round."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one computation took."""

    seconds: float
    """Of computing."""
    wall_seconds: float
    """That passed."""
    peak_bytes: int
    """Most memory held at a time beyond what was held before; 0 where it is not known."""
    result: Any
    """What was computed."""


class Meter(Protocol):
    """Measures one computation."""

    def warm_up(self, run: Callable[[], Any]) -> int:
        """Compute, and return the most memory held at a time beyond what was held before (bytes)."""

    def time(self, run: Callable[[], Any]) -> Measured:
        """Compute, and return what it took."""


class CpuMeter:
    """Counts the seconds in which this process computed, all threads added; memory is measured while warming up."""

    def warm_up(self, run: Callable[[], Any]) -> int:
        """See Meter."""
        return peak_cpu_bytes(run)

    def time(self, run: Callable[[], Any]) -> Measured:
        """See Meter."""
        wall, start = time.perf_counter(), time.process_time()
        result = run()
        return Measured(time.process_time() - start, time.perf_counter() - wall, 0, result)


class CudaMeter:
    """Takes the time between two events on the GPU, in which it may also have waited for the CPU."""

    def warm_up(self, run: Callable[[], Any]) -> int:
        """See Meter."""
        return self.time(run).peak_bytes

    def time(self, run: Callable[[], Any]) -> Measured:
        """See Meter."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        held, wall = torch.cuda.memory_allocated(), time.perf_counter()
        start.record()
        result = run()
        end.record()
        torch.cuda.synchronize()
        wall = time.perf_counter() - wall
        return Measured(start.elapsed_time(end) / 1000, wall, torch.cuda.max_memory_allocated() - held, result)


def time_rounds(
    arms: Sequence[Arm], rounds: int, *, meter: Meter, report: Callable[[str], None]
) -> dict[tuple[str, str], Timing]:
    """Warm all arms up, then run them in turns, and return what each took.

    Args:
        arms: What to compute.
        rounds: How often.
        meter: How it is measured.
        report: Told what is being done.
    """
    timings = {arm.name: Timing(arm.work) for arm in arms}
    for arm in arms:
        report(f"warming up: {arm.method} {arm.dtype}")
        timings[arm.name].peak_bytes = meter.warm_up(arm.warm_up)
    for number in range(rounds):
        for arm in rotated(arms, number):
            if arm.rounds is not None and number >= arm.rounds:
                continue
            report(f"round {number + 1} of {rounds}: {arm.method} {arm.dtype}")
            measured, timing = meter.time(arm.run), timings[arm.name]
            timing.seconds[number], timing.wall_seconds[number] = measured.seconds, measured.wall_seconds
            timing.peak_bytes = max(timing.peak_bytes, measured.peak_bytes)
            timing.result = measured.result
    return timings


def rotated(arms: Sequence[Arm], number: int) -> list[Arm]:
    """Return the order of a round: each begins with another arm."""
    start = number % len(arms)
    return [*arms[start:], *arms[:start]]


def speed_ratios(fast: Timing, slow: Timing) -> tuple[float, ...]:
    """Return how many times as fast one arm was as another, by unit of work, in each round in which both ran."""
    return tuple(
        (slow.seconds[number] / slow.work) / (fast.seconds[number] / fast.work)
        for number in sorted(fast.seconds.keys() & slow.seconds.keys())
    )


def waiting(timings: Mapping[tuple[str, str], Timing]) -> float:
    """Return how many times the computing seconds passed, the median over all arms and rounds."""
    ratios = [t.wall_seconds[n] / t.seconds[n] for t in timings.values() for n in t.seconds if t.seconds[n] > 0]
    return statistics.median(ratios)
