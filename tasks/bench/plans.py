"""How much of everything is computed, by model and device: enough to tell methods apart, and no more.

On a GPU, what is slow is timed on a slice of the samples; ratios are per token, line or query.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Plan:
    """The counts of one model's parts; 0 leaves a part out."""

    samples: int
    """Samples that are scored in eleven contexts each."""
    slice_samples: int
    """Of these, those that the slow methods get: the notebook's, lm-eval, padding."""
    limit_samples: int
    """Of these, those whose bare products are computed: enough for batches to fill."""
    rounds: int
    """Rounds of scoring, queries, embedding and statistics."""
    passages: int
    """Passages for each of which five lines are written."""
    slice_passages: int
    """Of these, those that the notebook's method gets."""
    generation_rounds: int
    """Rounds of writing."""
    identity_samples: int
    """Samples whose answers are compared bit by bit."""
    identity_passages: int
    """Of these, those for whose passages lines are compared."""
    queries: int
    """Queries on one document."""


DEFAULT_MODELS = {"cpu": ("small", "wide"), "cuda": ("mistral-7b",)}
"""The models that are measured where none is named."""
DEFAULT_DTYPES = {"cpu": ("float32", "bfloat16"), "cuda": ("bfloat16",)}
"""Number formats of the weights, by device."""

SIMILARITY_SAMPLES = 64
QUICK_SIMILARITY_SAMPLES = 2
"""Samples whose queries are routed among ten surrogates each."""
RESAMPLES = 10_000
QUICK_RESAMPLES = 200
RESAMPLED_PAIRS = 2_500
RESAMPLED_CONTRASTS = 6
"""What is resampled: values of each of the comparisons."""

_PLANS: dict[tuple[str, str], Plan] = {
    ("small", "cpu"): Plan(
        samples=12,
        slice_samples=12,
        limit_samples=12,
        rounds=3,
        passages=6,
        slice_passages=6,
        generation_rounds=3,
        identity_samples=8,
        identity_passages=8,
        queries=64,
    ),
    ("wide", "cpu"): Plan(
        samples=2,
        slice_samples=2,
        limit_samples=2,
        rounds=3,
        passages=2,
        slice_passages=2,
        generation_rounds=2,
        identity_samples=2,
        identity_passages=1,
        queries=0,
    ),
    ("mistral-7b", "cuda"): Plan(
        samples=2_500,
        slice_samples=16,
        limit_samples=128,
        rounds=1,
        passages=2_500,
        slice_passages=2,
        generation_rounds=1,
        identity_samples=8,
        identity_passages=8,
        queries=64,
    ),
}
_OTHERS = {
    "cpu": Plan(
        samples=2,
        slice_samples=2,
        limit_samples=2,
        rounds=3,
        passages=2,
        slice_passages=2,
        generation_rounds=2,
        identity_samples=2,
        identity_passages=1,
        queries=16,
    ),
    "cuda": Plan(
        samples=256,
        slice_samples=16,
        limit_samples=128,
        rounds=3,
        passages=256,
        slice_passages=4,
        generation_rounds=3,
        identity_samples=8,
        identity_passages=8,
        queries=64,
    ),
}
_QUICK = Plan(
    samples=1,
    slice_samples=1,
    limit_samples=1,
    rounds=2,
    passages=1,
    slice_passages=1,
    generation_rounds=1,
    identity_samples=2,
    identity_passages=1,
    queries=4,
)


def plan_of(model: str, device: str, *, is_quick: bool) -> Plan:
    """Return how much a model has to compute on a device."""
    return _QUICK if is_quick else _PLANS.get((model, device), _OTHERS[device])
