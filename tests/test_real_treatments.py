"""Kept and stripped texts on a real model: the signs that plain transformers gave, on the same rows, by this engine.

The texts and the first token are those of that study: BOS, the tokens of the prefix and of the document one after the
other, answers of at most 64 tokens. Its figures are means over 60 rows of MS MARCO on SmolLM2-135M-Instruct in float32.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from tasks.loading.models import identify_language_model, load_language_model
from tasks.priming.arms.treatments import ALL_IN_SIGHT, Sight
from tasks.priming.engine.model import LanguageModel, encode_answer, encode_continuation
from tasks.priming.engine.nll import Request, score_requests
from tasks.priming.prompts import STATIC_SURROGATES, SURROGATE_TEMPLATE, fill, query_prompt
from tasks.priming.records import Sample
from tasks.priming.sampling import read_row
from tasks.priming.settings import resolve_settings
from tests.priming.engine.test_stripping import rerotated_nlls
from tests.tiny_models import require_weights

COUNT = 60
LONGEST_ANSWER = 64

PUBLISHED = {
    # (text, treatment, measure): t of the improvement over the bare passage, all of those beyond 2
    ("factual", "stripped", "nats"): -2.9,
    ("quantitative", "stripped", "nats"): -3.1,
    ("extract", "kept", "nats"): -2.8,
    ("keywords", "stripped", "nats"): -2.3,
    ("actual", "stripped", "nats"): -3.1,
    ("echo", "kept", "points"): 2.6,
}
MEAN_NLLS = {
    ("factual", "kept"): 1.839, ("factual", "stripped"): 1.926, ("quantitative", "kept"): 1.839,
    ("quantitative", "stripped"): 1.935, ("extract", "kept"): 1.942, ("extract", "stripped"): 1.870,
    ("keywords", "kept"): 1.777, ("keywords", "stripped"): 1.887, ("random", "kept"): 1.859,
    ("random", "stripped"): 1.853, ("actual", "kept"): 1.854, ("actual", "stripped"): 1.920,
    ("echo", "kept"): 1.876, ("echo", "stripped"): 1.909, ("bare", "kept"): 1.809, ("document", "kept"): 1.810,
}  # fmt: skip
"""Of the same study; nats per answer token."""


def texts(samples: list[Sample]) -> Iterator[dict[str, str]]:
    """Yield each row's texts before the document, without the frame "Document:"."""
    vectorizer = TfidfVectorizer(stop_words="english")
    weights = vectorizer.fit_transform([sample.passage for sample in samples])
    words = np.array(vectorizer.get_feature_names_out())
    generator = random.Random(0)
    for number, sample in enumerate(samples):
        best = np.argsort(-weights[number].toarray()[0])[:6]
        drawn = generator.sample(range(len(samples)), 3)
        others = [word for place in drawn if place != number for word in samples[place].passage.split()]
        surrogates = {
            "factual": STATIC_SURROGATES["factual"],
            "quantitative": STATIC_SURROGATES["quantitative"],
            "keywords": ", ".join(words[best]),
            "random": " ".join(generator.sample(others, 10)),
            "actual": sample.query,
        }
        framed = {
            name: fill(SURROGATE_TEMPLATE, surrogate=text, document="").removesuffix("Document:\n")
            for name, text in surrogates.items()
        }
        extract, echo = "Extract the key facts from this text.\n\n", f"Document:\n{sample.passage}\n\n"
        yield framed | {"extract": extract, "echo": echo}


def requests_of(sample: Sample, prefixes: dict[str, str], reader: LanguageModel) -> dict[tuple[str, str], Request]:
    """Return the requests of one row by text and treatment."""
    tokenizer, prompt = reader.tokenizer, query_prompt(sample.query)
    query = tuple(encode_continuation(tokenizer, prompt))
    answer = tuple(encode_answer(tokenizer, prompt, sample.answer))[:LONGEST_ANSWER]
    bos = (int(tokenizer.bos_token_id),)
    document = tuple(encode_continuation(tokenizer, f"Document:\n{sample.passage}"))
    found = {
        ("bare", "kept"): Request((*bos, *encode_continuation(tokenizer, sample.passage)), query, answer),
        ("document", "kept"): Request(bos + document, query, answer),
    }
    for name, text in prefixes.items():
        prefix = tuple(encode_continuation(tokenizer, text))
        stripped = Sight(hidden_from_query=(1, 1 + len(prefix)), closes_gap=True)
        for treatment, sight in (("kept", ALL_IN_SIGHT), ("stripped", stripped)):
            found[name, treatment] = Request(bos + prefix + document, query, answer, sight)
    return found


def rows_of(shared_data: Path) -> list[Sample]:
    rows = pq.read_table(shared_data / "data" / "msmarco_v1.1_sample.parquet").to_pylist()
    return [row for n, line in enumerate(rows) if isinstance(row := read_row(line, n, 50, 200), Sample)]


def t_of(differences: Any) -> float:
    return float(differences.mean() / (differences.std(ddof=1) / np.sqrt(len(differences))))


@pytest.fixture(scope="module")
def reader() -> LanguageModel:
    require_weights()
    return load_language_model(identify_language_model(resolve_settings("demo").language_model))


@pytest.mark.weights
@pytest.mark.slow  # test_stripping.py compares tiny models
def test_a_dropped_prefix_equals_a_rotated_cache_of_plain_transformers(
    reader: LanguageModel, shared_data: Path
) -> None:
    """Of thirty layers: on the shortest of the rows, with the shortest and the longest text."""
    samples = rows_of(shared_data)
    number = min(range(COUNT), key=lambda place: len(samples[place].passage))
    prefixes = list(texts(samples))[number]
    requests = requests_of(samples[number], prefixes, reader)
    chosen = [requests[name, "stripped"] for name in ("extract", "echo")]
    for request, found in zip(chosen, score_requests(chosen, reader), strict=True):
        assert found == pytest.approx(rerotated_nlls(request, reader.model), abs=1e-4)


@pytest.mark.weights
@pytest.mark.long
def test_kept_and_stripped_texts_have_the_signs_that_plain_transformers_gave(
    reader: LanguageModel, shared_data: Path
) -> None:
    samples = rows_of(shared_data)
    pairs = zip(samples[:COUNT], texts(samples), strict=False)
    requests = [requests_of(sample, prefixes, reader) for sample, prefixes in pairs]
    scored = iter(score_requests([request for of_row in requests for request in of_row.values()], reader))
    nlls = {name: np.array([0.0] * COUNT) for name in requests[0]}
    for number, of_row in enumerate(requests):
        for name in of_row:
            values = next(scored)
            assert values is not None
            nlls[name][number] = np.mean(values)
    for name, published in MEAN_NLLS.items():
        assert nlls[name].mean() == pytest.approx(published, abs=0.005)
    baseline = nlls["bare", "kept"]
    for (text, treatment, measure), published in PUBLISHED.items():
        own = nlls[text, treatment]
        differences = baseline - own if measure == "nats" else 100 * (np.exp(-own) - np.exp(-baseline))
        assert t_of(differences) == pytest.approx(published, abs=0.3)
