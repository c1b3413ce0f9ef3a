"""Which conditions are compared in pairs, and what each comparison says.

In: a run's rows. Out: one Comparison per declared contrast of two conditions, adjusted for the number of contrasts that
were declared with it. contrasts.py declares them, conditions.py says what a condition is, and paired.py computes the
statistics of one comparison; no family or key is named here.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, replace

from statsmodels.stats.multitest import multipletests

from tasks.priming.records import Comparison, Verdict
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import Condition, conditions_of, passages_of
from tasks.priming.statistics.contrasts import Contrast, declare_contrasts
from tasks.priming.statistics.paired import describe_pairs, pair_up
from tasks.priming.statistics.run_data import RunData

_METHODS = {"holm": "holm", "benjamini_hochberg": "fdr_bh"}
"""Our name of an adjustment -> statsmodels'."""


def compare_conditions(evidence: RunData, settings: StatisticsSettings, seed: int) -> list[Comparison]:
    """Compare every declared pair of conditions on the samples that both sides have.

    A sample is left out of a comparison, and counted in excluded_count, if one side has no score: the family has no
    routed key, the arm was not scored, its status is not ok, or its NLL is not finite. An oracle takes the minimum over
    the keys that have a score. Routes and scores of other samples are ignored.

    Args:
        evidence: The run's rows, in any order: the order of rows changes no bit of the result.
        settings: Resamples, nominal coverage and what is negligible.
        seed: The run's seed; the seed of each comparison is a hash of it and the comparison's name.

    Returns:
        One Comparison per contrast of `declare_contrasts`, in its order. See `judge` for the verdicts.

    Raises:
        ValueError: A sample, the score of an arm, or the route of a sample within a family is given twice.
    """
    passages = passages_of(evidence)
    conditions = conditions_of(evidence, seed)
    comparisons = [
        _compare(contrast, conditions, passages, settings, seed)
        for contrast in declare_contrasts(evidence.routes, evidence.scores)
    ]
    return [_judged(comparison) for comparison in _adjusted(comparisons)]


def adjust(p_values: Mapping[str, float | None], adjustment: str) -> dict[str, float | None]:
    """Adjust the p-values of one declared set for their number.

    - holm bounds the chance of any false finding in the set: the k-th smallest of m p-values becomes the maximum over
      j <= k of min(1, (m - j + 1) * p_j). Holm (1979), https://www.jstor.org/stable/4615733
    - benjamini_hochberg bounds the expected share of false ones among the findings: the minimum over j >= k of
      min(1, m / j * p_j). Benjamini and Hochberg (1995), doi:10.1111/j.2517-6161.1995.tb02031.x

    A p-value that could not be computed stays None but counts in m, as 1: the set was declared before the scores were
    seen. Computed by statsmodels' multipletests.
    """
    if not p_values:
        return {}
    filled = [1.0 if p_value is None else p_value for p_value in p_values.values()]
    adjusted = multipletests(filled, method=_METHODS[adjustment])[1]
    return {
        name: None if p_value is None else float(value)
        for (name, p_value), value in zip(p_values.items(), adjusted, strict=True)
    }


def judge(comparison: Comparison) -> Verdict:
    """Say what one comparison alone shows, at its own confidence level.

    - "better" or "worse": the interval of the mean excludes 0 and p_adjusted, where there is one, is below
      1 - confidence level. Constant improvements have no p-value: their interval is their value.
    - "better, but negligibly" or "worse, but negligibly": likewise, and the mean is shown to be within the equivalence
      margin.
    - "equivalent": no such difference, and the mean is shown to be within the margin.
    - "no difference shown": neither a difference nor equivalence.
    - "undecided: fewer than two pairs", "undecided: fewer than two passages" (pairs of one passage are one
      observation) or "undecided: no interval could be computed" (e.g. the sums of all passages are equal).
    - "optimistic by construction, not a verdict": an oracle's.
    """
    if comparison.is_optimistic:
        return "optimistic by construction, not a verdict"
    if comparison.n < 2:
        return "undecided: fewer than two pairs"
    if comparison.passage_count < 2:
        return "undecided: fewer than two passages"
    if comparison.improvement_low is None or comparison.improvement_high is None:
        return "undecided: no interval could be computed"
    is_significant = comparison.p_adjusted is None or comparison.p_adjusted < 1 - comparison.confidence_level
    is_negligible = _is_equivalent(comparison)
    if is_significant and comparison.improvement_low > 0:
        return "better, but negligibly" if is_negligible else "better"
    if is_significant and comparison.improvement_high < 0:
        return "worse, but negligibly" if is_negligible else "worse"
    return "equivalent" if is_negligible else "no difference shown"


def _is_equivalent(comparison: Comparison) -> bool:
    """Return whether the mean is shown to be within the margin; improvements that are all equal show their value."""
    if comparison.interval_method == "constant" and comparison.improvement_mean is not None:
        return abs(comparison.improvement_mean) < comparison.equivalence_margin
    p_value = comparison.equivalence_p_value
    return p_value is not None and p_value < 1 - comparison.confidence_level


def _compare(
    contrast: Contrast,
    conditions: Mapping[str, Condition],
    passages: Mapping[str, str],
    settings: StatisticsSettings,
    seed: int,
) -> Comparison:
    """Compare two conditions on the samples that have both; adjustment and verdict follow once all are compared."""
    pairs = pair_up(conditions.get(contrast.reference, {}), conditions.get(contrast.arm, {}), passages)
    statistics = describe_pairs(*pairs, settings=settings, seed=_derive_seed(seed, contrast.comparison))
    return Comparison(
        comparison=contrast.comparison,
        kind=contrast.kind,
        arm=contrast.arm,
        reference=contrast.reference,
        **asdict(statistics),
        is_optimistic=contrast.kind == "oracle",
        excluded_count=len(passages) - statistics.n,
        confidence_level=settings.confidence_level,
        p_adjusted=None,
        adjustment=contrast.adjustment,
        equivalence_margin=settings.equivalence_margin,
        verdict="no difference shown",  # until it is judged
    )


def _adjusted(comparisons: list[Comparison]) -> list[Comparison]:
    """Fill p_adjusted within each declared set."""
    adjusted: dict[str, float | None] = {}
    for adjustment in _METHODS:
        declared = {row.comparison: row.p_value for row in comparisons if row.adjustment == adjustment}
        adjusted |= adjust(declared, adjustment)
    return [replace(row, p_adjusted=adjusted.get(row.comparison)) for row in comparisons]


def _judged(comparison: Comparison) -> Comparison:
    """Fill the verdict, and keep the numbers of pairs that would decide only where something is left to decide."""
    verdict = judge(comparison)
    low, high, margin = comparison.improvement_low, comparison.improvement_high, comparison.equivalence_margin
    is_open = verdict == "no difference shown"
    holds_margin = low is not None and high is not None and low <= margin <= high
    return replace(
        comparison,
        verdict=verdict,
        n_to_decide=comparison.n_to_decide if is_open else None,
        n_to_decide_margin=comparison.n_to_decide_margin if holds_margin else None,
    )


def _derive_seed(seed: int, comparison: str) -> int:
    """Return the seed of a comparison, which does not depend on the others."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{comparison}".encode()).digest()[:8])
