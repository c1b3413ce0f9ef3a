"""Steps of generation over buffers of several lengths."""

import random

import pytest
import torch

from tasks.priming.engine.generation import Stepper
from tests.tiny_models import filled_pack, tiny_mistral

LENGTHS = (10, 70, 130, 12)
"""Tokens of the prompts: buffers of two lengths and more."""


@pytest.mark.parametrize("window", [None, 12])
def test_a_step_equals_the_models_own_pass_over_all_that_was_written(window: int | None) -> None:
    """With and without an attention window, at every length of which a buffer of several rows may be."""
    model = tiny_mistral(sliding_window=window)
    for parameter in model.parameters():
        if parameter.ndim > 1:  # attention that is far from uniform: each key that is seen matters
            torch.nn.init.normal_(parameter, std=0.15, generator=torch.Generator().manual_seed(parameter.numel()))
    texts = [[random.Random(count).randrange(3, 300) for _ in range(count)] for count in LENGTHS]
    stepper = Stepper(model, filled_pack(model, texts, room=20))
    rows = stepper.keep(set(range(len(texts))))
    for number in range(4):
        newest = [3 + 11 * number + row for row in rows]
        logits = stepper.step(newest)
        for row, token in zip(rows, newest, strict=True):
            texts[row].append(token)
        with torch.inference_mode():
            plain = torch.stack([model(input_ids=torch.tensor([texts[row]])).logits[0, -1] for row in rows])
        assert (logits - plain).abs().max() <= 1e-4
