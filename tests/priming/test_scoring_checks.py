"""The checks of a run pass on a sound engine and see each of the faults that they are for."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from tasks.priming import scoring_checks as module
from tasks.priming.arms.contexts import ContextRule
from tasks.priming.arms.treatments import TREATMENTS, Sight
from tasks.priming.arms.writing import Writing, write_static
from tasks.priming.engine import forward as packing
from tasks.priming.engine import segments
from tasks.priming.engine.forward import forward_packed
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, context_segments
from tasks.priming.engine.numeric_path import choose_numeric_path, is_batch_invariant
from tasks.priming.engine.segments import KVCache, Segment
from tasks.priming.prompts import BASELINE_TEMPLATE, SURROGATE_TEMPLATE
from tasks.priming.records import Check, Distractor, Sample
from tasks.priming.scoring import score_family
from tasks.priming.scoring_checks import CheckedFamily, check_scoring, choose_checked, plain_logits
from tests.tiers import slow
from tests.tiny_models import plain_token_nlls, tiny_mistral

PATH = choose_numeric_path("cpu", "float32")
SAMPLES = [
    Sample(f"sample{n}", n, f"Passage {n} says that a cashier earns ${15_000 + n}.", f"pay {n}", "$15,000.", None, "p")
    for n in range(2)
]
DISTRACTORS = [
    Distractor(s.sample_id, n, text, "x", "other_passage") for s in SAMPLES for n, text in enumerate(("no", "$7 a day"))
]
RULES = [
    ContextRule(family="baseline", arm_keys=("document",), template=BASELINE_TEMPLATE),
    ContextRule(family="static", arm_keys=("factual", "problem"), template=SURROGATE_TEMPLATE),
    ContextRule(family="control", arm_keys=("factual",), template=SURROGATE_TEMPLATE),
]
TREATED = {"control": {"factual": TREATMENTS}}
CONDITIONS = (3 + len(TREATMENTS)) * len(SAMPLES)


@pytest.fixture
def reader(mistral_tokenizer_folder: Any) -> LanguageModel:
    tokenizer = transformers.AutoTokenizer.from_pretrained(mistral_tokenizer_folder)
    return LanguageModel(tiny_mistral(vocab_size=32_000, num_hidden_layers=2), tokenizer, 256, PATH)


def families_of(reader: LanguageModel) -> list[CheckedFamily]:
    """Score as a run does."""
    found = []
    for rule in RULES:
        written = [surrogate for surrogate in write_static(SAMPLES, Writing(seed=42)) if surrogate.key in rule.arm_keys]
        treatments = TREATED.get(rule.family)
        scores = score_family(rule, SAMPLES, written, reader, DISTRACTORS, treatments)
        found.append(CheckedFamily(rule, written, scores, treatments))
    return found


def checks(reader: LanguageModel, families: list[CheckedFamily] | None = None) -> dict[str, Check]:
    families = families or families_of(reader)
    hardest = choose_checked(families[0].scores, len(SAMPLES))
    samples = sorted(SAMPLES, key=lambda sample: hardest.index(sample.sample_id))
    found = check_scoring(families, samples, DISTRACTORS, reader)
    return {check.name: check for check in found}


@pytest.mark.skipif(not is_batch_invariant(PATH), reason=f"bits are promised on oneDNN only, this machine has {PATH}")
def test_a_sound_engine_passes_every_check(reader: LanguageModel) -> None:
    found = checks(reader)
    assert [check.passed for check in found.values()] == [True] * 4 + [None]
    assert found["alone_equals_batched"].value == 0.0
    assert (
        f"samples with the highest loss: 2, conditions: {CONDITIONS}, with their distractors"
        in found["cache_equals_plain_pass"].detail
    )
    assert "every context begins with <s>" in found["contexts_begin_with_the_same_token"].detail


def test_the_samples_of_the_highest_loss_are_checked(reader: LanguageModel) -> None:
    scores = [*families_of(reader)[0].scores] * 3
    nlls = [2.0, 9.0, 9.0, None, 1.0, 8.0]
    named = [dataclasses.replace(s, sample_id=f"s{5 - n}", nll=nlls[n]) for n, s in enumerate(scores)]
    assert choose_checked(named, 2) == ["s3", "s4"]  # by hand: the two nines, the lower id first


# --- planted faults ---


def without_bos(patch: pytest.MonkeyPatch) -> None:
    """The query and the answer do not see the first token of the cache."""
    seen = segments.visible_key_ranges

    def without_the_first_token(segment: Segment) -> Any:
        found = seen(segment)
        return [dataclasses.replace(found[0], start=1, position=1), *found[1:]] if found else []

    patch.setattr("tasks.priming.engine.segments.visible_key_ranges", without_the_first_token)


def off_by_one(patch: pytest.MonkeyPatch) -> None:
    """The query and the answer stand one position too far."""
    positions = Segment.positions.fget  # type: ignore[attr-defined]
    patch.setattr(Segment, "positions", property(lambda s: [p + bool(s.branches) for p in positions(s)]))


def foreign_document(patch: pytest.MonkeyPatch) -> None:
    """The cache is that of the context that was computed before."""
    before: list[list[Segment]] = []

    def foreign(item: Request, shared: Any) -> list[Segment]:
        before.append(context_segments(item, shared))
        return before[max(len(before) - 2, 0)]

    patch.setattr(module, "context_segments", foreign)


@pytest.mark.parametrize("fault", [foreign_document, *slow(without_bos, off_by_one)])
def test_a_wrong_cache_is_seen_by_the_plain_pass(
    reader: LanguageModel, monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    """A cache without BOS passed a check of mean NLLs on easy samples: 8.8e-6 of 1e-5."""
    families = families_of(reader)
    assert checks(reader, families)["cache_equals_plain_pass"].passed is True
    fault(monkeypatch)
    assert checks(reader, families)["cache_equals_plain_pass"].passed is False


def test_a_cache_that_grows_by_being_scored_is_seen(reader: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook's bug: the second scoring of a cache reads the first one's query and answer too."""
    families = families_of(reader)
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

    monkeypatch.setattr("tasks.priming.engine.nll.forward_packed", appending)
    found = checks(reader, families)
    assert found["cache_unchanged_by_scoring"].passed is False
    assert found["cache_unchanged_by_scoring"].value == CONDITIONS  # every cache
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

    monkeypatch.setattr("tasks.priming.engine.nll.forward_packed", batch_variant)
    assert checks(reader)["alone_equals_batched"].passed is False


