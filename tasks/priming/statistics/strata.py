"""Who gains? The comparisons that decide, within parts of the samples.

In: a run's rows. Out: one Stratum per declared comparison and level of every way to divide the samples. A further way
is one function from a run and a contrast to levels, and one entry in STRATIFIERS.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
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
from tasks.priming.statistics.robust_mean import robust_mean
from tasks.priming.statistics.run_data import RunData

STRATIFIED_KINDS = ("routed", "between_families", "worth")
"""The kinds of comparison of which it matters who gains."""

QUANTILES = 5
ANSWER_TOKENS = {"1": 1, "2-5": 5, "6-15": 15, "16+": None}
"""Level -> the most answer tokens in it."""

Levels: TypeAlias = dict[str, list[str]]
"""Level, in order -> the sample_ids in it."""


@dataclass(frozen=True, slots=True)
class Division:
    """One way to divide the samples."""

    levels: Levels
    """The parts; a sample is in one at most."""
    difficulty_arm: str | None = None
    """The arm whose NLL divides them, where it is one."""


@dataclass(frozen=True)
class Run:
    """What the samples can be divided by."""

    evidence: RunData
    """The run's rows."""
    passages: Mapping[str, str]
    """sample_id -> passage_id."""
    conditions: Mapping[str, Condition]
    """Condition -> sample_id -> NLL."""

    @cached_property
    def answer_token_counts(self) -> dict[str, int]:
        """sample_id -> tokens of the answer, which are the same in every arm that was scored."""
        counts: dict[str, int] = {}
        for score in self.evidence.scores:
            if score.status == "ok" and score.sample_id in self.passages:
                counts[score.sample_id] = max(score.answer_token_count, counts.get(score.sample_id, 0))
        return counts

    @cached_property
    def similarities(self) -> dict[str, dict[str, float]]:
        """Family -> sample_id -> similarity of the query to the surrogate that the router chose."""
        similarities: dict[str, dict[str, float]] = {}
        for route in self.evidence.routes:
            value = route.similarity if route.is_routed and route.sample_id in self.passages else None
            if value is not None and math.isfinite(value):
                similarities.setdefault(route.family, {})[route.sample_id] = value
        return similarities


def describe_strata(evidence: RunData, settings: StatisticsSettings, seed: int) -> list[Stratum]:
    """Describe the comparisons that the verdicts rest on within each level of every stratifier.

    Levels are cut over all samples that have what they are cut by, so that they are the same samples in every
    comparison by the same stratifier (the routed family's similarity or the arm of the difficulty being equal).

    Args:
        evidence: The run's rows, in any order: no order of rows changes a bit of the result.
        settings: The nominal coverage.
        seed: The run's seed; it divides the passages on which the best key is chosen.

    Returns:
        Per contrast of STRATIFIED_KINDS and stratifier the levels in order; those without pairs are left out, and their
        rank with them. Intervals as in `robust_mean`: None for fewer than two pairs.

    Raises:
        ValueError: A sample, the score of an arm, or the route of a sample within a family is given twice.
    """
    run = Run(evidence, passages_of(evidence), conditions_of(evidence, seed))
    return [
        stratum
        for contrast in declare_contrasts(evidence.routes, evidence.scores)
        if contrast.kind in STRATIFIED_KINDS
        for stratified_by, divide in STRATIFIERS.items()
        for stratum in _describe(run, contrast, stratified_by, divide(run, contrast), settings)
    ]


def _describe(
    run: Run, contrast: Contrast, stratified_by: str, division: Division, settings: StatisticsSettings
) -> Iterator[Stratum]:
    """Compare two conditions within each level."""
    arm, reference = run.conditions.get(contrast.arm, {}), run.conditions.get(contrast.reference, {})
    for rank, (level, sample_ids) in enumerate(division.levels.items()):
        members = {sample_id: run.passages[sample_id] for sample_id in sorted(sample_ids)}
        found = robust_mean(reference, arm, members, settings.confidence_level)
        if found.n:
            yield Stratum(
                comparison=contrast.comparison,
                stratified_by=stratified_by,
                level=level,
                rank=rank,
                difficulty_arm=division.difficulty_arm,
                n=found.n,
                passage_count=found.passage_count,
                improvement_mean=found.mean,
                improvement_low=found.low,
                improvement_high=found.high,
                cohens_d=found.cohens_d,
                win_count=found.win_count,
                tie_count=found.tie_count,
            )


