"""Steps that are recorded and repeated give what steps give that are computed as they come.

CUDA graphs cannot be had on a CPU. The stand-in does what they do: it keeps the operations that torch was asked for
with the tensors that they read and wrote, and repeats them on the same memory, running no Python of the project.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tasks.priming.engine import generation
from tasks.priming.engine.generation import Stepper
from tests.tiny_models import filled_pack, tiny_mistral

LENGTHS = (10, 70, 130, 12)
"""Tokens of the prompts: buffers of two lengths and more."""


class Graph:
    """Operations on fixed memory."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, list[Any]]] = []
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        with torch.inference_mode():
            for function, args, kwargs, written in self.operations:
                for old, new in zip(written, tree_leaves(function(*args, **kwargs)), strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


class Recorder(TorchDispatchMode):
    """Computes operations and keeps them."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types here
        self.graph = graph

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        self.graph.operations.append((function, args, kwargs or {}, tree_leaves(found)))
        return found


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The graphs that were made, in order, on a CPU that is taken for a GPU."""
    made: list[Graph] = []

    def new_graph() -> Graph:
        made.append(Graph())
        return made[-1]

    @contextmanager
    def recording(graph: Graph) -> Iterator[None]:
        with Recorder(graph):
            yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", new_graph)
    monkeypatch.setattr(torch.cuda, "graph", recording)
    monkeypatch.setattr(generation, "_can_record", lambda device: True)
    return made


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_mistral()


def steps(model: Any, kept: list[set[int]]) -> list[dict[int, torch.Tensor]]:
    """Return the logits of each row that is kept in each step."""
    prompts = [[random.Random(count).randrange(3, 300) for _ in range(count)] for count in LENGTHS]
    stepper = Stepper(model, filled_pack(model, prompts, room=20))
    found = []
    for number, wanted in enumerate(kept):
        rows = stepper.keep(wanted)
        logits = stepper.step([3 + 11 * number + row for row in rows]).clone()
        found.append({row: logits[place] for place, row in enumerate(rows) if row in wanted})
    return found


def steps_computed(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[int, torch.Tensor]]:
    """Return what the first steps give where nothing is recorded."""
    with monkeypatch.context() as patch:
        patch.setattr(generation, "_can_record", lambda device: False)
        return steps(model, KEPT[:5])


def same_bits(left: list[dict[int, torch.Tensor]], right: list[dict[int, torch.Tensor]]) -> bool:
    return all(
        one.keys() == other.keys() and all(torch.equal(one[row], other[row]) for row in one)
        for one, other in zip(left, right, strict=True)
    )


@pytest.mark.parametrize("window", [None, 12])
def test_a_step_equals_the_models_own_pass_over_all_that_was_written(window: int | None) -> None:
    """With and without an attention window, at every length of which a buffer of several rows may be."""
    model = tiny_mistral(sliding_window=window)
    for parameter in model.parameters():
        if parameter.ndim > 1:  # attention that is far from uniform: each key that is seen matters
            torch.nn.init.normal_(parameter, std=0.15, generator=torch.Generator().manual_seed(parameter.numel()))
    texts = [[random.Random(count).randrange(3, 300) for _ in range(count)] for count in LENGTHS]
    stepper = Stepper(model, filled_pack(model, texts, room=20))
    rows = stepper.keep(set(range(len(texts))))
    for number in range(4):
        newest = [3 + 11 * number + row for row in rows]
        logits = stepper.step(newest)
        for row, token in zip(rows, newest, strict=True):
            texts[row].append(token)
        with torch.inference_mode():
            plain = torch.stack([model(input_ids=torch.tensor([texts[row]])).logits[0, -1] for row in rows])
        assert (logits - plain).abs().max() <= 1e-4


KEPT = [{0, 1, 2, 3}] * 5 + [{0, 2, 3}] * 3 + [{0, 2}] * 5


def test_recorded_steps_equal_computed_ones(model: Any, graphs: list[Graph], monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = steps(model, KEPT)
    # Of steps 1-8 with four rows (three are no half of them) the first is computed, the second both, the others
    # repeated; of the last five with two rows likewise.
    assert [graph.replays for graph in graphs] == [7, 4]
    monkeypatch.setattr(generation, "_can_record", lambda device: False)
    computed = steps(model, KEPT)
    assert len(graphs) == 2
    for one, other in zip(recorded, computed, strict=True):
        assert one.keys() == other.keys()
        for row in one:
            assert torch.allclose(one[row], other[row], atol=1e-5, rtol=0)


def test_a_recording_that_gives_other_numbers_is_given_up(
    model: Any, graphs: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expected: one attempt, of which nothing reaches a result."""
    computed = steps_computed(model, monkeypatch)
    replay = Graph.replay

    def replay_wrongly(graph: Graph) -> None:
        replay(graph)
        with torch.inference_mode():
            graph.operations[-1][3][0].add_(1e-3)

    monkeypatch.setattr(Graph, "replay", replay_wrongly)
    assert same_bits(steps(model, KEPT[:5]), computed)
    assert [graph.replays for graph in graphs] == [1]


def test_a_step_that_cannot_be_recorded_is_computed(
    model: Any, graphs: list[Graph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expected: one attempt; what CUDA raises while it records is a RuntimeError."""
    computed = steps_computed(model, monkeypatch)

    @contextmanager
    def refusing(graph: Graph) -> Iterator[None]:
        yield
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing")

    monkeypatch.setattr(torch.cuda, "graph", refusing)
    assert same_bits(steps(model, KEPT[:5]), computed)
    assert [graph.replays for graph in graphs] == [0]
