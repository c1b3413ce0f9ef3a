"""Who gains? The comparisons on which answers rest, within parts of the samples."""

import math
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from scipy.stats import rankdata

from tasks.priming.records import Stratum
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import Condition, conditions_of, keys_of, passages_of
from tasks.priming.statistics.contrasts import (
    BARE_DOCUMENT,
    BASELINE,
    BEST_FREE_ARM,
    BLANK_SURROGATE,
    REPEATED_BASELINE,
    Contrast,
    declare_contrasts,
    free_arms,
)
from tasks.priming.statistics.paired import pair_up, paired_mean
from tasks.priming.statistics.run_data import RunData

STRATIFIED_KINDS = ("routed", "between_families", "worth")
"""The kinds of comparison for which it matters who gains."""

QUANTILES = 5
ANSWER_TOKENS = {"1": 1, "2-5": 5, "6-15": 15, "16+": math.inf}
"""Level -> the most answer tokens in it."""

Levels: TypeAlias = dict[str, list[str]]
"""Level, in order -> the sample_ids in it; a sample is in one at most."""


def describe_strata(run: RunData, settings: StatisticsSettings, seed: int) -> list[Stratum]:
    """Compare conditions within each level of every stratifier.

    Samples are divided by query type (the data set's own label), tokens of the answer, words of the passage, similarity
    of the query to the surrogate that the router chose from the arm's family, and difficulty (see `difficulty_arm`).
    Levels are cut over all samples that have what they are cut by, so that they are the same samples in every
    comparison with the same routed family and arm of difficulty.

    Returns:
        Per contrast of STRATIFIED_KINDS and stratifier the levels in order; those without pairs are left out, and their
        rank with them. Intervals are those of `paired_mean`. The order of rows does not change a bit.
    """
    passages, conditions = passages_of(run), conditions_of(run, seed)
    similarities = _similarities(run, passages)
    same = {
        "query_type": _by_query_type(run),
        "answer_tokens": _by_answer_tokens(run, passages),
        "passage_words": quantile_levels({s.sample_id: float(len(s.passage.split())) for s in run.samples}),
    }
    strata: list[Stratum] = []
    for contrast in declare_contrasts(run.routes, run.scores):
        if contrast.kind not in STRATIFIED_KINDS:
            continue
        arm = difficulty_arm(run, contrast, conditions)
        similarity = similarities.get(contrast.arm.split("/")[0], {})
        divisions = same | {
            "similarity": quantile_levels(similarity),
            "difficulty": quantile_levels(conditions[arm] if arm else {}),
        }
        sides = conditions.get(contrast.reference, {}), conditions.get(contrast.arm, {})
        for name, levels in divisions.items():
            for rank, (level, sample_ids) in enumerate(levels.items()):
                pairs = pair_up(*sides, {sample_id: passages[sample_id] for sample_id in sorted(sample_ids)})
                found = paired_mean(*pairs, settings.confidence_level)
                if found.n:
                    strata.append(
                        Stratum(
                            comparison=contrast.comparison,
                            stratified_by=name,
                            level=level,
                            rank=rank,
                            difficulty_arm=arm if name == "difficulty" else None,
                            n=found.n,
                            passage_count=found.passage_count,
                            improvement_mean=found.improvement_mean,
                            improvement_low=found.improvement_low,
                            improvement_high=found.improvement_high,
                            cohens_d=found.cohens_d,
                            win_count=found.win_count,
                            tie_count=found.tie_count,
                        )
                    )
    return strata


