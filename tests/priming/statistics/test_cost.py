"""What conditions cost: operations, tokens and bytes by hand sums, and which condition another one makes pointless."""

import dataclasses
import math
import random
from collections.abc import Mapping

import pytest

from tasks.priming.records import LEAST_CLUSTERS, Cost, Sample
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.cost import cost_of_conditions, forward_flops
from tasks.priming.statistics.run_data import ModelFacts, RunData
from tests.run_rows import known, route, sample, score, surrogate

# 80 multiplied parameters, 2 layers of width 8: 160 operations a token and 64 a pair that attends.
MODEL = ModelFacts(
    100,
    20,
    layer_count=2,
    attention_width=8,
    cache_bytes_per_token=32,
    is_batch_invariant=True,
    first_token="<s>",
    answer_delimiter=" ",
)
CONTEXTS = {"baseline/document": 10, "static/x": 14, "static/y": 16, "generated/x": 15, "generated/y": 13}
NLLS = {"baseline/document": 3.0, "static/x": 2.5, "static/y": 2.0, "generated/x": 1.5, "generated/y": 2.75}


def samples(**passages: str) -> list[Sample]:
    return [sample(name, passage) for name, passage in passages.items()]


def evidence(
    rows: list[Sample] | None = None,
    nlls: Mapping[str, float | None] = NLLS,
    contexts: Mapping[str, int] = CONTEXTS,
    extra_tokens: Mapping[str, int] | None = None,
) -> RunData:
    """Samples with equal numbers, but for the `extra_tokens` of a sample's contexts; both families route to x."""
    rows = rows or samples(a="p")
    extra = extra_tokens or {}
    scores = [
        score(
            row.sample_id,
            arm,
            nll,
            status="not_finite" if nll is None else "ok",
            context_token_count=contexts[arm] + extra.get(row.sample_id, 0),
            query_token_count=4,
            answer_token_count=3,
        )
        for row in rows
        for arm, nll in nlls.items()
    ]
    tokens = {"static/x": (0, 0), "static/y": (0, 0), "generated/x": (20, 5), "generated/y": (22, 1)}
    surrogates = [
        surrogate(row.sample_id, arm, prompt_token_count=read, token_count=written)
        for row in rows
        for arm, (read, written) in tokens.items()
    ]
    routes = [route(row.sample_id, arm, is_routed=arm.endswith("/x")) for row in rows for arm in tokens]
    return RunData(rows, routes, scores, surrogates, MODEL)


def costs(given: RunData) -> dict[str, Cost]:
    return {row.condition: row for row in cost_of_conditions(given, StatisticsSettings(), seed=1)}


# --- operations ---


def test_a_forward_pass_takes_two_operations_a_parameter_and_four_a_pair_and_width() -> None:
    assert forward_flops(MODEL, 10) == 10 * 160 + 55 * 64  # by hand: token t attends to t tokens, 1 + ... + 10 = 55
    assert forward_flops(MODEL, 3, 10) == 3 * 160 + (11 + 12 + 13) * 64  # by hand
    assert forward_flops(MODEL, 0, 10) == 0


def test_a_third_of_the_published_training_operations_are_forward() -> None:
    """Chowdhery et al. 2022, appendix B: 6 N + 12 L H Q T a token; without a mask each token has T pairs, here half."""
    tokens = 1000
    published = (6 * 80 + 12 * 2 * 8 * (tokens + 1) / 2) * tokens / 3
    assert forward_flops(MODEL, tokens) == published


# --- a row of the table ---


def test_the_baseline_costs_its_cache() -> None:
    """Expected: by hand, for 10 tokens of context and 4 + 3 - 1 tokens of query and answer behind them."""
    row = costs(evidence())["baseline/document"]
    assert (row.prompt_tokens, row.generated_tokens, row.prefill_tokens) == (0, 0, 10)
    assert row.index_flops == 10 * 160 + 55 * 64
    assert row.cache_bytes == 10 * 32
    assert (row.attended_tokens, row.extra_attended_tokens) == (10, 0)
    assert row.query_flops == 6 * 160 + (11 + 12 + 13 + 14 + 15 + 16) * 64
    assert (row.nll_mean, row.improvement_mean, row.improvement_per_1000_tokens) == (3.0, 0.0, None)
    assert row.probability_mean == pytest.approx(100 * math.exp(-3.0))


