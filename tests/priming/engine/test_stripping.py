"""A dropped prefix: equal to a cache whose keys are rotated to the positions that they then have, on every rotation."""

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from tasks.priming.arms.treatments import Sight
from tasks.priming.engine.kv_cache import prefill
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, score_requests
from tasks.priming.engine.segments import Segment
from tasks.priming.scoring import status_of
from tasks.priming.scoring_checks import plain_logits
from tests.tiny_models import tiny_mistral

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
ROPE = {"rope_theta": 10_000.0, "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0}
YARN = {"rope_type": "yarn", "attention_factor": 1.4}
PAST = {"original_max_position_embeddings": 32}


def made(name: str, **changes: Any) -> Any:
    """Return a model of random weights, large enough that what is out of sight would show."""
    shape = SHAPE | changes
    config = getattr(transformers, f"{name}{'TextConfig' if name == 'Gemma3' else 'Config'}")(**shape)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.data.mul_(4)
    return model


def llama(**rope: Any) -> Any:
    return made("Llama", rope_parameters=ROPE | rope)


def gemma3(window: int) -> Any:
    return made(
        "Gemma3",
        head_dim=16,
        sliding_window=window,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        query_pre_attn_scalar=16,
    )


MODELS = {
    "Mistral": lambda: tiny_mistral(),
    "Mistral, window within the document": lambda: tiny_mistral(sliding_window=16),
    "Mistral, window beyond the document": lambda: tiny_mistral(sliding_window=32),
    "Llama": lambda: llama(rope_type="default"),
    "Llama, linear": lambda: llama(rope_type="linear"),
    "Llama, llama3": lambda: llama(**LLAMA3, **PAST),
    "Llama, yarn": lambda: llama(**YARN, **PAST),
    "Phi, half of the dimensions": lambda: made("Phi", rope_parameters=ROPE | {"rope_type": "default"}),
    "GPTNeoX, a quarter": lambda: made("GPTNeoX"),
    "Qwen3": lambda: made("Qwen3", head_dim=16),
    "Gemma 3, two bases, short window": lambda: gemma3(16),
    "Gemma 3, two bases, long window": lambda: gemma3(200),
}
PREFIX, DOCUMENT, QUERY, ANSWER = 17, 24, 7, 5


def ids_of(count: int, seed: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(3, 300), k=count))


REQUEST = Request(
    (1, *ids_of(PREFIX, 1), *ids_of(DOCUMENT, 2)),
    ids_of(QUERY, 3),
    ids_of(ANSWER, 4),
    Sight(hidden_from_query=(1, 1 + PREFIX), closes_gap=True),
)


def rotated(key: torch.Tensor, distance: int, model: Any, layer: int) -> torch.Tensor:
    """Rotate a layer's keys by a distance, in float64: without what scales cos and sin, which keys have already."""
    rotary = model.base_model.rotary_emb
    kinds = getattr(model.config, "layer_types", None)
    own = f"{kinds[layer]}_inv_freq" if kinds else "inv_freq"
    frequencies = getattr(rotary, own, None) if kinds else None
    angles = distance * (rotary.inv_freq if frequencies is None else frequencies).double()
    half = len(angles)
    x, y, rest = key[..., :half].double(), key[..., half : 2 * half].double(), key[..., 2 * half :].double()
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([x * cos - y * sin, y * cos + x * sin, rest], -1).float()


def rerotated_nlls(request: Request, model: Any) -> list[float]:
    """Score with plain transformers on a cache from which the prefix is cut, every key of the document rotated back."""
    dropped = request.sight.dropped_count
    full = transformers.DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.tensor([request.context]), past_key_values=full)
        stored = transformers.DynamicCache()
        for number, layer in enumerate(full.layers):
            assert layer.keys.shape[2] == len(request.context)
            back = rotated(layer.keys[:, :, 1 + dropped :], -dropped, model, number)
            keys = torch.cat([layer.keys[:, :, :1], back], 2)
            stored.update(keys, torch.cat([layer.values[:, :, :1], layer.values[:, :, 1 + dropped :]], 2), number)
        # The positions follow from the cache: 0 to n, then the query's.
        logits = model(input_ids=torch.tensor([request.continuation]), past_key_values=stored).logits[0]
    rows = torch.log_softmax(logits[len(request.query) - 1 :].double(), -1)
    return [-row[token].item() for row, token in zip(rows, request.answer, strict=True)]


