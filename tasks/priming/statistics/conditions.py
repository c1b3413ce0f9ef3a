"""Conditions: one value per sample for everything that can be compared; lower is better.

In: routes and scores. Out: condition name -> sample_id -> value. A condition is what was scored ("static/factual",
"static/factual+stripped", "baseline/document"), what the router chose ("static/routed"), the best of a family known
afterwards ("static/oracle"), a key drawn at random ("static/mean_of_keys"), or two effects added up.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from tasks.priming.records import Route, Score
from tasks.priming.statistics.contrasts import ADDED_UP, DEPLOYED_TREATMENTS, TWO_BY_TWO
from tasks.priming.statistics.run_data import RunData

FOLDS = 10
REPEATS = 20

Condition: TypeAlias = dict[str, float]
"""sample_id -> value, for the samples that have a finite one."""

ScoreValue: TypeAlias = Callable[[Score], float | None]
"""What is compared: lower is better; None where a score has none."""


def shortfall(score: Score) -> float | None:
    """Return the measure of record, as what is lacking: 100 (1 - exp(-NLL)), in percentage points.

    exp(-NLL) is the geometric mean of the probabilities of the answer's tokens.
    """
    return None if score.nll is None or math.isinf(score.nll) else -100 * math.expm1(-score.nll)


def probability(shortfall: float) -> float:
    """Return the probability in percentage points that lacks so much, or the mean of those that lack so much."""
    return 100 - shortfall


def nll(score: Score) -> float | None:
    """Return the mean NLL of an answer token."""
    return score.nll


_KEPT_MEASURES = (shortfall, nll)
"""The measures that several statistics read."""


def conditions_of(run: RunData, measure: ScoreValue = shortfall) -> dict[str, Condition]:
    """Return all conditions of a run by a measure; rows of other samples are ignored.

    Raises:
        ValueError: A sample, the score of a condition, or the route of a sample within a family is given twice.
    """
    if measure not in _KEPT_MEASURES:
        return _make_conditions(run, measure)
    if measure not in run.remembered:
        run.remembered[measure] = _make_conditions(run, measure)
    found: dict[str, Condition] = run.remembered[measure]
    return found


def passages_of(run: RunData) -> dict[str, str]:
    """Return sample_id -> passage_id in the order of the ids, so that the order of rows changes no bit of a result."""
    return {s.sample_id: s.passage_id for s in sorted(run.samples, key=lambda sample: sample.sample_id)}


def similarities_of(run: RunData) -> dict[str, Condition]:
    """Return condition -> sample_id -> similarity to the query, where finite, for every arm and for what was routed."""
    known = {sample.sample_id for sample in run.samples}
    similarities: dict[str, Condition] = {}
    for route in run.routes:
        if route.sample_id in known and route.similarity is not None and math.isfinite(route.similarity):
            for key in (route.key, "routed") if route.is_routed else (route.key,):
                similarities.setdefault(f"{route.family}/{key}", {})[route.sample_id] = route.similarity
    return similarities


def _make_conditions(run: RunData, measure: ScoreValue) -> dict[str, Condition]:
    passages = passages_of(run)
    if len(passages) < len(run.samples):
        counts = Counter(sample.sample_id for sample in run.samples)
        raise _repeated("samples", next(sample_id for sample_id, count in counts.items() if count > 1))
    conditions = _scored(run.scores, passages, measure)
    _add_routed(conditions, run.routes, passages)
    for (family, names), t in product(run.keys.items(), DEPLOYED_TREATMENTS):
        values = [conditions.get(f"{family}/{key}{t}", {}) for key in names]
        conditions[f"{family}/oracle{t}"] = best_of_keys(values)
        conditions[f"{family}/mean_of_keys{t}"] = mean_of_keys(values)
    if conditions.keys() >= set(TWO_BY_TWO):
        hidden, blind, neither = (conditions[name] for name in TWO_BY_TWO)
        conditions[ADDED_UP] = added_up(hidden, blind, neither)
    return conditions


def _scored(scores: Iterable[Score], passages: Mapping[str, str], measure: ScoreValue) -> dict[str, Condition]:
    """Return the values of everything that was scored."""
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


def _add_routed(conditions: dict[str, Condition], routes: Iterable[Route], passages: Mapping[str, str]) -> None:
    """Add what the router chose."""
    routed: dict[str, set[str]] = {}
    for route in routes:
        if not route.is_routed or route.sample_id not in passages:
            continue
        known = routed.setdefault(route.family, set())
        if route.sample_id in known:
            raise _repeated("routes", route.sample_id, route.family)
        known.add(route.sample_id)
        for t in DEPLOYED_TREATMENTS:
            value = conditions.get(f"{route.family}/{route.key}{t}", {}).get(route.sample_id)
            if value is not None:
                conditions.setdefault(f"{route.family}/routed{t}", {})[route.sample_id] = value


def _repeated(name: str, *identity: str) -> ValueError:
    return ValueError(
        f"`{name}` holds {'/'.join(identity)} more than once; each may appear only once. Drop the repeated rows."
    )


def best_of_keys(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the smallest value of each sample that has any: better than its parts by construction."""
    best: dict[str, float] = {}
    for key in values:
        for sample_id, value in key.items():
            best[sample_id] = min(value, best.get(sample_id, math.inf))
    return best


