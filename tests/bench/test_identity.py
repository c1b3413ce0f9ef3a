"""Identity is counted bit by bit, and every way to compute an answer is another one."""

import torch

from tasks.bench.identity import Answers, check_identity, count_identical, score, score_alone, threads
from tasks.bench.plans import plan_of
from tasks.bench.workload import make_workload
from tasks.priming.engine.model import LanguageModel


def test_one_bit_makes_a_difference() -> None:
    left: Answers = {("s", "f", "a"): (1.0, 2.0), ("s", "f", "b"): (3.0,), ("s", "f", "c"): None}
    right: Answers = {("s", "f", "a"): (1.0, 2.0000000000000004), ("s", "f", "b"): (3.0,), ("s", "f", "c"): None}
    assert count_identical(left, right) == 1  # what nobody scored is no proof of anything
    assert count_identical(left, {}) == 0


def test_alone_means_one_context_of_one_sample_a_pass(tiny: LanguageModel) -> None:
    load = make_workload(2)
    together = score(load, load.samples, tiny)
    assert len(together) == 22
    assert score_alone(load, tiny).keys() == together.keys()


def test_every_answer_and_line_is_accounted_for(tiny: LanguageModel, one_thread: None) -> None:
    plan = plan_of("tiny", "cpu", is_quick=True)
    sheet = check_identity("tiny", {"float32": tiny}, plan, report=lambda _: None)
    assert [figure.goal for figure in sheet.figures] == [22, 22, 22, 22, 5]
    assert [figure.quantity.partition(": ")[2] for figure in sheet.figures] == [
        "alone",
        "shuffled",
        "resumed in other chunks",
        "two threads",
        "alone, shuffled",
    ]
    assert torch.get_num_threads() == 1


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
