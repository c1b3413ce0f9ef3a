"""The whole benchmark: all parts of all models, one after the other in this process, and the machine in words.

In: a device and names. Out: one Bench. One thread computes on a CPU, since threads that wait for each other would be
measured as well; the setting is restored afterwards.
"""

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import psutil
import torch

from tasks.bench.generation import measure_generation
from tasks.bench.identity import check_identity, threads
from tasks.bench.models import load_models
from tasks.bench.queries import measure_queries
from tasks.bench.records import Bench
from tasks.bench.scoring import measure_scoring
from tasks.bench.timing import Part, Report, time_on_cpu
from tasks.bench.workload import Subject, plan_of
from tasks.loading.data import SetupError
from tasks.priming.engine.numeric_path import choose_numeric_path, numeric_path

DEFAULT_MODELS = {"cpu": ("small", "wide", "smollm2-135m"), "cuda": ("mistral-7b",)}
DEFAULT_DTYPES = {"cpu": ("float32", "bfloat16"), "cuda": ("bfloat16",)}

# Elapsed time / computing time from which on the machine is taken to be busy.
_BUSY = 1.3
_PACKAGES = ("torch", "transformers", "tokenizers", "lm_eval", "numpy", "scipy")
# What decides how fast number formats are; other flags say little.
_TELLING_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve", "bf16")


def measure(
    device: Literal["cpu", "cuda"],
    *,
    models: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    is_quick: bool = False,
    report: Report,
) -> Bench:
    """Measure everything.

    Models and number formats, that of the base of all ratios first, are by default those of the device.

    Raises:
        SetupError: The device or a model is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SetupError("The benchmark was asked to use a GPU; torch finds none. Use the CPU: make bench DEVICE=cpu")
    names = models or (("tiny",) if is_quick and device == "cpu" else DEFAULT_MODELS[device])
    formats = dtypes or DEFAULT_DTYPES[device]
    start = time.monotonic()
    with threads(1):
        machine = describe_machine(device)
        parts: list[Part] = []
        for name in names:
            report(f"{name}: loading")
            subject = Subject(
                name, load_models(name, formats, device), plan_of(name, device, is_quick=is_quick), report
            )
            parts += [measure_scoring(subject), measure_generation(subject)]
            if subject.plan.queries:
                parts.append(measure_queries(subject))
            parts.append(check_identity(subject))
        paths = probe_speed(formats) if device == "cpu" else {}
    return Bench(
        measured_at=datetime.now(UTC),
        seconds=round(time.monotonic() - start, 1),
        device=device,
        is_quick=is_quick,
        machine=machine,
        numeric_paths=paths,
        versions=_versions(),
        workload={f"{part.name}, {part.model}": part.workload for part in parts},
        notes=_notes(parts),
        figures=tuple(figure for part in parts for figure in part.figures),
    )


def _notes(parts: Sequence[Part]) -> tuple[str, ...]:
    """Return what a reader has to know, each thing once."""
    notes = list(dict.fromkeys(note for part in parts for note in part.notes))
    slow = [f"{part.name}, {part.model} ({part.waiting:.1f})" for part in parts if part.waiting > _BUSY]
    if slow:
        notes.append(f"The machine was busy with something else; elapsed time / computing time: {'; '.join(slow)}.")
    return tuple(notes)


def describe_machine(device: str) -> dict[str, str]:
    """Return what computes: processor, its instructions and cores, memory, GPU, threads and how busy it is."""
    path = Path("/proc/cpuinfo")
    pairs = (line.partition(":") for line in path.read_text(encoding="utf-8").splitlines()) if path.exists() else ()
    facts = {name.strip(): value.strip() for name, _, value in pairs if value}
    flags = facts.get("flags", facts.get("Features", "")).split()
    found = {
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "processor": facts.get("model name") or platform.processor() or "unknown",
        "instructions": ", ".join(flag for flag in _TELLING_FLAGS if flag in flags) or "unknown",
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "threads": str(torch.get_num_threads()),
        "load": f"{psutil.getloadavg()[0]:.1f} at the start",
    }
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["GPU"] = f"{properties.name}, {properties.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
    return found


def _versions() -> dict[str, str]:
    """Return the versions of the installed packages that take part; lm_eval is an extra."""
    installed = {
        package.name.lower().replace("-", "_"): package.version for package in importlib.metadata.distributions()
    }
    return {name: version for name in _PACKAGES if (version := installed.get(name.replace("-", "_")))}


def probe_speed(dtypes: Iterable[str]) -> dict[str, str]:
    """Return by number format the CPU's numeric path, and the speed of a large product on it and on torch's default."""
    found = {}
    for dtype in dtypes:
        path = choose_numeric_path("cpu", dtype)
        weight = torch.ones((3072, 3072), dtype=getattr(torch, dtype))
        own, default = _speed(weight, path), _speed(weight, "default")
        found[dtype] = f"{path}, {own:.0f} GFLOP/s a core (torch's default: {default:.0f})"
    return found


def _speed(weight: torch.Tensor, path: str) -> float:
    """Return GFLOP/s of processor time."""
    left = torch.ones((2048, weight.shape[1]), dtype=weight.dtype)

    def compute() -> None:
        with torch.inference_mode(), numeric_path(path):
            torch.nn.functional.linear(left, weight)

    compute()
    return 2 * len(left) * weight.numel() / time_on_cpu(compute).seconds / 1e9
