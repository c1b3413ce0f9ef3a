"""Stage 5, compare_conditions: samples, routes and scores -> comparisons.

In: references of all of them, and how to compare. Out: one parquet file of Comparison rows. Remembered as a whole;
another number of bootstrap resamples recomputes this stage and no other.
"""

import time

from prefect import get_run_logger, task

from tasks.artifacts import Reference, read_rows, write_rows
from tasks.caching import stage_options
from tasks.priming.records import Comparison, Route, Sample, Score
from tasks.priming.settings import StatisticsSettings


@task(
    name="compare conditions",
    task_run_name="compare conditions",
    **stage_options("statistics", "tasks.priming.statistics:compare_conditions"),
)
def compare_conditions(
    samples: Reference, routes: Reference, scores: list[Reference], statistics: StatisticsSettings, seed: int
) -> Reference:
    """Compare the conditions of a run in pairs.

    Returns:
        The reference of the comparisons, with "seconds".
    """
    from tasks.priming.statistics import compare_conditions as compare

    start = time.perf_counter()
    comparisons = compare(
        read_rows(samples, Sample),
        read_rows(routes, Route),
        [score for reference in scores for score in read_rows(reference, Score)],
        settings=statistics,
        seed=seed,
    )
    seconds = time.perf_counter() - start
    get_run_logger().info("made %d comparisons in %.1f s", len(comparisons), seconds)
    return write_rows(comparisons, Comparison, "statistics") | {"seconds": seconds}
