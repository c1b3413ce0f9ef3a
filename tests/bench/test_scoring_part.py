"""A part yields every method's figures, and says what it left out."""

from dataclasses import replace

import pytest

from tasks.bench import lm_eval_method
from tasks.bench.plans import plan_of
from tasks.bench.scoring_part import measure_scoring
from tasks.bench.timing import CpuMeter
from tasks.priming.engine.model import LanguageModel


def test_scoring_compares_all_methods(tiny: LanguageModel, one_thread: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm_eval_method, "is_installed", lambda: False)
    plan = replace(plan_of("tiny", "cpu", is_quick=True), rounds=1)
    sheet = measure_scoring("tiny", {"float32": tiny}, plan, meter=CpuMeter(), report=lambda _: None)
    found = {(figure.method, figure.dtype, figure.quantity): figure for figure in sheet.figures}
    for method in ("notebook", "padded", "ours", "products", "products unshared"):
        assert found[method, "float32", "seconds"].value > 0
    assert found["notebook", "float32", "times as fast as the notebook"].value == 1
    assert found["ours", "float32", "largest difference in mean NLL"].meets_goal
    ours, limit, share = (
        found["ours", "float32", "tokens per second"].value,
        found["products", "float32", "tokens per second"].value,
        found["ours", "float32", "share of the matrix products' speed"].value,
    )
    assert share == pytest.approx(ours / limit)  # one round: the ratio of the rates
    shared, unshared = (found[name, "float32", "tokens computed"].value for name in ("products", "products unshared"))
    assert 0 < shared < unshared * 1.2
    assert "lm-eval was left out, it is not installed" in sheet.notes[0]
