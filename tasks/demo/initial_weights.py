"""Gives an untrained model the two kinds of attention head that copying needs.

In: a freshly made model. Out: the same model with some weights set. Heads that look at the token before, and heads in
the next layer that look for an earlier occurrence of the present token and bring what followed it, are found by
training alone only after many millions of tokens (Olsson et al. 2022, arXiv:2209.11895). Setting them at the start lets
one processor core teach a model to read within an hour; everything else, and these weights too, is then trained.
"""

import torch
from transformers import MistralForCausalLM

PREVIOUS_HEADS = 3
MATCHING_HEADS = 6

# The size of the embedding's first coordinate, the same for each token: queries and keys that read only it depend on
# nothing but the position.
CONSTANT = 0.08
PREVIOUS_SHARPNESS = 10.0
MATCHING_SHARPNESS = 3.0
PREVIOUS_STRENGTH = 0.07
COPY_STRENGTH = 0.15
OUTPUT_SCALE = 4.0
# A pair of coordinates that turns by less than this from one position to the next turns slowly.
SLOW_ANGLE = 0.008


def orthonormal_rows(rows: int, width: int) -> torch.Tensor:
    """Return random orthonormal rows that do not read the constant coordinate, (rows, width)."""
    basis, _ = torch.linalg.qr(torch.randn(width - 1, rows))
    return torch.cat([torch.zeros(rows, 1), basis.T], dim=1)


def slowly_turning_rows(model: MistralForCausalLM) -> torch.Tensor:
    """Return the coordinates of a head that compare contents over the length of a passage: the others turn too fast."""
    angles = model.model.rotary_emb.inv_freq.float()
    slow = [pair for pair, angle in enumerate(angles) if angle < SLOW_ANGLE]
    return torch.tensor(slow + [pair + len(angles) for pair in slow])


@torch.no_grad()
def set_copying_heads(model: MistralForCausalLM) -> None:
    """Set the embedding's constant coordinate, previous-token heads in layer 0 and matching heads in layer 1."""
    config = model.config
    width = config.hidden_size
    head_width = width // config.num_attention_heads
    pairs = head_width // 2
    # The angle by which a pair of coordinates turns from one position to the next.
    angles = model.model.rotary_emb.inv_freq.float()
    embedding = model.model.embed_tokens.weight
    embedding[:, 0] = CONSTANT
    constant = CONSTANT / embedding.pow(2).mean().sqrt()
    # Where the present token is read and where the one before is written must not overlap, or they blur each other.
    copied, written = orthonormal_rows(2 * PREVIOUS_HEADS * head_width, width).chunk(2)
    first = model.model.layers[0].self_attn
    for head in range(PREVIOUS_HEADS):
        rows = slice(head * head_width, (head + 1) * head_width)
        size = PREVIOUS_SHARPNESS / constant
        # A key that is turned one position further meets the query of the next token.
        first.q_proj.weight[rows, 0] = size * torch.cat([torch.ones(pairs), torch.zeros(pairs)])
        first.k_proj.weight[rows, 0] = size * torch.cat([angles.cos(), angles.sin()])
        first.v_proj.weight[rows] = copied[rows]
        first.o_proj.weight[:, rows] = PREVIOUS_STRENGTH * written[rows].T
    second = model.model.layers[1].self_attn
    slow_rows = slowly_turning_rows(model)
    brought = orthonormal_rows(MATCHING_HEADS * head_width, width)
    for head in range(MATCHING_HEADS):
        start = head * head_width
        chosen = torch.randperm(PREVIOUS_HEADS * head_width)[: len(slow_rows)]
        second.q_proj.weight[start + slow_rows] = MATCHING_SHARPNESS * copied[chosen]
        second.k_proj.weight[start + slow_rows] = MATCHING_SHARPNESS * written[chosen]
        rows = slice(start, start + head_width)
        second.v_proj.weight[rows] = brought[rows]
        second.o_proj.weight[:, rows] = COPY_STRENGTH * brought[rows].T
    model.model.norm.weight.fill_(OUTPUT_SCALE)
