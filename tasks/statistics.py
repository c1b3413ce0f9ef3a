"""Stage 5, compute_statistic: all rows of the stages before -> rows of one statistic.

In: references of samples, surrogates, routes and scores, the model's shape, and how to compare. Out: one parquet file
of the statistic's rows. Each is remembered on its own, by the code that computes it; another number of bootstrap
resamples recomputes this stage and no other.
"""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from prefect import get_run_logger, task

from tasks.loading.libraries import give_back_freed_memory
from tasks.loading.redaction import without_secrets
from tasks.pages.numbers import interval
from tasks.priming.records import AnswerText, Distractor, Route, Sample, Score, Surrogate
from tasks.priming.settings import ExperimentSettings, StatisticsSettings
from tasks.store.artifacts import Reference, open_rows, write_rows
from tasks.store.caching import Calls, Inputs, parts_by_group, stage_options

if TYPE_CHECKING:
    from tasks.priming.statistics.all_statistics import Statistic
    from tasks.priming.statistics.run_data import RunData


_ROWS = ("samples", "surrogates", "routes", "scores", "distractors", "answer_texts", "model")
"""The arguments of compute_statistic that say what is read."""


def statistics_by_table() -> "dict[str, Statistic]":
    """Return STATISTICS; importing their libraries takes seconds, which whoever only lists the flow need not wait."""
    from tasks.priming.statistics.all_statistics import STATISTICS

    return STATISTICS


def _computation(inputs: Inputs) -> str:
    return statistics_by_table()[str(inputs["table"])].computation


def statistics_calls(
    groups: Iterable[str],
    samples: Reference,
    made: Mapping[str, Mapping[str, Reference]],
    model: Mapping[str, Any] | None,
    settings: ExperimentSettings,
) -> Calls:
    """Return the calls of compute_statistic, by table.

    Args:
        groups: The names of the run's groups of arms.
        samples: The samples, with their distractors.
        made: Table -> what its stage has made so far, by group and chunk (route: by chunk).
        model: The fields of the model's ModelFacts, once they are known.
        settings: The run's settings.
    """
    routes, *by_group = made["route"], made["surrogate"], made["score"], made["answer_text"]
    surrogates, scores, texts = ([*chain(*parts_by_group(groups, parts).values())] for parts in by_group)
    rows = {
        "samples": [samples],
        "surrogates": surrogates,
        "routes": [routes[number] for number in sorted(routes)],
        "scores": scores,
        "distractors": [samples["distractors"]],
        "answer_texts": texts,
    }
    how = {"model": model, "settings": settings.statistics, "seed": settings.seed}
    return {table: {"table": table, **rows, **how} for table in statistics_by_table()}


@task(
    name="compute statistics",
    task_run_name="compute {table} rows",
    **stage_options("statistics", _computation, folder=lambda inputs: str(inputs["table"])),
)
@without_secrets()
def compute_statistic(
    table: str,
    samples: Sequence[Reference],
    surrogates: Sequence[Reference],
    routes: Sequence[Reference],
    scores: Sequence[Reference],
    distractors: Sequence[Reference],
    answer_texts: Sequence[Reference],
    model: Mapping[str, Any] | None,
    settings: StatisticsSettings,
    seed: int,
    blas_threads: int = 1,
) -> Reference:
    """Compute one statistic of a run.

    Args:
        table: A name in STATISTICS.
        samples: The samples.
        surrogates: Those of all families and chunks.
        routes: Those of all chunks.
        scores: Those of all families and chunks.
        distractors: The wrong answers of all samples.
        answer_texts: What the model wrote, of all families and chunks.
        model: The fields of the model's ModelFacts; None: there are no costs.
        settings: How conditions are compared.
        seed: The experiment's seed.
        blas_threads: How many share a sum: more than 10,000 values then have other last bits.

    Returns:
        The reference of the rows, with "seconds".
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it ships no type information

    statistic = statistics_by_table()[table]
    data = _read_run_data(json.dumps([samples, surrogates, routes, scores, distractors, answer_texts, model]))
    start = time.perf_counter()
    with threadpool_limits(blas_threads, user_api="blas"):
        rows = statistic.compute(data, settings, seed)
    seconds = time.perf_counter() - start
    get_run_logger().info("computed %d rows of %s in %.1f s", len(rows), table, seconds)
    return write_rows(rows, statistic.record, f"statistics/{table}") | {"seconds": seconds}


def preliminary_summary(call: Inputs) -> str:
    """Return in a line what the primary comparisons come to on the samples that are scored so far: no result.

    Args:
        call: The arguments of compute_statistic for table comparison.
    """
    from tasks.priming.statistics.contrasts import BASELINE

    data = _read_run_data(json.dumps([call[name] for name in _ROWS]))
    rows = statistics_by_table()["comparison"].compute(data, call["settings"], call["seed"])
    shown = [row for row in rows if row.kind == "routed" and row.reference == BASELINE]
    means = "; ".join(
        f"{row.comparison} {interval(row.improvement_mean, row.improvement_low, row.improvement_high)} points"
        for row in shown
    )
    count = max((row.n for row in shown), default=0)
    return (
        f"preliminary, {count} of {call['samples'][0]['rows']:,} samples, not a result: {means or 'nothing to compare'}"
    )


def forget_rows() -> None:
    """Release the rows that were read last: what comes after the statistics needs the memory."""
    _read_run_data.cache_clear()
    pa.default_memory_pool().release_unused()
    give_back_freed_memory()


# All statistics of a run read the same files, one after the other.
@lru_cache(maxsize=1)
def _read_run_data(references: str) -> "RunData":
    """Return the rows that references, as JSON, point to."""
    from tasks.priming.statistics.run_data import ModelFacts, RunData

    samples, surrogates, routes, scores, distractors, answer_texts, model = json.loads(references)
    return RunData(
        open_rows(samples, Sample),
        open_rows(routes, Route),
        open_rows(scores, Score),
        open_rows(surrogates, Surrogate),
        ModelFacts(**model) if model else None,
        open_rows(distractors, Distractor),
        open_rows(answer_texts, AnswerText),
    )
