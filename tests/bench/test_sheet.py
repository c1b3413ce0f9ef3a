"""Figures are medians of rounds, with the range and the goal."""

from tasks.bench.sheet import Sheet
from tasks.bench.timing import Timing


def test_a_figure_is_the_median_of_its_rounds_with_their_range() -> None:
    sheet = Sheet("scoring", "small")
    sheet.add(("notebook", "float32"), "seconds", (3.0, 1.0, 2.5), "s")
    (figure,) = sheet.figures
    assert (figure.value, figure.low, figure.high) == (2.5, 1.0, 3.0)
    assert figure.meets_goal is None


def test_what_was_measured_once_has_no_range() -> None:
    sheet = Sheet("scoring", "small")
    sheet.add(("padded", "float32"), "seconds", (3.0,), "s")
    sheet.add(("padded", "float32"), "rate", 4.0, "1")
    sheet.add(("padded", "float32"), "nothing", (), "1")
    assert [(figure.value, figure.low, figure.high) for figure in sheet.figures] == [
        (3.0, None, None),
        (4.0, None, None),
    ]


def test_goals_belong_to_ours_alone_and_know_their_side() -> None:
    sheet = Sheet("scoring", "small")
    for method, value in (("ours", 7.4), ("ours", 7.6), ("lm-eval 1", 9.0)):
        sheet.add((method, "float32"), "times as fast as the notebook", value, "x")
    sheet.add(("ours", "float32"), "largest difference in mean NLL", 2e-5, "nats")
    assert [figure.meets_goal for figure in sheet.figures] == [False, True, None, False]
    assert [figure.goal for figure in sheet.figures] == [7.5, 7.5, None, 1e-5]


def test_all_of_a_count_are_the_goal() -> None:
    sheet = Sheet("identity", "small")
    sheet.add_count(("ours", "float32"), "answers identical: alone", 703, 704, "answers")
    sheet.add_count(("ours", "float32"), "answers identical: shuffled", 704, 704, "answers")
    assert [figure.meets_goal for figure in sheet.figures] == [False, True]


def test_a_rate_is_work_over_seconds_and_a_limit_has_no_memory() -> None:
    sheet = Sheet("scoring", "small")
    for method in ("ours", "products"):
        sheet.add_timing((method, "float32"), Timing(100, {0: 2.0, 1: 4.0}, {0: 2.0, 1: 5.0}, 7), "tokens")
    found = {(figure.method, figure.quantity): figure.value for figure in sheet.figures}
    assert found["ours", "tokens per second"] == 37.5  # the median of 50 and 25
    assert found["ours", "peak memory"] == 7.0
    assert ("products", "peak memory") not in found
