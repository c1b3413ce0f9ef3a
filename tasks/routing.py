"""Stage 3, route_queries: samples and surrogates -> routes.

In: a chunk of samples, its surrogates of the routed families, the embedding model's identity. Out: one parquet file of
Route rows. Cached per chunk.
"""

import time
from collections.abc import Mapping

from prefect import get_run_logger, task

from tasks.loading.data import Identity
from tasks.loading.models import load_embedding_model
from tasks.loading.redaction import without_secrets
from tasks.priming.arms.arms import ArmGroup
from tasks.priming.records import Route, Sample, Surrogate
from tasks.store.artifacts import Reference, open_rows, read_rows, write_rows
from tasks.store.caching import Batch, Calls, stage_options


def routing_calls(
    groups: Mapping[str, ArmGroup], batch: Batch, embedding_model: Identity, surrogates: Mapping[str, Reference]
) -> Calls:
    """Return the calls of route_queries for some chunks."""
    routed = [name for name, group in groups.items() if group.is_routed]
    return {
        number: {
            "samples": chunk["samples"],
            "surrogates": [surrogates[f"{name}/{number}"] for name in routed],
            "embedding_model": embedding_model,
        }
        for number, chunk in batch.items()
    }


@task(
    name="route queries",
    task_run_name="route queries {samples[start]}-{samples[stop]}",
    **stage_options("routing", "tasks.priming.routing:route_queries"),
)
@without_secrets()
def route_queries(samples: Reference, surrogates: list[Reference], embedding_model: Identity) -> Reference:
    """Route every query of a chunk to the most similar surrogate of each family.

    Returns:
        The reference of the routes, with "seconds".
    """
    from tasks.priming.routing import route_queries as route

    model = load_embedding_model(embedding_model)
    texts = open_rows(surrogates, Surrogate)
    start = time.perf_counter()
    routes = route(read_rows(samples, Sample), texts, model)
    seconds = time.perf_counter() - start
    get_run_logger().info("compared %d surrogates with their queries in %.1f s", len(routes), seconds)
    return write_rows(routes, Route, "routing") | {"seconds": seconds}
