"""How the surrogates of the static, generated and free families are written, and what all writers share.

In: samples, and a `Writing` with whatever else a writer may use. Out: one surrogate per sample and key. A passage is
completed once however many samples share it; the text depends on the seed, the passage and the instruction only. Free
texts cost nothing, since no model writes them; keywords depend on all eligible rows of the data, so they are chosen
where those are read.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tasks.priming.arms.contexts import Wording
from tasks.priming.engine.model import LanguageModel
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, STATIC_SURROGATES, instructed
from tasks.priming.records import Sample, Surrogate
from tasks.priming.settings import GenerationSettings

if TYPE_CHECKING:  # imports torch
    from tasks.priming.engine.generation import Completion


KEYWORD_COUNT = 6

_LEAST_WORDS = 4
"""A shorter beginning is no sentence: "Dr.", "1." and "U.S." end in a full stop too."""

_CLOSING = "\"'”’»)]"


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


def write_lead(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the first sentence of each passage; see first_sentence."""
    return [fixed_surrogate(sample, "free", "lead", first_sentence(sample.passage)) for sample in samples]


def write_echo(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the passages themselves: each is read twice."""
    return [fixed_surrogate(sample, "free", "echo", sample.passage) for sample in samples]


def write_keywords(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    """Return the keywords of each passage that were chosen when the data were read; see keywords_of."""
    texts = {text.sample_id: text for text in writing.data_texts if (text.family, text.key) == ("free", "keywords")}
    return [texts[sample.sample_id] for sample in samples]


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


def first_sentence(passage: str) -> str:
    """Return the words of a passage up to the first from the fourth on that ends in a full stop, "!" or "?".

    Closing quotes and brackets may follow the mark. All words where there is no such mark; words are joined by one
    space.

    >>> first_sentence("Dr. Ames built it.  It ground rye.")
    'Dr. Ames built it.'
    """
    words = passage.split()
    ends = (place for place, word in enumerate(words, 1) if word.rstrip(_CLOSING).endswith((".", "!", "?")))
    return " ".join(words[: next((place for place in ends if place >= _LEAST_WORDS), len(words))])


def keywords_of(passages: Sequence[str], eligible: Iterable[str]) -> list[str]:
    """Return for each passage its six words of highest TF-IDF, highest first, ties alphabetical, joined by commas.

    Words are lower-case, of two letters or digits at least, and no English stop words; a passage may have fewer than
    six, or none.

    Args:
        passages: The passages whose keywords are returned.
        eligible: The passages of all eligible rows, as often as they occur: how many hold a word makes it common.

    Source: scikit-learn's TfidfVectorizer(stop_words="english").
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(stop_words="english")
    try:
        vectorizer.fit(eligible)
    except ValueError:  # no word in any of them
        return [""] * len(passages)
    words = vectorizer.get_feature_names_out()  # in alphabetical order
    table = vectorizer.transform(passages)
    table.sort_indices()
    found = []
    for start, stop in zip(table.indptr, table.indptr[1:], strict=False):
        # A stable sort leaves equal ones in alphabetical order.
        best = np.argsort(-table.data[start:stop], kind="stable")[:KEYWORD_COUNT]
        found.append(", ".join(words[table.indices[start:stop][best]]))
    return found
