"""How a run grows: a simulation of its scheduler, from overheads that were measured: `python -m tasks.bench.scale`.

In: passages, GPUs and samples a chunk. Out: how long a run takes, how many task runs and files it makes, and how busy
the one process that hands out work and the one server that is told of it are. Nothing is measured here, no clock is
read and no chance is drawn: equal plans give equal numbers. docs/scale.md says what to make of them.
"""

import heapq
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

# --- the model: targets, not measurements ---

MODEL_SECONDS = 180.0 / 2500
"""Of one GPU for one sample in 11 contexts: the goal for one H200, 3.0 minutes for 2,500 samples of Mistral-7B in
bfloat16 (its floor on paper is 100 s). Never measured."""

WRITING_SHARE = 0.30
"""Of that for writing five surrogates; the rest reads. On paper: 29.5 s of the floor of 100 s."""

ARMS = {"baseline": 1, "static": 5, "generated": 5}
"""Contexts that are scored, by family: each family and chunk is a task run."""

# --- overheads: measured on two cores of an AMD EPYC, Prefect 3.8.8, 2026-11-25; see docs/scale.md ---

CLIENT_SECONDS = 0.0162
"""Of the flow's process for one task run: 1,000 task runs that write and fsync one small artifact each, one after the
other, against a server on the same machine, in 16.2 s."""

SERVER_SECONDS = 0.0283
"""Of the server's processor for one task run: 28.3 s of it for those 1,000, one log line each; SQLite."""

SERVER_BYTES = 22_600
"""By which the server's database grows for one task run: 22.6 MB for those 1,000."""

FILES = 2
"""Of a task run: its artifact and the record that names it."""

SAMPLE_SECONDS = 404 / 100_000
"""Of one process for one sample in 20 arms, the model left out; 404 s of 100,000."""

PUBLISH_SECONDS = 49 / 100_000
"""Of one process for one sample: the database is rebuilt and the report written; 49 s of 100,000."""

MEMORY_BYTES = 11_500
"""By which the flow's process grows for one sample, at its highest: from 1.16 GB at 25,000 to 2.02 GB at 100,000."""

LEAST_MEMORY_BYTES = 870_000_000
"""Of the flow's process without any sample, by the same two."""

ARTIFACT_BYTES = 10_700
"""Of the artifacts and the database for one sample in 20 arms: 1.07 GB of 100,000."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be run."""

    sample_count: int
    """Passages, one query each."""
    gpu_count: int
    """GPUs, each with the model loaded and one chunk at a time."""
    chunk_size: int
    """Samples in a chunk."""

    @property
    def chunks(self) -> list[int]:
        """The samples of each chunk."""
        full, rest = divmod(self.sample_count, self.chunk_size)
        return [self.chunk_size] * full + [rest] * (rest > 0)


@dataclass(frozen=True, slots=True)
class Forecast:
    """How a plan goes."""

    plan: Plan
    """The plan."""
    model_seconds: float
    """From the first task run to the last one of a model's: what more GPUs shorten."""
    other_seconds: float
    """What one process does before, between and behind."""
    task_runs: int
    """Task runs of families and chunks."""
    gpu_share: float
    """Of the model's seconds in which the GPUs compute."""
    client_share: float
    """Of them in which the flow's process hands out work; 1 where the GPUs wait for it."""
    server_lag_seconds: float
    """By which the server's last news of these task runs is late."""

    @property
    def files(self) -> int:
        """Files under artifacts/."""
        return FILES * self.task_runs

    @property
    def files_in_folder(self) -> int:
        """Files of the fullest folder: a family's."""
        return len(self.plan.chunks)

    @property
    def memory_bytes(self) -> int:
        """Of the flow's process, at its highest."""
        return LEAST_MEMORY_BYTES + MEMORY_BYTES * self.plan.sample_count

    @property
    def artifact_bytes(self) -> int:
        """Of artifacts and database."""
        return ARTIFACT_BYTES * self.plan.sample_count

    @property
    def server_bytes(self) -> int:
        """Size of the server's database."""
        return SERVER_BYTES * self.task_runs


