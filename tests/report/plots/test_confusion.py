"""What the router chose is counted, not judged by eye."""

from typing import Any

from tasks.reading.database import RunRows, read_run
from tasks.report.plots.confusion import confusion_plots
from tasks.report.plots.drawing import to_svg
from tests.report.conftest import Published


def test_every_count_of_the_table_is_in_the_plot(published: Published, query: Any) -> None:
    for plot in confusion_plots(read_run("abc123")):
        counts = query("SELECT count FROM routing_choice WHERE run_id = 'abc123' AND family = ?", plot.title)
        shown = [int(text.get_text()) for text in plot.figure.axes[0].texts if text.get_text().isdigit()]
        assert sorted(number for number in shown if number) == sorted(number for (number,) in counts)
        assert sum(shown) == 24


def test_chance_is_said_beside_the_agreement() -> None:
    """By hand, from the rows below."""
    assert "better than chance" in finding("complete", 0.1, 0.3)
    assert "worse than chance" in finding("complete", -0.3, -0.1)
    assert "not shown to differ from chance" in finding("complete", -0.1, 0.1)


def test_a_run_that_is_not_complete_gives_no_conclusion() -> None:
    said = finding("incomplete", 0.1, 0.3)
    assert (
        said
        == "The router chose the key with the lowest NLL in 75.0\u00a0% of 4 samples; chance would give 50.0\u00a0%."
    )


def test_keys_that_were_never_chosen_have_a_row_of_zeros() -> None:
    (plot,) = confusion_plots(made("complete", 0.1, 0.3))
    assert to_svg(plot).count(">0</text>") == 2


def finding(status: str, low: float, high: float) -> str:
    (plot,) = confusion_plots(made(status, low, high))
    return plot.finding


def made(status: str, low: float, high: float) -> RunRows:
    choices = [
        {"family": "static", "routed_key": "a", "best_key": "a", "count": 3},
        {"family": "static", "routed_key": "a", "best_key": "b", "count": 1},
    ]
    agreement = {
        "family": "static", "n": 4, "agreement_rate": 0.75, "chance_rate": 0.5, "kappa_low": low, "kappa_high": high,
    }  # fmt: skip
    tables = {"routing_choice": choices, "routing_agreement": [agreement]}
    return RunRows(run={"status": status}, tables=tables, nlls={})
