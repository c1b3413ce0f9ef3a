"""Kills at seeded random moments: which stage, after which task, how far into the next one; and what they cost."""

import random
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.operations.runs import FLAGS, UNREMEMBERED, Attempt, finished
from tests.waiting import wait_for

STAGES = ("start", "draw", "write", "route", "score", "check", "compute", "publish", "report", "end")
"""What a run does, in order, by the first words of its tasks; "start" is all before the first, "end" after the last."""


@dataclass(frozen=True)
class Moment:
    """When to kill: so many tasks have finished, and so many seconds more have passed."""

    stage: str
    """What is going on then, in an undisturbed run."""
    task: str
    """The task that is going on."""
    finished: int
    """Tasks that have finished."""
    seconds: float
    """How much later."""


@dataclass
class Kill:
    """One kill and what came of it."""

    victim: str
    """flow, worker or server."""
    moment: Moment
    """When."""
    before: int = 0
    """Tasks that had finished when it came, of those that are remembered."""
    recomputed: list[str] = field(default_factory=list)
    """Tasks that had finished and were computed again by the next attempt: must be empty."""


def draw_moments(undisturbed: Attempt, stages: Sequence[str], seed: int) -> list[Moment]:
    """Return a moment within each of the stages, in order, as long as its tasks took undisturbed."""
    source = random.Random(seed)
    names, ends = [], []
    for line, at in zip(undisturbed.lines, undisturbed.times, strict=True):
        for name in finished([line]):
            names.append(name)
            ends.append(at)
    begin = next(at for line, at in zip(undisturbed.lines, undisturbed.times, strict=True) if "Beginning flow" in line)
    starts = [begin, *ends[:-1]]
    moments = []
    for stage in stages:
        if stage == "start":
            moments.append(Moment(stage, "", 0, source.uniform(0.2, 2.0)))
            continue
        if stage == "end":
            moments.append(Moment(stage, "", len(names), source.uniform(0, 0.3)))
            continue
        numbers = [number for number, name in enumerate(names) if name.split()[0] == stage]
        number = source.choice(numbers)
        length = ends[number] - starts[number]
        moments.append(Moment(stage, names[number], number, source.uniform(0, length)))
    return moments


def wait_for_moment(moment: Moment, lines: Callable[[], list[str]], process: "subprocess.Popen[Any]") -> None:
    """Wait until a moment of a run has come: its seconds are over, or its task has ended sooner than undisturbed.

    Args:
        moment: The moment.
        lines: Returns the log of the run so far.
        process: What must not end before the task begins.
    """
    wait_for(
        f"the moment after {moment.finished} finished tasks",
        lines,
        enough=lambda seen: len(finished(seen)) >= moment.finished,
        during=process,
    )
    end = time.monotonic() + moment.seconds
    wait_for(
        f"the end of {moment.seconds:g} seconds or of the task",
        lines,
        enough=lambda seen: time.monotonic() > end or len(finished(seen)) > moment.finished,
    )


def kill_at(moment: Moment, folder: Path, server: str, *flags: str) -> tuple[Kill, Attempt]:
    """Start the experiment and kill its process at a moment, unless it has ended by then."""
    attempt = Attempt(folder, server, (*FLAGS, *flags))
    wait_for_moment(moment, attempt.said, attempt.process)
    attempt.kill()
    return Kill("flow", moment, len(remembered(attempt))), attempt


def remembered(attempt: Attempt) -> dict[str, str]:
    """Return the finished tasks of an attempt whose results are remembered."""
    return {name: state for name, state in finished(attempt.lines).items() if name.split()[0] not in UNREMEMBERED}


def settle(kill: Kill, killed: Attempt, following: Attempt) -> None:
    """Note what the next attempt computed again though it had been finished."""
    states = remembered(following)
    kill.recomputed = [name for name in remembered(killed) if states.get(name) == "Completed"]


def kill_table(kills: Sequence[Kill]) -> str:
    """Return kills as a table for the log of a test."""
    lines = ["victim  stage    killed during                              finished  computed again"]
    for kill in kills:
        again = ", ".join(kill.recomputed) or "none"
        lines.append(f"{kill.victim:7} {kill.moment.stage:8} {kill.moment.task:42} {kill.before:8}  {again}")
    return "\n".join(lines)
