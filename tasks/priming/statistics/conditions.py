"""Conditions: one value per sample for everything that can be compared; lower is better.

In: routes and scores. Out: condition name -> sample_id -> value. A condition is an arm with a treatment
("static/factual", "static/factual+stripped", "baseline/document"), what the router chose ("static/routed"), the best of
a family known afterwards ("static/oracle"), or derived from others: a key drawn at random ("static/mean_of_keys"), the
key that is best on other passages ("static/best_key"), the best arm for which nothing is generated ("free/best_arm"),
two effects added up.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from tasks.priming.records import KEPT, Route, Score, condition_name
from tasks.priming.statistics.contrasts import ADDED_UP, BEST_FREE_ARM, TWO_BY_TWO, free_arms
from tasks.priming.statistics.run_data import RunData

FOLDS = 10
REPEATS = 20

Condition: TypeAlias = dict[str, float]
"""sample_id -> value, for the samples that have a finite one."""

ScoreValue: TypeAlias = Callable[[Score], float | None]
"""What is compared: lower is better; None where a score has none."""


def nll(score: Score) -> float | None:
    """Return the metric of record."""
    return score.nll


def conditions_of(evidence: RunData, seed: int, measure: ScoreValue = nll) -> dict[str, Condition]:
    """Return all conditions of a run.

    Args:
        evidence: The rows; those of other samples are ignored.
        seed: Seed of the folds of `best_key_elsewhere`.
        measure: What is compared.

    Raises:
        ValueError: A sample, the score of an arm, or the route of a sample within a family is given twice.
    """
    if measure is not nll:
        return _make_conditions(evidence, seed, measure)
    if seed not in evidence.remembered:
        evidence.remembered[seed] = _make_conditions(evidence, seed, measure)
    found: dict[str, Condition] = evidence.remembered[seed]
    return found


def passages_of(evidence: RunData) -> dict[str, str]:
    """Return sample_id -> passage_id in the order of the ids, so that the order of rows changes no bit of a result."""
    return {s.sample_id: s.passage_id for s in sorted(evidence.samples, key=lambda sample: sample.sample_id)}


def keys_of(evidence: RunData) -> dict[str, list[str]]:
    """Return the keys of every routed family, both in alphabetical order."""
    keys: dict[str, list[str]] = {}
    for family, key in evidence.routed_arms:
        keys.setdefault(family, []).append(key)
    return keys


def _make_conditions(evidence: RunData, seed: int, measure: ScoreValue) -> dict[str, Condition]:
    passages = passages_of(evidence)
    if len(passages) < len(evidence.samples):
        counts = Counter(sample.sample_id for sample in evidence.samples)
        raise _repeated("samples", next(sample_id for sample_id, count in counts.items() if count > 1))
    keys = keys_of(evidence)
    conditions = _arms(evidence.scores, passages, measure)
    _add_routed(conditions, evidence.routes, passages, keys)
    _derive(conditions, keys, passages, seed)
    return conditions


def _arms(scores: Iterable[Score], passages: Mapping[str, str], measure: ScoreValue) -> dict[str, Condition]:
    """Return the values of every arm."""
    found: dict[str, dict[str, float | None]] = {}
    for score in scores:
        if score.sample_id not in passages:
            continue
        arm = found.setdefault(score.condition, {})
        if score.sample_id in arm:
            raise _repeated("scores", score.sample_id, score.condition)
        value = measure(score) if score.status == "ok" else None
        arm[score.sample_id] = value if value is not None and math.isfinite(value) else None
    return {name: known for name, arm in found.items() if (known := _without_missing(arm))}


def _without_missing(values: dict[str, float | None]) -> Condition:
    """Return the values that are not missing: the same dict where none is, since there may be millions."""
    if None not in values.values():
        return cast(Condition, values)
    return {sample_id: value for sample_id, value in values.items() if value is not None}


def _add_routed(
    conditions: dict[str, Condition],
    routes: Iterable[Route],
    passages: Mapping[str, str],
    keys_by_family: Mapping[str, list[str]],
) -> None:
    """Add what the router chose, with every treatment, and the best of each family."""
    treatments = sorted({name.partition("+")[2] or KEPT for name in conditions})
    routed: dict[str, set[str]] = {}
    for route in routes:
        if not route.is_routed or route.sample_id not in passages:
            continue
        known = routed.setdefault(route.family, set())
        if route.sample_id in known:
            raise _repeated("routes", route.sample_id, route.family)
        known.add(route.sample_id)
        for treatment in treatments:
            value = conditions.get(condition_name(route.family, route.key, treatment), {}).get(route.sample_id)
            if value is not None:
                name = condition_name(route.family, "routed", treatment)
                conditions.setdefault(name, {})[route.sample_id] = value
    for family, keys in keys_by_family.items():
        oracle = conditions.setdefault(f"{family}/oracle", {})
        for key in keys:
            for sample_id, value in conditions.get(f"{family}/{key}", {}).items():
                oracle[sample_id] = min(value, oracle.get(sample_id, math.inf))


def _derive(
    conditions: dict[str, Condition], keys_by_family: Mapping[str, list[str]], passages: Mapping[str, str], seed: int
) -> None:
    """Add the conditions that are derived from others."""
    for family, keys in keys_by_family.items():
        values = [conditions.get(f"{family}/{key}", {}) for key in keys]
        conditions[f"{family}/mean_of_keys"] = mean_of_keys(values)
        conditions[f"{family}/best_key"] = best_key_elsewhere(values, passages, seed)
    free = [conditions[arm] for arm in free_arms(conditions)]
    conditions[BEST_FREE_ARM] = best_key_elsewhere(free, passages, seed)
    if conditions.keys() >= set(TWO_BY_TWO):
        hidden, blind, neither = (conditions[name] for name in TWO_BY_TWO)
        conditions[ADDED_UP] = added_up(hidden, blind, neither)


def _repeated(name: str, *identity: str) -> ValueError:
    return ValueError(
        f"`{name}` holds {'/'.join(identity)} more than once; each may appear only once. Drop the repeated rows."
    )


def mean_of_keys(nlls: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean NLL over keys of each sample that has all of them: the expectation of routing at random."""
    return {sample_id: sum(key[sample_id] for key in nlls) / len(nlls) for sample_id in _in_all(nlls)}


