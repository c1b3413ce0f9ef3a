"""The treatments: what each leaves in sight, what is stored of a context, and what a score says about it."""

import dataclasses
import random
from typing import Any

import pytest
import torch

from tasks.priming.arms.arms import ARM_GROUPS, entries_of
from tasks.priming.arms.contexts import ContextRule
from tasks.priming.arms.treatments import TREATMENTS
from tasks.priming.engine import forward as packing
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, score_requests
from tasks.priming.engine.numeric_path import is_batch_invariant
from tasks.priming.errors import SettingsError
from tasks.priming.prompts import BASELINE_TEMPLATE, SURROGATE_TEMPLATE
from tasks.priming.records import Score, Surrogate, condition_name
from tasks.priming.scoring import encode_arms, score_family
from tasks.priming.settings import resolve_settings
from tests.priming.arms.stores import PATH, QUESTION, SAMPLES, reader
from tests.tiny_models import byte_level_tokenizer, reading, tiny_mistral

RULE = ContextRule(family="generated", arm_keys=("target_question",), template=SURROGATE_TEMPLATE)


def surrogates(text: str = QUESTION, key: str = "target_question") -> list[Surrogate]:
    return [
        Surrogate(one.sample_id, "generated", key, text, text, 40, 9, "stop", False, False, False) for one in SAMPLES
    ]


def requests_of(treatment: str, tokenizer: Any, text: str = QUESTION) -> list[Request]:
    treatments = {"target_question": {treatment: TREATMENTS[treatment]}}
    arms = encode_arms(RULE, SAMPLES, surrogates(text), reading(tokenizer), treatments=treatments)
    return [arm.request for arm in arms]


def scored(
    language_model: LanguageModel, *names: str, text: str = QUESTION, rule: ContextRule = RULE, count: int = 6
) -> list[Score]:
    treatments = {"target_question": {name: TREATMENTS[name] for name in names}}
    return score_family(rule, SAMPLES[:count], surrogates(text), language_model, treatments=treatments)


# --- names ---


def test_a_condition_is_named_by_its_text_and_its_treatment_unless_that_is_kept(tokenizer: Any) -> None:
    names = [score.condition for score in scored(reader(tokenizer), *TREATMENTS, count=1)]
    assert names == [
        "generated/target_question",
        *(f"generated/target_question+{name}" for name in ("stripped", "hidden", "blind", "masked")),
    ]
    assert condition_name("static", "routed") == "static/routed"
    assert condition_name("static", "routed", "stripped") == "static/routed+stripped"


def test_every_text_can_be_stripped_and_the_target_question_is_taken_apart() -> None:
    """Expected: the list of the design; a context without a text before the document has nothing to drop."""
    entries = entries_of(resolve_settings("laptop"))
    kept = {name for name, entry in entries.items() if entry.treatments == ("kept",)}
    assert kept == {name for name, entry in entries.items() if not entry.contexts.has_surrogate}
    assert kept >= {"baseline", "control/bare_document", "control/repeated_baseline"}
    assert {entry.treatments for name, entry in entries.items() if name not in kept} == {("kept", "stripped")}
    assert entries["generated"].treatments_by_key["target_question"] == tuple(TREATMENTS)
    assert entries["generated"].treatments_by_key["keyword_query"] == ("kept", "stripped")
    assert {len(names) for names in entries["static"].treatments_by_key.values()} == {2}


def test_a_run_has_the_treatments_that_its_settings_select() -> None:
    few = entries_of(resolve_settings("laptop", treatments=("kept", "hidden")))["generated"].treatments_by_key
    assert few["target_question"] == ("kept", "hidden")
    assert few["keyword_query"] == ("kept",)
    assert entries_of(resolve_settings("laptop", treatments=("all",))) == entries_of(resolve_settings("laptop"))


@pytest.mark.parametrize("treatments", [("stripped",), ("kept", "nonsense"), ("all", "kept")])
def test_a_treatment_that_does_not_exist_or_kept_left_out_is_refused(treatments: tuple[str, ...]) -> None:
    with pytest.raises(SettingsError, match=r"all, or names among kept, stripped, .* got .* Use kept,stripped"):
        resolve_settings("demo", treatments=treatments)


# --- who sees the surrogate ---


