"""What the notebook printed about its one example: the walkthrough's default sample, and numbers to set beside ours.

In: published.json, copied from the notebook's stored outputs. Out: a frozen `Published`, and its surrogates as rows.
"""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from tasks.priming.arms.writing import fixed_surrogate
from tasks.priming.prompts import GENERATION_INSTRUCTIONS
from tasks.priming.records import Sample, Surrogate

_FILE = Path(__file__).with_name("published.json")


@dataclass(frozen=True, slots=True)
class Published:
    """The notebook's example and what it printed; an arm is written family/key."""

    source: str
    """The cells that printed it."""
    language_model: str
    """Its id on the hub."""
    quantization: str
    """Of its weights."""
    passage: str
    """The example's passage."""
    query: str
    """Its query."""
    answer: str
    """Its answer."""
    generated: dict[str, str]
    """Key -> the surrogate that the model wrote."""
    similarities: dict[str, float]
    """Arm -> similarity of its surrogate to the query, to 4 decimals."""
    context_tokens: dict[str, int]
    """Arm -> tokens of its context."""
    answer_tokens: list[str]
    """The answer's tokens but the first, each decoded alone, which loses a leading space."""
    nll: dict[str, float]
    """Arm -> mean NLL of all answer tokens but the first, from the first use of its cache."""
    second_use_nll: float
    """The same of the baseline's cache, scored a second time."""

    def has_its_tokenizer(self, answer_tokens: tuple[str, ...]) -> bool:
        """Tell whether a tokenizer splits the answer as the notebook's does."""
        return [token.strip() for token in answer_tokens[1:]] == self.answer_tokens

    def has_its_model(self, language_model: str) -> bool:
        """Tell whether a model's NLLs may be set beside the notebook's."""
        return language_model == self.language_model


@lru_cache(maxsize=1)
def read_published() -> Published:
    """Return what the notebook printed."""
    return Published(**json.loads(_FILE.read_text(encoding="utf-8")))


def published_surrogates(sample: Sample) -> list[Surrogate]:
    """Return the surrogates that the notebook's model wrote, with this project's flags; nothing is generated."""
    return [
        replace(
            fixed_surrogate(sample, "generated", key, text),
            is_over_word_limit=len(text.split()) > GENERATION_INSTRUCTIONS[key].word_limit,
        )
        for key, text in read_published().generated.items()
    ]
