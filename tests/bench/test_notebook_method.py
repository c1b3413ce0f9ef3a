"""The notebook's functions give what one plain forward pass gives, and its printed numbers where those can be had."""

import copy
from typing import Any

import pytest
import torch

from tasks.bench.notebook_method import (
    build_kv_cache,
    compute_similarity,
    generate_surrogate,
    score_answer_with_cache,
    score_family,
    score_with_copied_caches,
    score_with_rebuilt_caches,
)
from tasks.bench.workload import make_workload
from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.engine.model import LanguageModel
from tasks.priming.prompts import BASELINE_TEMPLATE, fill, query_prompt
from tests.places import WALKTHROUGH

CONTEXT = fill(BASELINE_TEMPLATE, document=WALKTHROUGH["passage"])
QUERY = query_prompt(WALKTHROUGH["query"])


def plain_nlls(model: LanguageModel, answer: str) -> list[float]:
    """Return the NLL of each answer token from one pass over all ids."""
    ids = [model.tokenizer(text, add_special_tokens=text is CONTEXT)["input_ids"] for text in (CONTEXT, QUERY, answer)]
    with torch.no_grad():
        logits = model.model(input_ids=torch.tensor([[*ids[0], *ids[1], *ids[2]]]), use_cache=False).logits[0]
    predicted = torch.log_softmax(logits[-len(ids[2]) - 1 : -1], dim=-1)
    return [-float(row[token]) for row, token in zip(predicted, ids[2], strict=True)]


def test_a_score_equals_a_plain_forward_pass(tiny: LanguageModel) -> None:
    count, cache = build_kv_cache(CONTEXT, tiny)
    answer = WALKTHROUGH["answer"]
    found = score_answer_with_cache(cache, count, query=QUERY, answer=answer, language_model=tiny)
    expected = plain_nlls(tiny, answer)
    assert count == 107  # printed by the notebook (cell 15)
    assert found.token_count == len(expected) == 13  # its sums are of 12 tokens, all but the first
    assert found.nll == pytest.approx(sum(expected[1:]) / 12, abs=1e-5)
    assert found.first_nll == pytest.approx(expected[0], abs=1e-5)
    assert found.mean_nll == pytest.approx(sum(expected) / 13, abs=1e-5)


def test_the_notebook_scores_nothing_of_a_one_token_answer(tiny: LanguageModel) -> None:
    count, cache = build_kv_cache(CONTEXT, tiny)
    found = score_answer_with_cache(cache, count, query=QUERY, answer="No", language_model=tiny)
    assert found.nll is None
    assert found.mean_nll == found.first_nll == pytest.approx(plain_nlls(tiny, "No")[0], abs=1e-5)


def test_a_cache_that_is_scored_twice_without_a_copy_gives_other_numbers(tiny: LanguageModel) -> None:
    """The notebook printed 2.9583 for its baseline, and 4.4645 for the same cache a few cells later."""
    count, cache = build_kv_cache(CONTEXT, tiny)
    kept = copy.deepcopy(cache)
    question = {"query": QUERY, "answer": WALKTHROUGH["answer"], "language_model": tiny}
    first, second = (score_answer_with_cache(cache, count, **question).nll for _ in range(2))
    assert cache.get_seq_length() == count + 2 * (16 + 13)  # both queries and answers were appended
    assert first is not None
    assert second is not None
    assert abs(first - second) > 1e-4
    assert score_answer_with_cache(kept, count, **question).nll == first


def test_a_family_is_scored_arm_by_arm_with_copies(tiny: LanguageModel) -> None:
    load = make_workload(2)
    scores = score_family(ARM_GROUPS["static"], load.samples, load.surrogates["static"], tiny)
    assert len(scores) == 10
    again = score_family(ARM_GROUPS["static"], load.samples[:1], load.surrogates["static"], tiny)
    assert scores[::2] == again


def test_rebuilt_and_copied_caches_give_the_same_scores(tiny: LanguageModel) -> None:
    questions = [(WALKTHROUGH["query"], WALKTHROUGH["answer"]), ("what is it", "a salary")]
    assert score_with_rebuilt_caches(CONTEXT, questions, tiny) == score_with_copied_caches(CONTEXT, questions, tiny)


def test_a_line_is_as_long_as_asked_for_and_without_what_follows_it(tiny: LanguageModel) -> None:
    with torch.random.fork_rng():
        lines = []
        for count in (3, 9):
            torch.manual_seed(5)
            lines.append(generate_surrogate("A passage.", "keyword_query", tiny, token_count=count))
    assert 0 < len(lines[0]) < len(lines[1])
    assert lines[1].startswith(lines[0])  # the same draws: the shorter line is the longer one's beginning


def test_similarity_is_what_the_notebook_printed(minilm: Any) -> None:
    surrogate = WALKTHROUGH["generated"]["keyword_query"]
    found = compute_similarity(surrogate, WALKTHROUGH["query"], minilm)
    assert found == pytest.approx(WALKTHROUGH["generated_similarities"]["keyword_query"], abs=5e-5)  # 0.7552
