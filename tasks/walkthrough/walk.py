"""One sample from its passage to its scores: what the walkthrough tells, and the Prefect tasks that compute it.

In: settings, identities and rows. Out: rows as an experiment stores them, and what only the walkthrough looks at. The
same functions of tasks/priming/ compute them, so the numbers are those of an experiment on this sample. Nothing is
cached: a walkthrough shows what is computed.
"""

import json
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

from tasks.loading.data import Identity, identify_data, load_rows
from tasks.loading.models import load_embedding_model, load_language_model
from tasks.loading.redaction import without_secrets
from tasks.pages.blocks import Block
from tasks.pages.markdown import to_markdown
from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.arms.writing import Writing, fixed_surrogate
from tasks.priming.errors import UsageError
from tasks.priming.prompts import BASELINE_TEMPLATE, GENERATION_INSTRUCTIONS, SURROGATE_TEMPLATE, fill
from tasks.priming.records import AnswerText, Route, Sample, Score, Surrogate
from tasks.priming.sampling import content_hash, draw_samples
from tasks.priming.settings import ExperimentSettings
from tasks.priming.statistics.run_data import ModelFacts

if TYPE_CHECKING:  # torch is loaded by the task that needs it
    from tasks.priming.notebook import LayerShape, NotebookScore

BASELINE = "baseline/document"
_STEP: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


@dataclass(frozen=True, slots=True)
class Published:
    """The notebook's example and what it printed; an arm is written family/key."""

    source: str  # the cells that printed it
    language_model: str  # its id on the hub
    quantization: str  # of its weights
    passage: str  # the example's passage
    query: str  # its query
    answer: str  # its answer
    generated: dict[str, str]  # key -> the surrogate that the model wrote
    similarities: dict[str, float]  # arm -> similarity of its surrogate to the query, to 4 decimals
    context_tokens: dict[str, int]  # arm -> tokens of its context
    answer_tokens: list[str]  # the answer's tokens but the first, each decoded alone, which loses a leading space
    nll: dict[str, float]  # arm -> mean NLL of all answer tokens but the first, from the first use of its cache
    second_use_nll: float  # the same of the baseline's cache, scored a second time


@dataclass(frozen=True, slots=True)
class Guesses:
    """Surrogates of the sample, and what became of them."""

    surrogates: list[Surrogate]  # the texts
    routes: list[Route]  # their similarities to the query, and which of each family is taken
    scores: list[Score]  # the answer's score with each context, the baseline's included for those written here

    def surrogate(self, arm: str) -> Surrogate:
        """Return the surrogate of an arm, written family/key."""
        return next(s for s in self.surrogates if f"{s.family}/{s.key}" == arm)

    def of(self, family: str) -> list[Surrogate]:
        """Return the surrogates of a family."""
        return [surrogate for surrogate in self.surrogates if surrogate.family == family]

    def score(self, arm: str) -> Score:
        """Return the score of an arm."""
        return next(s for s in self.scores if f"{s.family}/{s.key}" == arm)

    def routed(self, family: str) -> str | None:
        """Return the arm that the router takes; None where the model wrote nothing at all."""
        return next((f"{r.family}/{r.key}" for r in self.routes if r.family == family and r.is_routed), None)

    def contexts(self, passage: str) -> dict[str, str]:
        """Return arm -> context for the baseline and the arms that the router takes."""
        arms = [arm for family in ("static", "generated") if (arm := self.routed(family))]
        return {BASELINE: fill(BASELINE_TEMPLATE, document=passage)} | {
            arm: fill(SURROGATE_TEMPLATE, surrogate=self.surrogate(arm).text, document=passage) for arm in arms
        }

    @property
    def similarities(self) -> dict[str, float | None]:
        """Arm -> similarity to the query."""
        return {f"{route.family}/{route.key}": route.similarity for route in self.routes}


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is looked at beyond an experiment's rows."""

    facts: ModelFacts  # the language model's shape
    caches: "dict[str, list[LayerShape]]"  # arm -> the layers of its cache: the baseline's and those of the routed arms
    answers: list[AnswerText]  # what the model answers from each cache
    scored_twice: tuple[tuple[float, ...] | None, ...]  # the answer's token NLLs, twice with one cache of the baseline
    notebook_scores: "list[NotebookScore]"  # the same by the notebook's function


@dataclass(frozen=True, slots=True)
class Walk:
    """All that a walkthrough tells of one sample."""

    profile: str  # what the settings started from
    settings: ExperimentSettings  # with which it was computed
    language_model: Identity  # the model that reads and writes
    embedding_model: Identity  # the model that routes
    number: int | None  # which of the drawn samples it is, from 1; None for the notebook's example
    sample: Sample
    here: Guesses  # surrogates written here, with all their arms
    inspection: Inspection  # what is looked at beyond an experiment's rows
    theirs: Guesses | None = None  # the surrogates that the notebook's model wrote, measured here; for its example only


