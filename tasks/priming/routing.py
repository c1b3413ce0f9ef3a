"""Routing: how similar each surrogate is to the user's query, and which one the router takes.

In: samples, surrogates and a sentence-embedding model. Out: one Route per surrogate. Every distinct text is embedded
once (in a large run once per five thousand samples); similarity is the cosine of two sentence embeddings in float32
(bfloat16 changes routes).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeAlias

import numpy as np
from sklearn.preprocessing import normalize

from tasks.priming.engine.numeric_path import choose_numeric_path, numeric_path
from tasks.priming.errors import UsageError
from tasks.priming.records import Route, Sample, Surrogate

Vectors: TypeAlias = np.ndarray[Any, np.dtype[np.float32]]

_GROUPS_AT_ONCE = 10_000
"""Pairs of sample and family whose vectors are in memory at a time: some 60,000 texts, 300 MB."""

_TEXTS_AT_ONCE = 32
# Matrix products of fewer rows use other kernels, whose sums differ in the last bit.
_LEAST_ROWS = 16


def route_queries(
    samples: Sequence[Sample],
    surrogates: Sequence[Surrogate],
    model: Any,  # noqa: ANN401 - a sentence_transformers model
) -> list[Route]:
    """Return the similarity of every surrogate to its sample's query, and whether the router chooses it.

    Within a sample and family the highest similarity wins, and the first one of equals, which are flagged. An empty
    surrogate has no similarity and is never chosen (a sentence model embeds blanks too, and they might win), and so is
    one whose vector, or whose query's vector, has no direction: their cosine would be noise.

    Raises:
        UsageError: The model gave NaN, infinity or a zero vector for every text (in a large run, of one block).
    """
    queries = {sample.sample_id: sample.query for sample in samples}
    groups: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for surrogate in surrogates:  # there may be millions: only what is needed is kept
        groups.setdefault((surrogate.sample_id, surrogate.family), []).append((surrogate.key, surrogate.text))
    routes: list[Route] = []
    remaining = iter(groups.items())
    while block := list(islice(remaining, _GROUPS_AT_ONCE)):
        texts = {queries[sample_id] for (sample_id, _), _ in block}
        texts |= {text for _, members in block for _, text in members if text}
        vectors = _unit_vectors(model, sorted(texts))
        for (sample_id, family), members in block:
            routes += _route(sample_id, family, members, vectors.get(queries[sample_id]), vectors)
    return routes


def _unit_vectors(model: Any, texts: Sequence[str]) -> dict[str, Vectors]:  # noqa: ANN401
    """Return the unit vector, (1, dimensions), of each text whose embedding has a direction."""
    vectors = embed(model, texts)
    has_direction = _has_direction(vectors)
    if texts and not has_direction.any():
        raise UsageError(
            f"The embedding model gave no usable vector for {texts[0]!r} and {len(texts) - 1} other texts (NaN, "
            "infinity or zero for all of them). Use another `embedding_model`."
        )
    usable = [text for text, is_usable in zip(texts, has_direction, strict=True) if is_usable]
    units = normalize(vectors[has_direction]) if usable else vectors
    return {text: units[[row]] for row, text in enumerate(usable)}


def _route(
    sample_id: str,
    family: str,
    members: Sequence[tuple[str, str]],
    query: Vectors | None,
    vectors: Mapping[str, Vectors],
) -> list[Route]:
    """Return the routes of one sample and family; its members are (key, text)."""
    found = [vectors.get(text) if text else None for _, text in members]
    # The bits of scikit-learn's cosine_similarity.
    similarities = [None if v is None or query is None else float((v @ query.T)[0, 0]) for v in found]
    known = [s for s in similarities if s is not None]
    best = max(known, default=None)
    chosen = similarities.index(best) if known else None
    return [
        Route(
            sample_id,
            family,
            key,
            similarity,
            is_routed=place == chosen,
            is_tie=similarity is not None and known.count(similarity) > 1,
        )
        for place, ((key, _), similarity) in enumerate(zip(members, similarities, strict=True))
    ]


def embed(model: Any, texts: Sequence[str]) -> Vectors:  # noqa: ANN401
    """Return the (texts, dimensions) float32 embeddings of texts.

    Texts of equal token count form a batch, so nothing is padded: faster than mixed batches, and a text gets the same
    bits whatever else is embedded. Threads that share the model take turns.
    """
    vectors = np.zeros((len(texts), model.get_embedding_dimension()), dtype=np.float32)
    with numeric_path(choose_numeric_path("cpu", "float32")):
        for batch in _batches(model, texts):
            found = model.encode(
                [texts[n] for n in batch], batch_size=len(batch), show_progress_bar=False, convert_to_numpy=True
            )
            vectors[batch] = found
    return vectors


def _batches(model: Any, texts: Sequence[str]) -> Iterator[list[int]]:  # noqa: ANN401
    """Yield the numbers of texts of one token count, the first repeated if they are too few for the usual kernels."""
    lengths: dict[int, list[int]] = {}
    cut = {"truncation": True, "max_length": model.max_seq_length}  # as `encode` does
    for number, ids in enumerate(model.tokenizer(list(texts), **cut)["input_ids"] if texts else ()):
        lengths.setdefault(len(ids), []).append(number)
    for length, numbers in lengths.items():
        for start in range(0, len(numbers), _TEXTS_AT_ONCE):
            part = numbers[start : start + _TEXTS_AT_ONCE]
            yield part + part[:1] * (-(-_LEAST_ROWS // length) - len(part))


def _has_direction(vectors: Vectors) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Tell for each vector whether it has a direction: one with NaN or infinity, or of zeros, has none."""
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is infinite, hence has no direction
        norms = np.linalg.norm(vectors, axis=1)
    has_direction: np.ndarray[Any, np.dtype[np.bool_]] = np.isfinite(norms) & (norms > 0)
    return has_direction
