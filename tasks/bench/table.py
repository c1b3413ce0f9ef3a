"""Draws a benchmark as tables: in the terminal, or as Markdown for the documentation."""

from rich.console import Console
from rich.table import Table as RichTable

from tasks.bench.records import Bench, Figure
from tasks.bench.timing import LARGEST_DIFFERENCE, SHARE_OF_LIMIT, SHARE_UNSHARED, TIMES_LOOP, TIMES_NOTEBOOK
from tasks.pages.blocks import Table, paragraph
from tasks.pages.markdown import to_markdown

_COLUMNS = 100
# Headings by quantity, in their order; between them stand the rates, of which every part has its own.
_FIRST = {"seconds": "CPU s", "wall seconds": "wall s", TIMES_NOTEBOOK: "x notebook", TIMES_LOOP: "x loop"}
_LAST = {
    SHARE_OF_LIMIT: "limit",
    SHARE_UNSHARED: "unsh.",
    "peak memory": "MB",
    LARGEST_DIFFERENCE: "max d",
    "largest difference in similarity": "max d",
    "rms difference in mean NLL": "rms d",
}
_SHORT_DTYPES = {"float32": "fp32", "bfloat16": "bf16", "float64": "fp64"}


def print_bench(bench: Bench) -> None:
    """Print a benchmark within 100 columns."""
    console = Console(highlight=False, markup=False, emoji=False, width=_COLUMNS)
    for line in _headings(bench):
        console.print(line)
    for title, table in tables_of(bench):
        console.print(f"\n{title}", style="bold")
        drawn = RichTable(box=None, padding=(0, 1, 0, 0))
        for column in table.columns:
            drawn.add_column(column, justify="left" if column in ("method", "", "count") else "right", no_wrap=True)
        for row in table.rows:
            drawn.add_row(*map(str, row))
        console.print(drawn)


def as_markdown(bench: Bench) -> str:
    """Return a benchmark as Markdown."""
    titled = [block for title, table in tables_of(bench) for block in (paragraph(title), table)]
    return to_markdown([*map(paragraph, _headings(bench)), *titled])


def tables_of(bench: Bench) -> list[tuple[str, Table]]:
    """Return a titled table for each part and model, one row per method, and one of the counts of identical answers."""
    places = dict.fromkeys((figure.part, figure.model) for figure in bench.figures)
    tables = [
        (f"{part.capitalize()}, {model}: {bench.workload.get(f'{part}, {model}', '')}", _methods(bench, part, model))
        for part, model in places
        if part not in ("identity", "experiment")
    ]
    return [*tables, ("The same bits, whatever is computed together", _identity(bench))]


def _headings(bench: Bench) -> list[str]:
    """Return what is said before the tables: when, on what, with what."""
    remark = ", a quick run: its ratios mean little" if bench.is_quick else ""
    return [
        f"{bench.measured_at:%Y-%m-%d %H:%M} UTC, {bench.seconds / 60:.0f} minutes{remark}",
        "; ".join(f"{name}: {value}" for name, value in bench.machine.items()),
        *(f"{name}: {value}" for name, value in bench.numeric_paths.items()),
        ", ".join(f"{name} {version}" for name, version in bench.versions.items()),
        *(f"Note: {note}" for note in bench.notes),
    ]


def _methods(bench: Bench, part: str, model: str) -> Table:
    """Return the methods of a part, one per row, with the quantities that any of them has."""
    figures = [figure for figure in bench.figures if (figure.part, figure.model) == (part, model)]
    dtypes = list(dict.fromkeys(figure.dtype for figure in figures))
    arms = sorted(dict.fromkeys((f.method, f.dtype) for f in figures), key=lambda arm: dtypes.index(arm[1]))
    by_arm = {arm: {f.quantity: f for f in figures if (f.method, f.dtype) == arm} for arm in arms}
    rates = dict.fromkeys(figure.quantity for figure in figures if figure.quantity.endswith(" per second"))
    headings = _FIRST | {rate: f"{rate.partition(' ')[0]}/s" for rate in rates} | _LAST
    if bench.device == "cuda" and part not in ("embedding", "statistics"):
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
    """Return a figure's value, with the range of the rounds where it is a ratio."""
    if figure is None:
        return ""
    value = _number(figure.value, figure.unit)
    if figure.unit != "x" or figure.low is None or figure.high is None or figure.low == figure.high:
        return value
    return f"{value} ({_number(figure.low, 'x')}-{_number(figure.high, 'x')})"


def _number(value: float, unit: str) -> str:
    """Return a number in the form that its unit is read in."""
    if unit == "x":
        return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
    if unit == "bytes":
        return f"{value / 1e6:,.0f}"
    if value and (unit == "nats" or (unit == "1" and value < 1e-3)):
        return f"{value:.1e}".replace("e-0", "e-")
    if unit == "1":
        return f"{value:.0%}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
