"""Stage 5, computed: which conditions are compared, and what each comparison says.

In: samples, routes and scores. Out: one Comparison per declared contrast of two conditions, adjusted for the number of
contrasts that were declared with it. Which contrasts those are stands in tasks/priming/contrasts.py, the statistics of
one of them in tasks/priming/paired.py; no family or key is named here.

A condition is an NLL per sample: an arm ("static/factual", "baseline/document"), what the router chose
("static/routed"), the smallest NLL of a family ("static/oracle"), or one derived from others: a key drawn at random
("static/mean_of_keys"), the key that is best on other passages ("static/best_key"), two effects added up.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TypeAlias

import numpy as np
from statsmodels.stats.multitest import multipletests

from tasks.priming.contrasts import ADDED_UP, HOLM_FAMILIES, TWO_BY_TWO, Contrast, declare_contrasts
from tasks.priming.derived_conditions import added_up, best_key_elsewhere, mean_of_keys
from tasks.priming.paired import describe_pairs
from tasks.priming.records import Comparison, Route, Sample, Score
from tasks.priming.settings import StatisticsSettings

Condition: TypeAlias = dict[str, float]
"""sample_id -> NLL, for the samples that have a finite one."""


def compare_conditions(
    samples: list[Sample],
    routes: list[Route],
    scores: list[Score],
    *,
    settings: StatisticsSettings,
    seed: int,
) -> list[Comparison]:
    """Compare every routed family, pair of routed families, fixed arm and oracle on the samples that both sides have.

    A sample is left out of a comparison, and counted in excluded_count, where one side has no score: the family has no
    routed key, the arm was not scored, its status is not ok, or its NLL is not finite. An oracle takes the minimum over
    those keys that have a score. Routes and scores of samples that are not given take no part.

    Args:
        samples: The samples of the run, in any order: no order of rows changes a bit of the result.
        routes: One row per sample and arm of the routed families.
        scores: One row per sample and arm.
        settings: Resamples and nominal coverage.
        seed: The run's seed; each comparison's own is a hash of it and the comparison's name.

    Returns:
        One Comparison per contrast of `declare_contrasts`, in its order. See `judge` for the verdicts.

    Raises:
        ValueError: A sample, the score of an arm, or the route of a sample within a family is given twice.
    """
    passages = {sample.sample_id: sample.passage_id for sample in sorted(samples, key=lambda sample: sample.sample_id)}
    _refuse_repeats("samples", [(sample.sample_id,) for sample in samples])
    conditions = _conditions(routes, scores)
    _derive_conditions(conditions, routes, passages, seed)
    comparisons = [
        _compare(contrast, conditions, passages, settings=settings, seed=seed)
        for contrast in declare_contrasts(routes, scores)
    ]
    return [replace(comparison, verdict=judge(comparison)) for comparison in _adjust(comparisons)]


def holm_adjust(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Adjust the p-values of one declared set for their number.

    Holm's step-down: the k-th smallest of m p-values becomes max over j <= k of min(1, (m - j + 1) * p_j). A p-value
    that could not be computed stays None but counts in m, as 1: the set was declared before the scores were seen.

    Source: Holm (1979), https://www.jstor.org/stable/4615733; statsmodels multipletests(method="holm").
    """
    if not p_values:
        return {}
    filled = [1.0 if p_value is None else p_value for p_value in p_values.values()]
    adjusted = multipletests(filled, method="holm")[1]
    return {
        name: None if p_value is None else float(holm)
        for (name, p_value), holm in zip(p_values.items(), adjusted, strict=True)
    }


