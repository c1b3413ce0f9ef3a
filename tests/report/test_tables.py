"""Tables show what the rows say, sort by value, and never grow without end."""

from tasks.pages.numbers import number
from tasks.report.tables import MOST_ROWS, interval_column, make_table, number_column, text_column


def test_a_cell_shows_a_rounded_number_and_sorts_by_the_whole_one() -> None:
    table = make_table("t", [number_column("x", "x", number)], [{"x": 0.123456}, {"x": None}], "source")
    (shown,), (missing,) = table.rows
    assert (shown.text, shown.order) == ("0.123", 0.123456)
    assert (missing.text, missing.order) == ("–", None)


def test_an_interval_sorts_by_its_mean() -> None:
    row = {"gain_mean": 0.5, "gain_low": 0.25, "gain_high": 0.75}
    ((cell,),) = make_table("t", [interval_column("gain", "gain")], [row], "source").rows
    assert (cell.text, cell.order) == ("0.500 (0.250 to 0.750)", 0.5)


def test_what_is_unknown_is_no_text() -> None:
    ((cell,),) = make_table("t", [text_column("x", "x", str.upper)], [{"x": None}], "source").rows
    assert cell.text == ""


def test_a_long_table_is_cut_and_counts_the_rest() -> None:
    rows = [{"x": str(number)} for number in range(MOST_ROWS + 7)]
    table = make_table("t", [text_column("x", "x")], rows, "source")
    assert len(table.rows) == MOST_ROWS
    assert table.left_out == 7
    assert table.rows[-1][0].text == str(MOST_ROWS - 1)
