"""What conditions cost: operations, tokens and bytes by hand sums, and which condition another one makes pointless."""

import dataclasses
from collections.abc import Mapping

import pytest

from tasks.priming.records import Cost, Sample
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.cost import cost_of_conditions, forward_flops
from tasks.priming.statistics.run_data import ModelFacts, RunData
from tests.run_rows import route, sample, score, shuffled, surrogate

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


def test_tokens_one_by_one_take_as_many_operations_as_at_once() -> None:
    one_by_one = sum(forward_flops(MODEL, 1, cached) for cached in range(7, 12))
    assert forward_flops(MODEL, 7) + one_by_one == forward_flops(MODEL, 12)  # computed two ways


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


def test_a_written_arm_costs_its_prompt_and_what_was_written_too() -> None:
    """Expected: by hand; of 5 written tokens the last is never read, so 20 + 4 are computed."""
    row = costs(evidence())["generated/x"]
    assert (row.prompt_tokens, row.generated_tokens, row.prefill_tokens) == (20, 5, 15)
    assert row.index_flops == 24 * 160 + 300 * 64 + 15 * 160 + 120 * 64  # 24 * 25 / 2 = 300 and 15 * 16 / 2 = 120 pairs
    assert row.cache_bytes == 15 * 32
    assert (row.attended_tokens, row.extra_attended_tokens) == (15, 5)
    assert row.improvement_mean == 1.5
    assert row.improvement_per_1000_tokens == 1000 * 1.5 / (20 + 5 + 15 - 10)


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


def test_rows_stand_in_alphabetical_order_whatever_the_order_of_rows() -> None:
    given = evidence(samples(a="p", b="q"))
    found = cost_of_conditions(given, StatisticsSettings(), seed=1)
    assert [row.condition for row in found] == sorted([*NLLS, "generated/routed", "static/routed"])
    assert cost_of_conditions(shuffled(given, 1), StatisticsSettings(), seed=1) == found


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


def test_an_arm_is_dominated_by_the_best_that_costs_no_more() -> None:
    """Expected: by hand; static/y is better still, but reads 16 tokens."""
    nlls = {**NLLS, "control/blank_surrogate": 2.2, "control/random_words": 2.4}
    contexts = {**CONTEXTS, "control/blank_surrogate": 12, "control/random_words": 14}
    found = costs(evidence(nlls=nlls, contexts=contexts))
    assert {name: row.dominated_by for name, row in found.items() if row.is_dominated} == {
        "generated/y": "control/blank_surrogate",  # 2.75 nats, 13 tokens and a prompt
        "static/x": "control/blank_surrogate",  # 2.5 nats, 14 tokens; random_words beats it too, but by less
        "control/random_words": "control/blank_surrogate",  # 2.4 nats, 14 tokens
        "static/routed": "control/blank_surrogate",  # what static/x scores, at the price of two caches
    }
    assert not found["baseline/document"].is_dominated  # the cheapest of all


def test_a_condition_that_reads_fewer_tokens_is_not_dominated() -> None:
    """static/y beats static/routed at a smaller index, but its queries attend to 16 tokens and not to 14."""
    found = costs(evidence())
    assert not found["static/routed"].is_dominated
    cheaper = costs(evidence(contexts={**CONTEXTS, "static/y": 14}))
    assert cheaper["static/routed"].dominated_by == cheaper["static/x"].dominated_by == "static/y"


def test_a_condition_with_the_smaller_cache_is_not_dominated() -> None:
    """static/routed is better than generated/x, takes fewer operations and no more attention, but keeps two caches."""
    given = evidence(samples(a="p", b="q"))
    nlls = {("a", "static/x"): 1.0, ("b", "static/y"): 1.0, ("a", "static/y"): 9.0, ("b", "static/x"): 9.0}
    scores = [dataclasses.replace(s, nll=nlls.get((s.sample_id, f"{s.family}/{s.key}"), s.nll)) for s in given.scores]
    routes = [
        dataclasses.replace(r, is_routed=(r.sample_id, r.key) in {("a", "x"), ("b", "y")})
        if r.family == "static"
        else r
        for r in given.routes
    ]
    found = costs(dataclasses.replace(given, scores=scores, routes=routes))
    offer, row = found["static/routed"], found["generated/x"]
    assert offer.nll_mean == 1.0 < 1.5 == row.nll_mean
    assert offer.index_flops < row.index_flops
    assert offer.attended_tokens == row.attended_tokens == 15
    assert offer.cache_bytes == (14 + 16) * 32 > row.cache_bytes == 15 * 32
    assert not row.is_dominated


def test_equal_scores_do_not_dominate() -> None:
    found = costs(evidence(nlls=dict.fromkeys(NLLS, 2.0)))
    assert not any(row.is_dominated for row in found.values())


@pytest.mark.parametrize(
    "name",
    ["actual_query", "repeated_baseline", "hidden_surrogate", "blind_passage", "shuffled_surrogate", "other_document"],
)
def test_a_control_that_cannot_be_deployed_dominates_nothing(name: str) -> None:
    control = f"control/{name}"
    found = costs(evidence(nlls={**NLLS, control: 0.1}, contexts={**CONTEXTS, control: 1}))
    assert not any(row.dominated_by == control for row in found.values())
    bare = "control/bare_document"
    assert costs(evidence(nlls={**NLLS, bare: 0.1}, contexts={**CONTEXTS, bare: 1}))["static/x"].dominated_by == bare


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
