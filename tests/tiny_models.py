"""Language models of a moment's size for tests: random weights of a fixed seed, grouped heads, no window."""

from typing import Any

import torch
import transformers

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


def tiny_mistral(**changes: Any) -> Any:
    """Return a Mistral in evaluation mode.

    Args:
        **changes: Of its configuration.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.MistralForCausalLM(transformers.MistralConfig(**_SHAPE | changes)).eval()
