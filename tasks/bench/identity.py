"""Whether a number has the same bits whatever it is batched with.

In: a model in its number formats, a plan. Out: counts of answers, and of lines, that are identical, and of all.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from tasks.bench.generation import prompts_of
from tasks.bench.timing import OURS, Part
from tasks.bench.workload import Subject, Workload, make_workload
from tasks.priming.arms.contexts import ContextRule
from tasks.priming.engine.generation import generate_completions
from tasks.priming.engine.model import LanguageModel
from tasks.priming.records import Sample, Surrogate
from tasks.priming.scoring import score_family
from tasks.priming.settings import GenerationSettings

Answers = dict[tuple[str, str, str], tuple[float, ...] | None]  # token NLLs by sample, family and key


def check_identity(subject: Subject) -> Part:
    """Count identical answers and lines under other batches, orders, chunks and numbers of threads."""
    part, plan = subject.part("identity"), subject.plan
    workload = make_workload(plan.identity_samples)
    passages = [sample.passage for sample in workload.samples[: plan.identity_passages]]
    for dtype, model in subject.models.items():
        ours = OURS, dtype
        together = score(workload, workload.samples, model)
        part.add(ours, "answers compared", [len(together)], "answers")
        for way, answers in score_in_other_ways(workload, model):
            subject.report(f"{subject.name}: identity, {way} {dtype}")
            part.add(ours, f"answers identical: {way}", [count_identical(together, answers)], "answers")
        lines, same = count_identical_lines(passages, model)
        part.add(ours, "lines compared", [lines], "lines")
        part.add(ours, "lines identical: alone, shuffled", [same], "lines")
    part.workload = f"{plan.identity_samples} samples in 11 contexts, 5 lines for each of {plan.identity_passages}"
    return part


def score(workload: Workload, samples: Sequence[Sample], language_model: LanguageModel) -> Answers:
    """Score some of a workload's samples together, family by family."""
    answers: Answers = {}
    for family, surrogates in workload.families:
        answers |= _score(family.contexts, samples, surrogates, language_model)
    return answers


def score_in_other_ways(workload: Workload, language_model: LanguageModel) -> Iterator[tuple[str, Answers]]:
    """Yield the same answers computed in other ways; threads do not matter on a GPU."""
    samples, answers = list(workload.samples), Answers()
    for family, surrogates in workload.families:
        rule = family.contexts
        fixed = dict(zip(rule.arm_keys, rule.fixed_surrogates, strict=False))
        for key in rule.arm_keys:
            only = {"arm_keys": (key,), "fixed_surrogates": (fixed[key],) if key in fixed else ()}
            for sample in samples:
                answers |= _score(rule.model_copy(update=only), [sample], surrogates, language_model)
    yield "alone", answers
    shuffled, size = random.Random(0).sample(samples, len(samples)), max(1, len(samples) * 2 // 5)
    answers = {}
    for start in range(0, len(samples), size):  # the last chunk is smaller
        answers |= score(workload, shuffled[start : start + size], language_model)
    yield "shuffled, in other chunks", answers
    if language_model.model.device.type == "cpu":
        with threads(2):
            answers = score(workload, samples, language_model)
        yield "two threads", answers


def count_identical(left: Answers, right: Answers) -> int:
    """Return how many answers have the same bits in both."""
    return sum(nlls is not None and right.get(name) == nlls for name, nlls in left.items())


def count_identical_lines(passages: Sequence[str], language_model: LanguageModel) -> tuple[int, int]:
    """Return how many lines there are, and how many are the same when written alone and in another order."""
    prompts, settings = prompts_of(passages), GenerationSettings()
    order = random.Random(0).sample(range(len(prompts)), len(prompts))
    together = generate_completions(prompts, language_model, settings)
    alone = [generate_completions([prompt], language_model, settings)[0] for prompt in prompts]
    shuffled = generate_completions([prompts[number] for number in order], language_model, settings)
    placed = dict(zip(order, shuffled, strict=True))
    return len(prompts), sum(line == alone[number] == placed[number] for number, line in enumerate(together))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Have torch use so many threads within the context."""
    previous = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(previous)


def _score(
    rule: ContextRule, samples: Sequence[Sample], surrogates: Sequence[Surrogate], language_model: LanguageModel
) -> Answers:
    """Score the arms of a rule on samples in one pass."""
    wanted = {(sample.sample_id, key) for sample in samples for key in rule.arm_keys}
    own = [surrogate for surrogate in surrogates if (surrogate.sample_id, surrogate.key) in wanted]
    return {(s.sample_id, s.family, s.key): s.token_nlls for s in score_family(rule, samples, own, language_model)}
