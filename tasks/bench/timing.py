"""Rounds in which methods take turns, timed in one process, and the figures made of them.

In: arms, each something to compute. Out: figures. The order is rotated from round to round, and ratios are taken within
a round, so that a disturbance of the machine affects both sides of a ratio. On a CPU the seconds are those
that the process computed, not those that it waited; on a GPU those between two events on it.
"""

import gc
import re
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch

from tasks.bench.records import Figure
from tasks.loading.libraries import give_back_freed_memory

Name: TypeAlias = tuple[str, str]  # a method and a number format
Run: TypeAlias = Callable[[], Any]  # something to compute
Report: TypeAlias = Callable[[str], None]  # is told what is being done
Differences: TypeAlias = Callable[[Any, Any], list[tuple[str, float, str]]]  # of two results: quantity, value, unit

NOTEBOOK, OURS, PRODUCTS = "notebook", "ours", "products"  # the last is no method but what none can undercut

SHARE_OF_LIMIT = "share of the matrix products' speed"
TIMES_NOTEBOOK = "times as fast as the notebook"
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
    """Run a computation and return by how much this process's resident memory grew at most; 0 where this is unknown.

    Linux keeps the peak, and forgets it when it is told to.
    """
    gc.collect()
    give_back_freed_memory()  # or the computation would grow into it unseen
    before = _resident_bytes()
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        run()
        return 0
    run()
    return max(0, _resident_bytes("VmHWM") - before)


def _resident_bytes(name: str = "VmRSS") -> int:
    status = Path("/proc/self/status")
    found = re.search(rf"{name}:\s+(\d+) kB", status.read_text(encoding="ascii")) if status.exists() else None
    return int(found[1]) * 1024 if found else 0


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

    def measure(self, arms: Sequence[Arm], rounds: int, unit: str, differences: Differences | None = None) -> None:
        """Run arms in turns, and add what each one took, compared with the first one, the notebook's, and the limit.

        Work is counted in `unit`, e.g. "tokens".
        """
        self.time(arms, rounds)
        for name, arm in self.arms.items():
            measured = self.rounds[name].values()
            self.add(name, "seconds", [each.seconds for each in measured], "s")
            self.add(name, f"{unit} per second", [arm.work / each.seconds for each in measured], f"{unit}/s")
            self.add_ratio(name, TIMES_NOTEBOOK, arms[0].name)
            if name[0] == PRODUCTS:
                continue
            self.add(name, "peak memory", [self.peak_bytes[name]], "bytes")
            if differences and arm is not arms[0]:
                for quantity, value, of in differences(self.result(name), self.result(arms[0].name)):
                    self.add(name, quantity, [value], of)
            if name[0] == OURS and (PRODUCTS, name[1]) in self.arms:
                self.add_ratio(name, SHARE_OF_LIMIT, (PRODUCTS, name[1]), "1")

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
