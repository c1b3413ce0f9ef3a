"""Stage 5, compute_statistic: all rows of the stages before -> rows of one statistic.

In: references of samples, surrogates, routes and scores, the model's shape, and how to compare. Out: one parquet file
of the statistic's rows. Each is remembered on its own, by the code that computes it; another number of bootstrap
resamples recomputes this stage and no other.
"""

import json
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import get_run_logger, task

from tasks.loading.libraries import give_back_freed_memory
from tasks.loading.redaction import without_secrets
from tasks.priming.records import Route, Sample, Score, Surrogate
from tasks.priming.settings import StatisticsSettings
from tasks.store.artifacts import Reference, open_rows, write_rows
from tasks.store.caching import Inputs, stage_options

if TYPE_CHECKING:
    from tasks.priming.statistics.all_statistics import Statistic
    from tasks.priming.statistics.run_data import RunData


def statistics_by_table() -> "dict[str, Statistic]":
    """Return STATISTICS; importing their libraries takes seconds, which whoever only lists the flow need not wait."""
    from tasks.priming.statistics.all_statistics import STATISTICS

    return STATISTICS


def _computation(inputs: Inputs) -> str:
    return statistics_by_table()[str(inputs["table"])].computation


@task(
    name="compute statistic",
    task_run_name="compute {table} rows",
    **stage_options("statistics", _computation, folder=lambda inputs: str(inputs["table"])),
)
@without_secrets()
def compute_statistic(
    table: str,
    samples: Reference,
    surrogates: Sequence[Reference],
    routes: Reference,
    scores: Sequence[Reference],
    model: Mapping[str, Any],
    settings: StatisticsSettings,
    seed: int,
    blas_threads: int = 1,
) -> Reference:
    """Compute one statistic of a run.

    Args:
        table: A name in STATISTICS.
        samples: The run's samples.
        surrogates: Those of all families and chunks.
        routes: The run's routes.
        scores: Those of all families and chunks.
        model: The fields of the model's ModelFacts.
        settings: How conditions are compared.
        seed: The experiment's seed.
        blas_threads: How many share a sum: more than 10,000 values then have other last bits.

    Returns:
        The reference of the rows, with "seconds".
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it ships no type information

    statistic = statistics_by_table()[table]
    evidence = _read_evidence(json.dumps([samples, list(surrogates), routes, list(scores), dict(model)]))
    start = time.perf_counter()
    with threadpool_limits(blas_threads, user_api="blas"):
        rows = statistic.compute(evidence, settings, seed)
    seconds = time.perf_counter() - start
    get_run_logger().info("computed %d rows of %s in %.1f s", len(rows), table, seconds)
    return write_rows(rows, statistic.record, f"statistics/{table}") | {"seconds": seconds}


def forget_rows() -> None:
    """Let go of the rows that were read last: what comes behind the statistics needs the memory."""
    _read_evidence.cache_clear()
    pa.default_memory_pool().release_unused()
    give_back_freed_memory()


# All statistics of a run read the same files, one after the other.
@lru_cache(maxsize=1)
def _read_evidence(references: str) -> "RunData":
    """Return the rows that references, as JSON, point to."""
    from tasks.priming.statistics.run_data import ModelFacts, RunData

    samples, surrogates, routes, scores, model = json.loads(references)
    return RunData(
        open_rows([samples], Sample),
        open_rows([routes], Route),
        open_rows(scores, Score),
        open_rows(surrogates, Surrogate),
        ModelFacts(**model),
    )
