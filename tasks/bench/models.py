"""The language models of the benchmark: random weights built on the spot, or one that is loaded.

In: a name. Out: a LanguageModel in each number format. Speed does not depend on the values of weights, so random ones
serve; that they write no line break and no end of text is seen to here.
"""

import copy
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tasks.bench.mistral_tokenizer import save_mistral_tokenizer
from tasks.loading.models import identify_language_model, load_language_model
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.numeric_path import choose_numeric_path
from tasks.priming.settings import resolve_settings

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    },
    "small": {
        "hidden_size": 256,
        "intermediate_size": 896,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
    },
    "wide": {
        "hidden_size": 768,
        "intermediate_size": 2688,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "num_key_value_heads": 3,
    },
    # That of mistralai/Mistral-7B-Instruct-v0.2.
    "mistral-7b": {
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "max_position_embeddings": 32_768,
        "rope_theta": 1_000_000.0,
    },
}
"""Models with random weights: name -> their configuration, beside what all of them have."""

_VOCABULARY = 32_000
_SEED = 0


def load_models(name: str, dtypes: Sequence[str], device: str) -> dict[str, LanguageModel]:
    """Return a language model in each of the number formats, all with the same weights but for rounding.

    Args:
        name: A name in SHAPES, an id on the hub or a local folder.
        dtypes: Number formats, e.g. "float32".
        device: "cpu" or "cuda".

    Raises:
        SetupError: The model or its tokenizer cannot be loaded.
        SettingsError: There is no such number format.
    """
    if name not in SHAPES:
        choices = {"language_model": name, "device": device, "quantization": "none"}
        settings = [resolve_settings("laptop", dtype=dtype, **choices) for dtype in dtypes]
        identities = [identify_language_model(each.language_model) for each in settings]
        return {dtype: load_language_model(each) for dtype, each in zip(dtypes, identities, strict=True)}
    first = _build(name, dtypes[0], device)
    models = [first, *(copy.deepcopy(first).to(getattr(torch, dtype)) for dtype in dtypes[1:])]
    window = first.config.max_position_embeddings
    return {
        dtype: LanguageModel(model, mistral_tokenizer(), window, choose_numeric_path(device, dtype))
        for dtype, model in zip(dtypes, models, strict=True)
    }


@lru_cache(maxsize=1)
def mistral_tokenizer() -> Any:  # noqa: ANN401 - a transformers tokenizer
    """Return the tokenizer of Mistral-7B-Instruct-v0.2.

    Raises:
        SetupError: The package that holds it is not installed.
    """
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        return AutoTokenizer.from_pretrained(save_mistral_tokenizer(Path(folder)))


def _build(name: str, dtype: str, device: str) -> Any:  # noqa: ANN401 - a transformers model
    """Return a Mistral with random weights, drawn from a fixed seed, that writes neither line breaks nor EOS."""
    from transformers import AutoModelForCausalLM, MistralConfig

    shape = {"max_position_embeddings": 4096} | SHAPES[name]
    theta = shape.pop("rope_theta", 10_000.0)
    configuration = MistralConfig(
        vocab_size=_VOCABULARY,
        sliding_window=None,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        **shape,
    )
    cards = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices=cards), torch.device(device):
        torch.manual_seed(_SEED)
        model = AutoModelForCausalLM.from_config(configuration, dtype=getattr(torch, dtype)).eval()
    tokenizer = mistral_tokenizer()
    ends = [i for i in range(_VOCABULARY) if "\n" in tokenizer.decode([i])] + [tokenizer.eos_token_id]
    # Logits of 0 are never among the 50 largest of 32,000 around 0, from which tokens are sampled.
    model.lm_head.weight.requires_grad_(False)[ends] = 0
    return model.requires_grad_(False)