def masked_nlls(item: Request, language_model: LanguageModel, *, from_query: bool, from_passage: bool) -> list[float]:
    """Score by one plain pass over all tokens, with a mask that says who sees whom: the second way to compute."""
    ids = item.context + item.continuation
    text = language_model.tokenizer.decode(item.context)
    assert QUESTION in text
    hidden = max(item.sight.hidden_from_query, item.sight.hidden_from_passage)
    assert language_model.tokenizer.decode(item.context[slice(*hidden)]).strip() == QUESTION
    is_seen = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    if (window := language_model.model.config.sliding_window) is not None:
        is_seen = is_seen.triu(1 - window)
    if from_query:
        is_seen[len(item.context) :, slice(*hidden)] = False
    if from_passage:
        is_seen[hidden[1] : len(item.context), slice(*hidden)] = False
    mask = torch.zeros(1, 1, len(ids), len(ids)).masked_fill(~is_seen, float("-inf"))
    model = language_model.model
    model.config._attn_implementation = "eager"
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids]), attention_mask=mask, use_cache=False).logits[0]
    rows = logits[-len(item.answer) :].log_softmax(-1)
    return [-row[token].item() for row, token in zip(rows, item.answer, strict=True)]


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize(
    ("treatment", "from_query", "from_passage"),
    [("hidden", True, False), ("blind", False, True), ("masked", True, True)],
)
def test_who_does_not_see_the_surrogate_equals_a_masked_pass(
    treatment: str, from_query: bool, from_passage: bool, window: int | None, tokenizer: Any
) -> None:
    """A window counts positions, so that with some tokens hidden a layer sees no further back than it may."""
    language_model = reader(tokenizer, sliding_window=window)
    items = requests_of(treatment, tokenizer)
    seen = score_requests(requests_of("kept", tokenizer), language_model)
    for item, nlls, plain in zip(items, score_requests(items, language_model), seen, strict=True):
        assert nlls is not None
        expected = masked_nlls(item, language_model, from_query=from_query, from_passage=from_passage)
        assert nlls == pytest.approx(expected, abs=2e-5)
        assert window is not None or nlls != pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("treatment", ["hidden", "blind", "masked"])
def test_sight_of_no_surrogate_is_sight_of_all(treatment: str, tokenizer: Any) -> None:
    language_model = reader(tokenizer)
    blank = score_requests(requests_of("kept", tokenizer, text=""), language_model)
    assert score_requests(requests_of(treatment, tokenizer, text=""), language_model) == blank


# --- what is dropped ---


def test_what_is_stored_begins_with_the_documents_frame(tokenizer: Any) -> None:
    """Expected: the first token, then the text from "Document:" on, also where the surrogate holds the same words."""
    for text in (QUESTION, "Document:\nDocument:\n", SAMPLES[0].passage):
        (item, *_) = requests_of("stripped", tokenizer, text=text)
        assert item.cached_ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(item.cached_ids[1:]) == f"Document:\n{SAMPLES[0].passage}"
        assert item.cached_count == len(item.cached_ids) < len(item.context)


def test_a_token_that_holds_text_of_both_sides_is_dropped_and_the_score_says_so() -> None:
    """Expected by hand: a tokenizer that has "xDocument" as one token loses the frame's word with the text."""
    joining = byte_level_tokenizer("xDocument " * 50, special_tokens=["<s>"], bos_token="<s>")
    rule = RULE.model_copy(update={"template": f"{{surrogate}}{BASELINE_TEMPLATE}"})
    treatments = {"target_question": {"stripped": TREATMENTS["stripped"]}}
    (arm,) = encode_arms(rule, SAMPLES[:1], surrogates("x"), reading(joining, "<s>"), treatments=treatments)
    assert joining.decode(arm.request.context) == f"<s>xDocument:\n{SAMPLES[0].passage}"
    assert joining.decode(arm.request.cached_ids) == f"<s>:\n{SAMPLES[0].passage}"
    assert arm.has_document_ids is False


def test_a_score_says_whether_its_document_has_the_ids_of_the_plain_one(tokenizer: Any) -> None:
    """Expected: Llama's first tokenizer marks the first word of a text alone; a byte-level one joins nothing here."""
    marked = scored(reader(tokenizer), "kept", "stripped", count=1)
    assert [score.has_document_ids for score in marked] == [None, False]
    plain = byte_level_tokenizer(*(one.passage for one in SAMPLES), special_tokens=["<s>"], bos_token="<s>")
    treatments = {"target_question": TREATMENTS}
    arms = encode_arms(RULE, SAMPLES[:1], surrogates(), reading(plain, "<s>"), treatments=treatments)
    assert [arm.has_document_ids for arm in arms] == [None, True, None, None, None]


def test_an_empty_prefix_stripped_is_the_baseline_to_the_bit(tokenizer: Any) -> None:
    language_model = reader(tokenizer)
    (baseline, *_) = score_family(ARM_GROUPS["baseline"].contexts, SAMPLES, [], language_model)
    rule = RULE.model_copy(update={"template": f"{{surrogate}}{BASELINE_TEMPLATE}"})
    (stripped, *_) = scored(language_model, "stripped", text="", rule=rule)
    same = dataclasses.replace(stripped, family="baseline", key="document", treatment="kept", has_document_ids=None)
    assert same == baseline
    assert stripped.has_document_ids is True


def test_the_cache_has_the_plain_documents_size_and_the_prefix_was_computed(tokenizer: Any) -> None:
    kept, stripped, hidden = scored(reader(tokenizer), "kept", "stripped", "hidden", count=1)
    (item, *_) = requests_of("stripped", tokenizer)
    assert (kept.context_token_count, kept.cached_token_count) == (len(item.context), len(item.context))
    assert (stripped.context_token_count, stripped.cached_token_count) == (len(item.context), len(item.cached_ids))
    assert (hidden.context_token_count, hidden.cached_token_count) == (len(item.context), len(item.context))


