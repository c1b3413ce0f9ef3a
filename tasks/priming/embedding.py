"""Routing: how similar each surrogate is to the user's query, and which one the router takes.

In: samples, surrogates and a sentence-embedding model. Out: one Route a surrogate. Every distinct text is embedded
once; similarity is the cosine of two sentence embeddings, in float32 (bfloat16 changes routes).
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from sklearn.metrics.pairwise import cosine_similarity

from tasks.priming.errors import UsageError
from tasks.priming.records import Route, Sample, Surrogate

Vectors: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

_TEXTS_AT_ONCE = 32
# Matrix products of fewer rows take other kernels, whose sums differ in the last bit.
_LEAST_ROWS = 16


def route_queries(
    samples: Sequence[Sample],
    surrogates: Sequence[Surrogate],
    model: Any,  # noqa: ANN401 - a sentence_transformers model
) -> list[Route]:
    """Return the similarity of every surrogate to its sample's query, and whether the router chooses it.

    Within a sample and family the highest similarity wins; of equal ones the first, which is flagged. An empty
    surrogate has no similarity and is never chosen (a sentence model embeds blanks too, and they might win). Nor has
    one a similarity if its vector, or its query's, has no direction: their cosine would be noise that looks like one.

    Args:
        samples: The samples.
        surrogates: Their surrogates, of any families, keys in the families' order.
        model: The sentence-embedding model.

    Raises:
        UsageError: The model gave NaN, infinity or a zero vector for every text.
    """
    queries = {sample.sample_id: sample.query for sample in samples}
    texts = sorted({*queries.values(), *(s.text for s in surrogates if s.text)})
    vectors = embed(model, texts)
    has_direction = _has_direction(vectors)
    if texts and not has_direction.any():
        raise UsageError(
            f"The embedding model gave no usable vector for {texts[0]!r} and {len(texts) - 1} other texts (NaN, "
            "infinity or zero for all of them). Use another `embedding_model`."
        )
    number = {text: row for row, text in enumerate(texts) if has_direction[row]}

    groups: dict[tuple[str, str], list[Surrogate]] = {}
    for surrogate in surrogates:
        groups.setdefault((surrogate.sample_id, surrogate.family), []).append(surrogate)
    routes = []
    for (sample_id, family), members in groups.items():
        query = number.get(queries[sample_id])
        similarities = [_cosine(vectors, number.get(member.text) if member.text else None, query) for member in members]
        known = [s for s in similarities if s is not None]
        best = max(known, default=None)
        chosen = similarities.index(best) if known else None
        for place, (member, similarity) in enumerate(zip(members, similarities, strict=True)):
            is_tie = similarity is not None and known.count(similarity) > 1
            routes.append(Route(sample_id, family, member.key, similarity, place == chosen, is_tie))
    return routes


def embed(model: Any, texts: Sequence[str]) -> Vectors:  # noqa: ANN401
    """Return the (texts, dimensions) float32 embeddings of texts.

    Texts of equal token count go together, so that nothing is padded: faster than mixed batches, and the same bits
    for a text whatever else is embedded.
    """
    lengths: dict[int, list[int]] = {}
    for number, ids in enumerate(model.tokenizer(list(texts))["input_ids"] if texts else ()):
        lengths.setdefault(len(ids), []).append(number)
    vectors = np.zeros((len(texts), model.get_embedding_dimension()), dtype=np.float32)
    for length, numbers in lengths.items():
        for start in range(0, len(numbers), _TEXTS_AT_ONCE):
            part = numbers[start : start + _TEXTS_AT_ONCE]
            repeated = [*part, *[part[0]] * max(0, -(-_LEAST_ROWS // length) - len(part))]
            batch = [texts[n] for n in repeated]
            found = model.encode(batch, batch_size=len(batch), show_progress_bar=False, convert_to_numpy=True)
            vectors[part] = found[: len(part)]
    return vectors


def _cosine(vectors: Vectors, first: int | None, second: int | None) -> float | None:
    """Return the cosine of two of the vectors; None where one of them is missing."""
    if first is None or second is None:
        return None
    return float(cosine_similarity(vectors[[first]], vectors[[second]])[0, 0])


def _has_direction(vectors: Vectors) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell of each vector whether it has a direction: NaN, infinity and zero have none."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is infinite, which is what is asked
        norms = np.linalg.norm(vectors, axis=1)
    has_direction: np.ndarray[Any, np.dtype[np.bool_]] = np.isfinite(norms) & (norms > 0)
    return has_direction
