"""The whole benchmark: all parts of all models, one after the other in this process.

In: a device and names. Out: one Bench. One thread computes on a CPU, since threads that wait for each other would be
measured along; the setting is put back afterwards.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Literal

import torch

from tasks.bench.embedding_part import measure_embedding
from tasks.bench.experiment_part import sum_experiment
from tasks.bench.generation_part import measure_generation
from tasks.bench.identity import check_identity, threads
from tasks.bench.machine import describe_machine, describe_versions, probe_speed
from tasks.bench.models import load_models
from tasks.bench.plans import (
    DEFAULT_DTYPES,
    DEFAULT_MODELS,
    QUICK_RESAMPLES,
    QUICK_SIMILARITY_SAMPLES,
    RESAMPLES,
    SIMILARITY_SAMPLES,
    Plan,
    plan_of,
)
from tasks.bench.queries_part import measure_queries
from tasks.bench.records import Bench
from tasks.bench.scoring_part import measure_scoring
from tasks.bench.sheet import Sheet
from tasks.bench.statistics_part import measure_statistics
from tasks.bench.timing import CpuMeter, CudaMeter
from tasks.loading.data import SetupError

Report = Callable[[str], None]

_FULL = (3, SIMILARITY_SAMPLES, RESAMPLES)
# Times the seconds of computing that passed, from which on the machine is taken to be busy.
_BUSY = 1.3


def measure(
    device: Literal["cpu", "cuda"],
    *,
    models: Sequence[str] = (),
    dtypes: Sequence[str] = (),
    is_quick: bool = False,
    report: Report,
) -> Bench:
    """Measure everything.

    Args:
        device: Where the language models run; embedding and statistics always run on the CPU.
        models: Names of models; empty: the device's default.
        dtypes: Number formats, that of the basis of all ratios first; empty: the device's default.
        is_quick: Whether a small workload will do.
        report: Told what is being done.

    Raises:
        SetupError: The device or a model is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise SetupError("The benchmark was asked to use a GPU; torch finds none. Use the CPU: make bench DEVICE=cpu")
    names = models or (("tiny",) if is_quick and device == "cpu" else DEFAULT_MODELS[device])
    formats = dtypes or DEFAULT_DTYPES[device]
    start = time.monotonic()
    rounds, pairs, resamples = (2, QUICK_SIMILARITY_SAMPLES, QUICK_RESAMPLES) if is_quick else _FULL
    with threads(1):
        machine = describe_machine(device)
        # First, since it is short: if a package is missing, that shows before the long parts.
        short = [measure_embedding(pairs, rounds, report=report), measure_statistics(resamples, rounds, report=report)]
        sheets: list[Sheet] = []
        for name in names:
            sheets += _measure_model(name, formats, device, plan_of(name, device, is_quick=is_quick), report)
        sheets += short
        paths = probe_speed(formats) if device == "cpu" else {}
    if not is_quick:
        figures = [figure for sheet in sheets for figure in sheet.figures]
        sheets += [sum_experiment(n, formats, plan_of(n, device, is_quick=False), figures, pairs) for n in names]
    return Bench(
        measured_at=datetime.now(UTC),
        seconds=round(time.monotonic() - start, 1),
        device=device,
        is_quick=is_quick,
        machine=machine,
        numeric_paths=paths,
        versions=describe_versions(),
        workload={f"{sheet.part}, {sheet.model}": sheet.workload for sheet in sheets},
        notes=_notes(sheets),
        figures=tuple(figure for sheet in sheets for figure in sheet.figures),
    )


def _measure_model(name: str, dtypes: Sequence[str], device: str, plan: Plan, report: Report) -> list[Sheet]:
    """Measure all parts that a language model computes."""
    report(f"{name}: loading")
    models = load_models(name, dtypes, device)
    meter = CudaMeter() if device == "cuda" else CpuMeter()
    sheets = [
        measure_scoring(name, models, plan, meter=meter, report=report),
        measure_generation(name, models, plan, meter=meter, report=report),
    ]
    if plan.queries:
        sheets.append(measure_queries(name, models, plan, meter=meter, report=report))
    sheets.append(check_identity(name, models, plan, report=report))
    return sheets


def _notes(sheets: Sequence[Sheet]) -> tuple[str, ...]:
    """Return what a reader has to know, each thing once."""
    notes = list(dict.fromkeys(note for sheet in sheets for note in sheet.notes))
    slow = [f"{sheet.part}, {sheet.model} ({sheet.waiting:.1f})" for sheet in sheets if sheet.waiting > _BUSY]
    if slow:
        notes.append(
            f"More time passed than was computed, so the machine was busy with something else: {'; '.join(slow)} times "
            "the seconds of computing."
        )
    return tuple(notes)
