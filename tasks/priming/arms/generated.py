"""The generated family: five queries that a language model writes for each passage.

In: samples. Out: a surrogate a sample and instruction. A passage is written for once however many samples share it,
and what is written depends on the seed, the passage and the instruction only.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tasks.priming.arms.writing import Writing, has_stray_marks, is_same_text
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, generation_prompt
from tasks.priming.records import Sample, Surrogate

if TYPE_CHECKING:  # torch is loaded by whoever writes, not by whoever lists the families
    from tasks.priming.engine.generation import Completion


def write_generated(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the five generated surrogates of every sample, instruction by instruction.

    Raises:
        ValueError: No language model was given.
        MemoryError: One prompt alone does not fit into memory.
    """
    lines = write_lines([sample.passage for sample in samples], tuple(GENERATION_INSTRUCTIONS), writing)
    return [
        written_surrogate(sample, "generated", key, lines[key, sample.passage], instruction.word_limit)
        for key, instruction in GENERATION_INSTRUCTIONS.items()
        for sample in samples
    ]


def write_lines(passages: Sequence[str], keys: Sequence[str], writing: Writing) -> "dict[tuple[str, str], Completion]":
    """Return what the model writes for each (instruction, passage); a passage that recurs is written for once.

    Raises:
        ValueError: No language model was given.
        MemoryError: One prompt alone does not fit into memory.
    """
    from tasks.priming.engine.generation import Prompt, generate_lines

    if writing.language_model is None or writing.generation is None:
        raise ValueError("Writing for a passage needs a language model and generation settings.")
    asked = [(key, passage) for key in keys for passage in dict.fromkeys(passages)]
    prompts = [
        Prompt(
            generation_prompt(key, passage),
            identity=f"{writing.seed}|{key}|{passage}",
            prefix_probes=(generation_prompt(key, "One"), generation_prompt(key, "2")),
        )
        for key, passage in asked
    ]
    return dict(zip(asked, generate_lines(prompts, writing.language_model, writing.generation), strict=True))


def written_surrogate(sample: Sample, family: str, key: str, line: "Completion", word_limit: int) -> Surrogate:
    """Return the surrogate that a model's line gives a sample; `word_limit` is its instruction's."""
    text = clean(line.text)
    return Surrogate(
        sample_id=sample.sample_id,
        family=family,
        key=key,
        text=text,
        raw_text=line.text,
        prompt_token_count=line.prompt_token_count,
        token_count=line.token_count,
        finish=line.finish,
        is_over_word_limit=len(text.split()) > word_limit,
        is_query=is_same_text(text, sample.query),
        has_stray_marks=has_stray_marks(text),
    )


def clean(raw_text: str) -> str:
    """Return the first line of what a model wrote, without surrounding space and quotes.

    The notebook strips quotes from the whole text first and takes the first line then, which leaves a quote at the
    end of the line when something follows it.
    """
    first_line = raw_text.strip().split("\n", 1)[0]
    return first_line.strip().strip("\"'").strip()
