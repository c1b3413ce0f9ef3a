"""Generation: five lines a passage, by the notebook's method and by ours.

In: a model in its number formats, a plan. Out: figures of speed and memory.

Random weights end no line, so every method stops each line at a length from a table. The notebook itself stops at none
but writes 45 tokens and then takes the first line; both of it are measured.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from tasks.bench import goals, notebook_method
from tasks.bench.matrix_products import compute_products, record_products
from tasks.bench.methods import NOTEBOOK, OURS, PRODUCTS, SAME_LENGTHS
from tasks.bench.plans import Plan
from tasks.bench.sheet import Sheet
from tasks.bench.timing import Arm, Meter, speed_ratios, time_rounds, waiting
from tasks.bench.workload import make_workload
from tasks.priming.engine.generation import Completion, Prompt, generate_completions
from tasks.priming.engine.model import LanguageModel
from tasks.priming.prompts import generation_prompt
from tasks.priming.settings import GenerationSettings

LINE_LENGTHS: dict[str, tuple[int, int, int, int]] = {
    "target_question": (17, 21, 14, 24),
    "keyword_query": (8, 6, 11, 9),
    "symptom_scenario": (19, 15, 23, 18),
    "misconception_negative": (28, 39, 22, 31),
    "messy_realworld": (26, 21, 33, 24),
}
"""Tokens of a line, its end included: by instruction, for every fourth passage; 20.5 in the mean, 39 at most.

So long were the lines that instruction models wrote for such prompts: 6 tokens for keywords, up to 39 for a worry.
"""

_SEED = 0
_WARM_UP_PASSAGES = 1
_ONCE = 1


def measure_generation(
    name: str, models: Mapping[str, LanguageModel], plan: Plan, *, meter: Meter, report: Callable[[str], None]
) -> Sheet:
    """Measure the writing of lines.

    Args:
        name: The model's name.
        models: It, by number format; the first one's notebook arm is what others are compared with.
        plan: How much is computed.
        meter: How it is measured.
        report: Told what is being done.
    """
    sheet = Sheet("generation", name)
    passages = [sample.passage for sample in make_workload(plan.passages).samples]
    arms = [arm for dtype in models for arm in _arms(models, dtype, passages, plan.slice_passages)]
    rounds = plan.generation_rounds
    timings = time_rounds(arms, rounds, meter=meter, report=lambda text: report(f"{name}: generation, {text}"))
    base = (NOTEBOOK, next(iter(models)))
    for arm, timing in timings.items():
        sheet.add_timing(arm, timing, "lines")
        sheet.add(arm, goals.TIMES_NOTEBOOK, speed_ratios(timing, timings[base]), "x")
    for dtype, model in models.items():
        arm, ours = (OURS, dtype), timings[OURS, dtype]
        if (SAME_LENGTHS, dtype) in timings:
            ratios = speed_ratios(ours, timings[SAME_LENGTHS, dtype])
            sheet.add(arm, f"{goals.TIMES_NOTEBOOK} at the same lengths", ratios, "x")
        if (PRODUCTS, dtype) in timings:
            sheet.add(arm, goals.SHARE_OF_LIMIT, speed_ratios(ours, timings[PRODUCTS, dtype]), "1")
        weights = model.parameter_count * model.model.dtype.itemsize
        sheet.add(arm, goals.MEMORY_WITH_WEIGHTS, float(weights + ours.peak_bytes), "bytes")
        written = sum(line.token_count for line in ours.result)
        sheet.add(arm, "tokens per second", [written / seconds for seconds in ours.seconds.values()], "tokens/s")
    sheet.workload = f"5 lines for each of {plan.passages} passages, {sum(line_lengths(len(passages))):,} tokens"
    if plan.slice_passages < plan.passages:
        sheet.workload += f"; the notebook: {plan.slice_passages} passages"
    sheet.waiting = waiting(timings)
    return sheet


def line_lengths(passage_count: int) -> list[int]:
    """Return the length in tokens of every line, passage by passage."""
    return [lengths[number % 4] for number in range(passage_count) for lengths in LINE_LENGTHS.values()]


def prompts_of(passages: Sequence[str]) -> list[Prompt]:
    """Return the prompts that a run would make for passages, with the lengths at which lines stop here."""
    asked = [(key, passage) for passage in passages for key in LINE_LENGTHS]
    return [
        Prompt(
            generation_prompt(key, passage),
            identity=f"{_SEED}|{key}|{passage}",
            prefix_probes=(generation_prompt(key, "One"), generation_prompt(key, "2")),
            token_limit=length,
        )
        for (key, passage), length in zip(asked, line_lengths(len(passages)), strict=True)
    ]


def write_by_ours(passages: Sequence[str], language_model: LanguageModel) -> list[Completion]:
    """Write the lines of passages as a run does."""
    return generate_completions(prompts_of(passages), language_model, GenerationSettings())


def write_by_notebook(passages: Sequence[str], language_model: LanguageModel) -> list[str]:
    """Write the lines of passages as the notebook does, 45 tokens each."""
    return _write_one_by_one(passages, language_model, [45] * (len(passages) * len(LINE_LENGTHS)))


def write_by_notebook_at_our_lengths(passages: Sequence[str], language_model: LanguageModel) -> list[str]:
    """Write as the notebook does, but stop each line where ours stops."""
    return _write_one_by_one(passages, language_model, line_lengths(len(passages)))


def _write_one_by_one(passages: Sequence[str], language_model: LanguageModel, lengths: Sequence[int]) -> list[str]:
    asked = [(passage, key) for passage in passages for key in LINE_LENGTHS]
    cards = [torch.cuda.current_device()] if language_model.model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):  # the library samples from the process's own generator
        torch.manual_seed(_SEED)
        return [
            notebook_method.generate_surrogate(passage, key, language_model, token_count=length)
            for (passage, key), length in zip(asked, lengths, strict=True)
        ]


def _arms(models: Mapping[str, LanguageModel], dtype: str, passages: Sequence[str], slice_count: int) -> list[Arm]:
    model, is_first = models[dtype], dtype == next(iter(models))
    few = passages[:_WARM_UP_PASSAGES]

    def arm(method: str, write: Callable[..., object], some: Sequence[str], rounds: int | None) -> Arm:
        work = len(some) * len(LINE_LENGTHS)
        return Arm(method, dtype, work, partial(write, some, model), partial(write, few, model), rounds)

    arms = []
    if is_first:
        part = passages[:slice_count]
        arms.append(arm(NOTEBOOK, write_by_notebook, part, None))
        arms.append(arm(SAME_LENGTHS, write_by_notebook_at_our_lengths, part, _ONCE))
    arms.append(arm(OURS, write_by_ours, passages, None))
    if model.model.device.type == "cpu":  # on a GPU, captured steps cannot be listened to
        products = record_products(model.model, lambda: write_by_ours(passages, model))
        compute = partial(compute_products, products, model.numeric_path)
        warm_up = partial(compute_products, products[:16], model.numeric_path)
        arms.append(Arm(PRODUCTS, dtype, len(passages) * len(LINE_LENGTHS), compute, warm_up))
    return arms
