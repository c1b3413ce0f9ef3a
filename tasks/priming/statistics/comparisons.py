"""The declared contrasts, evaluated: what each comparison says, and which condition may be the best.

In: a run's rows. Out: one Comparison per contrast of contrasts.py, and one Contender per condition that could be
deployed. Each contrast has the statistics of its pairs, and a second interval and p-value that are adjusted within its
question and hold at any look: answers read the second pair alone. No family or key is named here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from statsmodels.stats.multitest import multipletests

from tasks.priming.records import LEAST_CLUSTERS, Comparison, Contender, Verdict
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import (
    Condition,
    best_elsewhere,
    conditions_of,
    nll,
    passages_of,
    probability,
)
from tasks.priming.statistics.contrasts import Contrast, declare_contrasts, deployable
from tasks.priming.statistics.cost import cost_of_conditions, cost_order
from tasks.priming.statistics.inference import (
    Estimate,
    Matrix,
    any_look_reach,
    compare_with_best,
    gain_over_best,
    holm_with_intervals,
)
from tasks.priming.statistics.paired import (
    BootstrapIntervals,
    PairedStatistics,
    Pairs,
    bootstrap_intervals,
    describe_pairs,
    pair_up,
    paired_mean,
)
from tasks.priming.statistics.run_data import RunData

MAX_BOOTSTRAP_PASSAGES = 10_000
"""Above this many passages the bootstrap takes minutes and agrees with the cluster-robust interval."""

_PASSAGES_OF_A_PLAN = 500
"""Passages for which an interval's width in standard errors is planned: with 100 to 2,500 it differs by a tenth."""

_UNKNOWN_COST = (math.inf,) * 3

_OF_CONTRAST = ("comparison", "question", "subject", "kind", "arm", "reference")


def compare_conditions(run: RunData, settings: StatisticsSettings, seed: int) -> list[Comparison]:
    """Compare every declared pair of conditions on the samples that both sides have.

    A sample is left out of a comparison, and counted in excluded_count, if one side has no score: the family has no
    routed key, the arm was not scored, its status is not ok, or its NLL is not finite; of kind best_of also if one of
    the conditions lacks it. An oracle takes the best of the keys that have a score. Routes and scores of other samples
    are ignored, and the order of rows changes no bit of the result. The seed is that of the bootstrap's resamples, and
    of the folds of cross_fitted_mean.

    Returns:
        One Comparison per contrast of `declare_contrasts`, in its order. See `judge` for the verdicts.

    Raises:
        ValueError: A sample, the score of a condition, or the route of a sample within a family is given twice.
    """
    passages, conditions, nlls = passages_of(run), conditions_of(run), conditions_of(run, nll)
    contrasts = declare_contrasts(run)
    evaluated = evaluate_contrasts(contrasts, conditions, passages, settings.confidence_level, describe_pairs)
    bootstrapped = _bootstrap(evaluated, conditions, passages, settings, seed)
    rows = []
    for each in evaluated:
        contrast, found = each.contrast, each.statistics
        elsewhere = None
        if contrast.kind == "best_of":
            chosen = best_elsewhere([conditions.get(name, {}) for name in contrast.among], passages, seed)
            pairs = pair_up(chosen, conditions.get(contrast.arm, {}), passages)
            elsewhere = float(pairs.improvement.mean()) if chosen else None
        arm, reference = (
            None if mean is None else probability(mean) for mean in (found.arm_mean, found.reference_mean)
        )
        nll_pairs = pair_up(nlls.get(each.reference, {}), nlls.get(contrast.arm, {}), passages)
        bca = bootstrapped.get(contrast.comparison, BootstrapIntervals(None, None))
        row = Comparison(
            **{name: getattr(contrast, name) for name in _OF_CONTRAST},
            **found.shared_with(Comparison),
            is_optimistic=contrast.kind == "oracle",
            excluded_count=len(passages) - found.n,
            nll_arm_mean=float(nll_pairs.arm.mean()) if found.n else None,
            nll_reference_mean=float(nll_pairs.reference.mean()) if found.n else None,
            probability_arm_mean=arm,
            probability_reference_mean=reference,
            answer_low=each.answer_low,
            answer_high=each.answer_high,
            answer_p=each.answer_p,
            fdr_p_value=None,
            confidence_level=settings.confidence_level,
            bca_low=bca.mean.low if bca.mean else None,
            bca_high=bca.mean.high if bca.mean else None,
            cohens_d_low=bca.cohens_d.low if bca.cohens_d else None,
            cohens_d_high=bca.cohens_d.high if bca.cohens_d else None,
            cross_fitted_mean=elsewhere,
            equivalence_margin=settings.equivalence_margin,
            n_for_precision=_pairs_for_precision(each, settings),
            verdict="explored, not a verdict",  # until it is judged
        )
        rows.append(replace(row, verdict=judge(row)))
    return _with_false_discovery_rates(rows)


