"""Queries on one cache give the notebook's numbers."""

import pytest

from tasks.bench.queries import measure_queries, score_copying, score_rebuilding, score_with_one_cache
from tasks.bench.workload import Subject
from tasks.priming.engine.model import LanguageModel


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
