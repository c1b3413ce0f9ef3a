"""What every condition costs, beside what it gains, in tokens, operations and bytes rather than in seconds.

In: the rows of a run and its model's shape. Out: one row a scored arm and routed family, per document for what is
indexed once (writing surrogates, building caches) and per query for what is read each time. Seconds depend on the
machine and on what else it does; these numbers are the same wherever the experiment runs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

from tasks.priming.records import Cost
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import Condition, conditions_of
from tasks.priming.statistics.contrasts import BARE_DOCUMENT, BASELINE, BLANK_SURROGATE, RANDOM_WORDS
from tasks.priming.statistics.run_data import ModelFacts, RunData

_DEPLOYABLE = (BASELINE, BARE_DOCUMENT, BLANK_SURROGATE, RANDOM_WORDS)
"""The arms outside the routed families that could be built for a document before any query is known. Only these and the
routed families may dominate: the other controls need the query itself, withhold a text that was paid for elsewhere, or
are the baseline once more, so that being cheaper or better than something recommends none of them."""


class _Lengths(NamedTuple):
    """What of a score costs follow from, in tokens."""

    context: int
    query: int
    answer: int


_Scores: TypeAlias = Mapping[str, Mapping[str, _Lengths]]
"""Arm -> sample_id -> the lengths of what was scored."""


@dataclass(frozen=True, slots=True)
class _Index:
    """What is done once for a document, or for several together: sums, not means."""

    prompt_tokens: int = 0
    generated_tokens: int = 0
    prefill_tokens: int = 0
    flops: int = 0

    def __add__(self, other: "_Index") -> "_Index":
        return _Index(
            self.prompt_tokens + other.prompt_tokens,
            self.generated_tokens + other.generated_tokens,
            self.prefill_tokens + other.prefill_tokens,
            self.flops + other.flops,
        )


def cost_of_conditions(evidence: RunData, settings: StatisticsSettings, seed: int) -> list[Cost]:
    """Return the cost of every scored arm and routed family, in alphabetical order.

    All rows are over the same documents and queries: the samples that have a row for every arm and a route in every
    routed family. A document whose passage several samples share is indexed once, with the first of them by its id.
    Every prompt and context is counted in full, also where a run computes a common beginning once for many.

    Args:
        evidence: The rows of the run.
        settings: How conditions are compared; nothing of it matters here.
        seed: The run's seed.

    Returns:
        Nothing where the model's shape is unknown, the baseline was not scored or no sample has all rows.
    """
    scores = _scores_of(evidence)
    routed = _routed_keys(evidence, scores)
    samples = _complete_samples(evidence, scores, routed)
    if evidence.model is None or BASELINE not in scores or not samples:
        return []
    conditions = conditions_of(evidence, seed)
    table = _Table(evidence, evidence.model, scores, samples)
    rows = [table.row(arm, [arm], dict.fromkeys(samples, arm)) for arm in scores]
    for family, chosen in routed.items():
        members = [arm for arm in scores if arm.startswith(f"{family}/")]
        rows.append(table.row(f"{family}/routed", members, chosen))
    rows = _with_gains(sorted(rows, key=lambda row: row.condition), conditions)
    return _with_dominance(rows, set(routed))


def forward_flops(model: ModelFacts, token_count: int, cached_token_count: int = 0) -> int:
    """Return the floating-point operations of a forward pass over tokens that stand behind cached ones.

    2 N T + 4 L W P: each of the N multiplied parameters is one multiplication and one addition a token, and each of the
    P pairs of a query and a key that attend, C T + T (T + 1) / 2, takes a scalar product and a weighted sum over the
    attention's width W in each of L layers. The same whether the T tokens come at once or one by one. The output layer
    is counted for all tokens, also where no logits are taken; norms, rotations and the softmax are left out, and an
    attention window is taken to be longer than the text.

    Source: Kaplan et al. 2020, arXiv:2001.08361, section 2.1 (2 N a token); Chowdhery et al. 2022, arXiv:2204.02311,
    appendix B (6 N + 12 L W T a token in training, a third of it forward), here with the pairs that a causal mask
    leaves.
    """
    multiplied = model.parameter_count - model.embedding_parameter_count
    pairs = cached_token_count * token_count + token_count * (token_count + 1) // 2
    return 2 * multiplied * token_count + 4 * model.layer_count * model.attention_width * pairs


class _Table:
    """Counts the cost of conditions on the samples that have all of them."""

    def __init__(self, evidence: RunData, model: ModelFacts, scores: _Scores, samples: Sequence[str]) -> None:
        self._model = model
        self._scores = scores
        self._samples = samples
        passages = {sample.sample_id: sample.passage_id for sample in evidence.samples}
        # The first sample of each passage stands for the document.
        self._documents = list({passages[sample]: sample for sample in reversed(samples)}.values())
        # An arm that was scored without a surrogate has none: scoring refuses one that is missing.
        indexed = set(self._documents)
        self._written: dict[tuple[str, str], tuple[int, int]] = {
            (s.sample_id, f"{s.family}/{s.key}"): (s.prompt_token_count, s.token_count)
            for s in evidence.surrogates
            if s.sample_id in indexed and (s.prompt_token_count or s.token_count)
        }

    def row(self, condition: str, kept: Sequence[str], read: Mapping[str, str]) -> Cost:
        """Return the row of a condition, without what it gains.

        Args:
            condition: Its name.
            kept: The arms whose caches are built and kept for every document.
            read: sample_id -> the arm whose cache its query reads.
        """
        documents, queries = len(self._documents), len(self._samples)
        parts = (self._index(document, arm) for document in self._documents for arm in kept)
        index = sum(parts, start=_Index())
        rows = [self._scores[read[sample]][sample] for sample in self._samples]
        attended = sum(row.context for row in rows)
        baseline = sum(self._scores[BASELINE][sample].context for sample in self._samples)
        return Cost(
            condition=condition,
            document_count=documents,
            prompt_tokens=index.prompt_tokens / documents,
            generated_tokens=index.generated_tokens / documents,
            prefill_tokens=index.prefill_tokens / documents,
            index_flops=index.flops / documents,
            cache_bytes=index.prefill_tokens * self._model.cache_bytes_per_token / documents,
            attended_tokens=attended / queries,
            extra_attended_tokens=(attended - baseline) / queries,
            query_flops=sum(self._query_flops(row) for row in rows) / queries,
            nll_mean=None,
            improvement_mean=None,
            improvement_per_1000_tokens=None,
            is_dominated=False,
            dominated_by=None,
        )

    def _index(self, document: str, arm: str) -> _Index:
        """Return what writing the arm's surrogate and building its cache takes for one document."""
        context = self._scores[arm][document].context
        read, written = self._written.get((document, arm), (0, 0))
        # The last token that is written is never read; the others follow the prompt one by one.
        computed = read + max(written - 1, 0)
        flops = forward_flops(self._model, computed) + forward_flops(self._model, context)
        return _Index(read, written, context, flops)

    def _query_flops(self, lengths: _Lengths) -> int:
        # As in scoring, and as in writing the answer: its last token is not read.
        tokens = lengths.query + max(lengths.answer - 1, 0)
        return forward_flops(self._model, tokens, lengths.context)