def simulate(plan: Plan) -> Forecast:
    """Run a plan's chunks through the flow's process, the GPUs and the server.

    The flow's process begins one task run after the other, and holds at most one more than there are GPUs (as
    `in_order` of tasks/workers/processes.py does). Each takes the GPU that is free first. The server takes in what has
    ended, one task run after the other; nobody waits for it.
    """
    gpus = [0.0] * plan.gpu_count
    begun: deque[float] = deque()
    ends: list[float] = []
    flow = busy = 0.0
    for seconds in _task_runs(plan):
        if len(begun) > plan.gpu_count:
            flow = max(flow, begun.popleft())
        flow += CLIENT_SECONDS
        end = max(flow, heapq.heappop(gpus)) + seconds
        heapq.heappush(gpus, end)
        begun.append(end)
        ends.append(end)
        busy += seconds
    last = max(ends)
    return Forecast(
        plan,
        model_seconds=last,
        other_seconds=plan.sample_count * (SAMPLE_SECONDS + PUBLISH_SECONDS),
        task_runs=len(ends),
        gpu_share=busy / (last * plan.gpu_count),
        client_share=CLIENT_SECONDS * len(ends) / last,
        server_lag_seconds=_server_end(ends) - last,
    )


def _task_runs(plan: Plan) -> Iterator[float]:
    """Yield the seconds of a GPU that each task run takes, in the flow's order: the chunks of one family, then more."""
    yield from (MODEL_SECONDS * WRITING_SHARE * size for size in plan.chunks)
    for arms in ARMS.values():
        share = (1 - WRITING_SHARE) * arms / sum(ARMS.values())
        yield from (MODEL_SECONDS * share * size for size in plan.chunks)


def _server_end(ends: list[float]) -> float:
    """Return when the server has taken in all that ended at these times."""
    server = 0.0
    for end in sorted(ends):
        server = max(server, end) + SERVER_SECONDS
    return server


def sensible_chunk_size(gpu_count: int) -> int:
    """Return how many samples a chunk should have at least, for the server to be busy half of the time at most."""
    seconds = MODEL_SECONDS / (1 + len(ARMS))  # of one sample in the mean task run
    return max(50, round(2 * SERVER_SECONDS * gpu_count / seconds))


PASSAGES = (100_000, 1_000_000, 8_800_000)
"""The last: all passages of MS MARCO."""

GPUS = (1, 8, 64)


def forecast_table() -> str:
    """Return the forecasts as a table in Markdown."""
    headings = (
        "passages", "GPUs", "chunk", "model h", "other h", "task runs", "GPUs busy", "flow busy", "server late h",
        "server GB", "files a folder", "memory GB", "artifacts GB",
    )  # fmt: skip
    lines = [headings, ["---:"] * len(headings)]
    for count in PASSAGES:
        for gpus in GPUS:
            for size in sorted({50, sensible_chunk_size(gpus)}):
                lines.append(_line(simulate(Plan(count, gpus, size))))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _line(found: Forecast) -> list[str]:
    return [
        f"{found.plan.sample_count:,}",
        str(found.plan.gpu_count),
        str(found.plan.chunk_size),
        f"{found.model_seconds / 3600:.2f}",
        f"{found.other_seconds / 3600:.2f}",
        f"{found.task_runs:,}",
        f"{found.gpu_share:.0%}",
        f"{found.client_share:.0%}",
        f"{found.server_lag_seconds / 3600:.2f}",
        f"{found.server_bytes / 1e9:.1f}",
        f"{found.files_in_folder:,}",
        f"{found.memory_bytes / 1e9:.1f}",
        f"{found.artifact_bytes / 1e9:.0f}",
    ]


if __name__ == "__main__":
    sys.stdout.write(forecast_table())
