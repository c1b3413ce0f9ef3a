"""Lines stop at the lengths of the table, whoever writes them."""

import statistics

from tasks.bench.generation import line_lengths, prompts_of, write_by_ours
from tasks.priming.engine.model import LanguageModel


def test_lengths_are_those_of_the_table() -> None:
    lengths = line_lengths(4)
    assert len(lengths) == 20
    assert statistics.mean(lengths) == 20.45  # by hand: 409 / 20
    assert max(lengths) == 39
    assert line_lengths(8) == lengths * 2


def test_random_weights_write_to_the_limit(tiny: LanguageModel) -> None:
    passages = ["The first passage.", "Another one, about something else."]
    lines = write_by_ours(passages, tiny)
    assert [line.token_count for line in lines] == line_lengths(2)
    assert {line.finish for line in lines} == {"length"}


def test_prompts_are_those_of_a_run() -> None:
    first, second = prompts_of(["A passage."])[:2]
    assert first.message.startswith("You are helping index a document for search.")
    assert first.message.endswith("\n\nText:\nA passage.")
    assert first.identity != second.identity
