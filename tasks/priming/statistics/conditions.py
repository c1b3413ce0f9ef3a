"""Conditions: one value per sample for everything that can be compared, by a measure of which less is better.

In: routes and scores. Out: condition name -> sample_id -> value. A condition is an arm ("static/factual",
"baseline/document"), what the router chose ("static/routed"), the best of a family known afterwards ("static/oracle"),
or one derived from others (tasks/priming/statistics/derived_conditions.py): a key drawn at random
("static/mean_of_keys"), the key that is best on other passages ("static/best_key"), the best arm for which nothing is
generated ("free/best_arm"), two effects added up.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, cast

from tasks.priming.records import Route, Score
from tasks.priming.statistics.contrasts import ADDED_UP, BEST_FREE_ARM, TWO_BY_TWO, free_arms
from tasks.priming.statistics.derived_conditions import added_up, best_key_elsewhere, mean_of_keys
from tasks.priming.statistics.run_data import RunData

Condition: TypeAlias = dict[str, float]
"""sample_id -> value, for the samples that have a finite one."""

ScoreValue: TypeAlias = Callable[[Score], float | None]
"""What is compared: less is better; None where a score has none."""


def nll(score: Score) -> float | None:
    """Return the metric of record."""
    return score.nll


def conditions_of(evidence: RunData, seed: int, measure: ScoreValue = nll) -> dict[str, Condition]:
    """Return all conditions of a run.

    Args:
        evidence: The rows; those of samples that are not given take no part.
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
    """Return sample_id -> passage_id in the order of the ids, so that no order of rows changes a bit of a result."""
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
        arm = found.setdefault(f"{score.family}/{score.key}", {})
        if score.sample_id in arm:
            raise _repeated("scores", score.sample_id, score.family, score.key)
        value = measure(score) if score.status == "ok" else None
        arm[score.sample_id] = value if value is not None and math.isfinite(value) else None
    return {name: known for name, arm in found.items() if (known := _without_missing(arm))}


def _without_missing(values: dict[str, float | None]) -> Condition:
    """Return the values that there are: the same dict where none is missing, for there are millions."""
    if None not in values.values():
        return cast(Condition, values)
    return {sample_id: value for sample_id, value in values.items() if value is not None}


def _add_routed(
    conditions: dict[str, Condition],
    routes: Iterable[Route],
    passages: Mapping[str, str],
    keys_by_family: Mapping[str, list[str]],
) -> None:
    """Add what the router chose, and the best of each family."""
    routed: dict[str, set[str]] = {}
    for route in routes:
        if not route.is_routed or route.sample_id not in passages:
            continue
        known = routed.setdefault(route.family, set())
        if route.sample_id in known:
            raise _repeated("routes", route.sample_id, route.family)
        known.add(route.sample_id)
        value = conditions.get(f"{route.family}/{route.key}", {}).get(route.sample_id)
        if value is not None:
            conditions.setdefault(f"{route.family}/routed", {})[route.sample_id] = value
    for family, keys in keys_by_family.items():
        oracle = conditions.setdefault(f"{family}/oracle", {})
        for key in keys:
            for sample_id, value in conditions.get(f"{family}/{key}", {}).items():
                oracle[sample_id] = min(value, oracle.get(sample_id, math.inf))


def _derive(
    conditions: dict[str, Condition], keys_by_family: Mapping[str, list[str]], passages: Mapping[str, str], seed: int
) -> None:
    """Add the conditions that are made from others."""
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
        f"`{name}` holds {'/'.join(identity)} more than once; each may stand once. Drop the repeated rows."
    )