def _scores_of(evidence: RunData) -> dict[str, dict[str, _Lengths]]:
    """Return the scores of every arm by sample, whatever their status: what a context costs is known before."""
    known = {sample.sample_id for sample in evidence.samples}
    scores: dict[str, dict[str, _Lengths]] = {}
    same: dict[_Lengths, _Lengths] = {}  # of millions some thousands differ
    for score in evidence.scores:
        if score.sample_id in known:
            lengths = _Lengths(score.context_token_count, score.query_token_count, score.answer_token_count)
            arm = scores.setdefault(f"{score.family}/{score.key}", {})
            arm[score.sample_id] = same.setdefault(lengths, lengths)
    return scores


def _routed_keys(evidence: RunData, scores: _Scores) -> dict[str, dict[str, str]]:
    """Return family -> sample_id -> the arm that was routed to, where that arm was scored."""
    routed: dict[str, dict[str, str]] = {}
    for route in evidence.routes:
        arm = f"{route.family}/{route.key}"
        if route.is_routed and route.sample_id in scores.get(arm, {}):
            routed.setdefault(route.family, {})[route.sample_id] = arm
    return routed


def _complete_samples(evidence: RunData, scores: _Scores, routed: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Return the samples that every arm and routed family has, by id."""
    tables: list[Mapping[str, object]] = [*scores.values(), *routed.values()]
    return sorted(s.sample_id for s in evidence.samples if all(s.sample_id in table for table in tables))


def _with_gains(rows: Iterable[Cost], conditions: Mapping[str, Condition]) -> list[Cost]:
    """Add mean NLLs and improvements on the samples that have a finite NLL in all conditions of the table.

    A condition without any NLL is left out of "all", so that it does not empty the table.
    """
    rows = list(rows)
    nlls = {row.condition: found for row in rows if (found := conditions.get(row.condition))}
    common = sorted(set.intersection(*map(set, nlls.values()))) if nlls else []
    means = {name: sum(nll[sample] for sample in common) / len(common) for name, nll in nlls.items() if common}
    baseline = next(row for row in rows if row.condition == BASELINE)
    return [_with_gain(row, baseline, means.get(row.condition), means.get(BASELINE)) for row in rows]


def _with_gain(row: Cost, baseline: Cost, nll: float | None, baseline_nll: float | None) -> Cost:
    improvement = None if nll is None or baseline_nll is None else baseline_nll - nll
    extra = _index_tokens(row) - _index_tokens(baseline)
    return replace(
        row,
        nll_mean=nll,
        improvement_mean=improvement,
        improvement_per_1000_tokens=1000 * improvement / extra if improvement is not None and extra > 0 else None,
    )


def _index_tokens(row: Cost) -> float:
    return row.prompt_tokens + row.generated_tokens + row.prefill_tokens


def _with_dominance(rows: list[Cost], families: set[str]) -> list[Cost]:
    """Mark the rows that another one, which could be deployed, beats at no more cost."""
    offers = [row for row in rows if row.condition in _DEPLOYABLE or row.condition.split("/")[0] in families]
    marked = []
    for row in rows:
        better = [(offer.nll_mean, offer.condition) for offer in offers if _dominates(offer, row)]
        best = min(better, default=None)
        marked.append(replace(row, is_dominated=best is not None, dominated_by=best[1] if best else None))
    return marked


def _dominates(offer: Cost, row: Cost) -> bool:
    if offer.nll_mean is None or row.nll_mean is None or offer.nll_mean >= row.nll_mean:
        return False
    return (
        offer.index_flops <= row.index_flops
        and offer.cache_bytes <= row.cache_bytes
        and offer.attended_tokens <= row.attended_tokens
    )
