"""Scoring and writing on a pretended GPU: the numbers of a CPU, one shape for all passes, no waiting."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import transformers

from tasks.priming.arms.treatments import Sight
from tasks.priming.engine.batches import GPU_KEPT_ROWS, GPU_ROWS, GPU_STEP_ROWS, run_in_batches
from tasks.priming.engine.forward import forward_packed
from tasks.priming.engine.generation import Prompt, Stepper, generate_completions, held_tokens, sample_tokens
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, score_requests
from tasks.priming.engine.segments import Segment
from tasks.priming.settings import GenerationSettings
from tasks.priming.statistics.run_data import ModelFacts
from tests.priming.engine.pretended_gpu import Graph, PretendedGpu, recording
from tests.tiers import slow
from tests.tiny_models import filled_pack, tiny_mistral

FACTS = ModelFacts(7_000_000_000, 0, 32, 4096, 131_072, is_batch_invariant=False, first_token="<s>")
PREFIX = tuple(range(3, 23))


def ids(count: int, seed: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(3, 300), k=count))


def requests() -> list[Request]:
    """Contexts that share a prefix and that do not, with distractors, and with parts hidden and dropped."""
    found = []
    for n in range(8):
        context = (PREFIX if n % 2 else ()) + ids(20 + 13 * n, n)
        sight = (
            Sight(),
            Sight(hidden_from_passage=(1, 9), hidden_from_query=(1, 9)),
            Sight(hidden_from_query=(1, 9)),
            Sight(hidden_from_query=(1, 9), closes_gap=True),
        )[n % 4]
        found.append(Request(context, ids(6, n + 50), ids(1 + n % 5, n + 90), sight, (ids(3, n), ids(1, n))))
    return found


def on_cpu(dtype: torch.dtype, window: int | None = None) -> LanguageModel:
    return LanguageModel(tiny_mistral(sliding_window=window).to(dtype), None, 256, "cpu")


def on_gpu(reader: LanguageModel, gpu: PretendedGpu) -> LanguageModel:
    return LanguageModel(gpu.place(copy.deepcopy(reader.model)), reader.tokenizer, reader.window, "cuda")


@pytest.fixture
def cpu_scores(request: pytest.FixtureRequest) -> Any:
    """A model, and what it scores, before there is a GPU."""
    reader = on_cpu(*request.param)
    return reader, score_requests(requests(), reader, prefixes=[PREFIX])


@pytest.mark.parametrize(
    ("cpu_scores", "tolerance"),
    [
        ((torch.float32, None), 1e-5),
        ((torch.float16, None), 2e-3),
        ((torch.bfloat16, None), 2e-2),
        ((torch.bfloat16, 12), 2e-2),
    ],
    indirect=["cpu_scores"],
)
def test_a_gpu_scores_what_a_cpu_scores_and_waits_once(cpu_scores: Any, tolerance: float, gpu: PretendedGpu) -> None:
    reader, expected = cpu_scores
    model = on_gpu(reader, gpu)
    found = score_requests(requests(), model, prefixes=[PREFIX])
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=tolerance)
    assert (gpu.kernel_calls > 0) == (model.model.dtype != torch.float32)
    assert gpu.waits == {"tolist nll.py:score_requests": 1}
    # The rows of a pass, and those of its last layer and its logits that are kept.
    assert set(gpu.rows) == {GPU_ROWS, GPU_KEPT_ROWS}


def test_the_next_pack_is_laid_out_while_the_gpu_computes(gpu: PretendedGpu) -> None:
    """Nothing is read before the last pack has been handed over."""
    score_requests(requests(), on_gpu(on_cpu(torch.bfloat16), gpu), budget_share=0.05)
    assert gpu.kernel_calls == 3 * 5  # layers, packs
    assert gpu.waits == {"tolist nll.py:score_requests": 1}


def test_a_gap_in_a_window_goes_to_blocks_alone(gpu: PretendedGpu) -> None:
    """The kernel counts keys that are there, a window counts positions; the rest of the pack is the kernel's."""
    model = on_gpu(on_cpu(torch.bfloat16, 12), gpu).model
    head, other = Segment(ids(20, 1)), Segment(ids(30, 2))
    gapped = Segment(ids(4, 2), head, hidden=(3, 6))
    alone = forward_packed(model, [head, other], keep=[19, 49]).logits
    assert gpu.kernel_calls == 3  # layers
    mixed = forward_packed(model, [head, gapped, other], keep=[19, 53]).logits
    assert gpu.kernel_calls == 6
    assert alone is not None
    assert mixed is not None
    assert bool((alone == mixed).all())


