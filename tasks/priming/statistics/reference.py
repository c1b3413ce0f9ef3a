"""The published table, computed again from a run's scores by the published conventions.

In: published numbers and a run's rows. Out: one row per published quantity: what was published, what the run gives, and
whether both can come from one population. The conventions are those of the published code and hold for this table
alone: the first answer token is not scored, a one-token answer counts as 0.0, standard deviations of NLLs divide by n
and those of Cohen's d by n - 1, ties are losses, and the oracle is the minimum over a family's keys.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kurtosis, norm, skew

from tasks.priming.errors import UsageError
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, STATIC_SURROGATES
from tasks.priming.records import Score
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import conditions_of, keys_of, passages_of
from tasks.priming.statistics.contrasts import BASELINE
from tasks.priming.statistics.intervals import Vector, cluster_robust_mean
from tasks.priming.statistics.paired import PairedStatistics, describe_pairs
from tasks.priming.statistics.reference_numbers import PublishedNumbers
from tasks.priming.statistics.run_data import RunData

CONFIDENCE_LEVEL = 0.95
"""Nominal coverage of the joint intervals: of quantities that do agree, one in twenty falls outside by chance."""

_CONDITIONS = {
    "baseline": BASELINE,
    "gen_routed": "generated/routed",
    "gen_oracle": "generated/oracle",
    "static_routed": "static/routed",
    "static_oracle": "static/oracle",
}
"""Published name -> our condition."""

_KEYS = {"generated": tuple(GENERATION_INSTRUCTIONS), "static": tuple(STATIC_SURROGATES)}
"""The keys of each family in the published order: of equally good ones the first is the best."""

_NO_SPREAD = "no spread published"
_Z = float(norm.ppf((1 + CONFIDENCE_LEVEL) / 2))
# What is read of describe_pairs needs no bootstrap: as few resamples as it allows.
_SETTINGS = StatisticsSettings(bootstrap_resamples=100)


@dataclass(frozen=True, slots=True)
class Reproduction:
    """One published quantity beside the same one of a run."""

    quantity: str
    """What it is and of which condition, e.g. "mean NLL, baseline"."""
    published: float
    """The published value."""
    ours: float | None
    """The run's; None where it lacks the arm or the quantity is undefined."""
    low: float | None
    """Lower end of the joint interval, in which ours lies with a chance of 95 % if both runs were drawn from one
    population; None where the published numbers do not give a standard error."""
    high: float | None
    """Upper end of it."""
    agrees: bool | None
    """Whether ours lies within; None where there is no interval."""
    note: str
    """What limits the comparison; empty where nothing does."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """A run's NLLs on the samples that have one behind every context: the published run has no others."""

    nlls: dict[str, Vector]
    """Condition -> (samples,) NLL by the published convention."""
    passage_ids: list[str]
    """The passage of each sample."""
    is_routed: dict[str, NDArray[np.bool_]]
    """Arm -> (samples,) whether the router chose it."""
    one_token_count: int
    """Samples whose answer is one token."""

    def improvement(self, arm: str, reference: str = BASELINE) -> Vector | None:
        """Return NLL(reference) - NLL(arm); None where the run lacks one of them."""
        return self.nlls[reference] - self.nlls[arm] if {arm, reference} <= self.nlls.keys() else None

    def describe(self, arm: str, reference: str = BASELINE) -> PairedStatistics | None:
        """Describe the improvement; None where the run lacks one of them."""
        if not {arm, reference} <= self.nlls.keys():
            return None
        return describe_pairs(self.nlls[reference], self.nlls[arm], self.passage_ids, settings=_SETTINGS, seed=0)

    def is_best(self, family: str, key: str) -> NDArray[np.bool_] | None:
        """Return whether a key has the lowest NLL of its family, the first of equals; None where it was not run."""
        known = [name for name in _KEYS[family] if f"{family}/{name}" in self.nlls]
        if key not in known:
            return None
        table = np.stack([self.nlls[f"{family}/{name}"] for name in known])  # (keys, samples)
        is_lowest: NDArray[np.bool_] = table.argmin(axis=0) == known.index(key)
        return is_lowest


