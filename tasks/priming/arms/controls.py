"""The control family: what stands where a surrogate would, so that a gain can be told from its causes.

In: samples, their target_question surrogates, and for each sample a row about another passage (its donor). Out: one
surrogate a sample. Every control answers one question: is it the framing, any text, the words, their order, the passage
they are about, or what a perfect guess would give? Each is one function here and one entry in families.py.
"""

import random
from collections.abc import Callable, Sequence

from tasks.priming.arms.generated import write_lines, written_surrogate
from tasks.priming.arms.writing import Writing, fixed_surrogate
from tasks.priming.engine.model import encode_continuation
from tasks.priming.prompts import GENERATION_INSTRUCTIONS
from tasks.priming.records import Sample, Surrogate
from tasks.priming.sampling import content_hash

MODEL_KEY = "target_question"
"""The generated surrogate that controls are made from."""


def write_blank(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return an empty text: what the template alone does."""
    return _controls("blank_surrogate", samples, lambda number, sample: "")


def write_random_words(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return words of another passage in random order, about as many tokens as the sample's target_question has.

    The longest start of the shuffled words that has no more tokens; at least one word.
    """
    assert writing.language_model is not None
    tokenizer = writing.language_model.tokenizer
    questions, donors = _target_questions(samples, writing), _donors(samples, writing)

    def words(number: int, sample: Sample) -> str:
        wanted = len(encode_continuation(tokenizer, questions[number].text))
        drawn = donors[number].passage.split()
        _random(writing, sample, "random_words").shuffle(drawn)
        count = 1
        while count < len(drawn) and len(encode_continuation(tokenizer, " ".join(drawn[: count + 1]))) <= wanted:
            count += 1
        return " ".join(drawn[:count])

    return _controls("random_words", samples, words)


def write_shuffled(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the words of the sample's target_question in random order: its words without what they say."""
    questions = _target_questions(samples, writing)

    def shuffled(number: int, sample: Sample) -> str:
        words = questions[number].text.split()
        _random(writing, sample, "shuffled_surrogate").shuffle(words)
        return " ".join(words)

    return _controls("shuffled_surrogate", samples, shuffled)


def write_other_document(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the target_question that the model writes for another passage: a good question, but not of this one."""
    donors = _donors(samples, writing)
    lines = write_lines([donor.passage for donor in donors], (MODEL_KEY,), writing)
    limit = GENERATION_INSTRUCTIONS[MODEL_KEY].word_limit
    # The one control that the model writes something for, so it has tokens of its own.
    return [
        written_surrogate(sample, "control", "other_document", lines[MODEL_KEY, donor.passage], limit)
        for sample, donor in zip(samples, donors, strict=True)
    ]


def write_actual_query(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the user's own query: what a perfect guess would give."""
    return _controls("actual_query", samples, lambda number, sample: sample.query)


def write_hidden(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the sample's target_question, which the query will not see."""
    questions = _target_questions(samples, writing)
    return _controls("hidden_surrogate", samples, lambda number, sample: questions[number].text)


def write_blind(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the sample's target_question, which the passage will not see."""
    questions = _target_questions(samples, writing)
    return _controls("blind_passage", samples, lambda number, sample: questions[number].text)


def _controls(key: str, samples: Sequence[Sample], text_of: Callable[[int, Sample], str]) -> list[Surrogate]:
    """Return one surrogate a sample, of no tokens: the target_question that some start from is the generated family's.

    Its tokens are counted there, once; a control tells what causes a gain and is no offer whose price matters.
    """
    return [fixed_surrogate(sample, "control", key, text_of(number, sample)) for number, sample in enumerate(samples)]


def _target_questions(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the target_question of each sample, in their order."""
    questions = {surrogate.sample_id: surrogate for surrogate in writing.generated if surrogate.key == MODEL_KEY}
    return [questions[sample.sample_id] for sample in samples]


def _donors(samples: Sequence[Sample], writing: Writing) -> Sequence[Sample]:
    """Return the row about another passage of each sample."""
    assert len(writing.donors) == len(samples)
    return writing.donors


def _random(writing: Writing, sample: Sample, key: str) -> random.Random:
    """Return a generator of its own for a control of a sample."""
    return random.Random(content_hash(str(writing.seed), key, sample.sample_id))
