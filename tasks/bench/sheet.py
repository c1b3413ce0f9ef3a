"""The figures of one part and model, as they are found.

In: timings and numbers. Out: figures, each with its goal.
"""

import statistics
from collections.abc import Sequence

from tasks.bench.goals import with_goal
from tasks.bench.methods import LIMITS
from tasks.bench.records import Figure
from tasks.bench.timing import Timing

SECONDS = "seconds"
WALL_SECONDS = "wall seconds"
PEAK_MEMORY = "peak memory"


class Sheet:
    """Collects the figures of a part that one model computes."""

    def __init__(self, part: str, model: str) -> None:
        """Begin an empty sheet."""
        self.figures: list[Figure] = []
        """In the order in which they were added."""
        self.notes: list[str] = []
        """What a reader has to know."""
        self.workload = ""
        """What was computed, in words."""
        self.waiting = 0.0
        """How many times the seconds of computing passed, in the median."""
        self.part = part
        """What was done."""
        self.model = model
        """The model that did it."""

    def add(self, arm: tuple[str, str], quantity: str, values: float | Sequence[float], unit: str) -> None:
        """Add what was measured of an arm, once or in several rounds.

        Args:
            arm: Method and number format.
            quantity: What was measured.
            values: The value, or that of each round: their median counts. Nothing is added if there are none.
            unit: Their unit.
        """
        several = [float(value) for value in values] if isinstance(values, Sequence) else [float(values)]
        if not several:
            return
        is_range = len(several) > 1
        figure = Figure(
            part=self.part,
            model=self.model,
            dtype=arm[1],
            method=arm[0],
            quantity=quantity,
            value=statistics.median(several),
            unit=unit,
            low=min(several) if is_range else None,
            high=max(several) if is_range else None,
        )
        self.figures.append(with_goal(figure))

    def add_count(self, arm: tuple[str, str], quantity: str, count: int, of: int, unit: str) -> None:
        """Add how many of all there are have a property that all should have."""
        self.add(arm, quantity, count, unit)
        self.figures[-1] = self.figures[-1].model_copy(update={"goal": float(of), "bound": "at least"})

    def add_timing(self, arm: tuple[str, str], timing: Timing, unit: str) -> None:
        """Add an arm's seconds, rate and memory.

        Args:
            arm: Method and number format.
            timing: What it took.
            unit: The unit of its work, e.g. "tokens".
        """
        seconds = list(timing.seconds.values())
        self.add(arm, SECONDS, seconds, "s")
        self.add(arm, WALL_SECONDS, list(timing.wall_seconds.values()), "s")
        self.add(arm, f"{unit} per second", [timing.work / each for each in seconds], f"{unit}/s")
        if arm[0] not in LIMITS:
            self.add(arm, PEAK_MEMORY, float(timing.peak_bytes), "bytes")
