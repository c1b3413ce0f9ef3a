"""The command line of the benchmark: what is measured, where it is written, the exit status.

Status 0: it ran, whatever it found. 1: something broke. 2: what was given cannot be used.
"""

import argparse
import sys
from collections.abc import Sequence

from tasks.commands.guard import guarded
from tasks.priming.errors import UsageError

_DTYPES = ("float32", "bfloat16", "float16")


@guarded(again="Nothing was written. A shorter run: python -m flows.bench --quick")
def run_command(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark, or print the newest as Markdown, and return the exit status."""
    options = _parser().parse_args(arguments)
    from tasks.bench.records import read_newest, write_bench
    from tasks.bench.table import as_markdown, print_bench

    if options.table:
        sys.stdout.write(as_markdown(read_newest()))
        return 0
    from tasks.bench.measuring import measure

    dtypes = _names(options.dtype)
    if unknown := [dtype for dtype in dtypes if dtype not in _DTYPES]:
        raise UsageError(f"Unknown number format {unknown[0]!r}. Allowed are {', '.join(_DTYPES)}: --dtype float32")
    models = _names(options.model)
    bench = measure(options.device, models=models, dtypes=dtypes, is_quick=options.quick, report=_report)
    path = write_bench(bench)
    print_bench(bench)
    sys.stdout.write(f"\nWritten to {path}\n")
    return 0


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip()) if text else ()


def _report(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m flows.bench",
        description="This project's methods compared with the notebook's, in one process, as ratios.",
        allow_abbrev=False,
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="Where the language models run.")
    parser.add_argument(
        "--model",
        metavar="NAMES",
        help="small, wide or mistral-7b (random weights), ids on the hub or local folders; separated by commas. "
        "Default: small,wide on a CPU, mistral-7b on a GPU.",
    )
    parser.add_argument(
        "--dtype",
        metavar="NAMES",
        help=f"Number formats, separated by commas ({', '.join(_DTYPES)}); the first is what others are compared with. "
        "Default: float32,bfloat16 on a CPU, bfloat16 on a GPU.",
    )
    parser.add_argument("--quick", action="store_true", help="A small workload, in under a minute; ratios mean little.")
    parser.add_argument("--table", action="store_true", help="Measure nothing; print the newest result as Markdown.")
    return parser
