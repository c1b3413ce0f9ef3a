"""Scoring: eleven contexts per sample by every method of docs/performance.md, with numbers that can be compared.

In: a model in its number formats, a plan. Out: figures of speed, of memory and of how far the numbers of each method
are from the notebook's in the first number format.
"""

import copy
import importlib
import importlib.util
import logging
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import torch

from tasks.bench.matrix_products import product_arm, record_products, token_count
from tasks.bench.timing import LARGEST_DIFFERENCE, NOTEBOOK, OURS, PRODUCTS, TIMES_NOTEBOOK, Arm, Part
from tasks.bench.workload import Subject, Workload, make_workload
from tasks.priming.engine.batches import token_budget
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, token_nlls
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.notebook import NotebookScore, build_kv_cache, notebook_ids, score_answer_with_cache
from tasks.priming.prompts import query_prompt
from tasks.priming.scoring import score_family


class Means(NamedTuple):
    """The score of one answer in one context, by whichever method."""

    nll: float  # mean NLL in nats of all answer tokens
    notebook_nll: float | None = None  # that of all but the first; None for one token, and where it is not known


Found: TypeAlias = dict[tuple[str, str, str], Means]  # by sample, family and key


def measure_scoring(subject: Subject) -> Part:
    """Measure scoring by every method."""
    part, plan, first = subject.part("scoring"), subject.plan, subject.dtype
    whole = make_workload(plan.samples)
    some, limited = whole.first(plan.slice_samples), whole.first(plan.limit_samples)
    # One by one, one sample shows how much memory is needed; a batch has to be full.
    one, two = whole.first(1), whole.first(2)
    work, some_work, limited_work = (load.token_count(subject.models[first]) for load in (whole, some, limited))
    arms = []
    for dtype, model in subject.models.items():
        by_notebook = partial(score_by_notebook, language_model=model)
        arms.append(Arm((NOTEBOOK, dtype), some_work, by_notebook, some, one, None if dtype == first else 1))
    if has_lm_eval():
        for size, few, rounds in ((1, one, None), (16, two, 1)):  # larger batches were slower on CPUs
            by_lm_eval = partial(score_by_lm_eval, language_model=subject.models[first], batch_size=size)
            arms.append(Arm((f"lm-eval {size}", first), some_work, by_lm_eval, some, few, rounds))
    else:
        part.notes.append('lm-eval was left out, it is not installed: pip install -c constraints.txt ".[bench]"')
    computed = 0
    for dtype, model in subject.models.items():
        by_padding, by_ours = (partial(score, language_model=model) for score in (score_by_padding, score_by_ours))
        arms.append(Arm(("padded", dtype), some_work, by_padding, some, two, 1))
        arms.append(Arm((OURS, dtype), work, by_ours, whole, two))
        products = record_products(model.model, partial(by_ours, limited))
        arms.append(product_arm((PRODUCTS, dtype), limited_work, products, model.numeric_path))
        computed = computed or token_count(products)
    part.measure(arms, plan.rounds, "tokens", differences)
    for dtype in subject.models:
        ours = OURS, dtype
        part.add_ratio(ours, f"{TIMES_NOTEBOOK} in {dtype}", (NOTEBOOK, dtype))
        subject.add_memory(part, dtype)
        if harness := [name for name in part.arms if name[0].startswith("lm-eval") and name[1] == dtype]:
            best = min(harness, key=lambda name: min(each.seconds for each in part.rounds[name].values()))
            part.add_ratio(ours, "times as fast as lm-eval", best)
    part.workload = f"{plan.samples} samples in 11 contexts, {work:,} tokens"
    if plan.slice_samples < plan.samples:
        part.workload += f"; slow methods: {plan.slice_samples} samples"
    else:
        part.workload += f" ({computed:,} computed)"
    return part


def differences(found: Found, base: Found) -> list[tuple[str, float, str]]:
    """Return how far one method's mean NLLs are from another's, on the answers that both scored."""
    names = found.keys() & base.keys()
    apart = [abs(found[name].nll - base[name].nll) for name in names]
    pairs = [(found[name].notebook_nll, base[name].notebook_nll) for name in names]
    known = [abs(left - right) for left, right in pairs if left is not None and right is not None]
    result = [(LARGEST_DIFFERENCE, max(apart), "nats")]
    return [*result, ("largest difference in the notebook's mean NLL", max(known), "nats")] if known else result


def score_by_ours(workload: Workload, language_model: LanguageModel) -> Found:
    """Score a workload as a run does, chunk by chunk and family by family."""
    found: Found = {}
    for chunk in workload.chunks:
        for family, surrogates in chunk.families:
            for score in score_family(family.contexts, chunk.samples, surrogates, language_model):
                if score.nll is not None:
                    found[score.sample_id, score.family, score.key] = Means(score.nll, score.nll_notebook)
    return found


