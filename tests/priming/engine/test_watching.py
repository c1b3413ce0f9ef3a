"""A computation says how far it is while it goes on, and computes the same whether anybody listens."""

import itertools
from typing import Any

import pytest
import transformers

from tasks.priming.engine.generation import Prompt, generate_completions
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, score_requests
from tasks.priming.engine.numeric_path import choose_numeric_path
from tasks.priming.settings import GenerationSettings
from tasks.priming.watching import part, tell_share, watched
from tests.tiny_models import tiny_mistral

PATH = choose_numeric_path("cpu", "float32")
ITEMS = [Request(tuple(range(5, 25 + 4 * n)), (50, 51, 52), (60, 61 + n)) for n in range(12)]


def is_rising(shares: list[float]) -> bool:
    return all(low <= high + 1e-12 for low, high in itertools.pairwise(shares))


def test_shares_of_a_part_are_those_of_the_whole() -> None:
    told: list[float] = []
    with watched(told.append):
        tell_share(0.7)  # outside of parts, e.g. what several batches share
        with part(0.0, 0.5):
            tell_share(0.5)
        with part(0.5, 1.0), part(0.0, 0.2):
            tell_share(0.5)
    # by hand: half of the first half; half of a fifth of the second, its end, and the end of the second
    assert told == pytest.approx([0.25, 0.5, 0.55, 0.6, 1.0])


def test_scoring_tells_its_share_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch of a large model takes minutes: with one word a batch nothing would seem to move."""
    monkeypatch.setattr("tasks.priming.engine.nll.token_budget", lambda device: 200)
    reader = LanguageModel(tiny_mistral(), None, 256, PATH)
    told: list[float] = []
    with watched(told.append):
        scores = score_requests(ITEMS, reader, prefixes=[tuple(range(5, 15))])
    assert scores == score_requests(ITEMS, reader, prefixes=[tuple(range(5, 15))])
    assert is_rising(told)
    assert told[0] < 0.2
    assert told[-1] == pytest.approx(1.0)
    assert len(set(told)) >= 3 * 3  # three batches at least, of three layers


def test_writing_tells_its_share_while_lines_grow(mistral_tokenizer_folder: Any) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(mistral_tokenizer_folder)
    writer = LanguageModel(tiny_mistral(vocab_size=32_000), tokenizer, 256, PATH)
    prompts = [Prompt(f"Say {n} " + "and again " * n, f"0|{n}", ("Say 1", "Say 2")) for n in range(4)]
    told: list[float] = []
    with watched(told.append):
        lines = generate_completions(prompts, writer, GenerationSettings(max_new_tokens=10))
    assert max(line.token_count for line in lines) == 10
    assert is_rising(told)
    assert told[-1] == pytest.approx(1.0)
    # Of reading three layers, and each of the ten tokens but the last, which ends it.
    assert len(set(told)) >= 3 + 9
