"""What inference promises, simulated on data of which the truth is known: error rates, coverage and power.

A data set is drawn from a population of measured or planted values whose conditions were given equal means, skew and
tails kept. Each check is a function that returns a rate: the method in use must pass, and a planted invalid one must
fail the same check on the same draws. All draws are seeded, so every figure repeats.

The populations:

- golden: tests/golden/paired_nll_200.parquet, 200 MS MARCO answers in seven conditions. The NLLs are means over all
  answer tokens, the first included (the scorer gives labels to all of them, and no NLL is 0, as one-token answers have
  by the notebook's convention), of an encoder-decoder (T5Gemma) whose decoder reads the answer alone, in bfloat16.
- smollm2: MS MARCO answers scored by this project with SmolLM2-135M, all answer tokens, in float32.
- heavy_tails: log-normal NLLs; one sample in fifty changes by a factor of its own in each condition.
- ties: right or wrong answers, nine of ten pairs equal.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import pyarrow.parquet
import pytest
from numpy.typing import NDArray
from scipy.stats import norm, t

from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.inference import (
    LEAST_CLUSTERS,
    Estimate,
    any_look_equivalence_p_value,
    any_look_p_value,
    any_look_reach,
    compare_with_best,
    gain_over_best,
    holm_with_intervals,
)
from tasks.priming.statistics.intervals import Clusters, Vector, bootstrap_intervals, cluster_robust_mean
from tasks.priming.statistics.paired import tost_p_value, tost_power
from tests.places import GOLDEN

Array: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.intp]

ALPHA = 0.05
EVERY_FIFTY = np.arange(200, 2501, 50)
"""47 looks at a run that grows."""


@pytest.fixture(params=[500, pytest.param(2000, marks=pytest.mark.slow)])
def replications(request: pytest.FixtureRequest) -> int:
    """Number of data sets."""
    number: int = request.param
    return number


def at_most(rate: float, replications: int) -> float:
    """Return the highest simulated rate that agrees with a true rate: three standard errors above it."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / replications)


# --- populations ---


def probability(nll: Array) -> Array:
    """Return the geometric mean probability of the answer's tokens, in percentage points."""
    return 100 * np.exp(-nll)


@lru_cache
def golden_nll() -> Array:
    """Return NLLs, (200 answers, 7 conditions); the reference is the first."""
    table = pyarrow.parquet.read_table(GOLDEN / "paired_nll_200.parquet")
    return np.column_stack([table[name].to_numpy() for name in table.column_names if name.startswith("nll_")])


@lru_cache
def smollm2_nll() -> Array:
    """Return NLLs, (answers, 14 conditions or more); the reference, the baseline, is the first."""
    pairs = GOLDEN / "smollm2_pairs.parquet"
    if pairs.exists():
        wide = pyarrow.parquet.read_table(pairs).drop_columns(["passage_id"]).to_pandas()
    else:
        scores = pyarrow.parquet.read_table(GOLDEN / "bundle" / "score.parquet").to_pandas()
        wide = scores.assign(arm=scores.family + "/" + scores.key).pivot(index="sample_id", columns="arm", values="nll")
    first = [name for name in wide.columns if name.startswith("baseline")][0]
    values: Array = wide[[first, *(name for name in wide.columns if name != first)]].dropna().to_numpy()
    return values


@lru_cache
def heavy_tailed_nll() -> Array:
    """Return planted NLLs, (2,000, 13); their logarithms differ by 0.2, and in one of fifty by 1.5."""
    generator = np.random.default_rng(21)
    changes = generator.normal(0, 0.2, (2000, 13)) + 1.5 * generator.normal(size=(2000, 13)) * (
        generator.random((2000, 1)) < 0.02
    )
    values: Array = np.exp(generator.normal(-0.21, 1.05, (2000, 1)) + changes)
    return values


@lru_cache
def tied() -> Array:
    """Return planted right (100) and wrong (0) answers, (2,000, 13): of each pair with the first 90 % are ties."""
    generator = np.random.default_rng(22)
    values = np.repeat(generator.random((2000, 1)) < 0.5, 13, axis=1)
    for condition in range(1, 13):
        for right in (True, False):  # as many are lost as are gained
            values[generator.choice(np.flatnonzero(values[:, 0] == right), 100, replace=False), condition] = not right
    return 100.0 * values


