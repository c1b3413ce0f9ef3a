"""Products of a layer: full float32, and for a row the same bits whatever the other rows, on any x86 CPU."""

import copy
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from tasks.priming.engine.numeric_path import (
    ONEDNN,
    ONEDNN_LAYERS,
    choose_numeric_path,
    is_batch_invariant,
    numeric_path,
)
from tests.places import ROOT

PATH = choose_numeric_path("cpu", "float32")
PROMISED = pytest.mark.skipif(not is_batch_invariant(PATH), reason=f"bits are promised on x86 CPUs, not on {PATH}")


def test_the_numeric_path_is_named_by_device_dtype_and_quantisation() -> None:
    assert choose_numeric_path("cpu", "float32") in (ONEDNN, ONEDNN_LAYERS, "cpu-float32-default")
    assert choose_numeric_path("cuda", "bfloat16") == "cuda-bfloat16"
    assert choose_numeric_path("cpu", "float32", "nf4") == "cpu-float32-nf4"


@pytest.mark.parametrize("has_bias", [False, True])
def test_a_layer_is_computed_in_full_float32(has_bias: bool) -> None:
    """bfloat16, which torch's "medium" precision takes on some CPUs, would be off by 3e-3."""
    layer, rows = torch.nn.Linear(576, 192, bias=has_bias), torch.randn(2, 40, 576)
    with torch.inference_mode(), numeric_path(PATH):
        found, exact = layer(rows), copy.deepcopy(layer).double()(rows.double())
    assert float((found - exact).abs().max() / exact.abs().max()) < 2e-6


def test_other_number_formats_and_other_functions_are_computed_as_without_the_path() -> None:
    layer, rows = torch.nn.Linear(64, 32).bfloat16(), torch.randn(5, 64).bfloat16()
    with torch.inference_mode():
        expected = layer(rows), torch.softmax(rows, dim=-1)
        with numeric_path(PATH):
            found = layer(rows), torch.softmax(rows, dim=-1)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))


def test_a_thread_that_leaves_a_path_takes_it_from_no_other() -> None:
    """Two chunks are routed at once in threads of one process, whose setting it is."""
    began, entered = Event(), Event()

    def leave_early() -> None:
        with numeric_path(PATH):
            began.set()
            entered.wait(0.2)  # in vain where the other thread waits for this one

    def setting() -> tuple[object, str]:
        return torch.nn.functional.linear, torch.get_float32_matmul_precision()

    outside = setting()
    with numeric_path(PATH):
        inside = setting()
    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(leave_early)
        began.wait()
        with numeric_path(PATH):
            entered.set()
            other.result()
            assert setting() == inside
    assert setting() == outside


@PROMISED
@pytest.mark.parametrize("layer_class", [torch.nn.Linear, Conv1D])
@pytest.mark.parametrize("thread_count", [1, 2])
def test_a_row_has_the_same_bits_whatever_the_other_rows(thread_count: int, layer_class: type) -> None:
    """MKL, torch's default, fails this with two threads, and on CPUs with AVX2 alone with one; Conv1D is GPT-2's."""
    before = torch.get_num_threads()
    torch.set_num_threads(thread_count)
    try:
        for sizes in ((576, 576), (1536, 576), (576, 1536), (256, 688)):
            layer = layer_class(*sizes)  # input and output width; for Conv1D the other way round
            rows = torch.randn(2112, sizes[layer_class is Conv1D])
            with torch.inference_mode(), numeric_path(PATH):
                whole = layer(rows)
                for count in (16, 32, 64, 128, 320, 1088):
                    assert torch.equal(layer(rows[64 : 64 + count].clone()), whole[64 : 64 + count])
    finally:
        torch.set_num_threads(before)


GROWTH = """
from tasks.priming.engine.forward import forward_packed
from tasks.priming.engine.numeric_path import choose_numeric_path, numeric_path
from tasks.priming.engine.segments import Segment
from tests.tiny_models import tiny_mistral

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

model = tiny_mistral(hidden_size=576, intermediate_size=1536, num_hidden_layers=1)
with numeric_path(choose_numeric_path("cpu", "float32")):
    for rows in range(400, 900, 2):
        forward_packed(model, [Segment([5] * 100)] * (rows // 100) + [Segment([5] * (rows % 100 + 1))], keep=[3])
        if rows == 450:
            before = resident()
print(resident() - before)
"""


@PROMISED
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_packs_of_ever_other_sizes_do_not_fill_the_memory() -> None:
    """Torch and oneDNN keep what they prepare for each number of rows."""
    found = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(found.stdout) < 100_000_000, found.stdout


AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


@PROMISED
@pytest.mark.slow
@pytest.mark.parametrize("limits", [AVX2, {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}], ids=["avx2", "avx512"])
def test_what_is_promised_holds_with_fewer_instructions(limits: dict[str, str]) -> None:
    """As on older CPUs than this one: the tests of the same bits, in a process of their own."""
    places = ["test_scoring", "test_routing", "test_answers", "arms/test_treatments"]
    places += ["engine/test_generation", "engine/test_numeric_path"]
    files = [f"tests/priming/{place}.py" for place in places]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "slow or not slow"]
    command += ["-k", "bits or alone or order or subset", *files]
    found = subprocess.run(command, env=os.environ | limits, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout
    assert "skipped" not in found.stdout