def judge(comparison: Comparison) -> str:
    """Say what one comparison alone shows, at its own confidence level.

    - "better" or "worse": the interval of the mean excludes 0 and p_holm, where there is one, is below 1 - confidence
      level. Constant improvements have no p-value: their interval is their value.
    - "no difference shown": the two do not agree on a difference. That is not a finding of equivalence.
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
    is_significant = comparison.p_holm is None or comparison.p_holm < 1 - comparison.confidence_level
    if is_significant and comparison.improvement_low > 0:
        return "better"
    if is_significant and comparison.improvement_high < 0:
        return "worse"
    return "no difference shown"


def _conditions(routes: list[Route], scores: list[Score]) -> dict[str, Condition]:
    """Return the NLLs of every arm, and of the routed and the oracle condition of every routed family."""
    routed = [route for route in routes if route.is_routed]
    _refuse_repeats("scores", [(score.sample_id, score.family, score.key) for score in scores])
    _refuse_repeats("routes", [(route.sample_id, route.family) for route in routed])
    conditions: dict[str, Condition] = {}
    for score in scores:
        if score.status == "ok" and score.nll is not None and math.isfinite(score.nll):
            conditions.setdefault(f"{score.family}/{score.key}", {})[score.sample_id] = score.nll
    for route in routed:
        nll = conditions.get(f"{route.family}/{route.key}", {}).get(route.sample_id)
        if nll is not None:
            conditions.setdefault(f"{route.family}/routed", {})[route.sample_id] = nll
    for family, key in {(route.family, route.key) for route in routes}:
        oracle = conditions.setdefault(f"{family}/oracle", {})
        for sample_id, nll in conditions.get(f"{family}/{key}", {}).items():
            oracle[sample_id] = min(nll, oracle.get(sample_id, math.inf))
    return conditions


def _derive_conditions(
    conditions: dict[str, Condition], routes: list[Route], passages: Mapping[str, str], seed: int
) -> None:
    """Add the conditions that are made from others."""
    keys: dict[str, set[str]] = {}
    for route in routes:
        keys.setdefault(route.family, set()).add(route.key)
    for family, members in sorted(keys.items()):
        nlls = [conditions.get(f"{family}/{key}", {}) for key in sorted(members)]
        known = [{sample: nll for sample, nll in each.items() if sample in passages} for each in nlls]
        conditions[f"{family}/mean_of_keys"] = mean_of_keys(known)
        conditions[f"{family}/best_key"] = best_key_elsewhere(known, passages, _derive_seed(seed, f"{family}/best_key"))
    hidden, blind, neither = (conditions.get(arm, {}) for arm in TWO_BY_TWO)
    conditions[ADDED_UP] = added_up(hidden, blind, neither)


def _compare(
    contrast: Contrast,
    conditions: Mapping[str, Condition],
    passages: Mapping[str, str],
    *,
    settings: StatisticsSettings,
    seed: int,
) -> Comparison:
    """Compare two conditions on the samples that have both; Holm and the verdict come after all are compared."""
    arm, reference = conditions.get(contrast.arm, {}), conditions.get(contrast.reference, {})
    pairs = [sample_id for sample_id in passages if sample_id in arm and sample_id in reference]
    statistics = describe_pairs(
        np.array([reference[sample_id] for sample_id in pairs], dtype=np.float64),
        np.array([arm[sample_id] for sample_id in pairs], dtype=np.float64),
        [passages[sample_id] for sample_id in pairs],
        settings=settings,
        seed=_derive_seed(seed, contrast.comparison),
    )
    return Comparison(
        **asdict(contrast),
        **asdict(statistics),
        is_optimistic=contrast.kind == "oracle",
        excluded_count=len(passages) - len(pairs),
        confidence_level=settings.confidence_level,
        p_holm=None,
        holm_family=HOLM_FAMILIES.get(contrast.kind),
        verdict="",
    )


def _adjust(comparisons: list[Comparison]) -> list[Comparison]:
    """Fill p_holm within each declared set."""
    adjusted: dict[str, float | None] = {}
    for declared in sorted(set(HOLM_FAMILIES.values())):
        adjusted |= holm_adjust({row.comparison: row.p_value for row in comparisons if row.holm_family == declared})
    return [replace(row, p_holm=adjusted.get(row.comparison)) for row in comparisons]


def _derive_seed(seed: int, comparison: str) -> int:
    """Return a seed of its own for a comparison, whichever others are run."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{comparison}".encode()).digest()[:8])


def _refuse_repeats(name: str, identities: list[tuple[str, ...]]) -> None:
    seen: set[tuple[str, ...]] = set()
    for identity in identities:
        if identity in seen:
            raise ValueError(
                f"`{name}` holds {'/'.join(identity)} more than once; each may stand once. Drop the repeated rows."
            )
        seen.add(identity)
