"""Samples about six stores, and a tiny model that reads them."""

from typing import Any

from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.numeric_path import choose_numeric_path
from tasks.priming.records import Sample
from tests.tiny_models import tiny_mistral

QUESTION = "How much does a cashier earn at a large store?"
PATH = choose_numeric_path("cpu", "float32")


def sample(number: int) -> Sample:
    passage = (
        f"Store {number} pays its cashiers {10 + number} dollars an hour, and managers a good deal more than that."
    )
    return Sample(f"sample{number}", number, passage, f"cashier pay store {number}", "ten dollars", None, f"p{number}")


SAMPLES = [sample(number) for number in range(6)]


def reader(tokenizer: Any, sliding_window: int | None = None, window: int = 512) -> LanguageModel:
    shape = {"vocab_size": 32_000, "hidden_size": 64, "intermediate_size": 128, "max_position_embeddings": 512}
    return LanguageModel(tiny_mistral(sliding_window=sliding_window, **shape), tokenizer, window, PATH)