def quantile_levels(values: Mapping[str, float]) -> Levels:
    """Divide samples into fifths by a value, or into fewer parts where values tie: equal values are never split.

    With ranks from 1 to n, of which equal values share the mean, a sample's part is floor(5 (rank - 1/2) / n); parts
    that nobody is in are left out.

    Args:
        values: sample_id -> value, finite; the names hold the smallest and largest of each part.

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


def difficulty_arm(run: Run, contrast: Contrast) -> str | None:
    """Return the arm whose NLL says how difficult a sample is for a comparison: one that takes no part in it.

    A sample on which the reference is bad by chance improves whatever the arm does, and one on which the arm is bad by
    chance worsens. So dividing by either side's NLL shows a gain that grows (or shrinks) with difficulty where there is
    none: regression to the mean (Galton 1886, doi:10.2307/2841583; Barnett et al. 2005, doi:10.1093/ije/dyh299). An arm
    whose own chance errors are in neither side does not. The baseline, the bare document and the blank surrogate come
    first, in this order, being the plainest measures of difficulty; then all others in alphabetical order. A side that
    was chosen or made from a family takes its whole family with it, the best free arm all free arms, and the baseline
    its repetition.

    Returns:
        None where every scored arm takes part: then there is nothing to divide by.
    """
    arms = sorted({f"{family}/{key}" for family, key in run.evidence.scored_arms} & run.conditions.keys())
    plainest = [arm for arm in (BASELINE, BARE_DOCUMENT, BLANK_SURROGATE) if arm in arms]
    taking_part = _arms_behind(contrast.arm, run) | _arms_behind(contrast.reference, run)
    return next((arm for arm in [*plainest, *arms] if arm not in taking_part), None)


def _arms_behind(condition: str, run: Run) -> set[str]:
    """Return the arms whose scores a condition is made of, or that have the same errors."""
    family, name = condition.split("/")
    keys = keys_of(run.evidence).get(family, [])
    if condition == BEST_FREE_ARM:
        arms = set(free_arms(run.conditions))
    elif keys and name not in keys:
        arms = {f"{family}/{key}" for key in keys}
    else:
        arms = {condition}
    return arms | ({REPEATED_BASELINE} if BASELINE in arms else {BASELINE} if REPEATED_BASELINE in arms else set())


def _by_query_type(run: Run, contrast: Contrast) -> Division:
    """Divide by the data set's own label; samples without one are left out."""
    levels: Levels = {}
    for sample in sorted(run.evidence.samples, key=lambda sample: sample.query_type or ""):
        if sample.query_type:
            levels.setdefault(sample.query_type, []).append(sample.sample_id)
    return Division(levels)


def _by_answer_tokens(run: Run, contrast: Contrast) -> Division:
    """Divide by the tokens of the answer."""
    levels: Levels = {level: [] for level in ANSWER_TOKENS}
    for sample_id, count in run.answer_token_counts.items():
        levels[next(level for level, most in ANSWER_TOKENS.items() if most is None or count <= most)].append(sample_id)
    return Division(levels)


def _by_passage_words(run: Run, contrast: Contrast) -> Division:
    """Divide by the words of the passage, counted as when passages were chosen."""
    words = {sample.sample_id: float(len(sample.passage.split())) for sample in run.evidence.samples}
    return Division(quantile_levels(words))


def _by_similarity(run: Run, contrast: Contrast) -> Division:
    """Divide by the similarity of the query to the surrogate that the router chose from the arm's family."""
    return Division(quantile_levels(run.similarities.get(contrast.arm.split("/")[0], {})))


def _by_difficulty(run: Run, contrast: Contrast) -> Division:
    """Divide by the NLL of an arm that takes no part."""
    arm = difficulty_arm(run, contrast)
    return Division(quantile_levels(run.conditions[arm]) if arm else {}, arm)


STRATIFIERS: dict[str, Callable[[Run, Contrast], Division]] = {
    "query_type": _by_query_type,
    "answer_tokens": _by_answer_tokens,
    "passage_words": _by_passage_words,
    "similarity": _by_similarity,
    "difficulty": _by_difficulty,
}
"""What samples are divided by -> how."""
