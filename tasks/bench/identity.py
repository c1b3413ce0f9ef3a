"""Whether a number stays the same to the last bit, whatever it is computed together with.

In: a model in its number formats, a plan. Out: counts of answers, and of lines, that are identical, of all.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from tasks.bench.generation_part import prompts_of
from tasks.bench.methods import OURS
from tasks.bench.plans import Plan
from tasks.bench.sheet import Sheet
from tasks.bench.workload import Workload, make_workload
from tasks.priming.engine.generation import generate_completions
from tasks.priming.engine.model import LanguageModel
from tasks.priming.records import Sample
from tasks.priming.scoring import score_family
from tasks.priming.settings import GenerationSettings

_SEED = 0

Answers = dict[tuple[str, str, str], tuple[float, ...] | None]
"""Token NLLs by sample, family and key."""


def check_identity(
    name: str, models: Mapping[str, LanguageModel], plan: Plan, *, report: Callable[[str], None]
) -> Sheet:
    """Count identical answers and lines under other batches, orders, chunks and numbers of threads.

    Args:
        name: The model's name.
        models: It, by number format.
        plan: How much is computed.
        report: Told what is being done.
    """
    sheet = Sheet("identity", name)
    workload = make_workload(plan.identity_samples)
    for dtype, model in models.items():
        together = score(workload, workload.samples, model)
        for check, compute in _ways(workload, model).items():
            report(f"{name}: identity, {check} {dtype}")
            same = count_identical(together, compute())
            sheet.add_count((OURS, dtype), f"answers identical: {check}", same, len(together), "answers")
        report(f"{name}: identity, lines {dtype}")
        same, total = count_identical_lines([s.passage for s in workload.samples[: plan.identity_passages]], model)
        sheet.add_count((OURS, dtype), "lines identical: alone, shuffled", same, total, "lines")
    sheet.workload = f"{plan.identity_samples} samples in 11 contexts, 5 lines for each of {plan.identity_passages}"
    return sheet


def score(workload: Workload, samples: Sequence[Sample], language_model: LanguageModel) -> Answers:
    """Score some of a workload's samples together, family by family."""
    wanted = {sample.sample_id for sample in samples}
    return {
        (found.sample_id, found.family, found.key): found.token_nlls
        for family, surrogates in workload.families
        for found in score_family(
            family.contexts, samples, [s for s in surrogates if s.sample_id in wanted], language_model
        )
    }


def score_alone(workload: Workload, language_model: LanguageModel) -> Answers:
    """Score every sample in every context in a pass of its own."""
    answers: Answers = {}
    for family, surrogates in workload.families:
        fixed = dict(zip(family.contexts.arm_keys, family.contexts.fixed_surrogates, strict=False))
        for key in family.contexts.arm_keys:
            only = {"arm_keys": (key,), "fixed_surrogates": (fixed[key],) if key in fixed else ()}
            contexts = family.contexts.model_copy(update=only)
            for sample in workload.samples:
                own = [s for s in surrogates if s.sample_id == sample.sample_id and s.key == key]
                for found in score_family(contexts, [sample], own, language_model):
                    answers[found.sample_id, found.family, found.key] = found.token_nlls
    return answers


def count_identical(left: Answers, right: Answers) -> int:
    """Return how many answers have the same bits in both."""
    return sum(nlls is not None and right.get(name) == nlls for name, nlls in left.items())


def count_identical_lines(passages: Sequence[str], language_model: LanguageModel) -> tuple[int, int]:
    """Return how many lines are the same when written alone and in another order, and how many there are."""
    prompts = prompts_of(passages)
    settings = GenerationSettings()
    order = _shuffled(range(len(prompts)))
    together = generate_completions(prompts, language_model, settings)
    alone = [generate_completions([prompt], language_model, settings)[0] for prompt in prompts]
    shuffled = generate_completions([prompts[number] for number in order], language_model, settings)
    placed = dict(zip(order, shuffled, strict=True))
    same = sum(line == alone[number] == placed[number] for number, line in enumerate(together))
    return same, len(prompts)


def _ways(workload: Workload, model: LanguageModel) -> dict[str, Callable[[], Answers]]:
    """Return the ways to compute the same answers; threads do not matter on a GPU."""
    samples = workload.samples
    ways: dict[str, Callable[[], Answers]] = {
        "alone": lambda: score_alone(workload, model),
        "shuffled": lambda: score(workload, [samples[number] for number in _shuffled(range(len(samples)))], model),
        "resumed in other chunks": lambda: _in_chunks(workload, model),
    }
    if model.model.device.type == "cpu":
        ways["two threads"] = lambda: _with_two_threads(workload, model)
    return ways


def _in_chunks(workload: Workload, model: LanguageModel) -> Answers:
    """Score the last samples first and chunk by chunk, as a run that was interrupted may."""
    samples = workload.samples[::-1]
    size = max(1, len(samples) * 2 // 5)  # so that the last chunk is smaller
    answers: Answers = {}
    for start in range(0, len(samples), size):
        answers |= score(workload, samples[start : start + size], model)
    return answers


def _with_two_threads(workload: Workload, model: LanguageModel) -> Answers:
    with threads(2):
        return score(workload, workload.samples, model)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Have torch use so many threads within the context."""
    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def _shuffled(numbers: range) -> list[int]:
    order = list(numbers)
    random.Random(_SEED).shuffle(order)
    return order