def reproduce(published: PublishedNumbers, evidence: RunData) -> list[Reproduction]:
    """Compute every published quantity from a run's rows.

    Two values agree if they differ by no more than z times the root of the sum of their squared standard errors. The
    published errors follow from the published spread and n: sd / sqrt(n - 1) of a mean NLL (the sd divides by n),
    mean / d / sqrt(n) of a mean improvement, mean / t of the additional one, sqrt(p (1 - p) / n) of a share. Ours are
    clustered by passage. The runs are taken as independent: where they share samples, the interval is too wide.

    Raises:
        UsageError: No sample has a score behind every context.
        ValueError: A row is given twice.
    """
    measured = _measure(evidence)
    note = f"{measured.one_token_count} of one token: 0.0"
    return [
        Reproduction("samples", published.n, len(measured.passage_ids), None, None, None, note),
        *_nll_rows(published, measured),
        *_improvement_rows(published, measured),
        *_effect_rows(published, measured),
        *_family_rows(published, measured),
        *_key_rows(published, "generated", measured),
        *_key_rows(published, "static", measured),
    ]


def published_nll(score: Score) -> float | None:
    """Return the NLL that the published code computes, nats per token: without the first, so 0.0 for a lone one."""
    if score.nll_notebook is None and score.status == "ok" and score.answer_token_count == 1:
        return 0.0
    return score.nll_notebook


def _measure(evidence: RunData) -> _Measured:
    # The seed is read by conditions that this table does not have.
    conditions = conditions_of(evidence, seed=0, measure=published_nll)
    arms = [f"{family}/{key}" for family, keys in keys_of(evidence).items() for key in keys]
    wanted = sorted({BASELINE} | (conditions.keys() & {*_CONDITIONS.values(), *arms}))
    passages = passages_of(evidence)
    complete = [sample for sample in passages if all(sample in conditions.get(name, ()) for name in wanted)]
    if not complete:
        raise UsageError(
            "No sample of this run has a score behind every context, and the published table needs some. "
            "Column status of table score says why: start a run with another model or other data."
        )
    routed = {(route.sample_id, f"{route.family}/{route.key}") for route in evidence.routes if route.is_routed}
    lengths = {score.sample_id: score.answer_token_count for score in evidence.scores}
    return _Measured(
        nlls={name: np.array([conditions[name][sample] for sample in complete]) for name in wanted},
        passage_ids=[passages[sample] for sample in complete],
        is_routed={arm: np.array([(sample, arm) in routed for sample in complete]) for arm in arms},
        one_token_count=sum(lengths[sample] == 1 for sample in complete),
    )


def _nll_rows(published: PublishedNumbers, measured: _Measured) -> Iterator[Reproduction]:
    for name, value in published.mean_nll.items():
        spread = published.std_nll.get(name)
        error = None if spread is None else spread / math.sqrt(published.n - 1)
        yield _mean_row(f"mean NLL, {_shown(name)}", value, error, measured, measured.nlls.get(_condition(name)))
    for name, value in published.std_nll.items():
        nlls = measured.nlls.get(_condition(name))
        yield _bare_row(f"sd of NLL, {_shown(name)}", value, None if nlls is None else float(nlls.std()))


def _improvement_rows(published: PublishedNumbers, measured: _Measured) -> Iterator[Reproduction]:
    for name, value in published.win_pct_vs_baseline.items():
        improvement = measured.improvement(_condition(name))
        wins = None if improvement is None else improvement > 0
        yield _share_row(f"wins %, {_shown(name)}", value, published.n, measured, wins)
    for name, value in published.mean_delta.items():
        effect = published.cohens_d.get(name)
        error = abs(value / effect) / math.sqrt(published.n) if effect else None
        yield _mean_row(f"improvement, {_shown(name)}", value, error, measured, measured.improvement(_condition(name)))
    for name, value in published.median_delta.items():
        found = measured.describe(_condition(name))
        yield _bare_row(f"median improvement, {_shown(name)}", value, found.improvement_median if found else None)


def _effect_rows(published: PublishedNumbers, measured: _Measured) -> Iterator[Reproduction]:
    for name, value in published.cohens_d.items():
        found, improvement = measured.describe(_condition(name)), measured.improvement(_condition(name))
        ours = found.cohens_d if found else None
        error = own_error = None
        if ours is not None and improvement is not None:
            error = _effect_error(value, published.n, improvement)
            own_error = _effect_error(ours, len(improvement), improvement)
        yield _compared(f"Cohen's d, {_shown(name)}", value, ours, error, own_error, note="skew, tails as ours")
    for name, value in published.t.items():
        arm, _, reference = name.partition("(")[0].partition("_vs_")
        if reference == "static":  # of generated - static: negative where generated is better
            found = measured.describe(_CONDITIONS["static_routed"], _CONDITIONS["gen_routed"])
            shown = "generated - static"
        else:
            found, shown = measured.describe(_condition(arm)), _shown(arm)
        yield _bare_row(f"t, {shown}", value, found.t_statistic if found else None, note="grows with samples")