def best_key_elsewhere(nlls: Sequence[Mapping[str, float]], passages: Mapping[str, str], seed: int) -> dict[str, float]:
    """Return, for each sample, the NLL of the key that is best on average on other passages.

    Choosing a key by the same scores by which it is judged would flatter it. So the passages are divided into folds,
    each fold gets the key with the smallest mean NLL on all other folds (the first of equals), and the result is
    averaged over several divisions.

    Args:
        nlls: Per key, sample_id -> NLL; samples that lack a key are left out.
        passages: sample_id -> passage_id; all samples of a passage are in one fold.
        seed: Seed of the divisions.

    Returns:
        Nothing where all samples are of one passage.

    Source: scikit-learn's GroupKFold with shuffling; cross-fitting as in Chernozhukov et al. (2018),
    doi:10.1111/ectj.12097.
    """
    sample_ids = sorted(_in_all(nlls))
    # Numbers in the order of the ids give the same folds without comparing ids two hundred times.
    names, groups = np.unique([passages[sample_id] for sample_id in sample_ids], return_inverse=True)
    fold_count = min(FOLDS, len(names))
    if fold_count < 2:
        return {}
    table = np.array([[key[sample_id] for key in nlls] for sample_id in sample_ids])  # (samples, keys)
    total: NDArray[np.float64] = np.zeros(len(sample_ids))
    for repeat in range(REPEATS):
        folds = GroupKFold(fold_count, shuffle=True, random_state=(seed + repeat) % 2**32)
        for others, fold in folds.split(table, groups=groups):
            total[fold] += table[fold, table[others].mean(axis=0).argmin()]
    return dict(zip(sample_ids, (total / REPEATS).tolist(), strict=True))


def added_up(first: Mapping[str, float], second: Mapping[str, float], neither: Mapping[str, float]) -> dict[str, float]:
    """Return the NLL of each sample if two effects added up: first + second - neither."""
    return {
        sample_id: first[sample_id] + second[sample_id] - neither[sample_id]
        for sample_id in _in_all([first, second, neither])
    }


def _in_all(nlls: Sequence[Mapping[str, float]]) -> set[str]:
    """Return the samples that every mapping has."""
    return set.intersection(*(set(each) for each in nlls)) if nlls else set()