def test_a_written_arm_costs_its_prompt_and_what_was_written_too() -> None:
    """Expected: by hand; of 5 written tokens the last is never read, so 20 + 4 are computed."""
    row = costs(evidence())["generated/x"]
    assert (row.prompt_tokens, row.generated_tokens, row.prefill_tokens) == (20, 5, 15)
    assert row.index_flops == 24 * 160 + 300 * 64 + 15 * 160 + 120 * 64  # 24 * 25 / 2 = 300 and 15 * 16 / 2 = 120 pairs
    assert row.cache_bytes == 15 * 32
    assert (row.attended_tokens, row.extra_attended_tokens) == (15, 5)
    gain = 100 * (math.exp(-1.5) - math.exp(-3.0))
    assert row.improvement_mean == pytest.approx(gain)
    assert row.improvement_per_1000_tokens == pytest.approx(1000 * gain / (20 + 5 + 15 - 10))


def test_what_another_model_writes_costs_that_models_operations() -> None:
    """By hand: a writer of 1,000 parameters, 1 layer of width 4, reads 20 tokens and feeds 4 of the 5 that it wrote."""
    facts = {"parameter_count": 1000, "embedding_parameter_count": 0, "layer_count": 1, "attention_width": 4}
    writer = facts | {"cache_bytes_per_token": 8, "is_batch_invariant": True}
    own, other = (
        {cost.condition: cost for cost in cost_of_conditions(run, StatisticsSettings(), 42)}
        for run in (evidence(), dataclasses.replace(evidence(), model=dataclasses.replace(MODEL, writer=writer)))
    )
    written = forward_flops(MODEL, 24)
    assert other["generated/x"].index_flops - own["generated/x"].index_flops == 2 * 1000 * 24 + 16 * 300 - written
    assert {name for name in own if own[name] != other[name]} == {"generated/x", "generated/y", "generated/routed"}


def test_a_routed_family_keeps_all_its_caches_and_reads_one() -> None:
    """Expected: the sum over the keys for the index, the routed key x for the query."""
    found = costs(evidence())
    routed, x, y = (found[f"generated/{key}"] for key in ("routed", "x", "y"))
    assert (routed.prompt_tokens, routed.generated_tokens, routed.prefill_tokens) == (20 + 22, 5 + 1, 15 + 13)
    assert routed.index_flops == x.index_flops + y.index_flops
    assert routed.cache_bytes == (15 + 13) * 32
    assert (routed.attended_tokens, routed.query_flops) == (15, x.query_flops)
    assert routed.nll_mean == 1.5
    assert found["static/routed"].prompt_tokens == 0


# --- means ---


def test_a_document_that_samples_share_is_indexed_once_and_read_by_each() -> None:
    """Expected: by hand; documents p (10 tokens, of sample a, the first by its id) and q (16), queries a, b and c."""
    found = costs(evidence(samples(b="p", a="p", c="q"), extra_tokens={"b": 3, "c": 6}))["baseline/document"]
    assert found.document_count == 2
    assert found.prefill_tokens == (10 + 16) / 2
    assert found.cache_bytes == (10 + 16) / 2 * 32
    assert found.attended_tokens == (10 + 13 + 16) / 3


def test_samples_that_lack_an_arm_count_nowhere() -> None:
    """Expected: as without them, or a comparison of costs would be one of documents."""
    given = evidence(samples(a="p", b="q"), extra_tokens={"b": 50})
    without = [row for row in given.scores if (row.sample_id, row.key) != ("b", "document")]
    unrouted = [route for route in given.routes if (route.sample_id, route.family) != ("b", "static")]
    alone = costs(evidence())
    assert costs(dataclasses.replace(given, scores=without)) == alone
    found = costs(dataclasses.replace(given, routes=unrouted))
    assert found["baseline/document"].prefill_tokens == 10
    assert found["static/y"].document_count == 1


def test_a_score_that_is_missing_takes_its_sample_out_of_all_means_but_costs_the_same() -> None:
    """Expected: by hand; sample b lacks one NLL, so that only a's count, but its contexts are as long as ever."""
    given = evidence(samples(a="p", b="q"), extra_tokens={"b": 2})
    scores = [
        dataclasses.replace(row, nll=None, status="not_finite") if (row.sample_id, row.key) == ("b", "y") else row
        for row in (dataclasses.replace(row, nll=(row.nll or 0) + (row.sample_id == "b")) for row in given.scores)
    ]
    found = costs(dataclasses.replace(given, scores=scores))
    assert {name: found[name].nll_mean for name in NLLS} == NLLS
    assert found["static/y"].prefill_tokens == 17
    assert found["static/y"].document_count == 2


