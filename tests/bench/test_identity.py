"""Identity is counted bit by bit, and every way to compute an answer is another one."""

import pytest
import torch

from tasks.bench.identity import Answers, check_identity, count_identical, score, score_in_other_ways, threads
from tasks.bench.workload import Subject, make_workload
from tasks.priming.engine.model import LanguageModel


def test_one_bit_makes_a_difference() -> None:
    left: Answers = {("s", "f", "a"): (1.0, 2.0), ("s", "f", "b"): (3.0,), ("s", "f", "c"): None}
    right: Answers = {("s", "f", "a"): (1.0, 2.0000000000000004), ("s", "f", "b"): (3.0,), ("s", "f", "c"): None}
    assert count_identical(left, right) == 1  # what nobody scored is no proof of anything
    assert count_identical(left, {}) == 0


def test_every_way_scores_all_answers(tiny: LanguageModel) -> None:
    load = make_workload(2)
    together = score(load, load.samples, tiny)
    assert len(together) == 22
    assert [answers.keys() == together.keys() for _, answers in score_in_other_ways(load, tiny)] == [True] * 3


@pytest.mark.slow
def test_every_answer_and_line_is_accounted_for(subject: Subject) -> None:
    part = check_identity(subject)
    assert {figure.quantity: figure.value for figure in part.figures} == {
        "answers compared": 22,
        "answers identical: alone": 22,
        "answers identical: shuffled, in other chunks": 22,
        "answers identical: two threads": 22,
        "lines compared": 5,
        "lines identical: alone, shuffled": 5,
    }
    assert torch.get_num_threads() == 1


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
