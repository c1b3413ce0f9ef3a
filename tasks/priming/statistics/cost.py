"""What every condition costs, compared with what it gains, in tokens, operations and bytes rather than in seconds.

Per document for what is indexed once (writing surrogates, building caches) and per query for what is read each time.
Seconds depend on the machine and on what else it does; these numbers are the same wherever the experiment runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import NamedTuple

from tasks.priming.records import LEAST_CLUSTERS, Cost
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import Condition, conditions_of, nll, passages_of, probability
from tasks.priming.statistics.contrasts import BASELINE, DEPLOYED_TREATMENTS, deployable, treatment_of
from tasks.priming.statistics.inference import any_look_interval
from tasks.priming.statistics.paired import pair_up, paired_mean
from tasks.priming.statistics.run_data import ModelFacts, RunData


class _Lengths(NamedTuple):
    """The tokens of a score from which its costs follow."""

    context: int
    cached: int
    query: int
    answer: int


class _Index(NamedTuple):
    """What is done once for each document with one arm: sums over the documents."""

    prompt_tokens: int
    generated_tokens: int
    prefill_tokens: int
    cached_tokens: int
    flops: int


def cost_of_conditions(run: RunData, settings: StatisticsSettings, seed: int) -> list[Cost]:
    """Compute the cost of every scored arm and routed family, in alphabetical order.

    All rows are over the same documents and queries: the samples that have a row for every arm and a route in every
    routed family. A document whose passage several samples share is indexed once, with the first of them by its id.
    Every prompt and context is counted in full, also where a run computes a common beginning once for many. The seed is
    not read.

    Returns:
        Nothing where the model is unknown, the baseline was not scored or no sample has all rows.
    """
    model, scores = run.model, _scores_of(run)
    routed = _routed_arms(run, scores)
    tables: list[Mapping[str, object]] = [*scores.values(), *routed.values()]
    samples = sorted(s.sample_id for s in run.samples if all(s.sample_id in table for table in tables))
    if model is None or BASELINE not in scores or not samples:
        return []
    passages = {sample.sample_id: sample.passage_id for sample in run.samples}
    documents = list({passages[sample]: sample for sample in reversed(samples)}.values())
    indices = _indices_of(run, model, scores, documents)
    names = [*scores, *routed]
    nlls = _common_means(conditions_of(run, nll), names)
    probabilities = {name: probability(mean) for name, mean in _common_means(conditions_of(run), names).items()}
    baseline_context = sum(scores[BASELINE][sample].cached for sample in samples)
    baseline_tokens = indices[BASELINE].prefill_tokens / len(documents)

    def cost(condition: str, kept: Iterable[str], read: Mapping[str, str]) -> Cost:
        """Return the cost of keeping the caches of some arms, and of reading that of one for each sample's query."""
        index = _Index(*map(sum, zip(*(indices[arm] for arm in kept), strict=True)))
        lengths = [scores[read[sample]][sample] for sample in samples]
        attended = sum(each.cached for each in lengths)
        # As in scoring, and as in writing the answer: its last token is not read.
        flops = sum(forward_flops(model, each.query + max(each.answer - 1, 0), each.cached) for each in lengths)
        known = probabilities.get(condition)
        improvement = None if known is None or BASELINE not in probabilities else known - probabilities[BASELINE]
        prompt_tokens, generated_tokens, prefill_tokens = (count / len(documents) for count in index[:3])
        extra = prompt_tokens + generated_tokens + prefill_tokens - baseline_tokens
        return Cost(
            condition=condition,
            document_count=len(documents),
            prompt_tokens=prompt_tokens,
            generated_tokens=generated_tokens,
            prefill_tokens=prefill_tokens,
            index_flops=index.flops / len(documents),
            cache_bytes=index.cached_tokens * model.cache_bytes_per_token / len(documents),
            attended_tokens=attended / len(samples),
            extra_attended_tokens=(attended - baseline_context) / len(samples),
            query_flops=flops / len(samples),
            nll_mean=nlls.get(condition),
            probability_mean=known,
            improvement_mean=improvement,
            improvement_per_1000_tokens=1000 * improvement / extra if improvement is not None and extra > 0 else None,
            is_dominated=False,
            dominated_by=None,
        )

    costs = [cost(arm, [arm], dict.fromkeys(samples, arm)) for arm in scores]
    for condition, chosen in routed.items():
        family, t = condition.partition("/")[0], treatment_of(condition)
        keys = [arm for arm in scores if arm.startswith(f"{family}/") and treatment_of(arm) == t]
        costs.append(cost(condition, keys, chosen))
    return _with_dominance(sorted(costs, key=lambda cost: cost.condition), run, settings)


def forward_flops(model: ModelFacts, token_count: int, cached_token_count: int = 0) -> int:
    """Return the floating-point operations of a forward pass over tokens that follow cached ones.

    2 N T + 4 L W P: each of the N multiplied parameters is one multiplication and one addition per token, and each of
    the P pairs of a query and a key that attend, C T + T (T + 1) / 2 with C cached tokens, takes a scalar product and a
    weighted sum over the attention's width W in each of L layers. The same whether the T tokens come at once or one by
    one. The output layer is counted for all tokens, also where no logits are taken; norms, rotations and the softmax
    are left out, and an attention window is assumed to be longer than the text.

    Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1 (2 N per token); Chowdhery et al. 2022, arXiv:2204.02311,
    appendix B (6 N + 12 L W T per token in training, a third of it forward), here with the pairs that a causal mask
    leaves.
    """
    multiplied = model.parameter_count - model.embedding_parameter_count
    pairs = cached_token_count * token_count + token_count * (token_count + 1) // 2
    return 2 * multiplied * token_count + 4 * model.layer_count * model.attention_width * pairs