def score_by_notebook(workload: Workload, language_model: LanguageModel) -> Found:
    """Score a workload as the notebook does, one by one, each cache copied before it is scored."""
    found: Found = {}
    for family, surrogates in workload.families:
        texts = {(surrogate.sample_id, surrogate.key): surrogate.text for surrogate in surrogates}
        for key in family.contexts.arm_keys:
            for sample in workload.samples:
                context = family.contexts.context(sample.passage, texts.get((sample.sample_id, key)))
                length, cache = build_cache(context, language_model)
                score = score_question((sample.query, sample.answer), length, copy.deepcopy(cache), language_model)
                notebook_nll = score.nll if score.token_count > 1 else None
                found[sample.sample_id, family.contexts.family, key] = Means(score.mean_nll, notebook_nll)
    return found


def build_cache(context: str, language_model: LanguageModel) -> tuple[int, Any]:
    """Return the token count of a context and its cache, by the notebook's method."""
    return build_kv_cache(notebook_ids(context, language_model, add_special_tokens=True), language_model.model)


def score_question(
    question: tuple[str, str],
    length: int,
    cache: Any,  # noqa: ANN401 - a transformers cache
    language_model: LanguageModel,
) -> NotebookScore:
    """Score the answer of a query by the notebook's method, with a cache of so many tokens, which it changes."""
    query_ids, answer_ids = (
        notebook_ids(text, language_model, add_special_tokens=False)
        for text in (query_prompt(question[0]), question[1])
    )
    return score_answer_with_cache(
        cache, length, query_ids=query_ids, answer_ids=answer_ids, model=language_model.model
    )


def has_lm_eval() -> bool:
    """Tell whether lm-eval, which is an extra, can be imported."""
    return importlib.util.find_spec("lm_eval") is not None


def score_by_lm_eval(workload: Workload, language_model: LanguageModel, batch_size: int) -> Found:
    """Score a workload as lm-eval's HFLM does by default; it need not tokenise, which favours it."""
    arms = workload.arms(language_model)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns about being given a loaded model
    harness = importlib.import_module("lm_eval.models.huggingface").HFLM(
        pretrained=language_model.model,
        tokenizer=copy.deepcopy(language_model.tokenizer),  # it gives it a padding token
        batch_size=batch_size,
        max_length=language_model.window,
    )
    requests = [(("", ""), [*arm.request.context, *arm.request.query], list(arm.request.answer)) for arm in arms]
    sums = [total for total, _ in harness._loglikelihood_tokens(requests, disable_tqdm=True)]
    return {
        (arm.sample_id, arm.family, arm.key): Means(-total / len(arm.request.answer))
        for arm, total in zip(arms, sums, strict=True)
    }


def score_by_padding(workload: Workload, language_model: LanguageModel) -> Found:
    """Score a workload as a careful user of transformers would: right-padded batches of sequences of similar length.

    A causal model's tokens do not attend to padding after them, so there is no mask; the output layer sees only rows
    that predict an answer token. The numeric path is ours, so what differs is padding, attention and sharing.
    """
    arms, model = workload.arms(language_model), language_model.model
    found: Found = {}
    with torch.inference_mode(), numeric_path(language_model.numeric_path):
        for batch in batches_by_padded_size([arm.request for arm in arms], token_budget(model.device.type)):
            nlls = iter(_padded_nlls(model, [arms[number].request for number in batch]))
            for arm in (arms[number] for number in batch):
                own = [next(nlls) for _ in arm.request.answer]
                found[arm.sample_id, arm.family, arm.key] = Means(math.fsum(own) / len(own))
    return found


def batches_by_padded_size(items: Sequence[Request], budget: int) -> list[list[int]]:
    """Return batches of item numbers, longest first; rows times the longest row do not exceed the budget."""
    lengths = [len(item.context) + len(item.continuation) for item in items]
    batches: list[list[int]] = []
    for number in sorted(range(len(items)), key=lambda i: -lengths[i]):
        if not batches or lengths[batches[-1][0]] * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(number)
    return batches


def _padded_nlls(model: Any, items: Sequence[Request]) -> list[float]:  # noqa: ANN401 - any transformers decoder
    """Return the NLLs of all answer tokens of a batch, item by item."""
    sequences = [[*item.context, *item.continuation] for item in items]
    ids = torch.zeros(len(items), max(map(len, sequences)), dtype=torch.long)
    places: list[tuple[int, int]] = []
    for row, (item, sequence) in enumerate(zip(items, sequences, strict=True)):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        places += [(row, place) for place in range(len(sequence) - len(item.answer), len(sequence))]
    rows, columns = torch.tensor(places, device=model.device).T
    hidden = model.base_model(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
    logits = model.get_output_embeddings()(hidden[rows, columns])
    return token_nlls(logits, [token for item in items for token in item.answer]).tolist()