def judge(comparison: Comparison) -> Verdict:
    """Say what one comparison alone shows, by the interval that answers read.

    - "better" or "worse": the interval excludes 0; "..., but negligibly" where it also lies within the margin.
    - "equivalent": it includes 0 and lies within the margin. So two one-sided tests of a mean beyond the margin reject
      (Schuirmann 1987, doi:10.1007/BF01068419), each at half of the interval's error probability.
    - "no difference shown": neither a difference nor equivalence.
    - "undecided: too few passages" (fewer than LEAST_CLUSTERS) or "undecided: no interval could be computed" (e.g. the
      sums of all passages are equal).
    - "explored, not a verdict": no question rests on it.
    - "optimistic by construction, not a verdict": an oracle's.
    """
    if comparison.is_optimistic:
        return "optimistic by construction, not a verdict"
    if comparison.question is None:
        return "explored, not a verdict"
    low, high, margin = comparison.answer_low, comparison.answer_high, comparison.equivalence_margin
    if low is None or high is None:
        is_short = comparison.passage_count < LEAST_CLUSTERS
        return "undecided: too few passages" if is_short else "undecided: no interval could be computed"
    is_negligible = -margin < low and high < margin
    if low > 0:
        return "better, but negligibly" if is_negligible else "better"
    if high < 0:
        return "worse, but negligibly" if is_negligible else "worse"
    return "equivalent" if is_negligible else "no difference shown"


def rank_contenders(run: RunData, settings: StatisticsSettings, seed: int) -> list[Contender]:
    """Compare every deployable condition with the best of the others, on the samples that all of them have.

    A condition without any score is no contender. The intervals hold together and at any look (`compare_with_best`), so
    that nothing has to be adjusted for having looked for the best.

    Returns:
        From the cheapest to the most expensive; nothing for fewer than two contenders, or without a common sample.
    """
    conditions, passages = conditions_of(run), passages_of(run)
    names = [name for name in deployable(run) if conditions.get(name)]
    common = [sample for sample in passages if all(sample in conditions[name] for name in names)]
    if len(names) < 2 or not common:
        return []
    clusters = np.unique([passages[sample] for sample in common], return_inverse=True)[1]
    values = np.array([[probability(conditions[name][sample]) for name in names] for sample in common])
    found = compare_with_best(values, clusters, 1 - settings.confidence_level)
    means = values.mean(axis=0).tolist()
    costs = {cost.condition: cost_order(cost) for cost in run.once(cost_of_conditions, settings, seed)}
    order = sorted(names, key=lambda name: (costs.get(name, _UNKNOWN_COST), names.index(name)))
    rows = []
    for rank, name in enumerate(order):
        place = names.index(name)
        lag = found.intervals[place] if found else None
        rows.append(
            Contender(
                condition=name,
                cost_rank=rank,
                n=len(common),
                passage_count=int(clusters.max()) + 1,
                probability_mean=means[place],
                lag_low=lag.low if lag else None,
                lag_high=lag.high if lag else None,
                may_be_best=found is None or found.may_be_best[place],
                is_close_to_best=lag is not None and lag.high < settings.equivalence_margin,
            )
        )
    return rows


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One contrast by one measure."""

    contrast: Contrast
    """The contrast."""
    reference: str
    """The condition that its pairs compare the arm with; of kind best_of, the one with the best mean here."""
    statistics: PairedStatistics
    """What the pairs show: unadjusted, for a number of samples that was fixed before. Of kind best_of without interval
    and p-value: no such test of a reference that was chosen by its scores is right."""
    family_size: int
    """Contrasts of its question; 0 where no question rests on it."""
    answer_low: float | None = None
    """Lower end of the interval that answers read: all intervals of a question hold together, at any look. None where
    no question rests on it, or where there are fewer than LEAST_CLUSTERS passages or no standard error."""
    answer_high: float | None = None
    """Upper end of it."""
    answer_p: float | None = None
    """Its p-value, adjusted by Holm's method; None also for kind best_of."""


