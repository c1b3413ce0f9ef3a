"""Routing with the real MiniLM: the walkthrough's similarities, and the rules that choose an arm."""

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from tasks.priming.engine.numeric_path import choose_numeric_path, numeric_path
from tasks.priming.prompts import STATIC_SURROGATES
from tasks.priming.records import Route, Sample, Surrogate
from tasks.priming.routing import embed, route_queries
from tests.places import WALKTHROUGH
from tests.run_rows import surrogate
from tests.tiers import slow

WORDS = (
    "pay",
    "cashier",
    "hour",
    "year",
    "store",
    "average",
    "how much",
    "what",
    "pharmacy",
    "salary range",
    "of",
    "a",
)


def sample(sample_id: str, query: str) -> Sample:
    return Sample(sample_id, 0, "A passage.", query, "An answer.", None, "p")


def surrogates(sample_id: str, family: str, texts: dict[str, str]) -> list[Surrogate]:
    return [surrogate(sample_id, f"{family}/{key}", text=text) for key, text in texts.items()]


def routed(model: Any, texts: dict[str, str], query: str = WALKTHROUGH["query"]) -> list[Route]:
    return route_queries([sample("s", query)], surrogates("s", "generated", texts), model)


def random_texts(count: int) -> list[str]:
    draw = random.Random(3)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 30))) + f" {number}" for number in range(count)]


# --- the walkthrough's numbers ---


def test_the_walkthroughs_ten_similarities_and_two_routes_come_out(minilm: Any) -> None:
    """Expected: what the walkthrough's cell 11 printed, to its four decimals."""
    both = surrogates("s", "static", STATIC_SURROGATES) + surrogates("s", "generated", WALKTHROUGH["generated"])
    routes = route_queries([sample("s", WALKTHROUGH["query"])], both, minilm)
    found = {(route.family, route.key): route.similarity for route in routes}
    printed = {
        (family, key): similarity
        for family in ("static", "generated")
        for key, similarity in WALKTHROUGH[f"{family}_similarities"].items()
    }
    assert len(printed) == 10
    assert {arm: f"{similarity:.4f}" for arm, similarity in found.items()} == {
        arm: f"{similarity:.4f}" for arm, similarity in printed.items()
    }
    best = [(route.family, route.key) for route in routes if route.is_routed]
    assert best == [("static", "procedural"), ("generated", "keyword_query")]  # cell 11: "Best static match", ...
    assert not any(route.is_tie for route in routes)


def test_the_published_similarities_of_real_users_queries_come_out(minilm: Any, shared_data: Path) -> None:
    pairs = json.loads((shared_data / "golden" / "minilm_cosine_pairs.json").read_text(encoding="utf-8"))
    samples = [sample(str(number), pair["query"]) for number, pair in enumerate(pairs)]
    written = [
        part for number, pair in enumerate(pairs) for part in surrogates(str(number), "f", {"k": pair["surrogate"]})
    ]
    found = [route.similarity for route in route_queries(samples, written, minilm)]
    assert len(found) == 30  # README.md of the shared data: 30 printed cosines
    assert found == pytest.approx([pair["cosine_recomputed"] for pair in pairs], abs=5e-5)  # to 4 decimals
    assert found == pytest.approx([pair["cosine_printed"] for pair in pairs], abs=6e-4)  # some have 3 decimals


# --- the rule ---


def test_of_equal_similarities_the_first_key_wins_and_all_are_flagged(minilm: Any) -> None:
    texts = {"a": "store hours", "b": "store sales", "c": "store sales", "d": "store hours"}
    routes = routed(minilm, texts, query="store sales")
    assert [route.is_routed for route in routes] == [False, True, False, False]
    assert [route.is_tie for route in routes] == [True, True, True, True]  # the two below the best as well
    assert routes[1].similarity == pytest.approx(1.0)  # a text is as similar to itself as can be
    assert routes[1].similarity == routes[2].similarity


