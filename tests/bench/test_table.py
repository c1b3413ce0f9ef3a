"""A result is printed within 80 columns, and as Markdown."""

from dataclasses import replace

import pytest

from tasks.bench.records import Bench
from tasks.bench.table import blocks_of
from tasks.pages.blocks import Table
from tasks.pages.markdown import to_markdown
from tasks.pages.terminal import print_blocks


def test_markdown_holds_what_was_found(bench: Bench) -> None:
    lines = to_markdown(blocks_of(bench)).splitlines()
    assert lines[0] == "2026-11-25 04:30 UTC, 2 minutes"
    assert "float32: cpu-float32-onednn, 99 GFLOP/s a core (torch's default: 75)" in lines
    assert "Note: lm-eval was left out" in lines
    assert "Scoring, small: 12 samples in 11 contexts, 24,000 tokens" in lines
    assert "| method |  | CPU s | x notebook | tokens/s | max d |" in lines
    assert "| notebook | fp32 | 12 |  | 2,000 |  |" in lines
    assert "| ours | fp32 |  | 6.04 (5.5-6.5) |  | 2.0e-6 |" in lines
    assert "| answers identical: alone | 704 | 703 |" in lines


def test_what_is_printed_fits_80_columns(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    print_blocks(blocks_of(bench))
    printed = capsys.readouterr().out
    assert "6.04 (5.5-6.5)" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_methods_of_one_number_format_stand_together(bench: Bench) -> None:
    figures = [f for f in bench.figures if f.part == "scoring"]
    mixed = [replace(figure, dtype=dtype) for figure in figures for dtype in ("float32", "bfloat16")]
    blocks = blocks_of(replace(bench, figures=tuple(mixed)))
    table = next(block for block in blocks if isinstance(block, Table))
    assert [row[:2] for row in table.rows] == [
        (method, dtype) for dtype in ("fp32", "bf16") for method in ("notebook", "ours", "products")
    ]