def evaluate_contrasts(
    contrasts: Sequence[Contrast],
    conditions: Mapping[str, Condition],
    passages: Mapping[str, str],
    confidence_level: float,
    describe: Callable[[Pairs, float], PairedStatistics] = paired_mean,
) -> list[Evaluated]:
    """Evaluate declared contrasts, each question as one family.

    In a question of m contrasts, `holm_with_intervals` adjusts all that compare two conditions, and `gain_over_best`
    has 1 / m of the error probability for each contrast with the best of several: so does whatever could not be
    computed. A question then makes any error with a probability of at most 1 - confidence level, at whatever looks.

    Args:
        contrasts: All that were declared; what is returned has their order.
        conditions: By one measure; lower is better.
        passages: sample_id -> passage_id, in the order of the pairs.
        confidence_level: Of each question's intervals, taken together.
        describe: What is computed of the pairs.
    """
    alpha = 1 - confidence_level
    found = {}
    for contrast in contrasts:
        reference, pairs, others = _pairs_of(contrast, conditions, passages)
        size = sum(other.question == contrast.question for other in contrasts) if contrast.question else 0
        described = describe(pairs, confidence_level)
        evaluated = Evaluated(contrast, reference, described, size)
        if contrast.kind == "best_of":
            evaluated = replace(evaluated, statistics=_without_test(described))
            gain = gain_over_best(-pairs.arm, -others, pairs.clusters, alpha / size) if described.n else None
            if gain:
                evaluated = replace(evaluated, answer_low=gain.low, answer_high=gain.high)
        found[contrast.comparison] = evaluated
    for question in dict.fromkeys(contrast.question for contrast in contrasts if contrast.question):
        family = [each for each in found.values() if each.contrast.question == question]
        for each, adjusted in zip(family, holm_with_intervals([*map(_estimate, family)], alpha), strict=True):
            same = each.statistics.improvement_mean if each.statistics.interval_method == "constant" else None
            if adjusted:
                low, high, p = adjusted.interval.low, adjusted.interval.high, adjusted.p_value
                found[each.contrast.comparison] = replace(each, answer_low=low, answer_high=high, answer_p=p)
            elif same is not None and each.statistics.passage_count >= LEAST_CLUSTERS:
                found[each.contrast.comparison] = replace(each, answer_low=same, answer_high=same)
    return list(found.values())


