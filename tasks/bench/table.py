"""A benchmark as tables: for the terminal, or as Markdown for the documentation."""

from collections.abc import Iterator

from tasks.bench.records import Bench, Figure
from tasks.bench.timing import LARGEST_DIFFERENCE, SHARE_OF_LIMIT, TIMES_NOTEBOOK
from tasks.pages.blocks import Block, Table, paragraph
from tasks.pages.numbers import ratio

# Headings by quantity, in their order; between them stand the rates, of which every part has its own.
_FIRST = {"seconds": "CPU s", TIMES_NOTEBOOK: "x notebook"}
_LAST = {
    SHARE_OF_LIMIT: "limit",
    "peak memory": "MB",
    LARGEST_DIFFERENCE: "max d",
}
_SHORT_DTYPES = {"float32": "fp32", "bfloat16": "bf16"}


def blocks_of(bench: Bench) -> Iterator[Block]:
    """Yield when, on what and with what was measured, a table for each part and model, and the identical answers."""
    remark = ", a quick run: its ratios mean little" if bench.is_quick else ""
    yield paragraph(f"{bench.measured_at:%Y-%m-%d %H:%M} UTC, {bench.seconds / 60:.0f} minutes{remark}")
    yield paragraph("; ".join(f"{name}: {value}" for name, value in bench.machine.items()))
    for dtype, path in bench.numeric_paths.items():
        yield paragraph(f"{dtype}: {path}")
    yield paragraph(", ".join(f"{name} {version}" for name, version in bench.versions.items()))
    for note in bench.notes:
        yield paragraph(f"Note: {note}")
    for part, model in dict.fromkeys((figure.part, figure.model) for figure in bench.figures):
        if part != "identity":
            yield paragraph(f"{part.capitalize()}, {model}: {bench.workload.get(f'{part}, {model}', '')}")
            yield _methods(bench, part, model)
    yield paragraph("Identical bits in other batches, orders, chunks and threads")
    yield _identity(bench)


def _methods(bench: Bench, part: str, model: str) -> Table:
    """Return the methods of a part, one per row, with the quantities that any of them has."""
    figures = [figure for figure in bench.figures if (figure.part, figure.model) == (part, model)]
    dtypes = list(dict.fromkeys(figure.dtype for figure in figures))
    arms = sorted(dict.fromkeys((f.method, f.dtype) for f in figures), key=lambda arm: dtypes.index(arm[1]))
    by_arm = {arm: {f.quantity: f for f in figures if (f.method, f.dtype) == arm} for arm in arms}
    rates = dict.fromkeys(figure.quantity for figure in figures if figure.quantity.endswith(" per second"))
    headings = _FIRST | {rate: f"{rate.partition(' ')[0]}/s" for rate in rates} | _LAST
    if bench.device == "cuda":
        headings["seconds"] = "GPU s"
    shown = [quantity for quantity in headings if any(quantity in found for found in by_arm.values())]
    rows = [
        (method, _SHORT_DTYPES.get(dtype, dtype), *(_text(found.get(quantity)) for quantity in shown))
        for (method, dtype), found in by_arm.items()
    ]
    return Table(("method", "", *(headings[quantity] for quantity in shown)), tuple(rows), text_columns=2)


def _identity(bench: Bench) -> Table:
    """Return the counts of identical answers and lines: one count per row, a model and number format per column."""
    figures = [figure for figure in bench.figures if figure.part == "identity"]
    counts = {(f.quantity, f.model, f.dtype): f"{f.value:.0f}" for f in figures}
    arms = dict.fromkeys((figure.model, figure.dtype) for figure in figures)
    quantities = dict.fromkeys(figure.quantity for figure in figures)
    rows = [(quantity, *(counts.get((quantity, *arm), "") for arm in arms)) for quantity in quantities]
    return Table(("count", *(f"{model} {_SHORT_DTYPES.get(dtype, dtype)}" for model, dtype in arms)), tuple(rows))


def _text(figure: Figure | None) -> str:
    """Return a figure's value in the form that its unit is read in, with the range of the rounds if it is a ratio."""
    if figure is None:
        return ""
    value = figure.value
    match figure.unit:
        case "x":
            is_range = figure.low is not None and figure.low != figure.high
            return ratio(value) + (f" ({ratio(figure.low)}-{ratio(figure.high)})" if is_range else "")
        case "bytes":
            return f"{value / 1e6:,.0f}"
        case "1" if value >= 1e-3:
            return f"{value:.0%}"
        case "1" | "nats" if value:
            return f"{value:.1e}".replace("e-0", "e-")
        case _:
            return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
