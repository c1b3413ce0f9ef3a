"""The arithmetic of matrix products, chosen by the hardware's abilities and an error probe.

In: a device and a dtype. Out: a name that is part of the keys of every model stage (another path gives other bits), and
a context in which torch uses that path. The choice never depends on timing: a rerun must find the same path and hence
its cache.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

# float32 matrix products of oneDNN and MKL both stay near 2e-6 of the largest element; bfloat16 parts give 1e-2.
_LARGEST_PROBE_ERROR = 1e-5

ONEDNN = "cpu-float32-onednn"  # float32 on the CPU through oneDNN

_INSTRUCTION_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Environment variables by which a user keeps a library from using some of the CPU's instructions."""


def choose_numeric_path(device: str, dtype: str, quantization: str = "none") -> str:
    """Return the name of the numeric path, e.g. "cpu-float32-onednn", "cuda-bfloat16" or "cuda-float16-nf4".

    On CPUs, torch's default for float32 is MKL, which on AMD runs at half the speed of oneDNN; allowing torch
    "medium" precision selects oneDNN, which keeps full float32 unless the CPU has bfloat16 matrix units (AMX). The
    probe multiplies fixed matrices on both paths to find out.
    """
    if quantization != "none":
        return f"{device}-{dtype}-{quantization}"
    if device != "cpu" or dtype != "float32":
        return f"{device}-{dtype}"
    return ONEDNN if _medium_is_float32() else "cpu-float32-default"


def is_batch_invariant(name: str) -> bool:
    """Tell whether a row of a matrix product is known to have the same bits whatever the other rows.

    On other paths, and with more than two threads (see forward.py), a run measures and records the largest difference
    and does not claim identity.
    """
    return name == ONEDNN and torch.get_num_threads() <= 2


def instruction_set() -> str:
    """Return which of the CPU's vector instructions torch and its libraries use, e.g. "AVX2".

    Other instructions give sums other last bits: an NLL differs by up to 7e-4 nats.
    """
    limits = [f"{name}={os.environ[name]}" for name in _INSTRUCTION_LIMITS if os.environ.get(name)]
    return " ".join([torch.backends.cpu.get_cpu_capability(), *limits])  # which follows ATEN_CPU_CAPABILITY


@contextmanager
def numeric_path(name: str) -> Iterator[None]:
    """Compute on the named path within the context and restore torch's setting afterwards."""
    previous = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium" if name == ONEDNN else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(previous)


@cache
def _medium_is_float32() -> bool:
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(256, 512, generator=generator)
    right = torch.randn(512, 384, generator=generator)
    exact = left.double() @ right.double()
    with numeric_path(ONEDNN):
        error = (torch.nn.functional.linear(left, right.T.contiguous()).double() - exact).abs().max()
    return bool(error / exact.abs().max() <= _LARGEST_PROBE_ERROR)
