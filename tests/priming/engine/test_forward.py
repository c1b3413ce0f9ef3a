"""The packed pass on real (small, random) transformers of several architectures, against their own eager attention."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from tasks.priming.engine.forward import UnsupportedModelError, compute_step, forward_packed, step_ids
from tasks.priming.engine.kv_cache import prefill
from tasks.priming.engine.segments import Segment
from tests.tiny_models import filled_pack

SHAPE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ARCHITECTURES = {
    "mistral": lambda: transformers.MistralConfig(**SHAPE, sliding_window=None),
    "mistral with a window": lambda: transformers.MistralConfig(**SHAPE, sliding_window=12),
    "llama": lambda: transformers.LlamaConfig(**SHAPE),
    "qwen3": lambda: transformers.Qwen3Config(**SHAPE),
    "gemma2, soft caps and a window": lambda: transformers.Gemma2Config(
        **SHAPE, sliding_window=12, query_pre_attn_scalar=16, attn_logit_softcapping=2.0, final_logit_softcapping=3.0
    ),
    "gemma3, a window": lambda: transformers.Gemma3TextConfig(**SHAPE, sliding_window=12, query_pre_attn_scalar=16),
    "smollm3": lambda: transformers.SmolLM3Config(**SHAPE),
}


def build(configuration: Any) -> Any:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(configuration, attn_implementation="eager").eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:  # attention that is far from uniform, unlike the small default initialisation
            torch.nn.init.normal_(parameter, std=0.15)
    return model


def random_ids(count: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(3, 300), k=count)


@pytest.fixture(scope="module")
def mistral() -> Any:
    return build(ARCHITECTURES["mistral"]())


@pytest.mark.parametrize("configuration", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_packed_logits_equal_the_models_own_eager_pass(configuration: Callable[[], Any]) -> None:
    model = build(configuration())
    sequences = [random_ids(length, length) for length in (40, 7, 23, 1)]
    stops = [sum(map(len, sequences[: i + 1])) for i in range(len(sequences))]
    packed = forward_packed(model, [Segment(ids) for ids in sequences], keep=[stop - 1 for stop in stops]).logits
    assert packed is not None
    with torch.inference_mode():
        # the other way to compute: each sequence alone, in the attention that transformers wrote for the model
        plain = torch.stack([model(input_ids=torch.tensor([ids])).logits[0, -1] for ids in sequences])
    assert (packed - plain).abs().max() <= 1e-5


@pytest.mark.parametrize("configuration", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_a_segment_behind_a_cache_equals_one_plain_pass(configuration: Callable[[], Any]) -> None:
    model = build(configuration())
    context, continuation = random_ids(30, 1), random_ids(9, 2)
    cache = prefill(model, [Segment(random_ids(11, 3)), Segment(context)])[1]
    packed = forward_packed(model, [Segment(continuation, cache)], keep=range(9)).logits
    assert packed is not None
    with torch.inference_mode():
        plain = model(input_ids=torch.tensor([context + continuation])).logits[0, -9:]
    assert (packed - plain).abs().max() <= 1e-5


def test_the_models_attention_is_its_own_again_after_a_packed_pass(mistral: Any) -> None:
    forward_packed(mistral, [Segment(random_ids(20, 1))], keep=[19])
    assert mistral.config._attn_implementation == "eager"


def test_the_models_attention_is_its_own_again_after_an_error(mistral: Any) -> None:
    with pytest.raises(IndexError):
        forward_packed(mistral, [Segment([10_000])], keep=[0])  # no such token
    assert mistral.config._attn_implementation == "eager"


def test_layers_that_are_not_attention_are_refused() -> None:
    configuration = transformers.MambaConfig(
        vocab_size=300, hidden_size=16, num_hidden_layers=2, state_size=4, conv_kernel=2
    )
    model = transformers.MambaForCausalLM(configuration).eval()
    with pytest.raises(UnsupportedModelError, match="of which 0 are attention"):
        forward_packed(model, [Segment(random_ids(20, 1))])


def test_an_attention_argument_that_is_not_known_is_refused(mistral: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = mistral.forward

    def with_sinks(*arguments: Any, **options: Any) -> Any:
        return forward(*arguments, **options, s_aux=torch.zeros(4))

    monkeypatch.setattr(mistral, "forward", with_sinks)
    with pytest.raises(UnsupportedModelError, match="uses s_aux"):
        forward_packed(mistral, [Segment(random_ids(20, 1))], keep=[3])


def test_no_matrix_product_has_fewer_than_sixteen_rows(mistral: Any) -> None:
    """Fewer would take another kernel, with another last bit; counted where the rows enter the layers."""
    counts: dict[str, int] = {}

    def count(name: str) -> Callable[[Any, Any], None]:
        def hook(_: Any, inputs: Any) -> None:
            counts[name] = inputs[0].reshape(-1, inputs[0].shape[-1]).shape[0]

        return hook

    layers = {"product": mistral.model.layers[0].mlp.up_proj, "output": mistral.lm_head}
    hooks = [layer.register_forward_pre_hook(count(name)) for name, layer in layers.items()]
    try:
        for segments, kept in (([1], [0]), ([3], [2]), ([30], [5, 29])):
            forward_packed(mistral, [Segment(random_ids(length, 1)) for length in segments], keep=kept)
            assert min(counts.values()) >= 16, (segments, counts)
        pack = filled_pack(mistral, [random_ids(20, 1), random_ids(9, 2)], room=4)
        compute_step(mistral, step_ids(mistral, [5, 6]), pack)
        assert min(counts.values()) >= 16, counts
    finally:
        for hook in hooks:
            hook.remove()
