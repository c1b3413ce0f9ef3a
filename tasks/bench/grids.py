"""A benchmark as tables: what is printed and what stands in the documentation.

In: a benchmark. Out: grids of text, which table.py draws.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tasks.bench import goals
from tasks.bench.methods import PRODUCTS
from tasks.bench.records import Bench, Figure
from tasks.bench.sheet import PEAK_MEMORY, SECONDS, WALL_SECONDS
from tasks.bench.statistics_part import TIMES_LOOP

_SHORT_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float64": "fp64"}
_SHORT_QUANTITIES = {
    goals.TIMES_NOTEBOOK: "x notebook",
    goals.TIMES_LM_EVAL: "x lm-eval",
    goals.TIMES_COPYING: "x deep copies",
    goals.SHARE_OF_LIMIT: "share of the limit",
    goals.LARGEST_DIFFERENCE: "max d",
    goals.LARGEST_NOTEBOOK_DIFFERENCE: "max d of the notebook's mean",
    goals.LARGEST_SIMILARITY_DIFFERENCE: "max d",
    goals.MEMORY_WITH_WEIGHTS: "MB, weights included",
    goals.EXPERIMENT_SECONDS: "seconds of 2,500 samples",
}
_PARTS = {
    "scoring": "Scoring",
    "generation": "Generation",
    "queries": "Many queries on one document",
    "embedding": "Embedding",
    "statistics": "Statistics",
}


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of text."""

    title: str
    """What it shows."""
    columns: tuple[str, ...]
    """Their headings."""
    rows: tuple[tuple[str, ...], ...]
    """A text a column."""
    text_columns: int = 2
    """How many columns, from the first on, hold words; the others hold numbers."""


def grids_of(bench: Bench) -> list[Grid]:
    """Return the tables of a benchmark, those that have rows."""
    found = [
        _method_grid(bench, part, model)
        for part, model in dict.fromkeys((figure.part, figure.model) for figure in bench.figures)
        if part in _PARTS
    ]
    grids = [*found, _identity_grid(bench.figures), _goal_grid(bench.figures)]
    return [grid for grid in grids if grid.rows]


def headings_of(bench: Bench) -> list[str]:
    """Return what is said before the tables: when, on what, with what."""
    first = f"{bench.measured_at:%Y-%m-%d %H:%M} UTC, {bench.seconds / 60:.0f} minutes" + (
        ", a quick run: its ratios mean little" if bench.is_quick else ""
    )
    versions = ", ".join(f"{name} {version}" for name, version in bench.versions.items())
    return [
        first,
        "; ".join(f"{name}: {value}" for name, value in bench.machine.items()),
        *(f"{name}: {value}" for name, value in bench.numeric_paths.items()),
        versions,
        *(f"Note: {note}" for note in bench.notes),
    ]


def _method_grid(bench: Bench, part: str, model: str) -> Grid:
    """Return the methods of a part, one a row, with the quantities that any of them has."""
    figures = [figure for figure in bench.figures if figure.part == part and figure.model == model]
    dtypes = list(dict.fromkeys(figure.dtype for figure in figures))
    arms = sorted(dict.fromkeys((f.method, f.dtype) for f in figures), key=lambda arm: dtypes.index(arm[1]))
    by_arm = {arm: {f.quantity: f for f in figures if (f.method, f.dtype) == arm} for arm in arms}
    rates = dict.fromkeys(figure.quantity for figure in figures if figure.quantity.endswith(" per second"))
    ratio = TIMES_LOOP if part == "statistics" else goals.TIMES_NOTEBOOK
    difference = goals.LARGEST_SIMILARITY_DIFFERENCE if part == "embedding" else goals.LARGEST_DIFFERENCE
    columns = {  # heading -> quantity
        "GPU s" if bench.device == "cuda" and part in ("scoring", "generation", "queries") else "CPU s": SECONDS,
        "wall s": WALL_SECONDS,
        "x loop" if part == "statistics" else "x notebook": ratio,
        **{f"{rate.partition(' ')[0]}/s": rate for rate in rates},
        "limit": goals.SHARE_OF_LIMIT,
        "unsh.": goals.SHARE_UNSHARED,
        "MB": PEAK_MEMORY,
        "max d": difference,
        "rms d": goals.RMS_DIFFERENCE,
    }
    shown = {name: q for name, q in columns.items() if any(q in found for found in by_arm.values())}
    rows = [
        (method, _SHORT_DTYPES.get(dtype, dtype), *(_text(found.get(quantity)) for quantity in shown.values()))
        for (method, dtype), found in by_arm.items()
    ]
    workload = bench.workload.get(f"{part}, {model}", "")
    return Grid(f"{_PARTS[part]}, {model}: {workload}", ("method", "", *shown), tuple(rows))


