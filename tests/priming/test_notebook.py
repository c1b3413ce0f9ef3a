"""The notebook's functions give what one plain pass gives and what the notebook printed, mistakes included."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.loading.models import identify_language_model, load_language_model
from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.engine.model import LanguageModel, encode_chat, encode_context, encode_continuation
from tasks.priming.notebook import (
    NotebookScore,
    build_kv_cache,
    compute_similarity,
    describe_cache,
    generate_surrogate,
    in_bfloat16,
    notebook_ids,
    score_answer_with_cache,
    score_repeatedly,
    score_twice,
)
from tasks.priming.prompts import BASELINE_TEMPLATE, fill, query_prompt
from tasks.priming.records import Sample, Score
from tasks.priming.scoring import score_family
from tasks.priming.settings import LanguageModelSettings
from tests.places import WALKTHROUGH
from tests.tiny_models import reading

SAMPLE = Sample("s", 0, WALKTHROUGH["passage"], WALKTHROUGH["query"], WALKTHROUGH["answer"], None, "p")
CONTEXT = fill(BASELINE_TEMPLATE, document=SAMPLE.passage)
QUERY = query_prompt(SAMPLE.query)


@pytest.fixture(scope="module")
def tiny_mistral(tiny_mistral_folder: Path) -> LanguageModel:
    settings = LanguageModelSettings(language_model=str(tiny_mistral_folder), dtype="float32", device="cpu")
    return load_language_model(identify_language_model(settings))


def baseline_score(model: LanguageModel, sample: Sample = SAMPLE) -> Score:
    (score,) = score_family(ARM_GROUPS["baseline"].contexts, [sample], [], model)
    return score


def scored(model: LanguageModel, cache: Any, length: int, answer: str = SAMPLE.answer) -> NotebookScore:
    query_ids, answer_ids = (notebook_ids(text, model, add_special_tokens=False) for text in (QUERY, answer))
    return score_answer_with_cache(cache, length, query_ids=query_ids, answer_ids=answer_ids, model=model.model)


def built(model: LanguageModel) -> tuple[int, Any]:
    return build_kv_cache(notebook_ids(CONTEXT, model, add_special_tokens=True), model.model)


# --- the notebook's functions ---


@pytest.mark.parametrize("answer", [SAMPLE.answer, "No"])
def test_a_score_equals_a_plain_forward_pass(tiny_mistral: LanguageModel, answer: str) -> None:
    length, cache = built(tiny_mistral)
    found = scored(tiny_mistral, cache, length, answer)
    texts = {CONTEXT: True, QUERY: False, answer: False}
    ids = [tiny_mistral.tokenizer(text, add_special_tokens=special)["input_ids"] for text, special in texts.items()]
    with torch.no_grad():
        logits = tiny_mistral.model(input_ids=torch.tensor([[*ids[0], *ids[1], *ids[2]]]), use_cache=False).logits[0]
    predicted = torch.log_softmax(logits[-len(ids[2]) - 1 : -1], dim=-1)
    nlls = [-float(row[token]) for row, token in zip(predicted, ids[2], strict=True)]
    assert length == 107  # printed by the notebook (cell 15)
    assert found.token_count == len(nlls) == (13 if answer == SAMPLE.answer else 1)  # its sums are of 12 of these 13
    assert found.nll == pytest.approx(sum(nlls[1:]) / max(1, len(nlls) - 1), abs=1e-5)
    assert found.first_nll == pytest.approx(nlls[0], abs=1e-5)
    assert found.mean_nll == pytest.approx(sum(nlls) / len(nlls), abs=1e-5)


def test_a_line_is_as_long_as_asked_for_and_without_what_follows_it(tiny_mistral: LanguageModel) -> None:
    with torch.random.fork_rng():
        lines = []
        for count in (3, 9):
            torch.manual_seed(5)
            lines.append(generate_surrogate("A passage.", "keyword_query", tiny_mistral, token_count=count))
    assert 0 < len(lines[0]) < len(lines[1])
    assert lines[1].startswith(lines[0])  # the same draws: the shorter line is the longer one's beginning


def test_similarity_is_what_the_notebook_printed(minilm: Any) -> None:
    found = compute_similarity(WALKTHROUGH["generated"]["keyword_query"], SAMPLE.query, minilm)
    assert found == pytest.approx(WALKTHROUGH["generated_similarities"]["keyword_query"], abs=5e-5)  # 0.7552


def test_the_notebook_writes_bos_twice_before_an_instruction_and_we_once(tiny_mistral: LanguageModel) -> None:
    """Its chat template writes BOS into the text, and the tokenizer adds another to the text."""
    tokenizer = tiny_mistral.tokenizer
    conversation = [{"role": "user", "content": "hello"}]
    text = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    bos = tokenizer.bos_token_id
    assert tokenizer(text)["input_ids"][:2] == [bos, bos]  # the notebook's call, its cell 9
    assert encode_chat(reading(tokenizer), "hello")[:2].count(bos) == 1


# --- one cache, scored several times ---


def test_its_first_use_gives_our_nll_without_the_first_token(tiny_mistral: LanguageModel) -> None:
    first = score_repeatedly(SAMPLE, tiny_mistral, times=1)[0]
    ours = baseline_score(tiny_mistral)
    assert first.nll == pytest.approx(ours.nll_notebook, abs=1e-4)  # the packed pass
    assert first.mean_nll == pytest.approx(ours.nll, abs=1e-4)


def test_it_lengthens_the_cache_that_it_scores(tiny_mistral: LanguageModel) -> None:
    """That is how the notebook printed 2.9583 for its baseline, and 4.4645 for the same cache a few cells later."""
    scores = score_repeatedly(SAMPLE, tiny_mistral, times=3)
    # 107 tokens of context, 16 of query and 13 of answer (printed by the notebook), though it says use_cache=False
    assert [(score.tokens_before, score.tokens_after) for score in scores] == [(107, 136), (136, 165), (165, 194)]


def test_its_second_use_equals_one_plain_pass_in_which_the_query_sees_what_the_short_mask_leaves(
    tiny_mistral: LanguageModel,
) -> None:
    """Computed without any cache, from the mask alone, which is as long as if nothing had been appended."""
    context, query, answer = (
        encode_context(tiny_mistral, CONTEXT),
        encode_continuation(tiny_mistral.tokenizer, QUERY),
        encode_continuation(tiny_mistral.tokenizer, SAMPLE.answer),
    )
    ids = [*context, *query, *answer, *query, *answer]
    first_end = len(context) + len(query) + len(answer)
    sees = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
    sees[first_end : first_end + len(query), len(context) + len(query) :] = False
    sees[first_end + len(query) :, first_end:] = False
    with torch.inference_mode():
        logits = tiny_mistral.model(
            input_ids=torch.tensor([ids]),
            attention_mask=sees[None, None],
            position_ids=torch.arange(len(ids))[None],
            use_cache=False,
        ).logits[0]
    nlls = -torch.log_softmax(logits[-len(answer) : -1].double(), dim=-1)[range(len(answer) - 1), answer[1:]]
    first, second = score_repeatedly(SAMPLE, tiny_mistral, times=2)
    assert second.nll == pytest.approx(float(nlls.mean()), abs=1e-4)
    assert abs(second.nll - first.nll) > 1e-3  # on this model, too, the second number is another one


def test_it_is_called_only_as_often_as_the_window_allows(tiny_mistral: LanguageModel) -> None:
    for window, count in ((135, 0), (136, 1), (164, 1), (165, 2)):  # 107 + 29 tokens the first time, 29 the second
        narrow = dataclasses.replace(tiny_mistral, window=window)
        assert len(score_repeatedly(SAMPLE, narrow, times=2)) == count


def test_it_calls_an_answer_of_one_token_perfect(tiny_mistral: LanguageModel) -> None:
    sample = dataclasses.replace(SAMPLE, answer="Yes")
    (score,) = score_repeatedly(sample, tiny_mistral, times=1)
    assert score.nll == 0.0
    ours = baseline_score(tiny_mistral, sample)
    assert ours.answer_token_count == 1
    assert ours.nll is not None
    assert ours.nll > 5  # an untrained model: about ln(32,000) = 10.4
    assert ours.nll_notebook is None


def test_it_stops_where_a_model_refuses_the_mask_of_a_second_use(
    tiny_mistral: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OPT and Bloom raise when the mask is shorter than the cache; Mistral's family fills it up."""
    forward = tiny_mistral.model.forward

    def strict(*arguments: Any, **options: Any) -> Any:
        cache = options.get("past_key_values")
        held = cache.get_seq_length() if cache is not None else 0
        if options["attention_mask"].shape[1] < held + options["input_ids"].shape[1]:
            raise RuntimeError("The size of tensor a must match the size of tensor b")
        return forward(*arguments, **options)

    monkeypatch.setattr(tiny_mistral.model, "forward", strict)
    assert len(score_repeatedly(SAMPLE, tiny_mistral, times=2)) == 1


