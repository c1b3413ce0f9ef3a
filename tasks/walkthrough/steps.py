"""The steps of a walkthrough as Prefect tasks: each computes one part of what is told, and remembers nothing.

In: settings, identities and rows. Out: rows as an experiment stores them, and what is looked at beyond. The same
functions of tasks/priming/ compute them, so the numbers are those of an experiment on this sample.
"""

from typing import Any

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
from tasks.priming.arms.writing import Writing
from tasks.priming.errors import UsageError
from tasks.priming.records import Route, Sample, Score, Surrogate
from tasks.priming.sampling import content_hash, draw_samples
from tasks.priming.settings import ExperimentSettings
from tasks.walkthrough.published import read_published
from tasks.walkthrough.walk import BASELINE, Inspection, Models

_TIMES = 2
# Nothing is remembered: a walkthrough shows what is computed.
_STEP: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}


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
    """Score the answer behind every context of these families."""
    from tasks.priming.scoring import score_family

    model = load_language_model(language_model)
    scores: list[Score] = []
    for family in families:
        members = [surrogate for surrogate in surrogates if surrogate.family == family]
        scores += score_family(ARM_GROUPS[family].contexts, [sample], members, model)
    return scores


@task(name="look into the caches", task_run_name="look into the caches", **_STEP)
@without_secrets()
def inspect_caches(sample: Sample, contexts: dict[str, str], language_model: Identity) -> Inspection:
    """Return the shapes of caches, and score the answer twice behind one, our way and the notebook's.

    Args:
        sample: The sample.
        contexts: Arm -> its context; the baseline's among them.
        language_model: The identity of the model that reads.
    """
    from tasks.priming.notebook import describe_cache, score_as_the_notebook, score_twice

    model = load_language_model(language_model)
    return Inspection(
        caches={arm: describe_cache(context, model) for arm, context in contexts.items()},
        scored_twice=score_twice(sample, model),
        notebook_scores=score_as_the_notebook(contexts[BASELINE], sample.query, sample.answer, model, times=_TIMES),
    )


def describe_models(language_model: Identity, embedding_model: Identity) -> Models:
    """Return what is said of the models."""
    facts = load_language_model(language_model).facts
    return Models(language_model, embedding_model, facts.parameter_count, facts.cache_bytes_per_token)


@task(name="show it in the UI", task_run_name="show it in the UI", **_STEP)
@without_secrets()
def show_walkthrough(blocks: list[Block], description: str) -> None:
    """Show the walkthrough in the UI; whatever that says, the walkthrough itself is complete."""
    try:
        create_markdown_artifact(to_markdown(blocks), key="walkthrough", description=description)
    except Exception as error:  # of the network, the server or Prefect
        get_run_logger().warning("the UI does not show the walkthrough: %s", error)
