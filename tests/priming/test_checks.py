"""The checks of a run pass on a sound engine and see each of the faults that they are for."""

import dataclasses
from typing import Any

import pytest
import torch
import transformers

from tasks.priming import packing, segments
from tasks.priming.checks import check_scoring
from tasks.priming.contexts import ContextRule
from tasks.priming.language_model import LanguageModel
from tasks.priming.numeric_path import ONEDNN, choose_numeric_path, is_batch_invariant
from tasks.priming.packing import forward_packed
from tasks.priming.prompts import BASELINE_TEMPLATE, SURROGATE_TEMPLATE
from tasks.priming.records import Check, Sample
from tasks.priming.segments import KVCache, Segment
from tasks.priming.surrogates.static import write_static
from tasks.priming.surrogates.writing import Writing
from tests.tiny_models import tiny_mistral

PATH = choose_numeric_path("cpu", "float32")
SAMPLES = [
    Sample(f"sample{n}", n, f"Passage {n} says that a cashier earns ${15_000 + n}.", f"pay {n}", "$15,000.", None, "p")
    for n in range(2)
]


@pytest.fixture
def reader(mistral_tokenizer_folder: Any) -> LanguageModel:
    tokenizer = transformers.AutoTokenizer.from_pretrained(mistral_tokenizer_folder)
    return LanguageModel(tiny_mistral(vocab_size=32_000, num_hidden_layers=2), tokenizer, 256, PATH)


def checks(reader: LanguageModel) -> dict[str, Check]:
    surrogates = write_static(SAMPLES, Writing(seed=42))
    keys = tuple(dict.fromkeys(s.key for s in surrogates))
    families = [
        (ContextRule(family="baseline", arm_keys=("document",), template=BASELINE_TEMPLATE), []),
        (ContextRule(family="static", arm_keys=keys, template=SURROGATE_TEMPLATE), surrogates),
    ]
    return {check.name: check for check in check_scoring(families, SAMPLES, reader)}


@pytest.mark.skipif(not is_batch_invariant(PATH), reason=f"bits are promised on oneDNN only, this machine has {PATH}")
def test_a_sound_engine_passes_every_check(reader: LanguageModel) -> None:
    found = checks(reader)
    assert [check.passed for check in found.values()] == [True] * 4
    assert found["alone_equals_batched"].value == 0.0
    assert "2 samples, 12 arms" in found["cache_equals_plain_pass"].detail  # (1 baseline + 5 static) x 2 samples


def test_a_wrong_cache_is_seen_by_the_plain_pass(reader: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = segments.visible_stretches

    def without_the_first_token(segment: Segment) -> Any:
        found = seen(segment)
        return [dataclasses.replace(found[0], start=1, position=1), *found[1:]] if found else []

    monkeypatch.setattr("tasks.priming.layouts.visible_stretches", without_the_first_token)
    assert checks(reader)["cache_equals_plain_pass"].passed is False


def test_a_cache_that_grows_by_being_scored_is_seen(reader: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook's bug: the second scoring of a cache reads the first one's query and answer too."""
    forward = packing.forward_packed

    def appending(model: Any, computed: Any, **options: Any) -> Any:
        output = forward(model, computed, **{**options, "keeps_keys": True})
        for segment in computed:
            if isinstance(segment.parent, KVCache):
                grown = [
                    tuple(torch.cat(pair, dim=2) for pair in zip(held, new, strict=True))
                    for held, new in zip(segment.parent.layers, output.layers, strict=True)
                ]
                object.__setattr__(segment.parent, "layers", tuple(grown))
        return output

    monkeypatch.setattr("tasks.priming.items.forward_packed", appending)
    found = checks(reader)
    assert found["cache_unchanged_by_scoring"].passed is False
    assert found["cache_unchanged_by_scoring"].value == 12.0  # every arm's cache
    assert found["scored_twice_same_bits"].passed is False


@pytest.mark.skipif(not is_batch_invariant(PATH), reason=f"bits are promised on oneDNN only, this machine has {PATH}")
def test_an_engine_whose_numbers_depend_on_the_batch_is_seen(
    reader: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def batch_variant(model: Any, segments: Any, **options: Any) -> Any:
        output = forward_packed(model, segments, **options)
        assert output.logits is not None
        # one logit is larger the more segments share the pass
        return dataclasses.replace(output, logits=output.logits + 0.01 * len(segments) * torch.eye(1, 32_000))

    monkeypatch.setattr("tasks.priming.items.forward_packed", batch_variant)
    assert checks(reader)["alone_equals_batched"].passed is False


def test_a_path_that_was_not_proven_is_recorded_without_a_promise(reader: LanguageModel) -> None:
    unproven = LanguageModel(reader.model, reader.tokenizer, reader.window, "cpu-float32-default")
    check = checks(unproven)["alone_equals_batched"]
    assert (check.limit, check.passed) == (None, None)
    assert check.value is not None


def test_the_numeric_path_is_named_by_device_dtype_and_quantisation() -> None:
    assert choose_numeric_path("cpu", "float32") in (ONEDNN, "cpu-float32-default")
    assert choose_numeric_path("cuda", "bfloat16") == "cuda-bfloat16"
    assert choose_numeric_path("cpu", "float32", "nf4") == "cpu-float32-nf4"