@lru_cache(maxsize=1)
def read_published() -> Published:
    """Return what the notebook printed about its one example, copied from its stored outputs."""
    return Published(**json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8")))


def published_surrogates(sample: Sample) -> list[Surrogate]:
    """Return the surrogates that the notebook's model wrote, with this project's flags; nothing is generated."""
    return [
        replace(
            fixed_surrogate(sample, "generated", key, text),
            is_over_word_limit=len(text.split()) > GENERATION_INSTRUCTIONS[key].word_limit,
        )
        for key, text in read_published().generated.items()
    ]


def name_walkthrough() -> str:
    """Return what the UI calls this walkthrough: its profile and its sample."""
    parameters = flow_run.get_parameters()
    number = parameters.get("sample")
    return f"{parameters.get('profile')}, {'the example of the notebook' if number is None else f'sample {number}'}"


@task(name="choose the sample", task_run_name="choose the sample", **_STEP)
@without_secrets()
def choose_sample(settings: ExperimentSettings, number: int | None) -> Sample:
    """Return the notebook's example, or a sample as an experiment with these settings draws it.

    Args:
        settings: Which data, which rows qualify, the seed.
        number: Which of the drawn samples, from 1; None: the notebook's example.

    Raises:
        UsageError: There are fewer samples.
        SetupError: The data cannot be read.
    """
    if number is None:
        published = read_published()
        texts = published.passage, published.query, published.answer
        return Sample(content_hash(*texts), 0, *texts, query_type=None, passage_id=content_hash(published.passage))
    rows = load_rows(identify_data(settings.data))
    samples = draw_samples(rows, settings.sampling, settings.seed).samples
    if number > len(samples):
        raise UsageError(
            f"There is no sample {number}: these settings draw {len(samples)} from {settings.data.data}. Give --sample "
            "a number up to that, or leave it out for the notebook's example."
        )
    return samples[number - 1]


@task(name="write surrogates", task_run_name="write surrogates", **_STEP)
@without_secrets()
def write_surrogates(sample: Sample, settings: ExperimentSettings, language_model: Identity) -> list[Surrogate]:
    """Return the static and the generated surrogates of the sample."""
    writing = Writing(settings.seed, load_language_model(language_model), settings.generation)
    writers = [ARM_GROUPS[family].write for family in ("static", "generated")]
    return [surrogate for write in writers if write for surrogate in write([sample], writing)]


@task(name="compare with the query", task_run_name="compare with the query", **_STEP)
@without_secrets()
def compare_with_query(sample: Sample, surrogates: list[Surrogate], embedding_model: Identity) -> list[Route]:
    """Return how similar each surrogate is to the query, and which of each family is taken."""
    from tasks.priming.routing import route_queries

    return route_queries([sample], surrogates, load_embedding_model(embedding_model))


@task(name="score the answer", task_run_name="score the answer", **_STEP)
@without_secrets()
def score_answer(
    sample: Sample, surrogates: list[Surrogate], language_model: Identity, families: tuple[str, ...]
) -> list[Score]:
    """Score the answer with every context of these families."""
    from tasks.priming.scoring import score_family

    model = load_language_model(language_model)
    scores: list[Score] = []
    for family in families:
        members = [surrogate for surrogate in surrogates if surrogate.family == family]
        scores += score_family(ARM_GROUPS[family].contexts, [sample], members, model)
    return scores


@task(name="look into the caches", task_run_name="look into the caches", **_STEP)
@without_secrets()
def inspect_caches(sample: Sample, guesses: Guesses, language_model: Identity) -> Inspection:
    """Return the shapes of caches, what the model answers from each, and the answer's score twice with one of them."""
    from tasks.priming.answers import answer_family
    from tasks.priming.notebook import describe_cache, score_repeatedly, score_twice

    model = load_language_model(language_model)
    families = [ARM_GROUPS[family].contexts for family in ("baseline", "static", "generated")]
    return Inspection(
        facts=model.facts,
        caches={arm: describe_cache(context, model) for arm, context in guesses.contexts(sample.passage).items()},
        answers=[
            answer
            for rule in families
            for answer in answer_family(rule, [sample], guesses.of(rule.family), model, rule.arm_keys)
        ],
        scored_twice=score_twice(sample, model),
        notebook_scores=score_repeatedly(sample, model, times=2),
    )


@task(name="show it in the UI", task_run_name="show it in the UI", **_STEP)
@without_secrets()
def show_walkthrough(blocks: list[Block], description: str) -> None:
    """Show the walkthrough in the UI; an error there does not affect the walkthrough."""
    try:
        create_markdown_artifact(to_markdown(blocks), key="walkthrough", description=description)
    except Exception as error:  # of the network, the server or Prefect
        get_run_logger().warning("the UI does not show the walkthrough: %s", error)
