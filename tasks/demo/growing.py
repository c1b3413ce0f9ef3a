"""Puts two layers into the middle of a model that reads, for finding out whose fact is asked for.

In: a trained model of three layers. Out: one of five that starts with the same answers: the new layers write next to
nothing but what a few heads are set to. The first gathers: its guided heads bring, from wherever they learn to look,
what stands there, into a space of their own. The second matches: its heads look where what was gathered here meets what
was gathered there (a value that knows its key), or meets the token itself (a key that knows its value).
"""

from dataclasses import dataclass

import torch
from transformers import MistralForCausalLM

from tasks.demo.initial_weights import orthonormal_rows, slowly_turning_rows

# Old layer -> its place in the grown model; 2 and 3 are new.
PLACES = {0: 0, 1: 1, 2: 4}
GATHERING_LAYER = 2
MATCHING_LAYER = 3

GATHERED_STRENGTH = 0.3
MATCHING_SHARPNESS = 3.0
COPY_STRENGTH = 0.05


@dataclass(frozen=True)
class GuidedHeads:
    """Heads of one layer whose attention is guided."""

    layer: int
    """The layer."""
    first: int
    """The first head."""
    stop: int
    """The head behind the last."""

    @property
    def heads(self) -> slice:
        """The heads as a slice."""
        return slice(self.first, self.stop)


GATHERING_HEADS = GuidedHeads(GATHERING_LAYER, 6, 8)
VALUE_HEADS = GuidedHeads(MATCHING_LAYER, 0, 2)
KEY_HEADS = GuidedHeads(MATCHING_LAYER, 2, 4)
COPYING_HEADS = GuidedHeads(4, 0, 2)


@torch.no_grad()
def grow(model: MistralForCausalLM, larger: MistralForCausalLM) -> None:
    """Copy a trained model into a larger untrained one and set the layers that are new.

    Args:
        model: Three layers, trained.
        larger: Five layers of the same shapes, freshly made; the seed must have been set before.
    """
    weights = larger.state_dict()
    for name, weight in model.state_dict().items():
        parts = name.split(".")
        if "layers" in parts:
            place = parts.index("layers") + 1
            parts[place] = str(PLACES[int(parts[place])])
        weights[".".join(parts)].copy_(weight)
    for layer in (GATHERING_LAYER, MATCHING_LAYER):
        larger.model.layers[layer].self_attn.o_proj.weight.zero_()
        larger.model.layers[layer].mlp.down_proj.weight.zero_()
    set_gathering_and_matching(larger)


def set_gathering_and_matching(model: MistralForCausalLM) -> None:
    """Set what the guided heads of the new layers bring, and what those of the second compare."""
    config = model.config
    width = config.hidden_size
    head = width // config.num_attention_heads
    slow_rows = slowly_turning_rows(model)
    token, gathered = orthonormal_rows(2 * 2 * head, width).chunk(2)
    gathering = model.model.layers[GATHERING_LAYER].self_attn
    for number, head_number in enumerate(range(GATHERING_HEADS.first, GATHERING_HEADS.stop)):
        rows = slice(head_number * head, (head_number + 1) * head)
        part = slice(number * head, (number + 1) * head)
        gathering.v_proj.weight[rows] = token[part]
        gathering.o_proj.weight[:, rows] = GATHERED_STRENGTH * gathered[part].T
    matching = model.model.layers[MATCHING_LAYER].self_attn
    brought = orthonormal_rows(2 * head, width)

    def match(head_number: int, asked: torch.Tensor, read: torch.Tensor, written: torch.Tensor) -> None:
        """Compare what was gathered with `asked`; bring what `read` reads to where `written` writes."""
        chosen = torch.randperm(2 * head)[: len(slow_rows)]
        matching.q_proj.weight[head_number * head + slow_rows] = MATCHING_SHARPNESS * gathered[chosen]
        matching.k_proj.weight[head_number * head + slow_rows] = MATCHING_SHARPNESS * asked[chosen]
        rows = slice(head_number * head, (head_number + 1) * head)
        matching.v_proj.weight[rows] = read
        matching.o_proj.weight[:, rows] = COPY_STRENGTH * written.T

    for number, head_number in enumerate(range(VALUE_HEADS.first, VALUE_HEADS.stop)):
        part = slice(number * head, (number + 1) * head)
        match(head_number, gathered, brought[part], brought[part])
    for number, head_number in enumerate(range(KEY_HEADS.first, KEY_HEADS.stop)):
        part = slice(number * head, (number + 1) * head)
        match(head_number, token, gathered[part], token[part])
