"""Padded batches give the notebook's numbers; lm-eval gives them too, where it is installed."""

import importlib.util

import pytest

from tasks.bench import lm_eval_method
from tasks.bench.padded_method import batches_by_padded_size
from tasks.bench.scorers import difference, score_by_lm_eval, score_by_notebook, score_by_ours, score_by_padding
from tasks.bench.workload import make_workload
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request


def test_all_methods_find_the_same_numbers(tiny: LanguageModel) -> None:
    load = make_workload(2)
    base = score_by_notebook(load, tiny)
    assert len(base) == 22
    for found in (score_by_padding(load, tiny), score_by_ours(load, tiny)):
        assert found.keys() == base.keys()
        assert difference(found, base).largest <= 1e-5


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval comes with the extra `bench`")
@pytest.mark.filterwarnings("default")  # its own
@pytest.mark.parametrize("batch_size", lm_eval_method.BATCH_SIZES)
def test_lm_eval_finds_the_same_numbers(tiny: LanguageModel, batch_size: int) -> None:
    load = make_workload(1)
    padding = tiny.tokenizer.pad_token
    assert difference(score_by_lm_eval(load, tiny, batch_size), score_by_notebook(load, tiny)).largest <= 1e-5
    assert tiny.tokenizer.pad_token == padding


def test_a_batch_is_counted_with_its_padding() -> None:
    items = [Request((1,) * n, (2,), (3, 4)) for n in (5, 17, 8, 3)]  # 7, 19, 10 and 5 tokens are computed
    assert batches_by_padded_size(items, 20) == [[1], [2, 0], [3]]  # by hand: 19; 2 x 10; 3 x 10 would exceed 20
    assert batches_by_padded_size(items, 10) == [[1], [2], [0], [3]]


def test_differences_are_those_of_answers_that_both_scored() -> None:
    from tasks.bench.scorers import Means

    found = {("a", "f", "k"): Means(1.0, 2.0), ("b", "f", "k"): Means(5.0), ("c", "f", "k"): Means(9.0)}
    base = {("a", "f", "k"): Means(1.3, 2.5), ("b", "f", "k"): Means(4.6, 1.0)}
    result = difference(found, base)
    assert result.largest == pytest.approx(0.4)
    assert result.rms == pytest.approx(((0.09 + 0.16) / 2) ** 0.5)  # by hand
    assert result.largest_notebook == pytest.approx(0.5)
