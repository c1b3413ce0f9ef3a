"""All that the statistics of a run are computed from.

In: the rows of the stages before. Out: one frozen object that every statistic takes, so that a new one can use whatever
a run knows without a change of anybody's signature.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

from tasks.priming.prompts import ANSWER_DELIMITER
from tasks.priming.records import AnswerText, Distractor, Route, Sample, Score, Surrogate
from tasks.priming.settings import StatisticsSettings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The language model's shape and arithmetic, from which FLOPs and bytes follow."""

    parameter_count: int
    """All parameters, each counted once, also where it is stored in four bits."""
    embedding_parameter_count: int
    """Those of the input embeddings unless the output layer shares them: looked up, never multiplied."""
    layer_count: int
    """Decoder layers."""
    attention_width: int
    """Query heads x head dimension, per layer."""
    cache_bytes_per_token: int
    """Bytes of keys and values of one token, over all layers."""
    is_batch_invariant: bool
    """Whether scores are promised not to depend on the batch, bit for bit."""
    first_token: str | None = None
    """The token that every context begins with; None if there is none."""
    answer_delimiter: str = ANSWER_DELIMITER
    """The text between the query prompt and the answer."""
    writer: Mapping[str, Any] | None = None
    """The same facts of the model that wrote surrogates; None if it is this one, or if none was written."""

    @property
    def of_writer(self) -> "ModelFacts":
        """The facts of the model that wrote surrogates."""
        return ModelFacts(**self.writer) if self.writer else self


@dataclass(frozen=True)
class RunData:
    """The rows of a run, and the model that they come from.

    Rows may be millions, made one by one from columns as they are walked through: what several statistics want to
    know of all of them is kept here.
    """

    samples: Sequence[Sample]
    """The samples of the run; rows of others take no part."""
    routes: Sequence[Route]
    """One row per sample and arm of the routed families."""
    scores: Sequence[Score]
    """One row per sample and arm."""
    surrogates: Sequence[Surrogate]
    """One row per sample and arm that has one."""
    model: ModelFacts | None = None
    """None where nothing is known of it: then there are no costs."""
    distractors: Sequence[Distractor] = ()
    """The wrong answers of the samples."""
    answer_texts: Sequence[AnswerText] = ()
    """What the model wrote after the conditions that were asked."""
    remembered: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Measure -> all conditions by it, for the measures that several statistics read; what `once` computed."""

    def once(
        self, compute: Callable[["RunData", StatisticsSettings, int], list[T]], settings: StatisticsSettings, seed: int
    ) -> list[T]:
        """Return the rows of a statistic, computed when they are first asked for: others may be made from them."""
        key = compute, settings, seed
        if key not in self.remembered:
            self.remembered[key] = compute(self, settings, seed)
        found: list[T] = self.remembered[key]
        return found

    @cached_property
    def keys(self) -> dict[str, list[str]]:
        """The keys of every routed family, both in alphabetical order."""
        keys: dict[str, list[str]] = {}
        for family, key in sorted({(route.family, route.key) for route in self.routes}):
            keys.setdefault(family, []).append(key)
        return keys

    @cached_property
    def scored_conditions(self) -> list[str]:
        """The names of the conditions of all scores, those of other samples included, in alphabetical order."""
        return sorted({score.condition for score in self.scores})
