"""Embedding: every query beside ten surrogates, by the notebook's pairs and by ours.

In: nothing but how often. Out: figures of speed, beside the bare products of each distinct text's tokens with the
model's weights, and how far the similarities are apart. The notebook embeds a query anew for each of its surrogates,
and does all of it twice; it is counted once here.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

from tasks.bench import goals, notebook_method
from tasks.bench.matrix_products import compute_products, record_products
from tasks.bench.methods import NOTEBOOK, OURS, PRODUCTS
from tasks.bench.sheet import Sheet
from tasks.bench.timing import Arm, CpuMeter, speed_ratios, time_rounds, waiting
from tasks.bench.workload import Workload, make_workload
from tasks.loading.models import identify_embedding_model, load_embedding_model
from tasks.priming.routing import route_queries
from tasks.priming.settings import EmbeddingSettings

MODEL = "all-MiniLM-L6-v2"

_DTYPE = "float32"
# Sentence models run as sentence-transformers runs them: with torch's default.
_NUMERIC_PATH = "cpu-float32-default"


def measure_embedding(sample_count: int, rounds: int, *, report: Callable[[str], None]) -> Sheet:
    """Measure the similarities of queries and surrogates, on the CPU as in a run.

    Args:
        sample_count: Samples, each with ten surrogates.
        rounds: How often.
        report: Told what is being done.

    Raises:
        SetupError: The embedding model's package is not installed.
    """
    sheet = Sheet("embedding", MODEL)
    model = load_embedding_model(identify_embedding_model(EmbeddingSettings(embedding_model=f"packaged/{MODEL}")))
    workload = make_workload(sample_count)
    pairs = 10 * sample_count

    def arm(method: str, compare: Callable[[Workload, object], list[float]]) -> Arm:
        return Arm(method, _DTYPE, pairs, partial(compare, workload, model), partial(compare, workload.first(1), model))

    products = record_products(model, partial(compare_by_ours, workload, model))
    compute = partial(compute_products, products, _NUMERIC_PATH)
    arms = [
        arm(NOTEBOOK, compare_by_notebook),
        arm(OURS, compare_by_ours),
        Arm(PRODUCTS, _DTYPE, pairs, compute, compute),
    ]
    timings = time_rounds(arms, rounds, meter=CpuMeter(), report=lambda text: report(f"embedding, {text}"))
    base = timings[NOTEBOOK, _DTYPE]
    for each, timing in timings.items():
        sheet.add_timing(each, timing, "pairs")
        sheet.add(each, goals.TIMES_NOTEBOOK, speed_ratios(timing, base), "x")
    sheet.add((OURS, _DTYPE), goals.SHARE_OF_LIMIT, speed_ratios(timings[OURS, _DTYPE], timings[PRODUCTS, _DTYPE]), "1")
    differences = _differences(timings[OURS, _DTYPE].result, base.result)
    sheet.add((OURS, _DTYPE), goals.LARGEST_SIMILARITY_DIFFERENCE, max(differences), "1")
    sheet.workload = f"{sample_count} queries beside 10 surrogates each"
    sheet.waiting = waiting(timings)
    return sheet


def compare_by_ours(workload: Workload, model: object) -> list[float]:
    """Return the similarities of all pairs, family by family, as a run computes them."""
    surrogates = list(chain.from_iterable(workload.surrogates.values()))
    routes = route_queries(workload.samples, surrogates, model)
    found = {(r.sample_id, r.family, r.key): r.similarity for r in routes if r.similarity is not None}
    return [found[s.sample_id, s.family, s.key] for s in surrogates]


def compare_by_notebook(workload: Workload, model: object) -> list[float]:
    """Return the similarities of all pairs, each embedded for itself."""
    queries = {sample.sample_id: sample.query for sample in workload.samples}
    surrogates = chain.from_iterable(workload.surrogates.values())
    return [notebook_method.compute_similarity(s.text, queries[s.sample_id], model) for s in surrogates]


def _differences(left: Sequence[float], right: Sequence[float]) -> list[float]:
    return [abs(one - other) for one, other in zip(left, right, strict=True)]
