"""Stage 3, route_queries: samples and surrogates -> routes.

In: the samples, all surrogates of the routed families, the embedding model's identity. Out: one parquet file of Route
rows. Remembered as a whole: embedding is short.
"""

import time

from prefect import get_run_logger, task

from tasks.loading.data import Identity
from tasks.loading.models import load_embedding_model
from tasks.loading.redaction import without_secrets
from tasks.priming.records import Route, Sample, Surrogate
from tasks.store.artifacts import Reference, open_rows, read_rows, write_rows
from tasks.store.caching import stage_options


@task(
    name="route queries",
    task_run_name="route queries",
    **stage_options("routing", "tasks.priming.routing:route_queries"),
)
@without_secrets()
def route_queries(samples: Reference, surrogates: list[Reference], embedding_model: Identity) -> Reference:
    """Route every query to the most similar surrogate of each family.

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