@pytest.mark.parametrize(("capability", "is_called"), [((7, 0), False), ((7, 5), False), ((8, 0), True)])
def test_the_kernel_is_for_gpus_that_it_runs_on(
    capability: tuple[int, int], is_called: bool, gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses a V100 (7.0) and a T4 (7.5), where a model in four bits is typically run."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    forward_packed(on_gpu(on_cpu(torch.float16), gpu).model, [Segment(ids(20, 1))], keep=[19])
    assert bool(gpu.kernel_calls) is is_called


def test_a_prefix_is_computed_once_in_a_process(gpu: PretendedGpu) -> None:
    reader = on_gpu(on_cpu(torch.bfloat16), gpu)
    for passes in (2, 3, 4):  # the prefix's, then one per call
        score_requests(requests()[1:2], reader, prefixes=[PREFIX])
        assert gpu.kernel_calls == 3 * passes


def test_of_equal_logits_the_lower_id_comes_first(gpu: PretendedGpu) -> None:
    """In 16 bits logits from 16 to 32 are 0.125 apart, and a GPU's top-k promises no order among equals."""
    logits = torch.tensor([[1.0, 16.0, 0.5, 16.0, 16.0, 15.875]] * 3, device="cuda").bfloat16()
    draws = torch.tensor([0.0, 0.4, 0.9], dtype=torch.float64, device="cuda")
    assert sample_tokens(logits, draws, temperature=1.0, top_k=3).tolist() == [1, 3, 4]
    # With two of three equals the two lower ids are left, half and half.
    assert sample_tokens(logits, draws, temperature=1.0, top_k=2).tolist() == [1, 1, 3]


def test_what_is_held_follows_from_the_memory_that_is_free() -> None:
    """By hand: 131,072 bytes per token of a Mistral-7B in 16 bits, less those of the pass that reads prompts."""
    facts = FACTS
    assert held_tokens(facts, "cuda", 24_000 * 131_072) == 24_000 - GPU_ROWS
    assert held_tokens(facts, "cuda", 1e12) == 131_072
    assert held_tokens(facts, "cuda", 0) == 0


def test_a_size_that_did_not_fit_is_not_tried_again() -> None:
    tried = []

    def run(batch: list[int]) -> list[int]:
        tried.append(len(batch))
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return batch

    assert run_in_batches(range(24), [1] * 24, 8, run) == [*range(24)]
    assert tried == [8, 4, *[2] * 12]  # by hand: of three batches of eight


def on_cpu_with_tokenizer(folder: Any) -> LanguageModel:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = tiny_mistral(vocab_size=32_000)
    torch.nn.init.normal_(model.lm_head.weight, std=0.5, generator=torch.Generator().manual_seed(0))
    return LanguageModel(model, tokenizer, 256, "cpu")


def lines(writer: LanguageModel) -> list[Any]:
    prompts = [Prompt(f"Say {n} " + "and again " * n, f"0|{n}", ("Say 1", "Say 2"), 4 + n) for n in range(5)]
    return generate_completions(prompts, writer, GenerationSettings(max_new_tokens=12))


@pytest.fixture
def cpu_lines(mistral_tokenizer_folder: Any) -> Any:
    """A writer, and its lines, before there is a GPU."""
    writer = on_cpu_with_tokenizer(mistral_tokenizer_folder)
    return writer, lines(writer)


def test_a_gpu_writes_what_a_cpu_writes(cpu_lines: Any, gpu: PretendedGpu) -> None:
    """All rows stay until the last has ended, so that one recording serves all steps but the first two."""
    writer, expected = cpu_lines
    assert lines(on_gpu(writer, gpu)) == expected
    steps = max(line.token_count for line in expected) - 1
    assert [graph.replays for graph in gpu.graphs] == [steps - 1]
    assert set(gpu.rows) == {GPU_ROWS, GPU_KEPT_ROWS, GPU_STEP_ROWS}
    # The tokens of each step decide what is computed next; a recording is compared once.
    assert set(gpu.waits) == {"tolist generation.py:generate", "equal generation.py:_replay"}
    assert gpu.waits.total() == steps + 2


def steps(model: Any, gpu: PretendedGpu) -> list[torch.Tensor]:
    """Return the logits of five steps of two rows."""
    stepper = Stepper(model, filled_pack(model, [ids(10, 1), ids(70, 2)], room=20))
    found = []
    for number in range(5):
        found.append(stepper.step([3 + 11 * number + row for row in stepper.keep({0, 1})]).clone())
    return found


@pytest.mark.parametrize(
    "fault", ["other numbers", *slow("CUDA error: operation not permitted when stream is capturing")]
)
def test_a_recording_that_fails_is_given_up(fault: str, gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expected: one attempt, of which nothing reaches a result, and the stream that was in use before it."""
    model = on_gpu(on_cpu(torch.float32), gpu).model
    expected = steps(model, gpu)
    assert [graph.replays for graph in gpu.graphs] == [4]
    streams: list[str] = []
    monkeypatch.setattr(torch.cuda, "set_stream", streams.append)
    replay = Graph.replay

    def replay_wrongly(graph: Graph) -> None:
        replay(graph)
        graph.operations[-1][3][0].data_on_cpu.add_(1e-3)

    if fault == "other numbers":
        monkeypatch.setattr(Graph, "replay", replay_wrongly)
    else:
        monkeypatch.setattr(torch.cuda, "graph", refusing(fault))
    for one, other in zip(steps(model, gpu), expected, strict=True):
        assert bool((one == other).all())
    assert len(gpu.graphs) == 2
    assert streams == ([] if fault == "other numbers" else ["main"])


def refusing(fault: str) -> Any:
    @contextmanager
    def graph(made: Graph) -> Iterator[None]:
        with recording(made):
            yield
        raise RuntimeError(fault)

    return graph


def test_a_recording_that_runs_out_of_memory_is_tried_with_fewer_rows(
    gpu: PretendedGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = on_gpu(on_cpu(torch.float32), gpu).model
    monkeypatch.setattr(torch.cuda, "graph", refusing("CUDA out of memory"))
    with pytest.raises(RuntimeError, match="out of memory"):
        steps(model, gpu)