def test_a_path_that_was_not_proven_is_recorded_without_a_promise(reader: LanguageModel) -> None:
    unproven = dataclasses.replace(reader, numeric_path="cpu-float32-default")
    check = checks(unproven)["alone_equals_batched"]
    assert (check.limit_value, check.passed) == (None, None)
    assert check.value is not None


def test_contexts_without_a_first_token_are_named(reader: LanguageModel) -> None:
    found = checks(dataclasses.replace(reader, first_token="none"))["contexts_begin_with_the_same_token"]
    assert found.value == 0.0
    assert "no first token: the attention sink differs between arms" in found.detail


# --- the plain pass itself ---


SIGHTS = {
    "kept": Sight(),
    "stripped": Sight(hidden_from_query=(1, 20), closes_gap=True),
    "hidden": Sight(hidden_from_query=(10, 20)),
    "blind": Sight(hidden_from_passage=(10, 20)),
    "masked": Sight(hidden_from_passage=(10, 20), hidden_from_query=(10, 20)),
}


@pytest.mark.parametrize("window", [16, *slow(None)])
@pytest.mark.parametrize("treatment", TREATMENTS)
def test_the_dense_mask_says_what_transformers_computes_without_one(
    reader: LanguageModel, treatment: str, window: int | None
) -> None:
    """One pass per alternative, in which a Mistral with a window makes its own mask.

    In a single layer, what is hidden or out of the window's reach can be exchanged without a change.
    """
    model = tiny_mistral(sliding_window=window)
    small = dataclasses.replace(reader, model=model)
    ids = tuple(range(5, 105))
    item = Request(ids[:40], ids[40:48], ids[48:55], SIGHTS[treatment], (ids[60:63], ids[70:71]))
    with torch.inference_mode():
        logits = plain_logits(item, small)
        nlls = -torch.log_softmax(logits.double(), -1)
        assert logits.shape == (1 + 6 + 2, 300)  # the query's last token, then all but the last of each alternative
        other = dataclasses.replace(item, context=(*ids[:10], *ids[80:90], *ids[20:40]))
        shallow = dataclasses.replace(reader, model=tiny_mistral(sliding_window=window, num_hidden_layers=1))
        changed = not torch.equal(plain_logits(other, shallow), plain_logits(item, shallow))
    if treatment == "kept":
        rows = [[0, 1, 2, 3, 4, 5, 6], [0, 7, 8], [0]]
        for alternative, places in zip(item.alternatives, rows, strict=True):
            expected = plain_token_nlls(dataclasses.replace(item, answer=alternative, distractors=()), small)
            found = [nlls[row, token].item() for row, token in zip(places, alternative, strict=True)]
            assert found == pytest.approx(expected, abs=1e-5)
    assert changed == (window is None and treatment in ("kept", "blind"))
