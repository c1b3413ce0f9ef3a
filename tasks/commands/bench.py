"""The verb `bench`: this project's methods compared with the notebook's and others, in one process, as ratios."""

import argparse
import sys

from tasks.priming.errors import UsageError

_DTYPES = ("float32", "bfloat16", "float16")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what is measured."""
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="Where the language models run.")
    parser.add_argument(
        "--model",
        metavar="NAMES",
        type=_names,
        default=(),
        help="small, wide, smollm2-135m or mistral-7b (random weights), ids on the hub or local folders; separated by "
        "commas. "
        "Default: small,wide,smollm2-135m on a CPU, mistral-7b on a GPU.",
    )
    parser.add_argument(
        "--dtype",
        metavar="NAMES",
        type=_names,
        default=(),
        help=f"Number formats, separated by commas ({', '.join(_DTYPES)}); the first is what others are compared with. "
        "Default: float32,bfloat16 on a CPU, bfloat16 on a GPU.",
    )
    parser.add_argument("--quick", action="store_true", help="A small workload, in under a minute; ratios mean little.")


def execute(options: argparse.Namespace) -> int:
    """Run the benchmark and store its result."""
    from tasks.bench.records import write_bench
    from tasks.bench.table import blocks_of
    from tasks.pages.markdown import to_markdown
    from tasks.pages.terminal import print_blocks

    if unknown := [dtype for dtype in options.dtype if dtype not in _DTYPES]:
        raise UsageError(f"Unknown number format {unknown[0]!r}. Allowed are {', '.join(_DTYPES)}: --dtype float32")
    from tasks.bench.measuring import measure  # imports torch

    bench = measure(options.device, models=options.model, dtypes=options.dtype, is_quick=options.quick, report=_report)
    path = write_bench(bench, to_markdown(blocks_of(bench)))
    print_blocks(blocks_of(bench))
    sys.stdout.write(f"Written to {path}\n")
    return 0


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _report(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()