def test_an_arm_without_any_nll_does_not_empty_the_table() -> None:
    found = costs(evidence(nlls={**NLLS, "generated/y": None}))
    assert (found["generated/y"].nll_mean, found["generated/y"].improvement_mean) == (None, None)
    assert found["generated/y"].cache_bytes == 13 * 32
    assert found["generated/x"].nll_mean == 1.5


# --- dominance ---

SAME = dict.fromkeys(NLLS, 2.0)
MANY = [sample(f"s{number:03d}") for number in range(2 * LEAST_CLUSTERS)]


def spread(nlls: Mapping[str, float], contexts: Mapping[str, int] = CONTEXTS, points: float = 1.0) -> RunData:
    """Return a run of many samples, on which the probability of each condition varies by so many points."""
    given = evidence(MANY, nlls, contexts)
    generator = random.Random(3)
    scores = [
        dataclasses.replace(row, nll=-math.log(max(1e-4, math.exp(-known(row.nll)) + generator.gauss(0, points) / 100)))
        for row in given.scores
    ]
    return dataclasses.replace(given, scores=scores)


def test_a_condition_is_dominated_by_a_cheaper_one_that_is_shown_not_to_be_worse() -> None:
    """Expected: by hand, all are equally good; contexts of 10, 14, 16, 15 and 13 tokens, static for no writing."""
    found = costs(spread(SAME))
    assert {name for name, row in found.items() if row.is_dominated} == {*found} - {"baseline/document"}
    assert all(row.dominated_by != row.condition for row in found.values())


def test_a_better_condition_is_not_dominated_by_a_cheaper_one() -> None:
    found = costs(spread({**SAME, "generated/x": 1.0}))
    assert not found["generated/x"].is_dominated
    assert found["generated/y"].is_dominated


def test_with_few_or_noisy_samples_nothing_is_shown_not_to_be_worse() -> None:
    """A cheaper condition with a higher mean once dominated, however little was known of it."""
    assert not any(row.is_dominated for row in costs(evidence(samples(a="p", b="q"), SAME)).values())
    noisy = costs(spread(dict.fromkeys(NLLS, 0.7), points=15.0))
    # What is routed to one key alone is that key, to the last bit, at the price of two caches.
    assert {name for name, row in noisy.items() if row.is_dominated} == {"generated/routed", "static/routed"}


def test_neither_of_two_equal_conditions_of_equal_cost_dominates() -> None:
    contexts = {**CONTEXTS, "static/y": 14}
    found = costs(spread({**SAME, "baseline/document": 9.0}, contexts))
    assert found["static/x"].dominated_by != "static/y"
    assert found["static/y"].dominated_by != "static/x"


def test_a_condition_that_reads_fewer_tokens_is_not_dominated() -> None:
    """static/x is as good as static/routed and keeps one cache for two; the others read 16 tokens or more."""
    contexts = {**CONTEXTS, "static/x": 16, "static/y": 20}
    found = costs(spread({**SAME, "baseline/document": 9.0, "generated/x": 9.0, "generated/y": 9.0}, contexts))
    assert found["static/y"].dominated_by == "static/x"  # 16 tokens
    assert found["static/routed"].dominated_by == "static/x"  # two caches for the same
    assert not found["static/x"].is_dominated


@pytest.mark.parametrize("name", ["actual_query", "repeated_baseline", "shuffled_surrogate", "other_document"])
def test_a_control_that_cannot_be_deployed_dominates_nothing(name: str) -> None:
    control = f"control/{name}"
    found = costs(spread({**SAME, control: 0.1}, {**CONTEXTS, control: 1}))
    assert not any(row.dominated_by == control for row in found.values())
    bare = "control/bare_document"
    found = costs(spread({**SAME, bare: 0.5}, {**CONTEXTS, bare: 1}))
    assert found["static/x"].dominated_by == bare


# --- what is not known ---


def test_without_the_models_shape_or_a_baseline_there_are_no_costs() -> None:
    given = evidence()
    assert costs(dataclasses.replace(given, model=None)) == {}
    unbased = [row for row in given.scores if row.family != "baseline"]
    assert costs(dataclasses.replace(given, scores=unbased)) == {}
    assert costs(RunData([], [], [], [], MODEL)) == {}


def test_rows_of_other_samples_take_no_part() -> None:
    given = evidence(samples(a="p", b="q"), extra_tokens={"b": 50})
    assert costs(dataclasses.replace(given, samples=given.samples[:1])) == costs(evidence())
