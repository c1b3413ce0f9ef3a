"""The arithmetic of matrix products, chosen by the hardware's abilities and an error probe.

In: a device and a dtype. Out: a name that is part of the keys of every model stage (another path gives other bits), and
a context in which torch uses that path. The choice never depends on timing: a rerun must find the same path and hence
its cache.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from threading import RLock
from typing import Any

import torch

# float32 matrix products of oneDNN and MKL both stay near 2e-6 of the largest element; bfloat16 parts give 1e-2.
_LARGEST_PROBE_ERROR = 1e-5

ONEDNN = "cpu-float32-onednn"  # float32 on the CPU through oneDNN
ONEDNN_LAYERS = "cpu-float32-onednn-layers"  # the same, but attention through torch's default

_TORCH_LINEAR, _TORCH_ADDMM = torch.nn.functional.linear, torch.addmm

_computing = RLock()
"""Held within a path: precision and layers are the whole process's, so that a thread that left its path would take it
from one that still computes."""

_INSTRUCTION_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Environment variables by which a user keeps a library from using some of the CPU's instructions."""


def choose_numeric_path(device: str, dtype: str, quantization: str = "none") -> str:
    """Return the name of the numeric path, e.g. "cpu-float32-onednn", "cuda-bfloat16" or "cuda-float16-nf4".

    On x86 CPUs, torch's default for float32 is MKL, whose sums for a row depend on how many other rows there are (with
    AVX2, and with two threads), and which runs at half the speed of oneDNN on AMD. oneDNN's do not. Layers go through
    oneDNN on all of them. torch's "medium" precision sends the products of attention there as well where the CPU has
    AVX512, but takes bfloat16 for them where it has bfloat16 matrix units (AMX); a probe multiplies fixed matrices to
    find out.
    """
    if quantization != "none":
        return f"{device}-{dtype}-{quantization}"
    if device != "cpu" or dtype != "float32":
        return f"{device}-{dtype}"
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]  # torch has no types here
    if not (is_x86 and has_onednn):
        return "cpu-float32-default"
    return ONEDNN if _medium_is_float32() else ONEDNN_LAYERS


def is_batch_invariant(name: str) -> bool:
    """Tell whether a row of a matrix product is known to have the same bits whatever the other rows.

    On other paths, and with more than two threads (see forward.py), a run measures and records the largest difference
    and does not claim identity.
    """
    return name in (ONEDNN, ONEDNN_LAYERS) and torch.get_num_threads() <= 2


def instruction_set() -> str:
    """Return which of the CPU's vector instructions torch and its libraries use, e.g. "AVX2".

    Other instructions give sums other last bits: an NLL differs by up to 7e-4 nats.
    """
    limits = [f"{name}={os.environ[name]}" for name in _INSTRUCTION_LIMITS if os.environ.get(name)]
    return " ".join([torch.backends.cpu.get_cpu_capability(), *limits])  # which follows ATEN_CPU_CAPABILITY


@contextmanager
def numeric_path(name: str) -> Iterator[None]:
    """Compute on the named path within the context and restore torch's setting afterwards; other threads wait."""
    layers = _onednn_layers() if name in (ONEDNN, ONEDNN_LAYERS) else nullcontext()
    with _computing, _matmul_precision("medium" if name == ONEDNN else "highest"), layers:
        yield


@contextmanager
def _matmul_precision(name: str) -> Iterator[None]:
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(previous)


@contextmanager
def _onednn_layers() -> Iterator[None]:
    """Compute the layers of all models in this process through oneDNN, as the precision is that of the process.

    A TorchFunctionMode, which every operation passes, would take 6 % of the time with a small model.
    """
    previous = torch.nn.functional.linear, torch.addmm
    torch.nn.functional.linear, torch.addmm = _linear, _addmm  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.nn.functional.linear, torch.addmm = previous


def _linear(left: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Compute a linear layer through oneDNN in full float32, whatever torch would take on this CPU."""
    if left.dtype != torch.float32:
        return _TORCH_LINEAR(left, weight, bias)
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(left, weight, bias, "none", [], "")
    return product


def _addmm(bias: torch.Tensor, left: torch.Tensor, weight: torch.Tensor, **others: Any) -> torch.Tensor:  # noqa: ANN401
    """Do the same for a layer of transformers' class Conv1D, as in GPT-2."""
    if others or bias.ndim != 1:
        return _TORCH_ADDMM(bias, left, weight, **others)
    return _linear(left, weight.t(), bias)


@cache
def _medium_is_float32() -> bool:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(256, 512, generator=generator)
    right = torch.randn(512, 384, generator=generator)
    exact = left.double() @ right.double()
    with _matmul_precision("medium"):
        error = (torch.nn.functional.linear(left, right.T.contiguous()).double() - exact).abs().max()
    return bool(error / exact.abs().max() <= _LARGEST_PROBE_ERROR)
