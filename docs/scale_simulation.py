"""How a run grows: a simulation of its scheduler from measured overheads, which prints the table of scale.md.

    python -m docs.scale_simulation

In: samples, GPUs and samples per chunk. Out: how long a run takes, how many task runs and files it makes, and how busy
the one process that hands out work and the one server that is told about it are. Nothing is measured here, no clock is
read and nothing is random: the same plan gives the same numbers.
"""

import heapq
import sys
from typing import NamedTuple

from tasks.answers import groups_to_ask
from tasks.priming.arms.arms import entries_of
from tasks.priming.settings import PROFILES
from tasks.scoring import condition_count
from tasks.surrogates import writing_order

# A target that was never measured: 3.0 minutes of one H200 for 2,500 samples in 11 contexts of Mistral-7B in bfloat16,
# 30 % of it for writing five surrogates.
WRITING_SECONDS, CONTEXT_SECONDS = 180.0 / 2500 * 0.30, 180.0 / 2500 * 0.70 / 11
# Of a small run's computing, what written answers take.
ANSWERING_SHARE = 0.2

SETTINGS = PROFILES["mistral-7b-bf16"]
GROUPS = entries_of(SETTINGS)
CONDITIONS = sum(map(condition_count, GROUPS.values()))
READING_SECONDS = CONDITIONS * CONTEXT_SECONDS
MODEL_SECONDS = (WRITING_SECONDS + READING_SECONDS) / (1 - ANSWERING_SHARE)


def stages() -> list[list[float]]:
    """Return the model's seconds for one sample in each task run of a chunk, by the stages that the flow waits for."""
    writers = [group.needs_language_model for _, group in writing_order(GROUPS)]
    asked = len(groups_to_ask(GROUPS, SETTINGS.answers))
    return [
        *([WRITING_SECONDS / sum(writers) if is_model else 0.0] for is_model in writers),
        [0.0],  # routing, on the flow's machine
        [CONTEXT_SECONDS * condition_count(group) for group in GROUPS.values()],
        [MODEL_SECONDS * ANSWERING_SHARE / asked] * asked,
    ]


# Measured on two cores of an AMD EPYC, Prefect 3.8.8, 2026-11-25: 1,000 task runs that write one small artifact each,
# one after the other, took 16.2 s of the flow's process, 28.3 s of the server's processor and 22.6 MB of its database.
CLIENT_SECONDS, SERVER_SECONDS, SERVER_BYTES = 0.0162, 0.0283, 22_600
# Of one process for one sample outside the model: 404 s of 100,000 in 20 arms, and 49 s to publish them.
OTHER_SECONDS = (404 + 49) / 100_000
# Of the flow's process at its highest, by 1.16 GB at 25,000 samples and 2.02 GB at 100,000.
LEAST_MEMORY_BYTES, MEMORY_BYTES = 870_000_000, 11_500
# Of artifacts and database for one sample in 20 arms: 1.07 GB of 100,000.
ARTIFACT_BYTES = 10_700


class Forecast(NamedTuple):
    """How a plan goes."""

    model_seconds: float  # from the first task run to the last one of a model's: what more GPUs shorten
    task_runs: int  # of families and chunks
    gpu_share: float  # of the model's seconds in which the GPUs compute
    client_share: float  # of them in which the flow's process hands out work; 1 where the GPUs wait for it
    server_lag_seconds: float  # by which the server's last news of these task runs is late


def simulate(sample_count: int, gpu_count: int, chunk_size: int) -> Forecast:
    """Run a plan's chunks through the flow's process, the GPUs and the server.

    The flow takes as many chunks at a time as there are GPUs, and waits for all of them after each stage. Its process
    begins one task run after the other, while no more are unfinished than there are GPUs. Each takes the GPU that is
    free first. The server takes in what has ended, one task run after the other; nobody waits for it.
    """
    full, rest = divmod(sample_count, chunk_size)
    chunks = [chunk_size] * full + [rest] * (rest > 0)
    gpus, ends, flow, computing = [0.0] * gpu_count, [], 0.0, 0.0
    for first in range(0, len(chunks), gpu_count):
        for stage in stages():
            begun: list[float] = []
            for seconds in (share * size for size in chunks[first : first + gpu_count] for share in stage):
                if len(begun) > gpu_count:
                    flow = max(flow, heapq.heappop(begun))
                flow += CLIENT_SECONDS
                end = flow
                if seconds:
                    end = max(flow, heapq.heappop(gpus)) + seconds
                    heapq.heappush(gpus, end)
                heapq.heappush(begun, end)
                ends.append(end)
                computing += seconds
            flow = max(flow, *begun)
    server = 0.0
    for end in sorted(ends):
        server = max(server, end) + SERVER_SECONDS
    last = max(ends)
    return Forecast(
        model_seconds=last,
        task_runs=len(ends),
        gpu_share=computing / (last * gpu_count),
        client_share=CLIENT_SECONDS * len(ends) / last,
        server_lag_seconds=server - last,
    )


def sensible_chunk_size(gpu_count: int) -> int:
    """Return how many samples a chunk should have at least, for the server to be busy half of the time at most."""
    seconds = MODEL_SECONDS / sum(map(len, stages()))  # of one sample in the mean task run
    return max(50, round(2 * SERVER_SECONDS * gpu_count / seconds))


def forecast_table() -> str:
    """Return the forecasts up to all passages of MS MARCO as a table in Markdown."""
    lines = [
        "| passages | GPUs | chunk | model h | other h | task runs | GPUs busy | flow busy | server late h "
        "| server GB | files a folder | memory GB | artifacts GB |",
        "|" + " ---: |" * 13,
    ]
    for count in (100_000, 1_000_000, 8_800_000):
        for gpus in (1, 8, 64):
            for size in sorted({50, sensible_chunk_size(gpus)}):
                found = simulate(count, gpus, size)
                lines.append(
                    f"| {count:,} | {gpus} | {size} | {found.model_seconds / 3600:.2f} "
                    f"| {count * OTHER_SECONDS / 3600:.2f} | {found.task_runs:,} | {found.gpu_share:.0%} "
                    f"| {found.client_share:.0%} | {found.server_lag_seconds / 3600:.2f} "
                    f"| {SERVER_BYTES * found.task_runs / 1e9:.1f} | {-(-count // size):,} "
                    f"| {(LEAST_MEMORY_BYTES + MEMORY_BYTES * count) / 1e9:.1f} | {ARTIFACT_BYTES * count / 1e9:.0f} |"
                )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(forecast_table())
