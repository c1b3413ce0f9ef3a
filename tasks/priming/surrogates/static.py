"""The static family: five fixed phrases, the same before every passage, at no cost."""

from collections.abc import Sequence

from tasks.priming.prompts import STATIC_SURROGATES
from tasks.priming.records import Sample, Surrogate
from tasks.priming.surrogates.writing import Writing, is_same_text


def write_static(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the five fixed phrases for every sample; nothing of `writing` is used."""
    return [
        Surrogate(
            sample_id=sample.sample_id,
            family="static",
            key=key,
            text=text,
            raw_text=text,
            token_count=0,
            finish="fixed",
            is_over_word_limit=False,
            is_query=is_same_text(text, sample.query),
            has_stray_marks=False,
        )
        for key, text in STATIC_SURROGATES.items()
        for sample in samples
    ]
