"""All that a walkthrough tells of one sample: the rows that an experiment would store, and what only it looks at."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.loading.data import Identity
from tasks.priming.records import Route, Sample, Score, Surrogate
from tasks.priming.settings import ExperimentSettings
from tasks.walkthrough.published import Published

if TYPE_CHECKING:  # torch is loaded by whoever computes them
    from tasks.priming.notebook import CacheShape, NotebookScore

BASELINE = "baseline/document"


@dataclass(frozen=True, slots=True)
class Guesses:
    """Surrogates of the sample, and what became of them."""

    surrogates: list[Surrogate]
    """The texts."""
    routes: list[Route]
    """Their similarities to the query, and which of each family is taken."""
    scores: list[Score]
    """The answer behind each context; the baseline's among them where they were written here."""

    def surrogate(self, arm: str) -> Surrogate:
        """Return the surrogate of an arm, written family/key."""
        return next(s for s in self.surrogates if f"{s.family}/{s.key}" == arm)

    def score(self, arm: str) -> Score:
        """Return the score of an arm."""
        return next(s for s in self.scores if f"{s.family}/{s.key}" == arm)

    def routed(self, family: str) -> str | None:
        """Return the arm that the router takes; None where the model wrote nothing at all."""
        return next((f"{r.family}/{r.key}" for r in self.routes if r.family == family and r.is_routed), None)

    @property
    def similarities(self) -> dict[str, float | None]:
        """Arm -> similarity to the query."""
        return {f"{route.family}/{route.key}": route.similarity for route in self.routes}


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is looked at beyond an experiment's rows."""

    caches: "dict[str, CacheShape]"
    """Arm -> its cache: the baseline's and those of the routed arms."""
    scored_twice: tuple[tuple[float, ...] | None, ...]
    """The answer's token NLLs behind the baseline's cache, scored twice behind one and the same cache."""
    notebook_scores: "list[NotebookScore]"
    """The same by the notebook's function."""


@dataclass(frozen=True, slots=True)
class Notebook:
    """What the notebook has of its own example."""

    published: Published
    """What it printed."""
    guesses: Guesses
    """The surrogates that its model wrote, measured here."""


@dataclass(frozen=True, slots=True)
class Models:
    """What reads, writes and routes."""

    language_model: Identity
    """Its identity."""
    embedding_model: Identity
    """Likewise."""
    parameter_count: int
    """Of the language model."""
    cache_bytes_per_token: int
    """Bytes of keys and values of one token over all layers."""


@dataclass(frozen=True, slots=True)
class Walk:
    """One sample's way, complete."""

    profile: str
    """What the settings started from."""
    settings: ExperimentSettings
    """With which it was computed."""
    models: Models
    """By which."""
    number: int | None
    """Which of the drawn samples it is, from 1; None for the notebook's example."""
    sample: Sample
    """The sample."""
    here: Guesses
    """Surrogates written here, with all their arms."""
    inspection: Inspection
    """What is looked at beyond."""
    notebook: Notebook | None = None
    """None unless the sample is the notebook's own."""
