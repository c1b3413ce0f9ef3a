"""One table has the same cells in the terminal, in markdown and in HTML."""

import re

import pytest

from tasks.pages.blocks import (
    MOST_ROWS,
    Heading,
    Quoted,
    Table,
    Value,
    interval_column,
    make_table,
    number_column,
    only_with,
    text_column,
)
from tasks.pages.html import to_html
from tasks.pages.markdown import to_markdown
from tasks.pages.numbers import count
from tasks.pages.terminal import print_blocks

ROWS = [{"arm": "<b>|static", "n": 1_200, "gain_mean": 0.5, "gain_low": 0.25, "gain_high": 0.75, "note": None}]


def table_of(rows: list[dict[str, object]]) -> Table:
    columns = [text_column("arm"), number_column("samples", "n", count), interval_column("gain", "gain")]
    return make_table("Gains", "comparison", rows, [*columns, text_column("remark", "note", str.upper)])


def test_the_terminal_has_names_to_the_left_and_numbers_to_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_blocks([table_of(ROWS)])
    heading, _, row, *_ = capsys.readouterr().out.splitlines()
    assert re.split("  +", row.strip()) == ["<b>|static", "1,200", "0.500 (0.250 to 0.750)"]
    assert heading.index("samples") + len("samples") == row.index("1,200") + len("1,200")


def test_the_rule_below_a_long_heading_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_blocks([Heading("Undecided: " + "one of many texts, " * 5)])
    assert [line for line in capsys.readouterr().out.splitlines() if "─" in line] == ["─" * 80]


def test_markdown_has_the_same_cells() -> None:
    heading, rule, row = to_markdown([table_of(ROWS)]).splitlines()
    assert heading == "| arm | samples | gain | remark |"
    assert rule == "| :--- | ---: | ---: | :--- |"
    assert row == r"| ` <b>\|static ` | 1,200 | 0.500 (0.250 to 0.750) | (nothing) |"


def test_html_has_the_same_cells_and_what_they_are_sorted_by() -> None:
    html = to_html(table_of(ROWS))
    assert "<caption>Gains</caption>" in html
    assert '<th scope="col">arm</th><th scope="col" class="number">samples</th>' in html
    assert (
        '<tr><td>&lt;b&gt;|static</td><td class="number" data-order="1200">1,200</td>'
        '<td class="number" data-order="0.5">0.500 (0.250 to 0.750)</td><td></td></tr>'
    ) in html


def test_a_missing_number_is_a_dash_and_sorts_last() -> None:
    ((cell,),) = make_table("t", "source", [{"x": None}], [number_column("x")]).rows
    assert cell == Value("–", None)
    assert '<td class="number">–</td>' in to_html(make_table("t", "source", [{"x": None}], [number_column("x")]))


def test_a_column_that_no_row_has_a_value_for_may_be_left_out() -> None:
    columns = [text_column("x"), only_with("error", text_column("error"))]
    assert make_table("t", "source", [{"x": "a", "error": None}, {"x": "b"}], columns).columns == ("x",)
    assert make_table("t", "source", [{"x": "a", "error": "e"}], columns).columns == ("x", "error")


def test_a_long_table_is_cut_and_says_how_many_rows_are_left_out() -> None:
    rows = [{"x": str(number)} for number in range(MOST_ROWS + 7)]
    table = make_table("t", "the_view", rows, [text_column("x")])
    assert (len(table.rows), table.left_out) == (MOST_ROWS, 7)
    assert table.rows[-1] == (Quoted(str(MOST_ROWS - 1)),)
    assert to_html(table).endswith('<p class="note">7 more rows are in <code>the_view</code>.</p>')
