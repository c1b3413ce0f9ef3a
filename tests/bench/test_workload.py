"""The workload is real text of the project, the same however much of it is taken."""

import pytest

from tasks.bench import workload
from tasks.bench.workload import make_workload
from tasks.priming.engine.model import LanguageModel


def test_samples_are_about_different_passages_of_50_to_130_words() -> None:
    samples = make_workload(64).samples
    assert len({sample.passage for sample in samples}) == 64
    assert all(50 <= len(sample.passage.split()) <= 130 for sample in samples)


def test_a_smaller_workload_is_the_beginning_of_a_larger_one() -> None:
    large = make_workload(200)  # more than are shipped: 180 distinct passages
    assert len({sample.passage for sample in large.samples}) == 200
    small = make_workload(5)
    assert large.samples[:5] == small.samples
    assert large.first(5) == small


def test_chunks_are_the_workload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workload, "CHUNK", 2)
    load = make_workload(5)
    assert [len(chunk.samples) for chunk in load.chunks] == [2, 2, 1]
    assert [sample for chunk in load.chunks for sample in chunk.samples] == [*load.samples]
    for name, rows in load.surrogates.items():
        assert sorted(map(str, rows)) == sorted(str(row) for chunk in load.chunks for row in chunk.surrogates[name])


def test_every_sample_has_eleven_contexts(tiny: LanguageModel) -> None:
    load = make_workload(3)
    arms = load.arms(tiny)
    assert len(arms) == 33
    assert len({(arm.sample_id, arm.request.context) for arm in arms}) == 33
    by_hand = sum(len(arm.request.context) + len(arm.request.query) + len(arm.request.answer) for arm in arms)
    assert load.token_count(tiny) == by_hand
