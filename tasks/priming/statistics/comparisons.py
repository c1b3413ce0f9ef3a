"""Which conditions are compared in pairs, and what each comparison says.

In: a run's rows. Out: one Comparison per declared contrast. contrasts.py declares them, conditions.py says what a
condition is, paired.py computes the statistics of one comparison, and families.py adjusts those of a question; no
family or key is named here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
from statsmodels.stats.multitest import multipletests

from tasks.priming.records import Comparison, Verdict
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import best_elsewhere, conditions_of, nll, passages_of, probability
from tasks.priming.statistics.contrasts import declare_contrasts
from tasks.priming.statistics.families import Evaluated, evaluate_contrasts
from tasks.priming.statistics.inference import LEAST_CLUSTERS, any_look_reach
from tasks.priming.statistics.intervals import BootstrapIntervals, bootstrap_intervals
from tasks.priming.statistics.paired import describe_pairs, pair_up, pairs_for_precision
from tasks.priming.statistics.run_data import RunData

MAX_BOOTSTRAP_PASSAGES = 10_000
"""Above this many passages the bootstrap takes minutes and agrees with the cluster-robust interval."""

_PASSAGES_OF_A_PLAN = 500
"""Passages for which an interval's width in standard errors is planned: with 100 to 2,500 it differs by a tenth."""


def compare_conditions(run: RunData, settings: StatisticsSettings, seed: int) -> list[Comparison]:
    """Compare every declared pair of conditions on the samples that both sides have.

    A sample is left out of a comparison, and counted in excluded_count, if one side has no score: the family has no
    routed key, the arm was not scored, its status is not ok, or its NLL is not finite; of kind best_of also if one of
    the conditions lacks it. An oracle takes the best of the keys that have a score. Routes and scores of other samples
    are ignored.

    Args:
        run: The run's rows, in any order: the order of rows changes no bit of the result.
        settings: Resamples, nominal coverage and what is negligible.
        seed: The run's seed: of the bootstrap's resamples, and of the folds of cross_fitted_mean.

    Returns:
        One Comparison per contrast of `declare_contrasts`, in its order. See `judge` for the verdicts.

    Raises:
        ValueError: A sample, the score of a condition, or the route of a sample within a family is given twice.
    """
    passages, conditions, nlls = passages_of(run), conditions_of(run), conditions_of(run, nll)
    found = evaluate_contrasts(declare_contrasts(run), conditions, passages, settings.confidence_level, describe_pairs)
    bootstrapped = _bootstrap(found, conditions, passages, settings, seed)
    rows = []
    for each in found:
        contrast, described = each.contrast, asdict(each.statistics)
        elsewhere = None
        if contrast.kind == "best_of":
            chosen = best_elsewhere([conditions.get(name, {}) for name in contrast.among], passages, seed)
            pairs = pair_up(chosen, conditions.get(contrast.arm, {}), passages)
            elsewhere = float(pairs.improvement.mean()) if chosen else None
        means = described.pop("arm_mean"), described.pop("reference_mean")
        arm, reference = (None if mean is None else probability(mean) for mean in means)
        nll_pairs = pair_up(nlls.get(each.reference, {}), nlls.get(contrast.arm, {}), passages)
        bca = bootstrapped.get(contrast.comparison, BootstrapIntervals(None, None))
        row = Comparison(
            comparison=contrast.comparison,
            question=contrast.question,
            subject=contrast.subject,
            kind=contrast.kind,
            arm=contrast.arm,
            reference=contrast.reference,
            **described,
            is_optimistic=contrast.kind == "oracle",
            excluded_count=len(passages) - each.statistics.n,
            nll_arm_mean=float(nll_pairs.arm.mean()) if each.statistics.n else None,
            nll_reference_mean=float(nll_pairs.reference.mean()) if each.statistics.n else None,
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
    needed = pairs_for_precision(error, n, reach, settings.equivalence_margin / 2)
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
