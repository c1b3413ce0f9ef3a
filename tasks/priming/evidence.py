"""All that the statistics of a run are computed from.

In: the rows of the stages before. Out: one frozen object that every statistic takes, so that a new one can use whatever
a run knows without a change of anybody's signature.
"""

from dataclasses import dataclass

from tasks.priming.records import Route, Sample, Score, Surrogate


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of the language model's shape and arithmetic; FLOPs and bytes follow from it."""

    parameter_count: int
    """All parameters, each counted once, also where it is stored in four bits."""
    embedding_parameter_count: int
    """Those of the input embeddings where they are not the output layer's too: looked up, never multiplied."""
    layer_count: int
    """Decoder layers."""
    attention_width: int
    """Query heads x head dimension, per layer."""
    cache_bytes_per_token: int
    """Bytes of keys and values of one token, over all layers."""
    is_batch_invariant: bool
    """Whether scores are promised not to depend on the batch, bit for bit."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The rows of a run, and the model that they come from."""

    samples: list[Sample]
    """The samples of the run; rows of others take no part."""
    routes: list[Route]
    """One row per sample and arm of the routed families."""
    scores: list[Score]
    """One row per sample and arm."""
    surrogates: list[Surrogate]
    """One row per sample and arm that has one."""
    model: ModelFacts | None = None
    """None where nothing is known of it: then there are no costs."""
