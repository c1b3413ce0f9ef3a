"""The language models of the benchmark: random weights built on the spot, or one that is loaded.

In: a name. Out: a LanguageModel in each number format. Speed does not depend on the values of weights, so random ones
serve, with the real tokenizer of Mistral models from the package mistral-common; that they write no line break and no
end of text is seen to here.
"""

import copy
import importlib.util
import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from tasks.loading.data import SetupError
from tasks.loading.models import identify_language_model, load_language_model
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.numeric_path import choose_numeric_path
from tasks.priming.settings import resolve_settings

V1 = "tokenizer.model.v1"  # that of Mistral-7B-Instruct-v0.2, which the notebook uses
V3 = "mistral_instruct_tokenizer_240323.model.v3"  # in which [INST] is a control token and no longer plain text

# That of mistralai/Mistral-7B-Instruct-v0.2 on the hub.
_CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}"
)

# Models with random weights: name -> the values of _FIELDS.
_FIELDS = "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"
_SHAPES = {
    "tiny": (64, 128, 2, 2, 1),
    "small": (256, 896, 4, 4, 1),
    "wide": (768, 2688, 12, 12, 3),
    "smollm2-135m": (576, 1536, 30, 9, 3),  # that of HuggingFaceTB/SmolLM2-135M, with this module's vocabulary
    "mistral-7b": (4096, 14_336, 32, 32, 8),  # that of mistralai/Mistral-7B-Instruct-v0.2
}

_VOCABULARY = 32_000
_SEED = 0


def load_models(name: str, dtypes: Sequence[str], device: str) -> dict[str, LanguageModel]:
    """Return a language model in each of the number formats, all with the same weights but for rounding.

    It is one of _SHAPES with random weights, or else an id on the hub or a local folder.

    Raises:
        SetupError: The model or its tokenizer cannot be loaded.
        SettingsError: There is no such number format.
    """
    if name not in _SHAPES:
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
    """Return the tokenizer of Mistral-7B-Instruct-v0.2."""
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        return AutoTokenizer.from_pretrained(save_mistral_tokenizer(Path(folder)))


def save_mistral_tokenizer(folder: Path, file_name: str = V1) -> Path:
    """Save a Mistral tokenizer, V1 or V3, in an existing folder, as transformers saves it, and return where.

    Raises:
        SetupError: The package mistral-common, which holds the tokenizers, is not installed.
    """
    package = importlib.util.find_spec("mistral_common")
    if package is None or package.origin is None:
        raise SetupError(
            "The Mistral tokenizer comes with the package mistral-common, which is not installed. Install it: "
            "pip install -c constraints.txt .[offline]"
        )
    from transformers import AutoTokenizer

    source, saved = folder / "source", folder / "tokenizer"
    source.mkdir()
    shutil.copy(Path(package.origin).parent / "data" / file_name, source / "tokenizer.model")
    configuration = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": True,
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": True,
        "add_eos_token": False,
        "chat_template": _CHAT_TEMPLATE,
    }
    (source / "tokenizer_config.json").write_text(json.dumps(configuration), encoding="utf-8")
    AutoTokenizer.from_pretrained(source).save_pretrained(saved)
    return saved


def _build(name: str, dtype: str, device: str) -> Any:  # noqa: ANN401 - a transformers model
    """Return a Mistral with random weights, drawn from a fixed seed, that writes neither line breaks nor EOS."""
    from transformers import AutoModelForCausalLM, MistralConfig

    configuration = MistralConfig(
        vocab_size=_VOCABULARY,
        sliding_window=None,
        tie_word_embeddings=False,
        max_position_embeddings=4096,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        **dict(zip(_FIELDS, _SHAPES[name], strict=True)),
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
