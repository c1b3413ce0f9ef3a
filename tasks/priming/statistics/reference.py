"""The published table, computed again from a run's scores by the published conventions.

Published is the full run that the notebook introduces: 2,500 samples of MS MARCO v1.1, Mistral-7B-Instruct-v0.2 in four
bits. Its conventions hold for this table alone: the first answer token is not scored, a one-token answer counts as 0.0,
standard deviations of NLLs divide by n and those of Cohen's d by n - 1, ties are losses, and the oracle is the minimum
over a family's keys.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kurtosis, norm, skew

from tasks.priming.errors import UsageError
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, STATIC_SURROGATES
from tasks.priming.records import Score
from tasks.priming.statistics.conditions import conditions_of, passages_of
from tasks.priming.statistics.contrasts import BASELINE
from tasks.priming.statistics.paired import PairedStatistics, Pairs, Vector, cluster_robust_mean, describe_pairs
from tasks.priming.statistics.run_data import RunData

KNOWN_DIFFERENCES = (
    'Framing: in both, the baseline begins with "Document:", which harms it; that explains most of the published gain. '
    "To agree here is to repeat it, not to show that priming helps: compare with control/bare_document.",
    "Instructions: three of the five that ask for surrogates (symptom_scenario, misconception_negative, "
    "messy_realworld) carry further examples in the published run; here they are the walkthrough's.",
    "Precision: the published weights are NF4 and its logits bf16, so that an answer's summed NLL is rounded to a "
    "quarter of a nat between 32 and 64; here log-softmax is in float32, and the weights are what the profile says.",
    "Quotes: the published run strips them from the whole text and then takes the first line, which leaves strays; "
    "here the first line is taken first.",
    "Sampling: the published surrogates come from one global random state, here each has a seed of its own: the texts "
    "differ.",
)
"""What differs from the published run whatever the settings, or is shared with it and misleads in both."""

CONFIDENCE_LEVEL = 0.95
"""Nominal coverage of the joint intervals: of quantities that do agree, one in twenty falls outside by chance."""

_KEYS = {"generated": tuple(GENERATION_INSTRUCTIONS), "static": tuple(STATIC_SURROGATES)}
"""The keys of each family in the published order."""

Published: TypeAlias = dict[str, Any]
"""The numbers of reference_numbers.json, as they were printed and by their printed names."""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """One published quantity and the same quantity of a run."""

    quantity: str
    """What it is and of which condition, e.g. "mean NLL, baseline"."""
    published: float
    """The published value."""
    ours: float | None
    """The run's; None where it lacks the arm or the quantity is undefined."""
    low: float | None
    """Lower end of the joint interval, in which ours lies with a probability of 95 % if both runs were drawn from one
    population; None where the published numbers do not give a standard error."""
    high: float | None
    """Upper end of it."""
    agrees: bool | None
    """Whether ours lies within; None where there is no interval."""
    note: str
    """What limits the comparison; empty where nothing does."""


def read_published() -> Published:
    """Read the published numbers."""
    numbers: Published = json.loads(Path(__file__).with_name("reference_numbers.json").read_text(encoding="utf-8"))
    return numbers


def other_inputs(published: Published, inputs: Mapping[str, object]) -> list[str]:
    """Return in which inputs a run differs from the published one: if in any, agreement says nothing about either.

    Args:
        published: The published numbers.
        inputs: The run's inputs, by the names in published["inputs"].
    """
    return [
        f"{name} is {inputs.get(name)}, published {value}"
        for name, value in published["inputs"].items()
        if inputs.get(name) != value
    ]


def reproduce(published: Published, run: RunData) -> list[Reproduction]:
    """Compute every published quantity from a run's rows.

    Two values agree if they differ by no more than z times the root of the sum of their squared standard errors. The
    published errors follow from the published spread and n: sd / sqrt(n - 1) of a mean NLL (the sd divides by n),
    mean / d / sqrt(n) of a mean improvement, mean / t of the additional one, sqrt(p (1 - p) / n) of a share. Ours are
    clustered by passage. The runs are taken as independent: where they share samples, the interval is too wide.

    Raises:
        UsageError: No sample has a score with every context.
        ValueError: A row is given twice.
    """
    conditions = conditions_of(run, published_nll)
    arms = [f"{family}/{key}" for family, keys in run.keys.items() for key in keys]
    chosen = [f"{family}/{name}" for family in _KEYS for name in ("routed", "oracle")]
    wanted = sorted({BASELINE} | (conditions.keys() & {*chosen, *arms}))
    passages = passages_of(run)
    complete = [sample for sample in passages if all(sample in conditions.get(name, ()) for name in wanted)]
    if not complete:
        raise UsageError(
            "No sample of this run has a score with every context, and the published table needs some. "
            "Column status of table score says why: start a run with another model or other data."
        )
    routed = {(route.sample_id, f"{route.family}/{route.key}") for route in run.routes if route.is_routed}
    table = _Table(
        published,
        nlls={name: np.array([conditions[name][sample] for sample in complete]) for name in wanted},
        passage_ids=[passages[sample] for sample in complete],
        is_routed={arm: np.array([(sample, arm) in routed for sample in complete]) for arm in arms},
    )
    lengths = {score.sample_id: score.answer_token_count for score in run.scores}
    note = f"{sum(lengths[sample] == 1 for sample in complete)} of one token: 0.0"
    return [
        Reproduction("samples", published["n"], len(complete), None, None, None, note),
        *table.rows_of_conditions(),
        *table.rows_of_families(),
        *table.rows_of_keys("generated"),
        *table.rows_of_keys("static"),
    ]