def _pairs_of(
    contrast: Contrast, conditions: Mapping[str, Condition], passages: Mapping[str, str]
) -> tuple[str, Pairs, Matrix]:
    """Return the reference and the pairs of a contrast, and for kind best_of the (pairs, conditions) values of all."""
    arm = conditions.get(contrast.arm, {})
    if contrast.kind != "best_of":
        pairs = pair_up(conditions.get(contrast.reference, {}), arm, passages)
        return contrast.reference, pairs, np.empty((len(pairs.arm), 0))
    others = {name: conditions.get(name, {}) for name in contrast.among}
    shared = {
        s: passage for s, passage in passages.items() if s in arm and all(s in other for other in others.values())
    }
    columns = {name: pair_up(other, arm, shared) for name, other in others.items()}
    best = min(columns, key=lambda name: float(columns[name].reference.sum()))
    return best, columns[best], np.column_stack([pairs.reference for pairs in columns.values()])


def _estimate(evaluated: Evaluated) -> Estimate | None:
    """Return what the family's adjustment needs; None for what it cannot adjust, which counts all the same."""
    found = evaluated.statistics
    if evaluated.contrast.kind == "best_of" or found.improvement_mean is None or found.improvement_error is None:
        return None
    return Estimate(found.improvement_mean, found.improvement_error, found.passage_count)


def _without_test(described: PairedStatistics) -> PairedStatistics:
    """Leave out what takes the reference for one that was not chosen by its scores."""
    described = replace(described, improvement_low=None, improvement_high=None, p_value=None, interval_method="none")
    return replace(described, t_statistic=None, t_p_value=None, wilcoxon_p_value=None, sign_p_value=None)


def _bootstrap(
    found: Sequence[Evaluated],
    conditions: Mapping[str, Mapping[str, float]],
    passages: Mapping[str, str],
    settings: StatisticsSettings,
    seed: int,
) -> dict[str, BootstrapIntervals]:
    """Return the bootstrap's intervals by comparison, where they are defined and affordable."""
    clusters = np.unique(np.asarray(list(passages.values()), dtype=str), return_inverse=True)[1]
    names = [each.contrast for each in found if each.statistics.interval_method == "cluster_robust"]
    if not names or not 1 < clusters.max() + 1 <= MAX_BOOTSTRAP_PASSAGES:
        return {}

    def column(name: str) -> list[float]:
        return [conditions[name].get(sample, np.nan) for sample in passages]

    columns = {name: np.array(column(name)) for each in names for name in (each.arm, each.reference)}
    values = np.column_stack([columns[each.reference] - columns[each.arm] for each in names])
    intervals = bootstrap_intervals(values, clusters, settings=settings, seed=seed)
    return {each.comparison: interval for each, interval in zip(names, intervals, strict=True)}


def _pairs_for_precision(each: Evaluated, settings: StatisticsSettings) -> int | None:
    """Return how many pairs would bring the interval that answers read to half the margin on either side.

    They are about LEAST_CLUSTERS passages at least, if a passage has as many pairs as here.
    """
    error = each.statistics.improvement_error
    if error is None or not each.family_size:
        return None
    alpha = 1 - settings.confidence_level
    reach = float(any_look_reach(_PASSAGES_OF_A_PLAN, alpha / (2 * each.family_size)))
    n, passages = each.statistics.n, each.statistics.passage_count
    needed = math.ceil(n * (reach * error / (settings.equivalence_margin / 2)) ** 2)  # the error shrinks with sqrt(n)
    return max(needed, math.ceil(n * LEAST_CLUSTERS / passages))


def _with_false_discovery_rates(rows: list[Comparison]) -> list[Comparison]:
    """Adjust what is explored by Benjamini and Hochberg's method; a p-value that is missing counts as 1.

    Source: Benjamini and Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x; statsmodels' multipletests.
    """
    explored = [row for row in rows if row.question is None and not row.is_optimistic]
    if not explored:
        return rows
    p_values = [1.0 if row.p_value is None else row.p_value for row in explored]
    adjusted = multipletests(p_values, method="fdr_bh")[1].tolist()
    rates = {row.comparison: rate for row, rate in zip(explored, adjusted, strict=True) if row.p_value is not None}
    return [replace(row, fdr_p_value=rates.get(row.comparison)) for row in rows]
