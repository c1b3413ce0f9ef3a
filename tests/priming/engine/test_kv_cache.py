"""A cache is read by its continuations, shared by its children, and changed by nobody."""

import dataclasses
import random
from typing import Any

import pytest
import torch

from tasks.priming.engine.forward import forward_packed
from tasks.priming.engine.generation import Stepper
from tasks.priming.engine.kv_cache import SharedPrefixes, common_prefix, prefill
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, continue_caches
from tasks.priming.engine.segments import KVCache, Segment, visible_key_ranges
from tests.tiny_models import filled_pack, tiny_mistral


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny_mistral()


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
    item = Request(
        random_ids(40, 1), random_ids(8, 2), random_ids(5, 3), distractors=(random_ids(6, 4), random_ids(1, 5))
    )
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
    assert public == {"layers", "parent", "own_count", "token_count", "byte_count"}


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


def test_a_segment_behind_a_segment_of_the_same_pass_equals_one_behind_its_cache(model: Any) -> None:
    context, query = Segment(random_ids(70, 1)), random_ids(9, 2)
    branches = (random_ids(4, 3), random_ids(1, 4), ())
    cache = prefill(model, [Segment(context.ids)])[0]
    later = forward_packed(model, [Segment(query, cache, branches=branches)], keep=range(14)).logits
    inside = forward_packed(model, [context, Segment(query, context, branches=branches)], keep=range(70, 84)).logits
    assert later is not None
    assert inside is not None
    assert torch.equal(later, inside)


def test_branches_do_not_see_each_other(model: Any) -> None:
    """Expected: what each gives as the only one behind the same query, computed as one plain sequence."""
    query, branches = random_ids(70, 2), (random_ids(4, 3), random_ids(6, 4))
    together = forward_packed(model, [Segment(query, branches=branches)], keep=range(70, 80)).logits
    assert together is not None
    for ids, rows in zip(branches, (together[:4], together[4:]), strict=True):
        with torch.inference_mode():
            plain = model(torch.tensor([query + ids])).logits[0, 70:]
        assert (rows - plain).abs().max() <= 1e-5


def test_hidden_positions_keep_their_places(model: Any) -> None:
    """Expected: a plain pass with a mask; what is hidden from the last tokens still takes up positions 3 to 6."""
    ids, tail = random_ids(20, 1), random_ids(6, 2)
    head = Segment(ids[:10])
    rest = Segment(ids[10:], head)
    found = forward_packed(model, [head, rest, Segment(tail, rest, hidden=(3, 7))], keep=range(20, 26)).logits
    is_seen = torch.ones(26, 26, dtype=torch.bool).tril()
    is_seen[20:, 3:7] = False
    mask = torch.zeros(1, 1, 26, 26).masked_fill(~is_seen, float("-inf"))
    with torch.inference_mode():
        plain = model(torch.tensor([ids + tail]), attention_mask=mask).logits[0, 20:]
    assert found is not None
    assert (found - plain).abs().max() <= 1e-5


def test_what_is_hidden_is_counted_across_ancestors(model: Any) -> None:
    root = prefill(model, [Segment(random_ids(8, 1))])[0]
    middle = Segment(random_ids(8, 2), root)
    seen = visible_key_ranges(Segment((5,), middle, hidden=(6, 11)))
    # by hand: positions 0-5 of the root, then 11-15, which are tokens 3-7 of the middle
    assert [(s.owner, s.start, s.stop, s.position) for s in seen] == [(root, 0, 6, 0), (middle, 3, 8, 11)]


def test_a_sequence_takes_the_longest_shared_prefix_it_begins_with(model: Any) -> None:
    """Prefixes of fewer than eight tokens are not worth it."""
    ids = list(range(5, 25))
    shared = SharedPrefixes(model, [tuple(ids[:count]) for count in (0, 7, 8, 12)])

    def shared_count(*sequence: int) -> int:
        parent = shared.segment(sequence).parent
        return parent.token_count if parent else 0

    assert shared_count(*ids) == 12
    assert shared_count(*ids[:12]) == 8  # something is left to compute
    assert shared_count(*ids[:11], 99, 98) == 8
    assert shared_count(*ids[:7], 99, 98) == 0


def test_the_common_prefix_is_found_on_ids() -> None:
    assert common_prefix([1, 2, 3], [1, 2, 4]) == (1, 2)
    assert common_prefix([1, 2], [1, 2, 3]) == (1, 2)
    assert common_prefix([], [1]) == ()


def test_rows_leave_a_decoding_pack_until_a_buffer_is_empty(model: Any) -> None:
    """Expected: a plain pass over the prompt and what was written. Rows of three buffer lengths, one row each."""
    prompts = [random_ids(count, count) for count in (10, 70, 130)]
    stepper = Stepper(model, filled_pack(model, prompts, room=20))
    written: list[tuple[int, ...]] = [(), (), ()]
    for kept in ({0, 1, 2}, {0, 2}, {2}):
        rows = stepper.keep(kept)
        assert set(rows) == kept
        tokens = [7 + row for row in rows]
        logits = stepper.step(tokens)
        for row, token, found in zip(rows, tokens, logits, strict=True):
            written[row] += (token,)
            with torch.inference_mode():
                plain = model(torch.tensor([prompts[row] + written[row]])).logits[0, -1]
            assert (found - plain).abs().max() <= 1e-5
