"""Many queries on one document.

In: a model in its number formats and a plan. Out: figures.
"""

import copy
from collections.abc import Sequence
from functools import partial

from tasks.bench.scoring import build_cache, score_question
from tasks.bench.timing import LARGEST_DIFFERENCE, NOTEBOOK, OURS, Arm, Part
from tasks.bench.workload import Subject, make_workload
from tasks.priming.engine.model import LanguageModel, encode_context
from tasks.priming.prompts import BASELINE_TEMPLATE, fill
from tasks.priming.scoring import score_queries

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
    part.measure(arms, subject.plan.rounds, "queries", _largest_difference)
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


def _largest_difference(left: Sequence[float], right: Sequence[float]) -> list[tuple[str, float, str]]:
    return [(LARGEST_DIFFERENCE, max(abs(one - other) for one, other in zip(left, right, strict=True)), "nats")]
