"""What models may give and take: rows 6, 13, 14, 16, 17 and 27 of docs/robustness.md."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.arms.writing import Writing, write_generated, written_surrogate
from tasks.priming.engine.batches import run_in_batches
from tasks.priming.engine.generation import Completion
from tasks.priming.engine.model import LanguageModel, encode_context, encode_continuation
from tasks.priming.errors import UsageError
from tasks.priming.records import Sample, Surrogate
from tasks.priming.routing import route_queries
from tasks.priming.scoring import score_family
from tasks.priming.settings import resolve_settings
from tests.robustness.cases import PASSAGE, case, row, sample

# --- models and numbers: 6, 13, 14, 16, 17, 27 ---


@case(6, "a one-token answer")
def test_a_one_token_answer_is_scored_with_its_first_token(tiny_model: LanguageModel) -> None:
    short = next(a for a in ("a", "in", "the", "1") if len(encode_continuation(tiny_model.tokenizer, a)) == 1)
    (found,) = score_family(ARM_GROUPS["baseline"].contexts, [sample(answer=short)], [], tiny_model)
    assert (found.status, found.answer_token_count) == ("ok", 1)
    assert found.nll is not None
    assert found.nll > 0
    assert found.token_nlls == (found.nll,)
    assert found.nll_notebook is None


@case(13, "a context longer than the window")
def test_what_does_not_fit_the_window_is_set_aside_and_never_cut(tiny_model: LanguageModel) -> None:
    narrow = replace(tiny_model, window=20)
    (found,) = score_family(ARM_GROUPS["baseline"].contexts, [sample()], [], narrow)
    assert (found.status, found.nll, found.token_nlls) == ("too_long", None, None)
    assert found.context_token_count == len(encode_context(tiny_model, f"Document:\n{PASSAGE}"))
    with pytest.raises(UsageError, match=r"the model's window is 20\. Lower `max_words` or use a model with a longer"):
        write_generated([sample()], Writing(42, narrow, resolve_settings("demo").generation))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        row(14, "empty", "", ("", False, False, False)),
        row(14, "400 words", "word " * 400, (" ".join(["word"] * 400), True, False, False)),
        row(14, "many lines", "\n\nfirst line\nsecond line", ("first line", False, False, False)),
        row(14, "quoted", '"when was it built"', ("when was it built", False, False, False)),
        row(14, "quoted within", 'the "old" mill', ('the "old" mill', False, False, True)),
        row(14, "a refusal", "I cannot do that.", ("I cannot do that.", False, False, False)),
        row(14, "the query itself", "When was  the mill built?", ("When was  the mill built?", False, True, False)),
    ],
)
def test_what_a_model_writes_is_cleaned_by_the_rules_and_flagged(
    raw: str, expected: tuple[str, bool, bool, bool]
) -> None:
    found = written_surrogate(sample(), "generated", "keyword_query", Completion(raw, 10, 5, "stop"), 12)
    assert (found.text, found.is_over_word_limit, found.is_query, found.has_stray_marks) == expected
    assert found.raw_text == raw


def surrogates(one: Sample, **texts: str) -> list[Surrogate]:
    return [written_surrogate(one, "generated", key, Completion(text, 1, 1, "stop"), 12) for key, text in texts.items()]


@case(14, "an empty one is never routed to")
def test_an_empty_surrogate_is_never_routed_to(minilm: Any) -> None:
    one = sample(query="zzz")
    empty, other = route_queries([one], surrogates(one, a="", b="How do I bake bread in a small oven?"), minilm)
    assert (empty.is_routed, other.is_routed) == (False, True)
    assert empty.similarity is None


@pytest.mark.parametrize("number", [row(14, "five identical ones", 14), row(17, "a tie", 17)])
def test_of_equal_surrogates_the_first_is_routed_to_and_all_are_flagged(minilm: Any, number: int) -> None:
    routes = route_queries([sample()], surrogates(sample(), **dict.fromkeys("abcde", "old mill")), minilm)
    assert [route.is_routed for route in routes] == [True, False, False, False, False]
    assert all(route.is_tie for route in routes)


@case(16, "NaN in the logits")
def test_a_score_that_is_not_finite_has_a_status_and_no_number(tiny_model: LanguageModel) -> None:
    def spoil(module: Any, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        return torch.full_like(output, float("nan"))

    handle = tiny_model.model.lm_head.register_forward_hook(spoil)
    try:
        (found,) = score_family(ARM_GROUPS["baseline"].contexts, [sample()], [], tiny_model)
    finally:
        handle.remove()
    assert (found.status, found.nll, found.margin) == ("not_finite", None, None)


MEMORY_ERRORS = {
    "Python": MemoryError(),
    "torch": torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    "cuBLAS": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    "CPU": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
    "CPU, other words": RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: not enough memory"),
}


@pytest.mark.parametrize("error", [row(27, name, error) for name, error in MEMORY_ERRORS.items()])
@pytest.mark.parametrize("most", [16, 1, 0])
def test_a_batch_that_memory_does_not_hold_is_halved_down_to_one(error: Exception, most: int) -> None:
    sizes = []

    def compute(items: list[int]) -> list[int]:
        sizes.append(len(items))
        if len(items) > most:
            raise error
        return [item * item for item in items]

    found = run_in_batches(range(64), [1] * 64, 64, compute)
    assert found == ([n * n for n in range(64)] if most else [None] * 64)
    assert sizes[:3] == [64, 32, 16]  # halves, by hand
    assert sizes.count(64) == 1