@pytest.mark.parametrize(
    ("room", "statuses"),
    [(0, ("ok", "ok")), (-1, ("too_long", "ok")), (-9, ("too_long", "ok"))],
)
def test_the_window_counts_what_the_query_follows(room: int, statuses: tuple[str, str], tokenizer: Any) -> None:
    """What is dropped makes room for the query and the answer, once the context with the prefix has fitted."""
    (kept, *_) = scored(reader(tokenizer), "kept")
    needed = kept.context_token_count + kept.query_token_count + kept.answer_token_count
    found = scored(reader(tokenizer, window=needed + room), "kept", "stripped", count=1)
    assert tuple(score.status for score in found) == statuses
    (none,) = scored(reader(tokenizer, window=kept.context_token_count - 1), "stripped", count=1)
    assert none.status == "too_long"
    (some,) = scored(reader(tokenizer, window=kept.context_token_count), "stripped", count=1)
    assert some.status == "ok"


def test_without_a_first_token_the_document_alone_is_left(tokenizer: Any) -> None:
    language_model = dataclasses.replace(reader(tokenizer), first_token="none")
    kept, stripped = scored(language_model, "kept", "stripped", count=1)
    assert (kept.status, stripped.status) == ("ok", "ok")
    treatments = {"target_question": {"stripped": TREATMENTS["stripped"]}}
    (arm,) = encode_arms(RULE, SAMPLES[:1], surrogates(), language_model, treatments=treatments)
    assert tokenizer.decode(arm.request.cached_ids) == f"Document:\n{SAMPLES[0].passage}"


def test_a_model_whose_positions_do_not_allow_it_is_scored_in_all_else(tokenizer: Any) -> None:
    model = tiny_mistral(vocab_size=32_000, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4})
    found = scored(dataclasses.replace(reader(tokenizer), model=model), *TREATMENTS, count=1)
    assert [score.status for score in found] == ["ok", "cannot_strip", "ok", "ok", "ok"]
    assert found[1].nll is None


def test_a_template_that_does_not_end_with_the_document_cannot_be_stripped(tokenizer: Any) -> None:
    rule = RULE.model_copy(update={"template": "{document}\n{surrogate}"})
    with pytest.raises(ValueError, match="only where the template ends with 'Document:"):
        scored(reader(tokenizer), "stripped", rule=rule)


# --- the same bits, at the price of the continuation ---


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_an_item_is_the_same_alone_among_others_and_in_another_order(treatment: str, tokenizer: Any) -> None:
    language_model = reader(tokenizer)
    items = [item for name in (treatment, *TREATMENTS) for item in requests_of(name, tokenizer)]
    together = score_requests(items, language_model)
    order = random.Random(0).sample(range(len(items)), len(items))
    shuffled = score_requests([items[number] for number in order], language_model)
    assert [score_requests([item], language_model)[0] for item in items[:6]] == together[:6]
    assert shuffled == [together[number] for number in order]
    assert together[:6] == [nlls for item, nlls in zip(items, together, strict=True) if item in items[:6]][6:]


@pytest.mark.skipif(not is_batch_invariant(PATH), reason=f"bits are promised on oneDNN only, this machine has {PATH}")
def test_a_score_does_not_depend_on_the_chunk_or_on_the_other_treatments(tokenizer: Any) -> None:
    language_model = reader(tokenizer)
    whole = scored(language_model, *TREATMENTS)
    assert scored(language_model, *TREATMENTS, count=2) == [s for s in whole if s.sample_id in ("sample0", "sample1")]
    for name in TREATMENTS:
        assert scored(language_model, name) == [score for score in whole if score.treatment == name]


def test_a_context_is_computed_once_for_all_treatments_that_leave_it_alone(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expected: tokens counted in every pass; a dropped prefix costs its continuation and the first token again."""
    counts: list[int] = []
    forward = packing.forward_packed

    def counted(model: Any, segments: Any, **options: Any) -> Any:
        counts.append(sum(len(segment.all_ids) for segment in segments))
        return forward(model, segments, **options)

    monkeypatch.setattr("tasks.priming.engine.nll.forward_packed", counted)
    language_model = reader(tokenizer)
    items = {name: requests_of(name, tokenizer)[0] for name in TREATMENTS}

    def computed(*names: str) -> int:
        counts.clear()
        score_requests([items[name] for name in names], language_model)
        return sum(counts)

    after = items["kept"].computed_count
    whole = len(items["kept"].context)
    assert computed("kept") == whole + after
    assert computed("kept", "hidden") == whole + 2 * after
    assert computed("kept", "stripped") == whole + 2 * after + 1
    assert computed("kept", "stripped", "hidden") == whole + 3 * after + 1
    assert computed("blind", "masked") == whole + 2 * after
    assert computed(*TREATMENTS) == 2 * whole + 5 * after + 1
