"""Generation: five lines per passage, by the notebook's method and by ours.

In: a model in its number formats, a plan. Out: figures of speed and memory.

Random weights end no line, so every method stops each line at a length from a table. The notebook itself has no such
stop: it writes 45 tokens and then takes the first line. Both versions of it are measured.
"""

from collections.abc import Sequence
from functools import partial

import torch

from tasks.bench.matrix_products import product_arm, record_products
from tasks.bench.timing import NOTEBOOK, OURS, PRODUCTS, TIMES_NOTEBOOK, Arm, Part
from tasks.bench.workload import CHUNK, Subject, make_workload
from tasks.priming.engine.generation import Completion, Prompt, generate_completions
from tasks.priming.engine.model import LanguageModel
from tasks.priming.notebook import generate_surrogate
from tasks.priming.prompts import generation_prompt
from tasks.priming.settings import GenerationSettings

LINE_LENGTHS: dict[str, tuple[int, int, int, int]] = {
    "target_question": (17, 21, 14, 24),
    "keyword_query": (8, 6, 11, 9),
    "symptom_scenario": (19, 15, 23, 18),
    "misconception_negative": (28, 39, 22, 31),
    "messy_realworld": (26, 21, 33, 24),
}
"""Tokens of a line, its end included: by instruction, for every fourth passage; 20.5 in the mean, 39 at most, like the
lines that instruction models wrote for such prompts."""

_SEED = 0
_SAME_LENGTH = "notebook, same length"


def measure_generation(subject: Subject) -> Part:
    """Measure the writing of lines."""
    part, plan, first = subject.part("generation"), subject.plan, subject.dtype
    passages = [sample.passage for sample in make_workload(plan.passages).samples]
    some, few, lines = passages[: plan.slice_passages], passages[:1], len(LINE_LENGTHS)
    by_notebook = partial(write_by_notebook, language_model=subject.models[first])
    at_our_lengths = partial(by_notebook, lengths=line_lengths(len(some)))
    arms = [
        Arm((NOTEBOOK, first), len(some) * lines, by_notebook, some, few),
        Arm((_SAME_LENGTH, first), len(some) * lines, at_our_lengths, some, few, rounds=1),
    ]
    for dtype, model in subject.models.items():
        by_ours = partial(write_by_ours, language_model=model)
        arms.append(Arm((OURS, dtype), len(passages) * lines, by_ours, passages, few))
        if subject.device == "cpu":  # on a GPU, captured steps cannot be listened to
            products = record_products(model.model, partial(by_ours, passages))
            arms.append(product_arm((PRODUCTS, dtype), len(passages) * lines, products, model.numeric_path))
    part.measure(arms, plan.generation_rounds, "lines")
    part.add_ratio((OURS, first), f"{TIMES_NOTEBOOK} at the same lengths", (_SAME_LENGTH, first))
    for dtype in subject.models:
        ours = OURS, dtype
        subject.add_memory(part, dtype)
        written = sum(line.token_count for line in part.result(ours))
        rates = [written / each.seconds for each in part.rounds[ours].values()]
        part.add(ours, "tokens per second", rates, "tokens/s")
    part.workload = f"5 lines for each of {plan.passages} passages, {sum(line_lengths(len(passages))):,} tokens"
    if plan.slice_passages < plan.passages:
        part.workload += f"; the notebook: {plan.slice_passages} passages"
    return part


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
    """Write the lines of passages as a run does, chunk by chunk."""
    prompts, size = prompts_of(passages), CHUNK * len(LINE_LENGTHS)
    parts = (prompts[start : start + size] for start in range(0, len(prompts), size))
    return [line for part in parts for line in generate_completions(part, language_model, GenerationSettings())]


def write_by_notebook(passages: Sequence[str], language_model: LanguageModel, lengths: Sequence[int] = ()) -> list[str]:
    """Write the lines of passages one by one as the notebook does, 45 tokens each unless lengths are given."""
    asked = [(passage, key) for passage in passages for key in LINE_LENGTHS]
    cards = [torch.cuda.current_device()] if language_model.model.device.type == "cuda" else []
    with torch.random.fork_rng(devices=cards):  # the library samples from the process's own generator
        torch.manual_seed(_SEED)
        return [
            generate_surrogate(passage, key, language_model, token_count=length)
            for (passage, key), length in zip(asked, lengths or [45] * len(asked), strict=False)
        ]
