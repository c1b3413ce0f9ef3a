"""Who gains? The comparisons on which answers rest, within parts of the samples."""

import math
from collections.abc import Mapping
from typing import TypeAlias

from scipy.stats import rankdata

from tasks.priming.records import Stratum
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import Condition, conditions_of, passages_of, similarities_of
from tasks.priming.statistics.contrasts import BARE_DOCUMENT, Contrast, declare_contrasts
from tasks.priming.statistics.measures import MARGIN, missing_margin
from tasks.priming.statistics.paired import pair_up, paired_mean
from tasks.priming.statistics.run_data import RunData

STRATIFIED_KINDS = ("routed", "between_families")
"""The kinds of comparison for which it matters who gains."""

QUANTILES = 5
ANSWER_TOKENS = {"1": 1, "2-5": 5, "6-15": 15, "16+": math.inf}
"""Level -> the most answer tokens in it."""

Levels: TypeAlias = dict[str, list[str]]
"""Level, in order -> the sample_ids in it; a sample is in one at most."""


def describe_strata(run: RunData, settings: StatisticsSettings, seed: int) -> list[Stratum]:
    """Compare conditions within each level of every stratifier.

    Samples are divided by query type (the data set's own label), tokens of the answer, words of the passage, similarity
    of the query to the surrogate that the router chose from the arm's family, difficulty (see `difficulty`;
    bare_difficulty by the bare document alone, a second view), and, for the margin, by where the wrong answers come
    from. Levels are cut over all samples that have what they are cut by. The seed is not read.

    Returns:
        Per contrast of STRATIFIED_KINDS and stratifier the levels in order; those without pairs are left out, and their
        rank with them. Intervals are those of `paired_mean`. The order of rows does not change a bit.
    """
    passages, conditions = passages_of(run), conditions_of(run)
    margins = conditions_of(run, missing_margin)
    similarities = similarities_of(run)
    same = {
        "query_type": _by_query_type(run),
        "answer_tokens": _by_answer_tokens(run, passages),
        "passage_words": quantile_levels({s.sample_id: float(len(s.passage.split())) for s in run.samples}),
    }
    bare, sources = quantile_levels(conditions.get(BARE_DOCUMENT, {})), _by_distractor_source(run)
    strata: list[Stratum] = []
    for contrast in declare_contrasts(run):
        if contrast.kind not in STRATIFIED_KINDS:
            continue
        divisions = same | {
            "similarity": quantile_levels(similarities.get(f"{contrast.arm.split('/')[0]}/routed", {})),
            "difficulty": quantile_levels(difficulty(contrast, conditions)),
            "bare_difficulty": {} if BARE_DOCUMENT in (contrast.arm, contrast.reference) else bare,
            "distractor_source": sources,
        }
        for name, levels in divisions.items():
            measure, by = (MARGIN, margins) if name == "distractor_source" else ("probability", conditions)
            sides = by.get(contrast.reference, {}), by.get(contrast.arm, {})
            for rank, (level, sample_ids) in enumerate(levels.items()):
                pairs = pair_up(*sides, {sample_id: passages[sample_id] for sample_id in sorted(sample_ids)})
                found = paired_mean(pairs, settings.confidence_level)
                if found.n:
                    strata.append(
                        Stratum(
                            comparison=contrast.comparison,
                            stratified_by=name,
                            level=level,
                            rank=rank,
                            measure=measure,
                            **found.shared_with(Stratum),
                        )
                    )
    return strata


def difficulty(contrast: Contrast, conditions: Mapping[str, Condition]) -> Condition:
    """Return how difficult each sample is: the mean of both sides of a comparison.

    A sample on which the reference is bad by chance improves whatever the arm does, and one on which the arm is bad by
    chance worsens. So dividing by either side shows a gain that grows (or shrinks) with difficulty where there is none:
    regression to the mean (Galton 1886, doi:10.2307/2841583). The difference of two values with equal variances does
    not correlate with their mean. A third condition is no remedy where its errors are shared with one of the sides, as
    those of the bare document and the baseline are.

    Source: Oldham (1962), doi:10.1016/0021-9681(62)90116-9.
    """
    arm, reference = conditions.get(contrast.arm, {}), conditions.get(contrast.reference, {})
    return {sample_id: (arm[sample_id] + value) / 2 for sample_id, value in reference.items() if sample_id in arm}


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


def _by_distractor_source(run: RunData) -> Levels:
    """Divide by where a sample's wrong answers come from: one source, or several."""
    sources: dict[str, set[str]] = {}
    for distractor in run.distractors:
        sources.setdefault(distractor.sample_id, set()).add(distractor.source)
    levels: Levels = {}
    for sample_id, found in sorted(sources.items()):
        levels.setdefault(" and ".join(sorted(found)), []).append(sample_id)
    return dict(sorted(levels.items()))