def mean_of_keys(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean over keys of each sample that has all of them: the expectation of routing at random."""
    return {sample_id: sum(key[sample_id] for key in values) / len(values) for sample_id in _in_all(values)}


def best_elsewhere(values: Sequence[Mapping[str, float]], passages: Mapping[str, str], seed: int) -> dict[str, float]:
    """Return, for each sample, the value of the condition that is best on average on other passages.

    Choosing a condition by the same scores by which it is judged would flatter it. So the passages are divided into
    folds, each fold gets the condition with the smallest mean on all other folds (the first of equals), and the result
    is averaged over several divisions. A description: what is chosen on one fold depends on all other samples, so that
    no standard error of such a mean is right.

    Args:
        values: Per condition, sample_id -> value; samples that lack one are left out.
        passages: sample_id -> passage_id; all samples of a passage are in one fold.
        seed: Seed of the divisions.

    Returns:
        Nothing where all samples are of one passage.

    Source: scikit-learn's GroupKFold with shuffling; cross-fitting as in Chernozhukov et al. (2018),
    doi:10.1111/ectj.12097.
    """
    sample_ids = sorted(_in_all(values))
    # Numbers in the order of the ids give the same folds without comparing ids two hundred times.
    names, groups = np.unique([passages[sample_id] for sample_id in sample_ids], return_inverse=True)
    fold_count = min(FOLDS, len(names))
    if fold_count < 2:
        return {}
    table = np.array([[key[sample_id] for key in values] for sample_id in sample_ids])  # (samples, conditions)
    total: NDArray[np.float64] = np.zeros(len(sample_ids))
    for repeat in range(REPEATS):
        folds = GroupKFold(fold_count, shuffle=True, random_state=(seed + repeat) % 2**32)
        for others, fold in folds.split(table, groups=groups):
            total[fold] += table[fold, table[others].mean(axis=0).argmin()]
    return dict(zip(sample_ids, (total / REPEATS).tolist(), strict=True))


def added_up(first: Mapping[str, float], second: Mapping[str, float], neither: Mapping[str, float]) -> dict[str, float]:
    """Return the value of each sample if two effects added up: first + second - neither."""
    return {
        sample_id: first[sample_id] + second[sample_id] - neither[sample_id]
        for sample_id in _in_all([first, second, neither])
    }


def _in_all(values: Sequence[Mapping[str, float]]) -> set[str]:
    """Return the samples that every mapping has."""
    return set.intersection(*(set(each) for each in values)) if values else set()