def _scores_of(run: RunData) -> dict[str, dict[str, _Lengths]]:
    """Return arm -> sample_id -> lengths, for the run's own samples."""
    known = {sample.sample_id for sample in run.samples}
    scores: dict[str, dict[str, _Lengths]] = {}
    same: dict[_Lengths, _Lengths] = {}  # of millions some thousands differ
    for score in run.scores:
        if score.sample_id in known:
            lengths = _Lengths(
                score.context_token_count,
                score.cached_token_count,
                score.query_token_count,
                score.answer_token_count,
            )
            arm = scores.setdefault(score.condition, {})
            arm[score.sample_id] = same.setdefault(lengths, lengths)
    return scores


def _routed_arms(run: RunData, scores: Mapping[str, Mapping[str, _Lengths]]) -> dict[str, dict[str, str]]:
    """Return routed condition -> sample_id -> the arm that was routed to, where that arm was scored."""
    routed: dict[str, dict[str, str]] = {}
    for route, t in product(run.routes, DEPLOYED_TREATMENTS):
        arm = f"{route.family}/{route.key}{t}"
        if route.is_routed and route.sample_id in scores.get(arm, {}):
            routed.setdefault(f"{route.family}/routed{t}", {})[route.sample_id] = arm
    return routed


def _indices_of(
    run: RunData, model: ModelFacts, scores: Mapping[str, Mapping[str, _Lengths]], documents: Sequence[str]
) -> dict[str, _Index]:
    """Return what writing each arm's surrogates and building its caches takes for all documents."""
    indexed = set(documents)
    # An arm without a surrogate needs none: scoring refuses one that is missing.
    written = {
        (s.sample_id, f"{s.family}/{s.key}"): (s.prompt_token_count, s.token_count)
        for s in run.surrogates
        if s.sample_id in indexed and (s.prompt_token_count or s.token_count)
    }
    indices = {}
    writer = model.of_writer
    for arm, lengths in scores.items():
        prompt_tokens = generated_tokens = prefill_tokens = cached_tokens = flops = 0
        text = arm.partition("+")[0]
        for document in documents:
            prompt, generated = written.get((document, text), (0, 0))
            prompt_tokens += prompt
            generated_tokens += generated
            prefill_tokens += lengths[document].context
            cached_tokens += lengths[document].cached
            # The last token that is written is never read; the others follow the prompt one by one.
            flops += forward_flops(writer, prompt + max(generated - 1, 0))
            flops += forward_flops(model, lengths[document].context)
        indices[arm] = _Index(prompt_tokens, generated_tokens, prefill_tokens, cached_tokens, flops)
    return indices


def _common_means(conditions: Mapping[str, Condition], names: Iterable[str]) -> dict[str, float]:
    """Return means on the samples that have a value in all of the named conditions.

    A condition without any value is left out of "all", so that it does not empty the table.
    """
    values = {name: found for name in names if (found := conditions.get(name))}
    common = sorted(set.intersection(*map(set, values.values()))) if values else []
    return {name: sum(value[sample] for sample in common) / len(common) for name, value in values.items() if common}


def _with_dominance(costs: list[Cost], run: RunData, settings: StatisticsSettings) -> list[Cost]:
    """Mark each row that a deployable one shows to be worth no more than its price, with the best of those.

    Not to be worse is shown by the interval of two conditions alone: it is not adjusted for the number of rows.
    """
    conditions, passages, could_be_deployed = conditions_of(run), passages_of(run), set(deployable(run))

    def is_not_worse(offer: Cost, cost: Cost) -> bool:
        sides = conditions.get(cost.condition, {}), conditions.get(offer.condition, {})
        found = paired_mean(pair_up(*sides, passages), settings.confidence_level)
        low = found.improvement_low  # of a constant: its value
        if found.improvement_mean is not None and found.improvement_error is not None:
            alpha = 1 - settings.confidence_level
            interval = any_look_interval(found.improvement_mean, found.improvement_error, found.passage_count, alpha)
            low = interval.low if interval else None
        return low is not None and found.passage_count >= LEAST_CLUSTERS and low > -settings.equivalence_margin

    marked = []
    for cost in costs:
        offers = [each for each in costs if each.condition in could_be_deployed and _is_cheaper(each, cost)]
        better = [(each.probability_mean or 0.0, each.condition) for each in offers if is_not_worse(each, cost)]
        best = max(better, default=None)
        marked.append(replace(cost, is_dominated=best is not None, dominated_by=best[1] if best else None))
    return marked


def _is_cheaper(offer: Cost, cost: Cost) -> bool:
    """Return whether one takes no more of anything, and less of something."""
    of_offer, of_cost = cost_order(offer), cost_order(cost)
    return of_offer != of_cost and all(less <= more for less, more in zip(of_offer, of_cost, strict=True))


def cost_order(cost: Cost) -> tuple[float, float, float]:
    """Return what conditions are ordered by where the cheapest is sought: operations, then bytes, then attention."""
    return cost.index_flops, cost.cache_bytes, cost.attended_tokens