def test_ours_is_the_same_with_one_cache_however_often(tiny_mistral: LanguageModel) -> None:
    first, second = score_twice(SAMPLE, tiny_mistral)
    assert first == second  # to the bit
    assert first == pytest.approx(baseline_score(tiny_mistral).token_nlls, abs=1e-5)


# --- shapes and rounding ---


def test_a_cache_is_described_layer_by_layer(tiny_mistral: LanguageModel) -> None:
    layers = describe_cache(CONTEXT, tiny_mistral)
    # 107 tokens: printed by the notebook
    assert [(layer.keys, layer.values) for layer in layers] == [((1, 2, 107, 16), (1, 2, 107, 16))] * 2
    assert {layer.number_format for layer in layers} == {"float32"}
    # by hand: (keys and values) x heads x tokens x dimension x 4 bytes
    assert [layer.byte_count for layer in layers] == [2 * 2 * 107 * 16 * 4] * 2
    assert sum(layer.byte_count for layer in layers) == 107 * tiny_mistral.facts.cache_bytes_per_token


@pytest.mark.parametrize(
    ("exact", "rounded"),
    [
        (35.5, 35.5),  # the notebook's own sum: 2.9583 x 12
        (35.6, 35.5),  # by hand: 32 to 64 in steps of 0.25
        (35.63, 35.75),
        (30.6785, 30.625),  # 16 to 32 in steps of 0.125
        (100.3, 100.5),  # 64 to 128 in steps of 0.5
    ],
)
def test_bfloat16_keeps_eight_binary_digits(exact: float, rounded: float) -> None:
    assert in_bfloat16(exact) == rounded
