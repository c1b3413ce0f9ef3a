"""How the surrogates of the static and generated families are written, and what all writers share.

In: samples, and a `Writing` with whatever else a writer may use. Out: one surrogate per sample and key. A passage is
completed once however many samples share it; the text depends on the seed, the passage and the instruction only.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.priming.arms.own import Wording
from tasks.priming.engine.model import LanguageModel
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, STATIC_SURROGATES, instructed
from tasks.priming.records import Sample, Surrogate
from tasks.priming.settings import GenerationSettings

if TYPE_CHECKING:  # imports torch
    from tasks.priming.engine.generation import Completion


@dataclass(frozen=True, slots=True)
class Writing:
    """What a writer may use besides the samples; defaults are for writers that do not need it."""

    seed: int  # the experiment's seed
    language_model: LanguageModel | None = None  # the model that generates
    generation: GenerationSettings | None = None  # how it samples
    donors: Sequence[Sample] = ()  # for each sample, in order, a row about another passage
    generated: Sequence[Surrogate] = ()  # the generated family's surrogates of the samples
    data_texts: Sequence[Surrogate] = ()  # texts of the samples that follow from the data
    wording: Wording | None = None  # the text or instruction of the only arm


def write_static(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the five fixed phrases for every sample."""
    return [
        fixed_surrogate(sample, "static", key, text) for key, text in STATIC_SURROGATES.items() for sample in samples
    ]


def write_generated(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the five generated surrogates of every sample, instruction by instruction.

    Raises:
        ValueError: No language model was given.
        MemoryError: A single prompt does not fit into memory.
    """
    texts = {key: instruction.text for key, instruction in GENERATION_INSTRUCTIONS.items()}
    completions = complete_passages([sample.passage for sample in samples], texts, writing)
    return [
        written_surrogate(sample, "generated", key, completions[key, sample.passage], instruction.word_limit)
        for key, instruction in GENERATION_INSTRUCTIONS.items()
        for sample in samples
    ]


def write_phrase(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the text of the only arm for every sample."""
    assert writing.wording is not None
    wording = writing.wording
    return [fixed_surrogate(sample, wording.family, wording.key, wording.text) for sample in samples]


def write_instructed(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return what the model writes for every sample by the instruction of the only arm.

    It depends on the instruction's text, not on its name. Raises as write_generated does.
    """
    assert writing.wording is not None
    assert writing.wording.word_limit is not None
    family, key, text, limit = (getattr(writing.wording, name) for name in ("family", "key", "text", "word_limit"))
    completions = complete_passages([sample.passage for sample in samples], {text: text}, writing)
    return [written_surrogate(sample, family, key, completions[text, sample.passage], limit) for sample in samples]


def write_provided(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the texts that the samples' rows brought."""
    return [text for text in writing.data_texts if text.family == "provided"]


def complete_passages(
    passages: Sequence[str], instructions: Mapping[str, str], writing: Writing
) -> "dict[tuple[str, str], Completion]":
    """Return the model's completion for each (instruction, passage); raises as write_generated does.

    Args:
        passages: What is completed.
        instructions: Their texts by the names that seed what is written.
        writing: The model, and how it samples.
    """
    from tasks.priming.engine.generation import Prompt, generate_completions

    if writing.language_model is None or writing.generation is None:
        raise ValueError("Writing for a passage needs a language model and generation settings.")
    pairs = [(name, passage) for name in instructions for passage in dict.fromkeys(passages)]
    prompts = [
        Prompt(
            instructed(instructions[name], passage),
            identity=f"{writing.seed}|{name}|{passage}",
            prefix_probes=(instructed(instructions[name], "One"), instructed(instructions[name], "2")),
        )
        for name, passage in pairs
    ]
    return dict(zip(pairs, generate_completions(prompts, writing.language_model, writing.generation), strict=True))


def written_surrogate(sample: Sample, family: str, key: str, completion: "Completion", word_limit: int) -> Surrogate:
    """Return a sample's surrogate from a model's completion; `word_limit` is the instruction's."""
    text = clean(completion.text)
    return Surrogate(
        sample_id=sample.sample_id,
        family=family,
        key=key,
        text=text,
        raw_text=completion.text,
        prompt_token_count=completion.prompt_token_count,
        token_count=completion.token_count,
        finish=completion.finish,
        is_over_word_limit=len(text.split()) > word_limit,
        is_query=is_same_text(text, sample.query),
        has_stray_marks=has_stray_marks(text),
    )


def fixed_surrogate(sample: Sample, family: str, key: str, text: str) -> Surrogate:
    """Return a surrogate that needed no model: it costs no tokens."""
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


def clean(raw_text: str) -> str:
    """Return the first line of a completion without surrounding space and quotes.

    The notebook strips quotes from the whole text before it takes the first line, which leaves a quote at the end of
    the line when more text follows.
    """
    first_line = raw_text.strip().split("\n", 1)[0]
    return first_line.strip().strip("\"'").strip()


def is_same_text(left: str, right: str) -> bool:
    """Tell whether two texts are equal except for case, white space and final question marks."""
    bare_left, bare_right = (" ".join(text.casefold().split()).rstrip("?. ") for text in (left, right))
    return bare_left == bare_right


def has_stray_marks(text: str) -> bool:
    """Tell whether a text has double quotes or a parenthetical explanation, which nobody types in a query."""
    return bool(re.search(r'["“”]|\([^)]*(\)|$)', text))