def test_an_empty_surrogate_is_never_chosen(minilm: Any) -> None:
    """An empty text embeds to a unit vector too, and could win."""
    query = "zzz"
    against_empty = float(minilm.encode("") @ minilm.encode(query))
    texts = {"a": "", "b": "How do I bake bread at home, step by step, in a small oven?"}
    routes = routed(minilm, texts, query=query)
    assert routes[1].similarity is not None
    assert against_empty > routes[1].similarity  # so the empty one would win if it took part
    assert [(route.similarity is None, route.is_routed, route.is_tie) for route in routes] == [
        (True, False, False),
        (False, True, False),
    ]


def test_if_all_surrogates_are_empty_nobody_is_chosen(minilm: Any) -> None:
    routes = routed(minilm, {"a": "", "b": ""})
    assert [(route.similarity, route.is_routed, route.is_tie) for route in routes] == [(None, False, False)] * 2


def test_every_sample_and_family_is_routed_on_its_own(minilm: Any) -> None:
    samples = [sample("s", "bread recipe"), sample("t", "cashier pay")]
    texts = {"x": "how to bake bread", "y": "what a cashier earns"}
    reverse = dict(reversed(texts.items()))
    written = [*surrogates("s", "f", texts), *surrogates("t", "f", texts), *surrogates("t", "g", reverse)]
    routes = route_queries(samples, written, minilm)
    assert [(route.sample_id, route.family, route.key) for route in routes if route.is_routed] == [
        ("s", "f", "x"),
        ("t", "f", "y"),
        ("t", "g", "y"),
    ]
    assert len(routes) == 6


# --- bits ---


@pytest.mark.parametrize("thread_count", [1, *slow(2)])
def test_an_embedding_has_the_same_bits_in_any_order_and_subset(minilm: Any, thread_count: int) -> None:
    """Texts of a few words are the hard ones: alone, they take other kernels than in a batch."""
    short = [*WORDS, *(f"{word} {number}" for word in WORDS[:4] for number in range(5))]
    texts = [*short, *random_texts(60)]
    before = torch.get_num_threads()
    torch.set_num_threads(thread_count)
    try:
        whole = embed(minilm, texts)
        order = random.Random(1).sample(range(len(texts)), len(texts))
        assert np.array_equal(embed(minilm, [texts[n] for n in order]), whole[order])
        parts = [*([n] for n in range(len(short))), [1, 40], list(range(20, 50)), list(range(0, len(texts), 7))]
        for part in parts:
            assert np.array_equal(embed(minilm, [texts[n] for n in part]), whole[part])
    finally:
        torch.set_num_threads(before)


def test_threads_that_share_the_model_take_turns(minilm: Any) -> None:
    """Every call sets whether the tokenizer cuts: within another thread's batch, a long text would fit no model."""
    asked = Event()

    def tokenizer(texts: list[str], **settings: Any) -> Any:
        asked.set()
        return minilm.tokenizer(texts, **settings)

    watched = SimpleNamespace(
        tokenizer=tokenizer,
        encode=minilm.encode,
        max_seq_length=minilm.max_seq_length,
        get_embedding_dimension=minilm.get_embedding_dimension,
    )
    with ThreadPoolExecutor(1) as threads:
        with numeric_path(choose_numeric_path("cpu", "float32")):  # as if a batch was being embedded
            other = threads.submit(embed, watched, ["word " * 1000])
            assert not asked.wait(0.2)
        assert other.result().shape == (1, 384)


def test_embeddings_equal_the_models_own(minilm: Any) -> None:
    texts = random_texts(60)
    assert np.allclose(embed(minilm, texts), minilm.encode(texts), atol=1e-6)  # measured: 2.5e-7 by batch
    assert embed(minilm, texts).dtype == np.float32
    assert embed(minilm, []).shape == (0, 384)


@pytest.mark.slow
def test_a_route_does_not_depend_on_the_other_samples(minilm: Any) -> None:
    texts = random_texts(60)
    samples = [sample(str(n), texts[n]) for n in range(12)]
    written = [
        part for n in range(12) for part in surrogates(str(n), "f", {str(k): texts[12 + 4 * n + k] for k in range(4)})
    ]
    together = route_queries(samples, written, minilm)
    alone = [route for n in range(12) for route in route_queries([samples[n]], written[4 * n : 4 * n + 4], minilm)]
    assert together == alone  # floats compared to the last bit
