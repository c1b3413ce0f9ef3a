"""Packs as sequences for torch's varlen kernel, which only a GPU has: here a stand-in by its documentation computes."""

import random
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tasks.priming.engine import varlen
from tasks.priming.engine.forward import forward_packed
from tasks.priming.engine.kv_cache import prefill
from tasks.priming.engine.segments import Segment
from tests.tiny_models import tiny_mistral


def documented_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seq_q: torch.Tensor,
    cu_seq_k: torch.Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
    num_splits: int,
) -> torch.Tensor:
    """Attend sequence by sequence; rows are the last ones of their sequence, which sees `window_size[0]` back."""
    assert (cu_seq_q.dtype, cu_seq_k.dtype, num_splits, window_size[1]) == (torch.int32, torch.int32, 1, 0)
    outputs = []
    for i in range(len(cu_seq_q) - 1):
        rows, keys = (slice(int(ends[i]), int(ends[i + 1])) for ends in (cu_seq_q, cu_seq_k))
        q, k, v = query[rows].transpose(0, 1), key[keys].transpose(0, 1), value[keys].transpose(0, 1)
        assert q.shape[1] <= max_q
        assert k.shape[1] <= max_k
        mask = torch.ones(q.shape[1], k.shape[1], dtype=torch.bool).tril(k.shape[1] - q.shape[1])
        if window_size[0] >= 0:
            mask = mask.triu(k.shape[1] - q.shape[1] - window_size[0])
        attended = torch.nn.functional.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=mask, scale=scale, enable_gqa=enable_gqa
        )
        outputs.append(attended[0].transpose(0, 1))
    return torch.cat(outputs)


def model_with(sliding_window: int | None) -> Any:
    return tiny_mistral(sliding_window=sliding_window)


def random_ids(count: int, seed: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(3, 300), k=count))


@pytest.mark.parametrize("window", [None, 12])
def test_sequences_give_what_blocks_give(window: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expected: the block path's logits, which other tests compare with the models' own attention."""
    model = model_with(window)
    prefix = prefill(model, [Segment(random_ids(20, 1))])[0]
    context = Segment(random_ids(90, 2), prefix)
    other = Segment(random_ids(40, 3))
    branches = (random_ids(5, 5), (), random_ids(3, 6))
    hidden = (4, 9) if window is None else (0, 0)
    segments = [context, other, Segment(random_ids(8, 4), context, hidden, branches), Segment(random_ids(6, 7), other)]
    # A dropped beginning leaves no gap: with a window too.
    first = Segment(random_ids(20, 1)[:1], start=100)
    segments += [first, Segment(random_ids(9, 8), context, (0, 101), branches, first)]
    count = sum(len(segment.all_ids) for segment in segments)
    blocks = forward_packed(model, segments, keep=range(count)).logits
    monkeypatch.setattr(varlen, "varlen_attn", documented_varlen)
    monkeypatch.setattr("tasks.priming.engine.attention.is_usable", lambda query, softcap: True)
    sequences = forward_packed(model, segments, keep=range(count)).logits
    assert blocks is not None
    assert sequences is not None
    assert (blocks - sequences).abs().max() <= 1e-5


def test_a_gap_in_a_window_is_left_to_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel counts keys that are there, a window counts positions."""
    model = model_with(12)
    head = Segment(random_ids(20, 1))
    monkeypatch.delattr(varlen, "varlen_attn")  # to call it would fail
    monkeypatch.setattr("tasks.priming.engine.attention.is_usable", lambda query, softcap: True)
    gapped = Segment(random_ids(4, 2), head, hidden=(3, 6))
    assert forward_packed(model, [head, gapped], keep=[22]).logits is not None


def test_the_kernel_is_for_gpus_in_16_bits() -> None:
    assert not varlen.is_usable(torch.zeros(1, 2, 3, 64, dtype=torch.bfloat16), None)
    assert not varlen.is_usable(torch.zeros(1, 2, 3, 64), None)


@pytest.mark.parametrize(("capability", "expected"), [((7, 0), False), ((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_the_kernel_is_for_gpus_that_it_runs_on(
    capability: tuple[int, int], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It refuses a V100 (7.0) and a T4 (7.5), where a model in four bits is typically run."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda device: capability)
    with FakeTensorMode():  # a tensor that says that it is on a GPU, without one
        query = torch.empty(1, 2, 3, 64, dtype=torch.float16, device="cuda")
    assert varlen.is_usable(query, None) is expected
    assert not varlen.is_usable(query, 50.0)