def _family_rows(published: PublishedNumbers, measured: _Measured) -> Iterator[Reproduction]:
    generated, static = _CONDITIONS["gen_routed"], _CONDITIONS["static_routed"]
    improvement = measured.improvement(generated, static)
    wins = None if improvement is None else improvement > 0
    yield _share_row("generated beats static %", published.gen_beats_static_pct, published.n, measured, wins)
    extra, t = published.additional_improvement_gen_over_static, published.t.get("gen_vs_static(gen-static)")
    yield _mean_row("generated - static improvement", extra, abs(extra / t) if t else None, measured, improvement)
    for name, value in published.routing_efficiency_pct.items():
        routed, best = (measured.improvement(_condition(f"{name}_{which}")) for which in ("routed", "oracle"))
        ours = None
        if routed is not None and best is not None and best.mean() != 0:
            ours = float(100 * routed.mean() / best.mean())
        yield _bare_row(f"routed / oracle gain %, {_shown(f'{name}_routed').split()[0]}", value, ours)


def _key_rows(published: PublishedNumbers, family: str, measured: _Measured) -> Iterator[Reproduction]:
    keys = {"generated": published.per_template_generated, "static": published.per_template_static}[family]
    n = published.n
    for key, numbers in keys.items():
        improvement = measured.improvement(f"{family}/{key}")
        wins = None if improvement is None else improvement > 0
        yield _share_row(f"wins %, {key}", numbers.win_pct, n, measured, wins)
        yield _mean_row(f"improvement, {key}", numbers.mean_delta, None, measured, improvement)
        routed = measured.is_routed.get(f"{family}/{key}")
        yield _share_row(f"routed %, {key}", 100 * numbers.times_routed / n, n, measured, routed)
        best = measured.is_best(family, key)
        yield _share_row(f"best %, {key}", 100 * numbers.times_oracle / n, n, measured, best)


def _share_row(
    quantity: str, published: float, n: int, measured: _Measured, hits: NDArray[np.bool_] | None
) -> Reproduction:
    """Compare shares of samples, in percent."""
    error = math.sqrt(published * (100 - published) / n)
    return _mean_row(quantity, published, error, measured, None if hits is None else 100 * hits.astype(np.float64))


def _mean_row(
    quantity: str, published: float, error: float | None, measured: _Measured, values: Vector | None
) -> Reproduction:
    """Compare means; ours has an error clustered by passage."""
    if values is None:
        return _compared(quantity, published, None, None, None)
    clusters = np.unique(measured.passage_ids, return_inverse=True)[1]
    clustered = cluster_robust_mean(values, clusters, CONFIDENCE_LEVEL)
    is_constant = np.ptp(values) == 0 and len(np.unique(clusters)) > 1
    own_error = clustered.error if clustered else (0.0 if is_constant else None)
    note = _NO_SPREAD if error is None else ""
    return _compared(quantity, published, float(values.mean()), error, own_error, note)


def _bare_row(quantity: str, published: float, ours: float | None, note: str = _NO_SPREAD) -> Reproduction:
    """Show two values of which nothing can be said."""
    return _compared(quantity, published, ours, None, None, note)


def _compared(
    quantity: str, published: float, ours: float | None, error: float | None, own_error: float | None, note: str = ""
) -> Reproduction:
    if ours is None:
        return Reproduction(quantity, published, None, None, None, None, "not run or undefined")
    if error is None or own_error is None:
        return Reproduction(quantity, published, ours, None, None, None, note or "one passage")
    reach = _Z * math.hypot(error, own_error)
    agrees = abs(ours - published) <= reach
    return Reproduction(quantity, published, ours, published - reach, published + reach, agrees, note)


def _effect_error(effect: float, n: int, improvement: Vector) -> float:
    """Return the standard error of Cohen's d for improvements of the shape of these, whatever their distribution.

    sqrt((1 - d * skewness + d^2 * (kurtosis - 1) / 4) / n), by the delta method; sqrt((1 + d^2 / 2) / n) if normal.

    Source: Hedges (1981), doi:10.3102/10769986006002107, for the normal case.
    """
    third, fourth = float(skew(improvement)), float(kurtosis(improvement, fisher=False))
    shape = 1 - effect * third + effect**2 * (fourth - 1) / 4
    return math.sqrt(max(shape, 0.0) / n)  # 0 but for rounding where improvements have two values


def _condition(name: str) -> str:
    """Return our condition of a published name, or the name itself, which no run has."""
    return _CONDITIONS.get(name, name)


def _shown(name: str) -> str:
    return "baseline" if name == "baseline" else _condition(name).replace("/", " ")
