"""Rounds in which methods take turns, timed in one process, and the figures made of them.

In: arms, each something to compute. Out: figures. The order is rotated from round to round, and ratios are taken within
a round, so that whatever disturbs a machine for a while disturbs both sides of a ratio. On a CPU the seconds are those
that the process computed, not those that it waited; on a GPU those between two events on it.
"""

import ctypes
import gc
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import psutil
import torch

from tasks.bench.records import Figure

Name: TypeAlias = tuple[str, str]  # a method and a number format
Run: TypeAlias = Callable[[], Any]  # something to compute
Report: TypeAlias = Callable[[str], None]  # is told what is being done
Differences: TypeAlias = Callable[[Any, Any], list[tuple[str, float, str]]]  # of two results: quantity, value, unit

NOTEBOOK, OURS, PRODUCTS, UNSHARED = "notebook", "ours", "products", "products unshared"
LIMITS = PRODUCTS, UNSHARED  # not methods but what no method can undercut

SHARE_OF_LIMIT = "share of the matrix products' speed"
SHARE_UNSHARED = f"{SHARE_OF_LIMIT}, unshared"
TIMES_NOTEBOOK, TIMES_LOOP = "times as fast as the notebook", "times as fast as a Python loop"
LARGEST_DIFFERENCE = "largest difference in mean NLL"


@dataclass(frozen=True, slots=True)
class Arm:
    """One method with one number format."""

    name: Name
    work: int  # how much is computed, in a unit that all arms of a part share; rates and ratios are per unit
    compute: Callable[[Any], Any]  # computes a load and returns what was found
    load: Any  # what is computed in each round
    few: Any  # a little of it, to warm up: the first call pays for what later ones find ready
    rounds: int | None = None  # most rounds to take part in; None: all


class Measured(NamedTuple):
    """What one computation took."""

    seconds: float  # of computing
    wall_seconds: float  # elapsed
    peak_bytes: int  # most memory held at a time on top of what was held before; 0 where it is not measured
    result: Any  # what was computed


def time_on_cpu(run: Run) -> Measured:
    """Count the seconds in which this process computed, all threads added."""
    wall, start = time.perf_counter(), time.process_time()
    result = run()
    return Measured(time.process_time() - start, time.perf_counter() - wall, 0, result)


def peak_cpu_bytes(run: Run) -> int:
    """Run a computation and return by how much this process's resident memory grew at most.

    The memory is read again and again while it computes, so this is done apart from timing.
    """
    gc.collect()
    with suppress(OSError, AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that is not returned would serve the computation uncounted
    process = psutil.Process()
    before = peak = process.memory_info().rss
    is_done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not is_done.wait(0.002):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch, name="watch memory", daemon=True)
    watcher.start()
    try:
        run()
    finally:
        is_done.set()
        watcher.join()
    return int(max(peak, process.memory_info().rss) - before)


def time_on_gpu(run: Run) -> Measured:
    """Take the time between two events on the GPU, in which it may also have waited for the CPU."""
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


_TIMERS: dict[str, Callable[[Run], Measured]] = {"cpu": time_on_cpu, "cuda": time_on_gpu}
_MEMORY_METERS: dict[str, Callable[[Run], int]] = {
    "cpu": peak_cpu_bytes,
    "cuda": lambda run: time_on_gpu(run).peak_bytes,
}


