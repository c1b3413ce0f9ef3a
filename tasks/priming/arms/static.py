"""The static family: five fixed phrases, the same before every passage, at no cost."""

from collections.abc import Sequence

from tasks.priming.arms.writing import Writing, fixed_surrogate
from tasks.priming.prompts import STATIC_SURROGATES
from tasks.priming.records import Sample, Surrogate


def write_static(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the five fixed phrases for every sample; nothing of `writing` is used."""
    return [
        fixed_surrogate(sample, "static", key, text) for key, text in STATIC_SURROGATES.items() for sample in samples
    ]
