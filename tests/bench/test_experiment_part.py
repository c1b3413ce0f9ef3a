"""The experiment's seconds are those of its parts, per sample."""

from dataclasses import replace

import pytest

from tasks.bench.experiment_part import sum_experiment
from tasks.bench.plans import plan_of
from tasks.bench.records import Figure


def seconds(part: str, method: str, value: float, dtype: str = "float32", model: str = "small") -> Figure:
    return Figure(part=part, model=model, dtype=dtype, method=method, quantity="seconds", value=value, unit="s")


def test_parts_are_added_up_for_2500_samples() -> None:
    plan = replace(plan_of("small", "cpu", is_quick=False), samples=10, slice_samples=2, passages=5, slice_passages=1)
    figures = [
        seconds("scoring", "ours", 2.0),
        seconds("scoring", "ours", 1.0, "bfloat16"),
        seconds("scoring", "ours", 99.0, model="wide"),
        seconds("scoring", "notebook", 4.0),
        seconds("generation", "ours", 1.0),
        seconds("generation", "ours", 0.5, "bfloat16"),
        seconds("generation", "notebook", 3.0),
        seconds("embedding", "ours", 0.4, model="MiniLM"),
        seconds("embedding", "notebook", 4.0, model="MiniLM"),
        seconds("statistics", "ours", 7.0, "float64", "bootstrap"),
        seconds("statistics", "Python loop", 5.0, "float64", "bootstrap"),
    ]
    sheet = sum_experiment("small", ("float32", "bfloat16"), plan, figures, similarity_samples=4)
    # By hand: 2,500 x (2 / 10 + 1 / 5 + 0.4 / 4) + 7; in bfloat16 2,500 x (0.1 + 0.1 + 0.1) + 7; the notebook 2,500 x
    # (4 / 2 + 3 / 1 + 4 / 4) + 5.
    assert [figure.value for figure in sheet.figures] == pytest.approx([1257, 15_005 / 1257, 757, 15_005 / 757])