@dataclass
class Part:
    """What is done with one model, e.g. scoring: what each arm took, and figures."""

    name: str  # what is done
    model: str  # the model that does it
    device: str  # where: cpu or cuda
    report: Report  # is told what is being done
    workload: str = ""  # what was computed, in words
    notes: list[str] = field(default_factory=list)  # what a reader has to know
    figures: list[Figure] = field(default_factory=list)  # in the order in which they were added
    arms: dict[Name, Arm] = field(default_factory=dict)  # all that took part
    rounds: dict[Name, dict[int, Measured]] = field(default_factory=dict)  # what each took, by round
    peak_bytes: dict[Name, int] = field(default_factory=dict)  # most memory that each held on top of what was held

    @property
    def waiting(self) -> float:
        """Elapsed time / computing time, the median over all arms and rounds; 0 where nothing was timed."""
        measured = [each for rounds in self.rounds.values() for each in rounds.values() if each.seconds > 0]
        return statistics.median(each.wall_seconds / each.seconds for each in measured) if measured else 0.0

    def time(self, arms: Sequence[Arm], rounds: int) -> None:
        """Warm arms up, then run them in turns."""
        for arm in arms:
            self._report("warming up", arm)
            self.arms[arm.name], self.rounds[arm.name] = arm, {}
            self.peak_bytes[arm.name] = _MEMORY_METERS[self.device](partial(arm.compute, arm.few))
        for number in range(rounds):
            for arm in rotated(arms, number):
                if arm.rounds is None or number < arm.rounds:
                    self._report(f"round {number + 1} of {rounds}", arm)
                    measured = _TIMERS[self.device](partial(arm.compute, arm.load))
                    self.rounds[arm.name][number] = measured
                    self.peak_bytes[arm.name] = max(self.peak_bytes[arm.name], measured.peak_bytes)

    def measure(
        self,
        arms: Sequence[Arm],
        rounds: int,
        unit: str,
        differences: Differences | None = None,
        ratio: str = TIMES_NOTEBOOK,
    ) -> None:
        """Run arms in turns, and add what each one took, compared with the first one and with the limit.

        Work is counted in `unit`, e.g. "tokens"; `ratio` is what the speed as a multiple of the first arm's is called.
        """
        self.time(arms, rounds)
        for name, arm in self.arms.items():
            measured = self.rounds[name].values()
            self.add(name, "seconds", [each.seconds for each in measured], "s")
            self.add(name, "wall seconds", [each.wall_seconds for each in measured], "s")
            self.add(name, f"{unit} per second", [arm.work / each.seconds for each in measured], f"{unit}/s")
            self.add_ratio(name, ratio, arms[0].name)
            if name[0] in LIMITS:
                continue
            self.add(name, "peak memory", [self.peak_bytes[name]], "bytes")
            if differences and arm is not arms[0]:
                for quantity, value, of in differences(self.result(name), self.result(arms[0].name)):
                    self.add(name, quantity, [value], of)
            for limit, quantity in ((PRODUCTS, SHARE_OF_LIMIT), (UNSHARED, SHARE_UNSHARED)):
                if name[0] == OURS and (limit, name[1]) in self.arms:
                    self.add_ratio(name, quantity, (limit, name[1]), "1")

    def result(self, arm: Name) -> Any:  # noqa: ANN401 - whatever the part computes
        """Return what an arm found, in its last round."""
        return self.rounds[arm][max(self.rounds[arm])].result

    def add_ratio(self, fast: Name, quantity: str, slow: Name, unit: str = "x") -> None:
        """Add how many times as fast one arm was as another, per unit of work, in each round in which both ran."""
        left, right = self.rounds[fast], self.rounds[slow]
        ratios = [
            (right[number].seconds / self.arms[slow].work) / (left[number].seconds / self.arms[fast].work)
            for number in sorted(left.keys() & right.keys())
        ]
        self.add(fast, quantity, ratios, unit)

    def add(self, arm: Name, quantity: str, values: Sequence[float], unit: str) -> None:
        """Add what was measured of an arm: the median of its rounds and their range; nothing if there are none."""
        if not values:
            return
        is_range = len(values) > 1
        self.figures.append(
            Figure(
                part=self.name,
                model=self.model,
                dtype=arm[1],
                method=arm[0],
                quantity=quantity,
                value=statistics.median(values),
                unit=unit,
                low=min(values) if is_range else None,
                high=max(values) if is_range else None,
            )
        )

    def _report(self, what: str, arm: Arm) -> None:
        self.report(f"{self.model}: {self.name}, {what}: {' '.join(arm.name)}")


def rotated(arms: Sequence[Arm], number: int) -> list[Arm]:
    """Return the order of a round: each begins with another arm."""
    start = number % len(arms)
    return [*arms[start:], *arms[:start]]
