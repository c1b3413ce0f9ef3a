"""Queries on one cache give the notebook's numbers; the experiment's seconds are those of its parts, per sample."""

from dataclasses import replace

import pytest

from tasks.bench.other_parts import (
    measure_queries,
    score_copying,
    score_rebuilding,
    score_with_one_cache,
    sum_experiment,
)
from tasks.bench.timing import Part
from tasks.bench.workload import Subject
from tasks.priming.engine.model import LanguageModel
from tests.bench.conftest import figure


def test_one_cache_copied_or_not_gives_the_scores_of_rebuilt_ones(tiny: LanguageModel) -> None:
    context, questions = "Document:\nA salary is paid.", [("who pays", "an employer"), ("what is it", "a salary")]
    rebuilt = score_rebuilding(context, questions, tiny)
    assert score_copying(context, questions, tiny) == rebuilt
    assert score_with_one_cache(context, questions, tiny) == pytest.approx(rebuilt, abs=1e-5)


def test_queries_are_compared_with_rebuilding_and_copying(subject: Subject) -> None:
    part = measure_queries(subject)
    found = {(each.method, each.quantity): each.value for each in part.figures}
    assert found["ours", "times as fast as the notebook"] > 0
    assert found["ours", "times as fast as deep copies"] > 0
    assert found["ours", "largest difference in mean NLL"] <= 1e-5
    assert part.workload.startswith("4 queries on one document of ")


def test_parts_are_added_up_for_2500_samples(subject: Subject, tiny_models: dict[str, LanguageModel]) -> None:
    plan = subject.plan._replace(samples=10, slice_samples=2, passages=5, slice_passages=1)
    measured = Part("", "", "cpu", subject.report)
    measured.figures = [
        figure(part, method, "seconds", value, unit="s", dtype=dtype, model=model)
        for part, method, value, dtype, model in (
            ("scoring", "ours", 2.0, "float32", "tiny"),
            ("scoring", "ours", 1.0, "bfloat16", "tiny"),
            ("scoring", "ours", 99.0, "float32", "wide"),
            ("scoring", "notebook", 4.0, "float32", "tiny"),
            ("generation", "ours", 1.0, "float32", "tiny"),
            ("generation", "ours", 0.5, "bfloat16", "tiny"),
            ("generation", "notebook", 3.0, "float32", "tiny"),
            ("embedding", "ours", 0.4, "float32", "MiniLM"),
            ("embedding", "notebook", 4.0, "float32", "MiniLM"),
            ("statistics", "ours", 7.0, "float64", "bootstrap"),
            ("statistics", "Python loop", 5.0, "float64", "bootstrap"),
        )
    ]
    part = sum_experiment(replace(subject, models=tiny_models, plan=plan), [measured], similarity_samples=4)
    # By hand: 2,500 x (2 / 10 + 1 / 5 + 0.4 / 4) + 7; in bfloat16 2,500 x (0.1 + 0.1 + 0.1) + 7; the notebook 2,500 x
    # (4 / 2 + 3 / 1 + 4 / 4) + 5.
    assert [each.value for each in part.figures] == pytest.approx([1257, 15_005 / 1257, 757, 15_005 / 757])
