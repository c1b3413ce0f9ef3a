"""Many queries on one document, and embedding.

In: a model in its number formats and a plan, or only how often. Out: figures. Embedding runs on the CPU, as in a run.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain

from tasks.bench.matrix_products import product_arm, record_products
from tasks.bench.scoring import build_cache, score_question
from tasks.bench.timing import LARGEST_DIFFERENCE, NOTEBOOK, OURS, PRODUCTS, Arm, Part
from tasks.bench.workload import Subject, Workload, make_workload
from tasks.loading.models import identify_embedding_model, load_embedding_model
from tasks.priming.engine.model import LanguageModel, encode_context
from tasks.priming.notebook import compute_similarity
from tasks.priming.prompts import BASELINE_TEMPLATE, fill
from tasks.priming.routing import route_queries
from tasks.priming.scoring import score_queries
from tasks.priming.settings import EmbeddingSettings

_COPYING = "notebook, deep copies"
_DOCUMENT_WORDS = 262  # about 330 tokens of Mistral's tokenizer

Questions = Sequence[tuple[str, str]]


def measure_queries(subject: Subject) -> Part:
    """Measure many queries on one document, which is what a KV cache is for in production.

    The notebook's method rebuilds the document's cache for every query, or builds it once and copies it for each.
    """
    part, dtype, model = subject.part("queries"), subject.dtype, subject.models[subject.dtype]
    samples = make_workload(subject.plan.queries).samples
    words = " ".join(sample.passage for sample in samples).split()
    context = fill(BASELINE_TEMPLATE, document=" ".join(words[:_DOCUMENT_WORDS]))
    questions = [(sample.query, sample.answer) for sample in samples]
    methods = {NOTEBOOK: score_rebuilding, _COPYING: score_copying, OURS: score_with_one_cache}
    arms = [
        Arm((method, dtype), len(questions), partial(score, context, language_model=model), questions, questions[:2])
        for method, score in methods.items()
    ]
    part.measure(arms, subject.plan.rounds, "queries", partial(_largest_difference, LARGEST_DIFFERENCE, "nats"))
    part.add_ratio((OURS, dtype), "times as fast as deep copies", (_COPYING, dtype))
    part.workload = f"{len(questions)} queries on one document of {len(encode_context(model, context))} tokens"
    return part


def score_with_one_cache(context: str, questions: Questions, language_model: LanguageModel) -> list[float]:
    """Return the mean NLL of each answer, computed as the project does."""
    means = []
    for nlls in score_queries(context, questions, language_model):
        assert nlls is not None  # one question and its document fit into any memory
        means.append(sum(nlls) / len(nlls))
    return means


def score_rebuilding(context: str, questions: Questions, language_model: LanguageModel) -> list[float]:
    """Return the mean NLL of each answer by the notebook's method, rebuilding the cache for every query."""
    return [
        score_question(question, *build_cache(context, language_model), language_model).mean_nll
        for question in questions
    ]


def score_copying(context: str, questions: Questions, language_model: LanguageModel) -> list[float]:
    """Return the mean NLL of each answer by the notebook's method, the cache copied for every query."""
    length, cache = build_cache(context, language_model)
    return [score_question(each, length, copy.deepcopy(cache), language_model).mean_nll for each in questions]


def measure_embedding(sample_count: int, rounds: int, report: Callable[[str], None]) -> Part:
    """Measure the similarities of queries to ten surrogates each.

    The notebook embeds a query again for each of its surrogates, and does all of it twice; it is counted once here.

    Raises:
        SetupError: The embedding model's package is not installed.
    """
    name = "all-MiniLM-L6-v2"
    part, dtype = Part("embedding", name, "cpu", report), "float32"
    model = load_embedding_model(identify_embedding_model(EmbeddingSettings(embedding_model=f"packaged/{name}")))
    workload, pairs = make_workload(sample_count), 10 * sample_count
    by_notebook, by_ours = (partial(route, model=model) for route in (compare_by_notebook, compare_by_ours))
    # Sentence models run as sentence-transformers runs them: with torch's default.
    products = record_products(model, partial(by_ours, workload))
    arms = [
        Arm((NOTEBOOK, dtype), pairs, by_notebook, workload, workload.first(1)),
        Arm((OURS, dtype), pairs, by_ours, workload, workload.first(1)),
        product_arm((PRODUCTS, dtype), pairs, products, "cpu-float32-default"),
    ]
    part.measure(arms, rounds, "pairs", partial(_largest_difference, "largest difference in similarity", "1"))
    part.workload = f"{sample_count} queries and 10 surrogates each"
    return part


def compare_by_ours(workload: Workload, model: object) -> list[float]:
    """Return the similarities of all pairs, family by family, as a run computes them."""
    surrogates = list(chain.from_iterable(workload.surrogates.values()))
    routes = route_queries(workload.samples, surrogates, model)
    found = {(r.sample_id, r.family, r.key): r.similarity for r in routes if r.similarity is not None}
    return [found[s.sample_id, s.family, s.key] for s in surrogates]


def compare_by_notebook(workload: Workload, model: object) -> list[float]:
    """Return the similarities of all pairs, both texts embedded for each."""
    queries = {sample.sample_id: sample.query for sample in workload.samples}
    surrogates = chain.from_iterable(workload.surrogates.values())
    return [compute_similarity(s.text, queries[s.sample_id], model) for s in surrogates]


def _largest_difference(
    quantity: str, unit: str, left: Sequence[float], right: Sequence[float]
) -> list[tuple[str, float, str]]:
    return [(quantity, max(abs(one - other) for one, other in zip(left, right, strict=True)), unit)]
