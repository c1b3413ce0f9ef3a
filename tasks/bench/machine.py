"""The machine in words, and the versions of what takes part.

In: nothing. Out: what a reader needs to know to place a ratio.
"""

import importlib.metadata
import os
import platform
from collections.abc import Iterable
from pathlib import Path

import psutil
import torch

from tasks.bench.matrix_products import Product, compute_products
from tasks.bench.timing import CpuMeter
from tasks.priming.engine.numeric_path import choose_numeric_path

_PACKAGES = ("torch", "transformers", "tokenizers", "sentence-transformers", "lm_eval", "numpy", "scipy")
# What decides how fast number formats are; other flags say little.
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


def describe_machine(device: str) -> dict[str, str]:
    """Return what computes: processor, its instructions and cores, memory, GPU, threads and how busy it is."""
    facts = _processor_facts()
    found = {
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "processor": facts["name"],
        "instructions": facts["flags"],
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "threads": str(torch.get_num_threads()),
        "load": f"{psutil.getloadavg()[0]:.1f} at the start",
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["GPU"] = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
    return found


def describe_versions() -> dict[str, str]:
    """Return the versions of the installed packages that take part."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed
    return found


def probe_speed(dtypes: Iterable[str]) -> dict[str, str]:
    """Return by number format the CPU's numeric path, and the speed of a large product on it and on torch's default."""
    found = {}
    for dtype in dtypes:
        path = choose_numeric_path("cpu", dtype)
        product = Product(2048, torch.ones((3072, 3072), dtype=getattr(torch, dtype)))
        found[dtype] = (
            f"{path}, {_speed(product, path):.0f} GFLOP/s a core (torch's default: {_speed(product, 'default'):.0f})"
        )
    return found


def _speed(product: Product, path: str) -> float:
    """Return GFLOP/s of processor time."""
    compute_products([product], path)
    return product.operations / CpuMeter().time(lambda: compute_products([product], path)).seconds / 1e9


def _processor_facts() -> dict[str, str]:
    """Return the processor's name and its telling instructions, from /proc/cpuinfo where there is one."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    pairs = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {name.strip(): value.strip() for name, value in pairs.items()}
    model = f"family {facts['cpu family']}, model {facts['model']}" if "cpu family" in facts else ""
    name = facts.get("model name") or platform.processor() or "unknown"
    flags = facts.get("flags", facts.get("Features", "")).split()
    return {
        "name": f"{name} ({model})" if model else name,
        "flags": ", ".join(flag for flag in _TELLING_FLAGS if flag in flags) or "unknown",
    }