@pytest.mark.parametrize("name", MODELS)
def test_a_dropped_prefix_equals_a_cache_whose_document_is_rotated_back(name: str) -> None:
    """And a plain pass with a mask and given positions; both differ from the plain document and from what is kept."""
    model = MODELS[name]()
    reader = LanguageModel(model, None, 256, "cpu-float32-default")
    assert reader.has_fixed_rotation
    document = Request((1, *REQUEST.context[1 + PREFIX :]), REQUEST.query, REQUEST.answer)
    kept = Request(REQUEST.context, REQUEST.query, REQUEST.answer)
    found, plain, whole = score_requests([REQUEST, document, kept], reader)
    assert found == pytest.approx(rerotated_nlls(REQUEST, model), abs=1e-5)
    with torch.inference_mode():
        rows = torch.log_softmax(plain_logits(REQUEST, reader).double(), -1)
    assert found == pytest.approx(
        [-row[token].item() for row, token in zip(rows, REQUEST.answer, strict=True)], abs=1e-5
    )
    assert found != pytest.approx(plain, abs=1e-4)
    if "short" not in name and "within" not in name:
        assert found != pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_the_first_token_further_on_has_its_own_key_rotated_and_the_same_value(name: str) -> None:
    model = MODELS[name]()
    (near,), (far,) = (prefill(model, [Segment((1,), start=start)]) for start in (0, 40))
    for number, (left, right) in enumerate(zip(near.layers, far.layers, strict=True)):
        assert (rotated(left[0], 40, model, number) - right[0]).abs().max() <= 1e-5 * left[0].abs().max()
        assert torch.equal(left[1], right[1])


GPT2 = {"n_embd": 32, "n_layer": 1, "n_head": 2, "bos_token_id": 0, "eos_token_id": 0, "vocab_size": 300}


@pytest.mark.parametrize(
    "make",
    [
        lambda: llama(rope_type="dynamic"),
        lambda: llama(rope_type="longrope", short_factor=[1.0] * 8, long_factor=[2.0] * 8, **PAST),
        lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)),
    ],
    ids=["dynamic", "longrope", "learned positions"],
)
def test_positions_that_are_not_distances_alone_are_refused(make: Callable[[], Any]) -> None:
    """Only where something would be dropped: the rest of a run is scored."""
    reader = LanguageModel(make(), None, 256, "cpu-float32-default")
    assert status_of(REQUEST, reader) == "cannot_strip"
    assert status_of(Request(REQUEST.context, REQUEST.query, REQUEST.answer), reader) == "ok"
    empty = Sight(hidden_from_query=(0, 0), closes_gap=True)
    assert status_of(Request(REQUEST.context, REQUEST.query, REQUEST.answer, empty), reader) == "ok"


def test_without_a_first_token_the_whole_beginning_is_dropped() -> None:
    """Expected: the document's keys rotated back by all that precedes them, and nothing before them."""
    model = tiny_mistral()
    request = Request(REQUEST.context, REQUEST.query, REQUEST.answer, Sight((0, 0), (0, 1 + PREFIX), closes_gap=True))
    reader = LanguageModel(model, None, 256, "cpu-float32-default")
    (found,) = score_requests([request], reader)
    dropped, full, stored = 1 + PREFIX, transformers.DynamicCache(), transformers.DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.tensor([request.context]), past_key_values=full)
        for number, layer in enumerate(full.layers):
            keys = rotated(layer.keys[:, :, dropped:], -dropped, model, number)
            stored.update(keys, layer.values[:, :, dropped:], number)
        logits = model(input_ids=torch.tensor([request.continuation]), past_key_values=stored).logits[0]
    rows = torch.log_softmax(logits[QUERY - 1 :].double(), -1)
    expected = [-row[token].item() for row, token in zip(rows, request.answer, strict=True)]
    assert found == pytest.approx(expected, abs=1e-5)


def taught() -> Any:
    """Return a model that was trained to answer with the prefix, seeing of it only what the document carries."""
    model = made("Llama", num_hidden_layers=2)
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(1)
        model = transformers.LlamaForCausalLM(model.config)
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
        # first token, prefix, three of the document, the query; the query sees neither itself alone nor the prefix
        sees = torch.ones(6, 6).tril().bool()
        sees[5, 1] = False
        mask = torch.zeros(1, 1, 6, 6).masked_fill(~sees, torch.finfo(torch.float32).min)
        ids = torch.tensor([[1, prefix, 5, 6, 7, 8] for prefix in range(10, 18)])
        for _ in range(80):
            logits = model(ids, attention_mask=mask.expand(8, -1, -1, -1), position_ids=torch.arange(6)[None]).logits
            loss = torch.nn.functional.cross_entropy(logits[:, -1], ids[:, 1])
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
    return model.eval()


def test_what_only_the_documents_states_know_of_the_prefix_is_found() -> None:
    """A planted effect: the document was computed with the prefix in sight; the query has lost all else of it."""
    reader = LanguageModel(taught(), None, 256, "cpu-float32-default")
    prefixes = range(10, 18)
    stripped = [
        Request((1, prefix, 5, 6, 7), (8,), (prefix,), Sight(hidden_from_query=(1, 2), closes_gap=True))
        for prefix in prefixes
    ]
    plain = [Request((1, 5, 6, 7), (8,), (prefix,)) for prefix in prefixes]
    known, unknown = ([nlls[0] for nlls in score_requests(requests, reader) if nlls] for requests in (stripped, plain))
    assert max(known) < 0.2
    # Eight answers of which nothing tells one from the others: no probabilities have a smaller mean.
    assert sum(unknown) / 8 >= math.log(8) - 1e-6
