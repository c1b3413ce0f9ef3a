"""A result is printed within 100 columns, and as Markdown."""

import pytest

from tasks.bench.records import Bench
from tasks.bench.table import as_markdown, print_bench, tables_of


def test_markdown_holds_what_was_found(bench: Bench) -> None:
    lines = as_markdown(bench).splitlines()
    assert lines[0] == "2026-11-25 04:30 UTC, 2 minutes"
    assert "float32: cpu-float32-onednn, 99 GFLOP/s a core (torch's default: 75)" in lines
    assert "Note: lm-eval was left out" in lines
    assert "Scoring, small: 12 samples in 11 contexts, 24,000 tokens" in lines
    assert "| method |  | CPU s | x notebook | tokens/s | max d |" in lines
    assert "| notebook | fp32 | 12 |  | 2,000 |  |" in lines
    assert "| ours | fp32 |  | 6.04 (5.50-6.50) |  | 2.0e-6 |" in lines
    assert "| answers identical: alone | 704 | 703 |" in lines


def test_what_is_printed_fits_100_columns(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    print_bench(bench)
    printed = capsys.readouterr().out
    assert "6.04 (5.50-6.50)" in printed
    assert max(map(len, printed.splitlines())) <= 100


def test_methods_of_one_number_format_stand_together(bench: Bench) -> None:
    figures = [f for f in bench.figures if f.part == "scoring"]
    mixed = [figure.model_copy(update={"dtype": dtype}) for figure in figures for dtype in ("float32", "bfloat16")]
    ((_, table), *_) = tables_of(bench.model_copy(update={"figures": tuple(mixed)}))
    assert [row[:2] for row in table.rows] == [
        (method, dtype) for dtype in ("fp32", "bf16") for method in ("notebook", "ours", "products")
    ]