def _identity_grid(figures: Sequence[Figure]) -> Grid:
    """Return the counts of identical answers and lines: a check a row, a model and number format a column."""
    found = [figure for figure in figures if figure.part == "identity"]
    arms = dict.fromkeys((figure.model, figure.dtype) for figure in found)
    counts = {(f.quantity, f.model, f.dtype): f"{f.value:.0f} of {f.goal:.0f}" for f in found if f.goal is not None}
    rows = [
        (quantity, *(counts.get((quantity, *arm), "") for arm in arms))
        for quantity in dict.fromkeys(figure.quantity for figure in found)
    ]
    headings = tuple(f"{model} {_SHORT_DTYPES.get(dtype, dtype)}" for model, dtype in arms)
    return Grid("The same bits, whatever is computed together", ("check", *headings), tuple(rows), text_columns=1)


def _goal_grid(figures: Sequence[Figure]) -> Grid:
    """Return every goal beside what was found, and beside what the bare products would reach."""
    limits = {
        (f.part, f.model, f.dtype): f for f in figures if f.method == PRODUCTS and f.quantity == goals.TIMES_NOTEBOOK
    }
    rows = []
    places = list(dict.fromkeys((figure.part, figure.model, figure.dtype) for figure in figures))
    for figure in sorted(figures, key=lambda f: places.index((f.part, f.model, f.dtype))):
        if figure.goal is None or figure.part == "identity":
            continue
        limit = (
            limits.get((figure.part, figure.model, figure.dtype)) if figure.quantity == goals.TIMES_NOTEBOOK else None
        )
        sign = ">=" if figure.bound == "at least" else "<="
        quantity = _SHORT_QUANTITIES.get(figure.quantity, figure.quantity)
        what = f"{figure.part}, {figure.model} {_SHORT_DTYPES.get(figure.dtype, figure.dtype)}: {quantity}"
        rows.append(
            (what, f"{sign} {_goal_number(figure.goal, figure.unit)}", _text(figure), _text(limit), _verdict([figure]))
        )
    identities = [figure for figure in figures if figure.part == "identity"]
    if identities:
        same, all_of = sum(f.value for f in identities), sum(f.goal or 0 for f in identities)
        rows.append(("identity: the same bits", f"{all_of:.0f}", f"{same:.0f}", "", _verdict(identities)))
    return Grid("Goals", ("what", "goal", "found", "products", ""), tuple(rows), text_columns=1)


def missed(figures: Iterable[Figure]) -> list[Figure]:
    """Return the figures that miss their goal."""
    return [figure for figure in figures if figure.meets_goal is False]


def _verdict(figures: Iterable[Figure]) -> str:
    return "missed" if missed(figures) else "met"


def _text(figure: Figure | None) -> str:
    """Return a figure's value, with the range of the rounds where it is a ratio."""
    if figure is None:
        return ""
    value = _number(figure.value, figure.unit)
    is_range = figure.unit == "x" and figure.low is not None and figure.high is not None and figure.low < figure.high
    return f"{value} ({_number(figure.low, 'x')}-{_number(figure.high, 'x')})" if is_range else value


def _goal_number(goal: float, unit: str) -> str:
    return f"{goal:g}" if unit == "x" else _number(goal, unit)


def _number(value: float | None, unit: str) -> str:
    """Return a number in the form that its unit is read in."""
    if value is None:
        return ""
    if unit == "x":
        return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
    if unit == "bytes":
        return f"{value / 1e6:,.0f}"
    if value and (unit == "nats" or (unit == "1" and value < 1e-3)):
        return f"{value:.1e}".replace("e-0", "e-")
    if unit == "1":
        return f"{value:.0%}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
