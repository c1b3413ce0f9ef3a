"""All methods give the notebook's numbers, and the part yields every method's figures and says what it left out."""

import importlib.util

import pytest

from tasks.bench import scoring
from tasks.bench.scoring import (
    Means,
    batches_by_padded_size,
    differences,
    measure_scoring,
    score_by_lm_eval,
    score_by_notebook,
    score_by_ours,
    score_by_padding,
)
from tasks.bench.workload import Subject, make_workload
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request


def test_all_methods_find_the_same_numbers(tiny: LanguageModel) -> None:
    load = make_workload(2)
    base = score_by_notebook(load, tiny)
    assert len(base) == 22
    for found in (score_by_padding(load, tiny), score_by_ours(load, tiny)):
        assert found.keys() == base.keys()
        assert all(value <= 1e-5 for _, value, _ in differences(found, base))


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval comes with the extra `bench`")
@pytest.mark.filterwarnings("default")  # its own
@pytest.mark.parametrize("batch_size", [1, 16])
def test_lm_eval_finds_the_same_numbers(tiny: LanguageModel, batch_size: int) -> None:
    load = make_workload(1)
    padding = tiny.tokenizer.pad_token
    found = differences(score_by_lm_eval(load, tiny, batch_size), score_by_notebook(load, tiny))
    assert all(value <= 1e-5 for _, value, _ in found)
    assert tiny.tokenizer.pad_token == padding


def test_a_batch_is_counted_with_its_padding() -> None:
    items = [Request((1,) * n, (2,), (3, 4)) for n in (5, 17, 8, 3)]  # 7, 19, 10 and 5 tokens are computed
    assert batches_by_padded_size(items, 20) == [[1], [2, 0], [3]]  # by hand: 19; 2 x 10; 3 x 10 would exceed 20
    assert batches_by_padded_size(items, 10) == [[1], [2], [0], [3]]


def test_differences_are_those_of_answers_that_both_scored() -> None:
    found = {("a", "f", "k"): Means(1.0, 2.0), ("b", "f", "k"): Means(5.0), ("c", "f", "k"): Means(9.0)}
    base = {("a", "f", "k"): Means(1.3, 2.5), ("b", "f", "k"): Means(4.6, 1.0)}
    # By hand: 0.3 and 0.4; of the means without the first token only one pair is known.
    values = [value for _, value, _ in differences(found, base)]
    assert values == pytest.approx([0.4, 0.5])


def test_scoring_compares_all_methods(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "has_lm_eval", lambda: False)
    part = measure_scoring(subject)
    found = {(figure.method, figure.quantity): figure.value for figure in part.figures}
    for method in ("notebook", "padded", "ours", "products"):
        assert found[method, "seconds"] > 0
    assert found["notebook", "times as fast as the notebook"] == 1
    assert found["ours", "largest difference in mean NLL"] <= 1e-5
    rates = [found[method, "tokens per second"] for method in ("ours", "products")]
    # One round: the ratio of the rates.
    assert found["ours", "share of the matrix products' speed"] == pytest.approx(rates[0] / rates[1])
    assert "lm-eval was left out, it is not installed" in part.notes[0]
