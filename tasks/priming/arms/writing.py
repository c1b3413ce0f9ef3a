"""What the writers of surrogates have in common: what they may draw on, and the flags that every surrogate gets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.priming.engine.model import LanguageModel
from tasks.priming.records import Sample, Surrogate
from tasks.priming.settings import GenerationSettings


@dataclass(frozen=True, slots=True)
class Writing:
    """What a writer may draw on beside the samples."""

    seed: int
    """The experiment's seed."""
    language_model: LanguageModel | None = None
    """The model that writes; None for families that need none."""
    generation: GenerationSettings | None = None
    """How it samples; None likewise."""
    donors: Sequence[Sample] = ()
    """A row about another passage for each sample, in the samples' order; empty for writers that need none."""
    generated: Sequence[Surrogate] = ()
    """The generated family's surrogates of the samples; empty likewise."""


def fixed_surrogate(sample: Sample, family: str, key: str, text: str) -> Surrogate:
    """Return a surrogate for which nothing was read or generated: it costs no token."""
    return Surrogate(
        sample_id=sample.sample_id,
        family=family,
        key=key,
        text=text,
        raw_text=text,
        prompt_token_count=0,
        token_count=0,
        finish="fixed",
        is_over_word_limit=False,
        is_query=is_same_text(text, sample.query),
        has_stray_marks=has_stray_marks(text),
    )


def is_same_text(left: str, right: str) -> bool:
    """Tell whether two texts are equal but for case, white space and a final question mark."""
    return _bare(left) == _bare(right)


def has_stray_marks(text: str) -> bool:
    """Tell whether a text carries double quotes or a parenthetical explanation, which nobody types as a query."""
    return bool(re.search(r'["“”]|\([^)]*(\)|$)', text))


def _bare(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip("?. ")
