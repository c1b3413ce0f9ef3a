"""A cache is read by its continuations, shared by its children, and changed by nobody."""

import dataclasses
import random
from typing import Any

import pytest
import torch
import transformers

from tasks.priming.kv_cache import KVCache, SharedPrefixes, common_prefix, first_tokens, prefill, without_tokens
from tasks.priming.language_model import LanguageModel
from tasks.priming.packing import Segment, forward_packed
from tasks.priming.scoring import Item, continue_caches


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(0)
    configuration = transformers.MistralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        sliding_window=None,
    )
    return transformers.MistralForCausalLM(configuration).eval()


def random_ids(count: int, seed: int) -> tuple[int, ...]:
    return tuple(random.Random(seed).choices(range(3, 300), k=count))


def test_a_cache_counts_its_tokens_and_bytes(model: Any) -> None:
    cache = prefill(model, [Segment(random_ids(12, 0))])[0]
    assert cache.token_count == 12
    assert cache.byte_count == 12 * 3 * 2 * 2 * 8 * 4  # tokens x layers x (K, V) x KV heads x dimension x 4 bytes


def test_scoring_leaves_the_cache_unchanged_and_repeats_to_the_bit(model: Any) -> None:
    """Transformers appends to a cache even with use_cache=False; the notebook's 4.4645 beside 2.9583 is that bug."""
    reader = LanguageModel(model, None, 256, "cpu-float32-default")
    cache = prefill(model, [Segment(random_ids(40, 1))])[0]
    before = [tensor.clone() for layer in cache.layers for tensor in layer]
    item = Item(random_ids(40, 1), random_ids(8, 2), random_ids(5, 3), distractors=(random_ids(6, 4), random_ids(1, 5)))
    first = continue_caches(reader, [(cache, item)])
    second = continue_caches(reader, [(cache, item)])
    after = [tensor for layer in cache.layers for tensor in layer]
    assert cache.token_count == 40
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert first == second
    assert len(first[0]) == 5 + 6 + 1


def test_the_type_offers_no_way_to_change_a_cache(model: Any) -> None:
    cache = prefill(model, [Segment(random_ids(5, 1))])[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        cache.layers = ()  # type: ignore[misc]
    public = {name for name in dir(KVCache) if not name.startswith("_")}
    assert public == {
        *("layers", "parent", "skipped_position_count"),
        *("token_count", "next_position", "byte_count", "join"),
    }


def test_a_child_of_a_shared_prefix_equals_the_whole_computed_at_once(model: Any) -> None:
    prefix, rest, tail = random_ids(10, 1), random_ids(20, 2), random_ids(6, 3)
    parent = prefill(model, [Segment(prefix)])[0]
    child = prefill(model, [Segment(rest, parent)])[0]
    whole = prefill(model, [Segment(prefix + rest)])[0]
    assert child.token_count == whole.token_count == 30
    behind_child = forward_packed(model, [Segment(tail, child)], keep=range(6)).logits
    behind_whole = forward_packed(model, [Segment(tail, whole)], keep=range(6)).logits
    assert behind_child is not None
    assert behind_whole is not None
    assert (behind_child - behind_whole).abs().max() <= 1e-5


def test_the_first_tokens_are_those_of_a_shorter_prefill_and_no_copy(model: Any) -> None:
    ids, tail = random_ids(20, 1), random_ids(6, 2)
    whole = prefill(model, [Segment(ids)])[0]
    first, short = first_tokens(whole, 12), prefill(model, [Segment(ids[:12])])[0]
    assert (first.token_count, first.next_position, whole.token_count) == (12, 12, 20)
    assert first.layers[0][0].data_ptr() == whole.layers[0][0].data_ptr()
    behind = [forward_packed(model, [Segment(tail, cache)], keep=range(6)).logits for cache in (first, short)]
    assert behind[0] is not None
    assert behind[1] is not None
    assert (behind[0] - behind[1]).abs().max() <= 1e-5


def test_the_first_tokens_behind_a_gap_keep_their_places(model: Any) -> None:
    parent = without_tokens(prefill(model, [Segment(random_ids(10, 1))])[0], 3, 7)
    child = prefill(model, [Segment(random_ids(8, 2), parent)])[0]
    first = first_tokens(child, 5)
    assert (parent.token_count, parent.next_position) == (6, 10)
    assert (first.token_count, first.next_position) == (11, 15)  # the gap of 4 stays, 3 later tokens are gone
    with pytest.raises(AssertionError, match="before the gap"):
        first_tokens(parent, 2)


def test_a_sequence_takes_the_longest_shared_prefix_it_begins_with(model: Any) -> None:
    short, long = (5, 6), (5, 6, 7)
    shared = SharedPrefixes(model, [short, long, ()])
    assert shared.segment([5, 6, 7, 8]).prefix.token_count == 3  # type: ignore[union-attr]
    assert shared.segment([5, 6, 9, 8]).prefix.token_count == 2  # type: ignore[union-attr]
    assert shared.segment([4, 6, 7, 8]).prefix is None
    assert shared.segment([5, 6]).prefix is None  # something must be left to compute


def test_the_common_prefix_is_found_on_ids() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4]) == (1, 2)
    assert common_prefix([1, 2], [1, 2, 3]) == (1, 2)
    assert common_prefix([], [1]) == ()
