"""Does the router choose well? Its choices compared with the best ones, and whether similarity predicts what helps.

Per routed family: the confusion table of routed and best keys, their agreement compared with chance, and the
correlation of similarity and improvement. The best key is known only afterwards, from one noisy score per key: even a
perfect router would not always agree with it.
"""

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm, pearsonr, spearmanr
from statsmodels.stats.inter_rater import cohens_kappa

from tasks.priming.records import Correlation, RoutingAgreement, RoutingChoice
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import Condition, conditions_of, nll, passages_of, similarities_of
from tasks.priming.statistics.contrasts import BASELINE
from tasks.priming.statistics.paired import Pairs, constant_value, finite, pair_up
from tasks.priming.statistics.run_data import RunData


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What the router chose for one sample, and what the keys turned out to be worth."""

    routed_key: str
    nlls: Mapping[str, float]
    """Key, in alphabetical order -> NLL, for every key of the family."""
    is_similarity_tie: bool

    @property
    def best_keys(self) -> list[str]:
        """The keys with the lowest NLL, more than one only where they are equal to the last bit."""
        return [key for key, value in self.nlls.items() if value == min(self.nlls.values())]


def confuse_routes(run: RunData, settings: StatisticsSettings, seed: int) -> list[RoutingChoice]:
    """Count how often the router chose one key where another, or the same, had the lowest NLL.

    Over the samples in which every key of the family has a finite NLL and one key is routed. Of keys with equal lowest
    NLLs the alphabetically first is the best one. Settings are not read.

    Returns:
        One row per family, routed and best key that occurred together, all in alphabetical order.
    """
    choices = []
    for family, outcomes in _outcomes_of(run).items():
        regrets: dict[tuple[str, str], list[float]] = {}
        for outcome in outcomes:
            routed, best = outcome.routed_key, outcome.best_keys[0]
            regrets.setdefault((routed, best), []).append(outcome.nlls[routed] - outcome.nlls[best])
        choices += [
            RoutingChoice(family, routed, best, len(values), float(np.mean(values)))
            for (routed, best), values in sorted(regrets.items())
        ]
    return choices


def agree_with_oracle(run: RunData, settings: StatisticsSettings, seed: int) -> list[RoutingAgreement]:
    """Compute how often the router chooses the best key, and how often it would by chance.

    Over the samples of `confuse_routes`. agreement = share of samples whose routed key has the lowest NLL, alone or
    with others; chance = sum over keys of (share routed to it) x (share in which it has the lowest NLL). kappa is that
    of the confusion table of `confuse_routes`, in which each sample has one best key: where no two keys tie for it,
    kappa = (agreement - chance) / (1 - chance). Its interval, of which the settings give the coverage, is the
    asymptotic normal one, not cut at 1; queries on one passage are taken as independent.

    Returns:
        One row per family in alphabetical order. Rates are None without samples; kappa is None where the table has a
        single cell (0 / 0); its interval is None also where the asymptotic error is zero (perfect agreement, or a
        router that always chooses the same key): an interval without width would claim certainty.

    Source: statsmodels.stats.inter_rater.cohens_kappa; its variance is that of Fleiss, Cohen and Everitt (1969),
    doi:10.1037/h0028106.
    """
    return [_agreement(family, outcomes, settings.confidence_level) for family, outcomes in _outcomes_of(run).items()]


def correlate_similarity(run: RunData, settings: StatisticsSettings, seed: int) -> list[Correlation]:
    """Correlate the similarity of each surrogate to the query with its improvement over the baseline.

    improvement = probability of the answer in the arm less that in baseline/document, in points, over the samples that
    have both and a finite similarity. "routed" takes for each sample the key that the router chose. Queries on one
    passage are taken as independent. The order of rows does not change a bit of the result.

    Returns:
        Per family, in alphabetical order, one row for each key and one for "routed". Everything but n is None for fewer
        than three samples, which any line would fit, and where similarities or improvements are constant but for
        rounding. For three samples, where Fisher's transformation has no error, the interval is the whole range from
        -1 to 1.

    Source: scipy.stats.pearsonr with its confidence_interval; scipy.stats.spearmanr.
    """
    passages, conditions = passages_of(run), conditions_of(run)
    baseline = conditions.get(BASELINE, {})
    similarities = similarities_of(run)
    correlations = []
    for family, keys in run.keys.items():
        for key in (*keys, "routed"):
            known = similarities.get(f"{family}/{key}", {})
            pairs = pair_up(baseline, conditions.get(f"{family}/{key}", {}), {s: s for s in passages if s in known})
            correlations.append(_correlate(family, key, known, pairs, settings.confidence_level))
    return correlations


def _outcomes_of(run: RunData) -> dict[str, list[_Outcome]]:
    """Return per family the samples in which every key has an NLL and one is routed, in the order of their ids."""
    passages, conditions = passages_of(run), conditions_of(run, nll)
    routed = {(route.family, route.sample_id): route.key for route in run.routes if route.is_routed}
    ties = {(route.family, route.sample_id) for route in run.routes if route.is_tie}
    outcomes: dict[str, list[_Outcome]] = {}
    for family, keys in run.keys.items():
        nlls = {key: conditions.get(f"{family}/{key}", {}) for key in keys}
        outcomes[family] = [
            _Outcome(
                routed_key=routed[family, sample_id],
                nlls={key: nlls[key][sample_id] for key in keys},
                is_similarity_tie=(family, sample_id) in ties,
            )
            for sample_id in passages
            if (family, sample_id) in routed and all(sample_id in nlls[key] for key in keys)
        ]
    return outcomes


def _agreement(family: str, outcomes: list[_Outcome], confidence_level: float) -> RoutingAgreement:
    """Return the agreement of one family."""
    ties = sum(outcome.is_similarity_tie for outcome in outcomes), sum(len(each.best_keys) > 1 for each in outcomes)
    if not outcomes:
        return RoutingAgreement(family, 0, None, None, None, None, None, *ties)
    keys = list(outcomes[0].nlls)
    table = np.zeros((len(keys), len(keys)))  # (routed, best)
    is_best = np.zeros(len(keys))
    for outcome in outcomes:
        table[keys.index(outcome.routed_key), keys.index(outcome.best_keys[0])] += 1
        is_best += [key in outcome.best_keys for key in keys]
    agreeing = sum(outcome.routed_key in outcome.best_keys for outcome in outcomes)
    with np.errstate(all="ignore"):  # a table of one cell divides by 0
        kappa = cohens_kappa(table)
    # A variance of 0 comes out as the rounding of shares, some 1e-16.
    has_error = kappa.var_kappa * len(outcomes) > 1e-12
    low, high = norm.interval(confidence_level, kappa.kappa, kappa.std_kappa) if has_error else (math.nan, math.nan)
    return RoutingAgreement(
        family=family,
        n=len(outcomes),
        agreement_rate=agreeing / len(outcomes),
        chance_rate=float(table.sum(axis=1) @ is_best) / len(outcomes) ** 2,
        kappa=finite(kappa.kappa),
        kappa_low=finite(low),
        kappa_high=finite(high),
        similarity_tie_count=ties[0],
        best_tie_count=ties[1],
    )


def _correlate(family: str, key: str, similarities: Condition, pairs: Pairs, confidence_level: float) -> Correlation:
    """Correlate similarity and improvement of one condition, whose pairs are named by their samples."""
    baseline, arm, sample_ids = pairs
    similarity = np.array([similarities[sample_id] for sample_id in sample_ids], dtype=np.float64)
    nothing = Correlation(family, key, len(sample_ids), None, None, None, None, None, confidence_level)
    # A constant has no correlation; one that is constant but for rounding would have that of its last bits.
    if (
        len(sample_ids) < 3
        or constant_value(similarity, np.zeros_like(similarity)) is not None
        or constant_value(baseline, arm) is not None
    ):
        return nothing
    # Overflow and values that are all but constant need no warning.
    with np.errstate(all="ignore"), warnings.catch_warnings(action="ignore"):
        pearson = pearsonr(similarity, baseline - arm)
        interval = pearson.confidence_interval(confidence_level)
        spearman = spearmanr(similarity, baseline - arm)
    return replace(
        nothing,
        pearson_r=finite(pearson.statistic),
        pearson_low=finite(interval.low),
        pearson_high=finite(interval.high),
        pearson_p_value=finite(pearson.pvalue),
        spearman_r=finite(spearman.statistic),
    )
