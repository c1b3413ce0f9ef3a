"""One column of the table of inference.md: the rates of simulations of which the tests ask whether they hold.

    python -m docs.inference_figures smollm2

In: a population of tests/priming/statistics/test_simulations.py that has all lines. Out: a cell per line, in order. All
draws are seeded: a population has the same figures each time, and SmolLM2's grows with the published runs.
"""

import math
import sys
from collections.abc import Iterable

import numpy as np

from tests.priming.statistics import test_simulations as simulated

REPLICATIONS = 2000


def cells(population: str, best_of: int = 12) -> dict[str, str]:
    """Return what stands in each line of the table; the best is sought among `best_of` conditions."""
    found: dict[str, str] = {}

    def add(line: str, rates: Iterable[float], digits: int = 3) -> None:
        found[line] = "; ".join(f"{rate:.{digits}f}" for rate in rates)

    by_queries = [simulated.looks_without_effects(population, queries, REPLICATIONS) for queries in (1, 5)]
    rate, at_looks, moved = simulated.rate_at_any_look, simulated.at_looks, simulated.moved
    add("a difference where there is none", [rate(simulated.any_look_difference(looks)) for looks in by_queries])
    for sign in (1, -1):
        equivalence = [simulated.any_look_equivalence(moved(looks, sign * simulated.MARGIN)) for looks in by_queries]
        add(f"equivalence, truth at {sign} margin", map(rate, equivalence))
    uncorrected = [simulated.fixed_difference(at_looks(looks, simulated.FIVE)) for looks in by_queries]
    add("the first, by five uncorrected looks", map(rate, uncorrected))
    for samples in (100, 200, 2500):
        misses = [simulated.fixed_difference(looks)[:, simulated.SIZES[samples]].mean(axis=0) for looks in by_queries]
        add(f"coverage of t, {samples} samples: mean; worst", [1 - misses[0].mean(), 1 - np.max(misses)])
    shown = simulated.any_look_difference(moved(by_queries[0], 2.8 / math.sqrt(500)))
    by_then = [shown[:, most >= simulated.LOOKS].any(axis=1).mean() for most in (500, 1000, 1250)]
    add("power by 500; 1,000; 1,250", by_then, digits=2)

    few = at_looks(simulated.looks_without_effects(population, 1, REPLICATIONS // 2), simulated.FIVE)
    five = simulated.Looks(few.means[..., :5], few.errors[..., :5], few.counts)
    truths = [np.array(simulated.FAMILIES[name]) for name in ("no effects", "all but one large")]
    add("a family of five: no effects; all but one large", [simulated.family_errors(five, truth) for truth in truths])

    values = simulated.without_effects(simulated.POPULATIONS[population]())[:, : best_of + 1]
    leads = [lead * (np.arange(best_of + 1) == 1) for lead in (0.0, 1.0)]
    equal, ahead = (simulated.best_errors(values + lead, REPLICATIONS // 2) for lead in leads)
    add("the best excluded or an interval wrong, all equal", [equal["best"]])
    add("gain over the best wrong: all equal; one better by a point", [equal["gain"], ahead["gain"]])
    add("cross-fitted best with a t test, all equal", [equal["cross-fitted"]])
    return found


if __name__ == "__main__":
    for line, cell in cells(sys.argv[1]).items():
        sys.stdout.write(f"{line} | {cell}\n")
