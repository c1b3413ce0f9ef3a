"""The free family: texts that cost nothing, since no model writes them.

In: passages. Out: texts that are fixed, or made of the passage by a rule. Each is one entry in arms.py, and one
function here unless it is a fixed phrase. Keywords depend on all eligible rows of the data, so they are chosen where
those are read.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from tasks.priming.arms.writing import Writing, fixed_surrogate
from tasks.priming.records import Sample, Surrogate

KEYWORD_COUNT = 6

_LEAST_WORDS = 4
"""A shorter beginning is no sentence: "Dr.", "1." and "U.S." end in a full stop too."""

_CLOSING = "\"'”’»)]"


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