POPULATIONS: dict[str, Callable[[], Array]] = {
    "golden": lambda: probability(golden_nll()),
    "smollm2": lambda: probability(smollm2_nll()),
    "heavy_tails": lambda: probability(heavy_tailed_nll()),
    "ties": tied,
}
"""Values by the measure of record, (samples, conditions), higher is better; the reference is the first."""


def without_effects(values: Array) -> Array:
    """Return values with equal means of all conditions, skew and tails kept."""
    return values - values.mean(axis=0)


def improvements(values: Array) -> Array:
    """Return what each other condition gains over the first."""
    return values[:, 1:] - values[:, :1]


# --- data sets ---


@dataclass(frozen=True, slots=True)
class Draw:
    """Data sets drawn from one population."""

    rows: Integers
    """(data sets, samples) row of the population."""
    passages: Integers
    """(data sets, samples) passage of each sample."""


def draw(population: int, samples: int, replications: int, *, queries: int = 1, seed: int = 7) -> Draw:
    """Draw data sets of a population of so many rows, with up to so many queries on a passage.

    Queries on one passage correlate: each is the passage's own row with probability 1/2, else any other. The order of
    samples is random, so that a run that grows gains passages and queries on passages that it has.
    """
    generator = np.random.default_rng([seed, population, samples, queries])
    shape = (replications, samples)
    rows = generator.integers(0, population, shape)
    if queries == 1:
        return Draw(rows, np.tile(np.arange(samples), (replications, 1)))
    sizes = generator.integers(1, queries + 1, shape)
    passages = np.stack([np.repeat(np.arange(samples), each)[:samples] for each in sizes])
    passages = generator.permuted(passages, axis=1)
    shared = np.take_along_axis(generator.integers(0, population, shape), passages, axis=1)
    return Draw(np.where(generator.random(shape) < 0.5, shared, rows), passages)


@dataclass(frozen=True, slots=True)
class Looks:
    """What is known at each look: arrays (data sets, looks, conditions)."""

    means: Array
    errors: Array
    counts: Integers
    """(data sets, looks, 1) number of passages."""


def look(values: Array, drawn: Draw, at: Integers | list[int]) -> Looks:
    """Return means and cluster-robust errors of (population, conditions) values after so many samples.

    The squared error is G / (G - 1) * sum over passages of (S - mean N)^2 / n^2, with S the sum and N the count of a
    passage's values so far, as in `cluster_robust_mean`.
    """
    replications, conditions = len(drawn.rows), values.shape[1]
    sums = np.zeros((replications, int(drawn.passages.max()) + 1, conditions))
    sizes = np.zeros((*sums.shape[:2], 1))
    which = np.arange(replications)[:, np.newaxis]
    found = []
    for start, end in zip([0, *at[:-1]], at, strict=True):
        new = drawn.passages[:, start:end]
        np.add.at(sums, (which, new), values[drawn.rows[:, start:end]])
        np.add.at(sizes, (which, new), 1.0)
        count = (sizes > 0).sum(axis=1)
        mean = sums.sum(axis=1) / end
        squares = np.einsum("rgm,rgm->rm", sums, sums) - 2 * mean * np.einsum("rgm,rg->rm", sums, sizes[..., 0])
        squares += mean**2 * (sizes**2).sum(axis=1)
        found.append((mean, np.sqrt(count / (count - 1) * np.maximum(squares, 0)) / end, count))
    means, errors, counts = (np.stack(each, axis=1) for each in zip(*found, strict=True))
    return Looks(means, errors, counts)


def looks_of(values: Array, at: Integers | list[int], replications: int, *, queries: int = 1, size: int = 250) -> Looks:
    """Return `look` at so many data sets, made in parts that fit the memory."""
    parts = [
        look(values, draw(len(values), int(at[-1]), min(size, replications - start), queries=queries, seed=start), at)
        for start in range(0, replications, size)
    ]
    return Looks(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("means", "errors", "counts")))