def quantile_levels(values: Mapping[str, float]) -> Levels:
    """Divide samples into fifths by a value, or into fewer parts where values tie: equal values are never split.

    With ranks from 1 to n, equal values sharing their mean rank, a sample's part is floor(5 (rank - 1/2) / n); empty
    parts are left out.

    Args:
        values: sample_id -> value, finite; the names of the levels hold the smallest and largest of each part.

    Source: scipy.stats.rankdata.

    Example:
        >>> quantile_levels({"a": 1.0, "b": 2.0, "c": 2.0, "d": 2.0, "e": 9.0})
        {'1: 1 to 1': ['a'], '2: 2 to 2': ['b', 'c', 'd'], '3: 9 to 9': ['e']}
    """
    ranks = rankdata(list(values.values())).tolist()
    parts: dict[int, list[str]] = {}
    for sample_id, rank in sorted(zip(values, ranks, strict=True)):
        parts.setdefault(int(QUANTILES * (rank - 0.5) / len(values)), []).append(sample_id)
    levels = {}
    for number, (_, part) in enumerate(sorted(parts.items()), start=1):
        least, most = (extreme(values[sample_id] for sample_id in part) for extreme in (min, max))
        levels[f"{number}: {least:.3g} to {most:.3g}"] = part
    return levels


def difficulty_arm(run: RunData, contrast: Contrast, conditions: Mapping[str, Condition]) -> str | None:
    """Return the arm whose NLL says how difficult a sample is for a comparison: one that takes no part in it.

    A sample on which the reference is bad by chance improves whatever the arm does, and one on which the arm is bad by
    chance worsens. So dividing by either side's NLL shows a gain that grows (or shrinks) with difficulty where there is
    none: regression to the mean (Galton 1886, doi:10.2307/2841583; Barnett et al. 2005, doi:10.1093/ije/dyh299). An arm
    whose own chance errors are in neither side does not.

    The baseline, the bare document and the blank surrogate come first, in this order, being the plainest measures of
    difficulty; then all others in alphabetical order. A side that was chosen or made from a family excludes the whole
    family, the best free arm all free arms, and the baseline its repetition.

    Returns:
        None where every scored arm takes part: then there is nothing to divide by.
    """
    arms = sorted({f"{family}/{key}" for family, key in run.scored_arms} & conditions.keys())
    plainest = [arm for arm in (BASELINE, BARE_DOCUMENT, BLANK_SURROGATE) if arm in arms]
    taking_part = {arm for side in (contrast.arm, contrast.reference) for arm in _sources(side, run, conditions)}
    if taking_part & {BASELINE, REPEATED_BASELINE}:
        taking_part |= {BASELINE, REPEATED_BASELINE}
    return next((arm for arm in [*plainest, *arms] if arm not in taking_part), None)


def _sources(condition: str, run: RunData, conditions: Iterable[str]) -> list[str]:
    """Return the arms from whose scores a condition is made."""
    family, name = condition.split("/")
    keys = keys_of(run).get(family, [])
    if condition == BEST_FREE_ARM:
        return free_arms(conditions)
    return [f"{family}/{key}" for key in keys] if keys and name not in keys else [condition]


def _by_query_type(run: RunData) -> Levels:
    """Divide by the data set's own label; samples without one are left out."""
    levels: Levels = {}
    for sample in sorted(run.samples, key=lambda sample: sample.query_type or ""):
        if sample.query_type:
            levels.setdefault(sample.query_type, []).append(sample.sample_id)
    return levels


def _by_answer_tokens(run: RunData, passages: Mapping[str, str]) -> Levels:
    """Divide by the tokens of the answer, which are the same in every arm that was scored."""
    counts: dict[str, int] = {}
    for score in run.scores:
        if score.status == "ok" and score.sample_id in passages:
            counts[score.sample_id] = max(score.answer_token_count, counts.get(score.sample_id, 0))
    levels: Levels = {level: [] for level in ANSWER_TOKENS}
    for sample_id, count in counts.items():
        levels[next(level for level, most in ANSWER_TOKENS.items() if count <= most)].append(sample_id)
    return levels


def _similarities(run: RunData, passages: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return family -> sample_id -> similarity of the query to the surrogate that the router chose."""
    similarities: dict[str, dict[str, float]] = {}
    for route in run.routes:
        value = route.similarity if route.is_routed and route.sample_id in passages else None
        if value is not None and math.isfinite(value):
            similarities.setdefault(route.family, {})[route.sample_id] = value
    return similarities