def published_nll(score: Score) -> float | None:
    """Return the NLL that the published code computes, nats per token: without the first, so 0.0 for a lone one."""
    if score.nll_notebook is None and score.status == "ok" and score.answer_token_count == 1:
        return 0.0
    return score.nll_notebook


@dataclass(frozen=True, slots=True)
class _Table:
    """The published numbers, and a run's NLLs on the samples that have one with every context: those published have."""

    published: Published
    nlls: dict[str, Vector]
    """Condition -> (samples,) NLL by the published convention."""
    passage_ids: list[str]
    """The passage of each sample."""
    is_routed: dict[str, NDArray[np.bool_]]
    """Arm -> (samples,) whether the router chose it."""

    def rows_of_conditions(self) -> Iterator[Reproduction]:
        """Compare the NLLs of the conditions, and their improvements over the baseline."""
        published, root = self.published, math.sqrt(self.published["n"])
        for name, value in published["mean_nll"].items():
            error = published["std_nll"][name] / math.sqrt(published["n"] - 1)
            yield self._mean(f"mean NLL, {_shown(name)}", value, self.nlls.get(_condition(name)), error)
        for name, value in published["std_nll"].items():
            nlls = self.nlls.get(_condition(name))
            yield _compare(f"sd of NLL, {_shown(name)}", value, None if nlls is None else float(nlls.std()))
        for name, value in published["win_pct_vs_baseline"].items():
            yield self._share(f"wins %, {_shown(name)}", value, self._wins(_condition(name)))
        for name, value in published["mean_delta"].items():
            effect = published["cohens_d"].get(name)
            error = abs(value / effect) / root if effect else None
            yield self._mean(f"improvement, {_shown(name)}", value, self._improvement(_condition(name)), error)
        for name, value in published["median_delta"].items():
            ours = self._describe(_condition(name)).improvement_median
            yield _compare(f"median improvement, {_shown(name)}", value, ours)
        for name, value in published["cohens_d"].items():
            ours, improvement = self._describe(_condition(name)).cohens_d, self._improvement(_condition(name))
            errors = None
            if ours is not None and improvement is not None:
                own_error = _effect_error(ours, len(improvement), improvement)
                errors = _effect_error(value, published["n"], improvement), own_error
            yield _compare(f"Cohen's d, {_shown(name)}", value, ours, errors, "skew, tails as ours")
        for name, value in published["t"].items():
            arm, _, reference = name.partition("(")[0].partition("_vs_")
            if reference == "static":  # of generated - static: negative where generated is better
                found, shown = self._describe("static/routed", "generated/routed"), "generated - static"
            else:
                found, shown = self._describe(_condition(arm)), _shown(arm)
            yield _compare(f"t, {shown}", value, found.t_statistic, note="grows with samples")

    def rows_of_families(self) -> Iterator[Reproduction]:
        """Compare what the families gain over each other, and by routing."""
        published, sides = self.published, ("generated/routed", "static/routed")
        yield self._share("generated beats static %", published["gen_beats_static_pct"], self._wins(*sides))
        extra = published["additional_improvement_gen_over_static"]
        error = abs(extra / published["t"]["gen_vs_static(gen-static)"])
        yield self._mean("generated - static improvement", extra, self._improvement(*sides), error)
        for name, value in published["routing_efficiency_pct"].items():
            routed, best = (self._improvement(_condition(f"{name}_{which}")) for which in ("routed", "oracle"))
            ours = None
            if routed is not None and best is not None and best.mean() != 0:
                ours = float(100 * routed.mean() / best.mean())
            yield _compare(f"routed / oracle gain %, {_shown(name)}", value, ours)

    def rows_of_keys(self, family: str) -> Iterator[Reproduction]:
        """Compare what each key of a family gains, and how often it is routed to and the best."""
        n = self.published["n"]
        # In the published order: of equally good keys the first is the best.
        known = [key for key in _KEYS[family] if f"{family}/{key}" in self.nlls]
        best = np.stack([self.nlls[f"{family}/{key}"] for key in known]).argmin(axis=0) if known else np.array([])
        for key, numbers in self.published[f"per_template_{family}"].items():
            arm = f"{family}/{key}"
            yield self._share(f"wins %, {key}", numbers["win_pct"], self._wins(arm))
            yield self._mean(f"improvement, {key}", numbers["mean_delta"], self._improvement(arm), None)
            yield self._share(f"routed %, {key}", 100 * numbers["times_routed"] / n, self.is_routed.get(arm))
            is_best = best == known.index(key) if key in known else None
            yield self._share(f"best %, {key}", 100 * numbers["times_oracle"] / n, is_best)

    def _improvement(self, arm: str, reference: str = BASELINE) -> Vector | None:
        """Return NLL(reference) - NLL(arm); None where the run lacks one of them."""
        return self.nlls[reference] - self.nlls[arm] if {arm, reference} <= self.nlls.keys() else None

    def _wins(self, arm: str, reference: str = BASELINE) -> NDArray[np.bool_] | None:
        improvement = self._improvement(arm, reference)
        return None if improvement is None else improvement > 0

    def _describe(self, arm: str, reference: str = BASELINE) -> PairedStatistics:
        """Describe the improvement; without pairs where the run lacks one of them."""
        if not {arm, reference} <= self.nlls.keys():
            return PairedStatistics(0, 0, 0, 0, 0)
        return describe_pairs(Pairs(self.nlls[reference], self.nlls[arm], self.passage_ids), CONFIDENCE_LEVEL)

    def _share(self, quantity: str, published: float, hits: NDArray[np.bool_] | None) -> Reproduction:
        """Compare shares of samples, in percent."""
        error = math.sqrt(published * (100 - published) / self.published["n"])
        return self._mean(quantity, published, None if hits is None else 100 * hits.astype(np.float64), error)

    def _mean(self, quantity: str, published: float, values: Vector | None, error: float | None) -> Reproduction:
        """Compare means; ours has an error clustered by passage."""
        if values is None or error is None:
            return _compare(quantity, published, None if values is None else float(values.mean()))
        clusters = np.unique(self.passage_ids, return_inverse=True)[1]
        clustered = cluster_robust_mean(values, clusters, CONFIDENCE_LEVEL)
        own_error = clustered.error if clustered else 0.0 if np.ptp(values) == 0 and clusters.max() else None
        errors = None if own_error is None else (error, own_error)
        return _compare(quantity, published, float(values.mean()), errors, "" if errors else "one passage")


