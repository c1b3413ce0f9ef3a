"""The control family: what takes the surrogate's place, so that the causes of a gain can be told apart.

In: samples, their target_question surrogates, and for each sample a row about another passage (its donor). Out: one
surrogate per sample. Every control answers one question: is it the template, any text, the words, their order, the
passage they are about, or what a perfect guess would give? Could the run have shown a gain
at all? Each is one function here and one entry in arms.py.
"""

import random
from collections.abc import Callable, Sequence

from tasks.priming.arms.writing import Writing, complete_passages, fixed_surrogate, written_surrogate
from tasks.priming.engine.model import encode_continuation
from tasks.priming.prompts import GENERATION_INSTRUCTIONS
from tasks.priming.records import Sample, Surrogate
from tasks.priming.sampling import content_hash

MODEL_KEY = "target_question"  # the generated surrogate that controls are made from


def write_blank(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return empty texts: the effect of the template alone."""
    return _controls("blank_surrogate", samples, lambda number, sample: "")


def write_random_words(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return words of another passage in random order, with at most as many tokens as the sample's target_question.

    The longest such start of the shuffled words; at least one word.
    """
    assert writing.language_model is not None
    assert len(writing.donors) == len(samples)
    tokenizer = writing.language_model.tokenizer
    questions = _target_questions(samples, writing)

    def words(number: int, sample: Sample) -> str:
        wanted = len(encode_continuation(tokenizer, questions[number]))
        drawn = writing.donors[number].passage.split()
        _random(writing, sample, "random_words").shuffle(drawn)
        count = 1
        while count < len(drawn) and len(encode_continuation(tokenizer, " ".join(drawn[: count + 1]))) <= wanted:
            count += 1
        return " ".join(drawn[:count])

    return _controls("random_words", samples, words)


def write_shuffled(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the words of the sample's target_question in random order: its words without their meaning."""
    questions = _target_questions(samples, writing)

    def shuffled(number: int, sample: Sample) -> str:
        words = questions[number].split()
        _random(writing, sample, "shuffled_surrogate").shuffle(words)
        return " ".join(words)

    return _controls("shuffled_surrogate", samples, shuffled)


def write_other_document(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the target_question that the model writes for another passage: a good question, but about another text."""
    instruction = GENERATION_INSTRUCTIONS[MODEL_KEY]
    completions = complete_passages([donor.passage for donor in writing.donors], {MODEL_KEY: instruction.text}, writing)
    # The only control that the model writes, so it costs tokens of its own.
    return [
        written_surrogate(
            sample, "control", "other_document", completions[MODEL_KEY, donor.passage], instruction.word_limit
        )
        for sample, donor in zip(samples, writing.donors, strict=True)
    ]


def write_actual_query(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the user's own queries: what a perfect guess would give."""
    return _controls("actual_query", samples, lambda number, sample: sample.query)


def write_answer_given(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the users' queries with their answers: a run in which this gains nothing could not show a gain."""
    return _controls("answer_given", samples, lambda number, sample: f"{sample.query} {sample.answer}")


def _controls(key: str, samples: Sequence[Sample], text_of: Callable[[int, Sample], str]) -> list[Surrogate]:
    """Return one surrogate per sample, of no tokens: a target_question's are counted once, in the generated family.

    A control isolates the cause of a gain; it is not an option whose price matters.
    """
    return [fixed_surrogate(sample, "control", key, text_of(number, sample)) for number, sample in enumerate(samples)]


def _target_questions(samples: Sequence[Sample], writing: Writing) -> list[str]:
    questions = {surrogate.sample_id: surrogate.text for surrogate in writing.generated if surrogate.key == MODEL_KEY}
    return [questions[sample.sample_id] for sample in samples]


def _random(writing: Writing, sample: Sample, key: str) -> random.Random:
    """Return a random generator for one control of one sample."""
    return random.Random(content_hash(str(writing.seed), key, sample.sample_id))
