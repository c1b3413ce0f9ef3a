"""Many queries on one document, which is what a KV cache is for in production.

In: a model in its number formats, a plan. Out: figures of speed beside the notebook's method with a cache that is built
anew for every query, and with one that is built once and copied for every query.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from tasks.bench import goals, notebook_method
from tasks.bench.methods import COPYING, NOTEBOOK, OURS
from tasks.bench.notebook_method import NotebookScore
from tasks.bench.plans import Plan
from tasks.bench.sheet import Sheet
from tasks.bench.timing import Arm, Meter, speed_ratios, time_rounds, waiting
from tasks.bench.workload import long_document, make_workload
from tasks.priming.engine.model import LanguageModel, encode_context
from tasks.priming.prompts import BASELINE_TEMPLATE, fill
from tasks.priming.scoring import score_queries

# About 330 tokens of Mistral's tokenizer.
_DOCUMENT_WORDS = 262
_WARM_UP_QUERIES = 2

Questions = Sequence[tuple[str, str]]


def measure_queries(
    name: str, models: Mapping[str, LanguageModel], plan: Plan, *, meter: Meter, report: Callable[[str], None]
) -> Sheet:
    """Measure the scoring of many queries on one document, in the first number format.

    Args:
        name: The model's name.
        models: It, by number format.
        plan: How much is computed.
        meter: How it is measured.
        report: Told what is being done.
    """
    sheet = Sheet("queries", name)
    dtype, model = next(iter(models.items()))
    samples = make_workload(plan.queries).samples
    context = fill(BASELINE_TEMPLATE, document=long_document(samples, _DOCUMENT_WORDS))
    questions = [(sample.query, sample.answer) for sample in samples]

    def arm(method: str, score: Callable[[str, Questions, LanguageModel], list[float]]) -> Arm:
        few = questions[:_WARM_UP_QUERIES]
        run = partial(score, context, questions, model)
        return Arm(method, dtype, len(questions), run, partial(score, context, few, model))

    arms = [arm(NOTEBOOK, score_rebuilding), arm(COPYING, score_copying), arm(OURS, score_by_ours)]
    timings = time_rounds(arms, plan.rounds, meter=meter, report=lambda text: report(f"{name}: queries, {text}"))
    base, ours = timings[NOTEBOOK, dtype], timings[OURS, dtype]
    for each, timing in timings.items():
        sheet.add_timing(each, timing, "queries")
        sheet.add(each, goals.TIMES_NOTEBOOK, speed_ratios(timing, base), "x")
        differences = [abs(left - right) for left, right in zip(timing.result, base.result, strict=True)]
        sheet.add(each, goals.LARGEST_DIFFERENCE, max(differences), "nats")
    sheet.add((OURS, dtype), goals.TIMES_COPYING, speed_ratios(ours, timings[COPYING, dtype]), "x")
    sheet.workload = f"{len(questions)} queries on one document of {len(encode_context(model, context))} tokens"
    sheet.waiting = waiting(timings)
    return sheet


def score_by_ours(context: str, questions: Questions, language_model: LanguageModel) -> list[float]:
    """Return the mean NLL of each answer, computed as the project does."""
    means = []
    for nlls in score_queries(context, questions, language_model):
        assert nlls is not None  # one question and its document fit into any memory
        means.append(sum(nlls) / len(nlls))
    return means


def score_rebuilding(context: str, questions: Questions, language_model: LanguageModel) -> list[float]:
    """Return the mean NLL of each answer by the notebook's method, the cache built anew for every query."""
    return _means(notebook_method.score_with_rebuilt_caches(context, questions, language_model))


def score_copying(context: str, questions: Questions, language_model: LanguageModel) -> list[float]:
    """Return the mean NLL of each answer by the notebook's method, the cache copied for every query."""
    return _means(notebook_method.score_with_copied_caches(context, questions, language_model))


def _means(scores: Sequence[NotebookScore]) -> list[float]:
    return [score.mean_nll for score in scores]
