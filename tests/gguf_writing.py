"""GGUF files of a moment's size for tests: models of transformers written as llama.cpp's converter writes them."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
import transformers

TOKENS = [*(chr(code) for code in range(33, 127)), *(chr(code) for code in range(161, 173)),
          *(chr(code) for code in range(174, 256)), *(chr(256 + n) for n in range(68))]  # fmt: skip
"""The alphabet of byte-level vocabularies: a letter per byte."""

MERGES = ["t h", "th e", "Ġ the", "Ġ Ġ", "i n", "Ġ 1"]
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
VOCABULARY = [*CONTROL, *TOKENS, *(merge.replace(" ", "") for merge in MERGES)]

_SHAPE = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
}
_CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {}),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM, {"sliding_window": 24}),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM, {}),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM, {}),
    "gemma2": (
        transformers.Gemma2Config,
        transformers.Gemma2ForCausalLM,
        {"sliding_window": 24, "query_pre_attn_scalar": 16},
    ),
    "gemma3": (
        transformers.Gemma3TextConfig,
        transformers.Gemma3ForCausalLM,
        {"sliding_window": 24, "query_pre_attn_scalar": 16, "num_hidden_layers": 7},
    ),
}


def tiny_model(kind: str, **changes: Any) -> Any:
    """Return a model of random weights, norms and biases among them."""
    configuration, model, own = _CLASSES[kind]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        made = model(configuration(**_SHAPE | {"tie_word_embeddings": kind.startswith("gemma")} | own | changes)).eval()
        for parameter in made.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
    return made


def write_model(
    path: Path, kind: str = "llama", form: str = "F32", keys: dict[str, Any] | None = None, **changes: Any
) -> Any:
    """Write a tiny model with a byte-level tokenizer and return it.

    Args:
        path: Where.
        kind: Its family.
        form: How its matrices are stored, e.g. "Q8_0".
        keys: Metadata that replace or join those of the architecture; None for a value leaves its key out.
        **changes: Of its configuration.
    """
    model = tiny_model(kind, **changes)
    shape = model.config
    architecture = "llama" if kind == "mistral" else kind
    stated: dict[str, Any] = {
        "general.name": "tiny",
        f"{architecture}.block_count": shape.num_hidden_layers,
        f"{architecture}.context_length": shape.max_position_embeddings,
        f"{architecture}.embedding_length": shape.hidden_size,
        f"{architecture}.feed_forward_length": shape.intermediate_size,
        f"{architecture}.attention.head_count": shape.num_attention_heads,
        f"{architecture}.attention.head_count_kv": shape.num_key_value_heads,
        f"{architecture}.attention.key_length": shape.head_dim,
        f"{architecture}.attention.value_length": shape.head_dim,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-6,
        f"{architecture}.rope.freq_base": 1e6 if kind == "gemma3" else 1e4,  # as the configurations have it
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": VOCABULARY,
        "tokenizer.ggml.token_type": [3] * len(CONTROL) + [1] * (len(VOCABULARY) - len(CONTROL)),
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.add_bos_token": False,
    }
    if getattr(shape, "sliding_window", None) and kind in ("mistral", "gemma2", "gemma3"):
        stated[f"{architecture}.attention.sliding_window"] = shape.sliding_window
    if kind == "gemma2":
        stated |= {"gemma2.attn_logit_softcapping": 50.0, "gemma2.final_logit_softcapping": 30.0}
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in (stated | (keys or {})).items():
        if value is not None:
            _add(writer, key, value)
    names = gguf.get_tensor_name_map(
        {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}[architecture], shape.num_hidden_layers
    )
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and shape.tie_word_embeddings:
            continue
        stem, _, ending = name.rpartition(".")
        values = tensor.float().numpy()
        if architecture == "llama" and stem.endswith(("q_proj", "k_proj")):
            heads = shape.num_attention_heads if stem.endswith("q_proj") else shape.num_key_value_heads
            # llama.cpp rotates neighbours, transformers halves: its converter orders the rows anew.
            values = values.reshape(heads, 2, shape.head_dim // 2, -1).swapaxes(1, 2).reshape(values.shape)
        if architecture.startswith("gemma") and name.endswith("norm.weight"):
            values = values + 1
        kind_of_tensor = gguf.GGMLQuantizationType[form if values.ndim == 2 else "F32"]
        stored = gguf.quantize(np.ascontiguousarray(values), kind_of_tensor)
        writer.add_tensor(f"{names.get_name(stem)}.{ending}", stored, raw_dtype=kind_of_tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return model


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    else:
        kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        kinds[type(value)](key, value)
