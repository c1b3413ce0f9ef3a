"""The whole experiment, as the sum of its measured parts: what 2,500 samples would take by ours and by the notebook.

In: the figures of all parts. Out: a sheet a model. It is arithmetic on what was measured, for the machine and model on
which it was: loading models and data, files and the database are not in it.
"""

from collections.abc import Iterable, Mapping, Sequence

from tasks.bench import goals
from tasks.bench.methods import LOOP, NOTEBOOK, OURS
from tasks.bench.plans import Plan
from tasks.bench.records import Figure
from tasks.bench.sheet import SECONDS, Sheet

SAMPLES = 2_500
"""Samples of the published run."""


def sum_experiment(
    name: str, dtypes: Sequence[str], plan: Plan, figures: Iterable[Figure], similarity_samples: int
) -> Sheet:
    """Return what the experiment would take by ours in each number format, and how many times that the notebook.

    Args:
        name: The model.
        dtypes: Its number formats, that of the notebook's method first.
        plan: How much of each part was measured.
        figures: Those of all parts.
        similarity_samples: Samples of the embedding part.
    """
    sheet = Sheet("experiment", name)
    seconds = {
        (figure.part, figure.method, figure.dtype): figure.value
        for figure in figures
        if figure.quantity == SECONDS and (figure.model == name or figure.part in ("embedding", "statistics"))
    }
    notebook = _total(
        seconds, (NOTEBOOK, LOOP), dtypes[0], (plan.slice_samples, plan.slice_passages, similarity_samples)
    )
    for dtype in dtypes:
        ours = _total(seconds, (OURS, OURS), dtype, (plan.samples, plan.passages, similarity_samples))
        sheet.add((OURS, dtype), goals.EXPERIMENT_SECONDS, ours, "s")
        sheet.add((OURS, dtype), goals.TIMES_NOTEBOOK, notebook / ours, "x")
    sheet.workload = f"{SAMPLES:,} samples, from what the parts took"
    return sheet


def _total(
    seconds: Mapping[tuple[str, str, str], float], methods: tuple[str, str], dtype: str, counts: tuple[int, int, int]
) -> float:
    """Return the seconds of all samples: scoring, generation and embedding by the first method, statistics once."""
    first, statistics = methods
    parts = [("scoring", dtype), ("generation", dtype), ("embedding", "float32")]
    each = [seconds[part, first, kind] / count for (part, kind), count in zip(parts, counts, strict=True)]
    return SAMPLES * sum(each) + seconds["statistics", statistics, "float64"]