def _compare(
    quantity: str,
    published: float,
    ours: float | None,
    errors: tuple[float, float] | None = None,
    note: str = "no spread published",
) -> Reproduction:
    """Compare two values by their standard errors; without these there is nothing to say about them."""
    if ours is None:
        return Reproduction(quantity, published, None, None, None, None, "not run or undefined")
    if errors is None:
        return Reproduction(quantity, published, ours, None, None, None, note)
    reach = float(norm.ppf((1 + CONFIDENCE_LEVEL) / 2)) * math.hypot(*errors)
    return Reproduction(
        quantity, published, ours, published - reach, published + reach, abs(ours - published) <= reach, note
    )


def _effect_error(effect: float, n: int, improvement: Vector) -> float:
    """Return the standard error of Cohen's d for improvements of the shape of these, whatever their distribution.

    sqrt((1 - d * skewness + d^2 * (kurtosis - 1) / 4) / n), by the delta method; sqrt((1 + d^2 / 2) / n) if normal.

    Source: Hedges (1981), doi:10.3102/10769986006002107, for the normal case.
    """
    third, fourth = float(skew(improvement)), float(kurtosis(improvement, fisher=False))
    shape = 1 - effect * third + effect**2 * (fourth - 1) / 4
    return math.sqrt(max(shape, 0.0) / n)  # 0 but for rounding where improvements have two values


def _condition(name: str) -> str:
    """Return our condition of a published name, e.g. "generated/routed" of "gen_routed"."""
    return BASELINE if name == "baseline" else name.replace("gen", "generated").replace("_", "/")


def _shown(name: str) -> str:
    return "baseline" if name == "baseline" else _condition(name).replace("/", " ")
