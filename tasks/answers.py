"""Stage 4b, answer_queries: per family and chunk, contexts -> what the model writes after them.

In: a chunk of samples and the family's surrogates of it, which arms are asked, the language model's identity. Out: one
parquet file of AnswerText rows. Cached per family and chunk, apart from the scores: the contexts are computed a second
time, so that no change of what is asked, or of how texts are measured, computes a score anew.
"""

from collections.abc import Mapping, Sequence

from prefect import get_run_logger, task

from tasks.loading.data import Identity
from tasks.loading.redaction import without_secrets
from tasks.priming.answers import keys_to_ask
from tasks.priming.arms.arms import ArmGroup
from tasks.priming.arms.contexts import ContextRule
from tasks.priming.records import AnswerText, Route, Sample, Surrogate
from tasks.scoring import functions_of, treatments_of
from tasks.store.artifacts import Reference, read_rows, write_rows
from tasks.store.caching import Batch, Calls, Inputs, stage_options
from tasks.workers.processes import with_language_model


def groups_to_ask(groups: Mapping[str, ArmGroup], which: str) -> dict[str, tuple[str, ...]]:
    """Return the groups some of whose arms are asked, with those that are asked on every sample.

    Args:
        groups: The run's groups of arms.
        which: The setting `answers`.
    """
    if which == "none":
        return {}
    asked = {name: keys_to_ask(group, which) for name, group in groups.items()}
    return {name: keys for name, keys in asked.items() if keys or groups[name].is_routed}


def answers_at_most(groups: Mapping[str, ArmGroup], which: str) -> int:
    """Return how many answers are written per sample, if the router never chooses an arm that is asked in any case."""
    count = 0
    for name, keys in groups_to_ask(groups, which).items():
        treatments = groups[name].treatments_by_key
        count += sum(len(treatments[key]) for key in keys)
        if groups[name].is_routed and which != "all":
            count += len(groups[name].treatments)
    return count


def answering_calls(
    groups: Mapping[str, ArmGroup],
    batch: Batch,
    which: str,
    language_model: Identity,
    surrogates: Mapping[str, Reference],
    routes: Mapping[str, Reference],
) -> Calls:
    """Return the calls of answer_queries for some chunks, all groups of a chunk before the next chunk.

    Args:
        groups: The run's groups of arms.
        batch: The chunks.
        which: The setting `answers`.
        language_model: The model's identity.
        surrogates: The surrogates, by group and chunk.
        routes: What the router chose, by chunk.
    """
    return {
        f"{name}/{number}": {
            "contexts": groups[name].contexts,
            "treatments": groups[name].treatments_by_key,
            "keys": keys,
            "routed_keys": _routed_keys(groups[name], chunk["samples"], routes[number]),
            "samples": chunk["samples"],
            "surrogates": surrogates.get(f"{name}/{number}"),
            "language_model": language_model,
        }
        for number, chunk in batch.items()
        for name, keys in groups_to_ask(groups, which).items()
    }


def _routed_keys(group: ArmGroup, samples: Reference, routes: Reference) -> list[str | None]:
    """Return for each sample what the router chose within a group, None for nothing; an empty list if it is not routed.

    An argument of the task in place of the routes, which change with the texts of other groups.
    """
    if not group.is_routed:
        return []
    family = group.contexts.family
    chosen = {
        route.sample_id: route.key for route in read_rows(routes, Route) if route.is_routed and route.family == family
    }
    return [chosen.get(sample.sample_id) for sample in read_rows(samples, Sample)]


def _answered_by(inputs: Inputs) -> list[str]:
    """Return what a call of answer_queries runs: answering, and the treatments that it names."""
    return ["tasks.priming.answers:answer_family", *functions_of([inputs["treatments"]])]


@task(
    name="answer queries",
    task_run_name="answer queries with {contexts.name} contexts {samples[start]}-{samples[stop]}",
    **stage_options("answers", _answered_by, folder=lambda inputs: inputs["contexts"].family),
)
@without_secrets()
def answer_queries(
    contexts: ContextRule,
    treatments: Mapping[str, Sequence[str]],
    keys: Sequence[str],
    routed_keys: Sequence[str | None],
    samples: Reference,
    surrogates: Reference | None,
    language_model: Identity,
) -> Reference:
    """Let the model answer the queries of a chunk after the contexts of one family that are asked.

    Args:
        contexts: The family's arms and the template of their contexts.
        treatments: Of each arm, by its key, the names of its treatments.
        keys: The arms that are asked on every sample.
        routed_keys: For each sample what the router chose; empty in a family that is not routed.
        samples: The chunk.
        surrogates: The family's surrogates of the chunk; None for a family without.
        language_model: The identity of the model that answers.

    Returns:
        The reference of the answers, with "seconds".
    """
    from tasks.priming.answers import answer_family

    rows = read_rows(samples, Sample)
    answers, seconds = with_language_model(
        answer_family,
        language_model,
        contexts=contexts,
        samples=rows,
        surrogates=read_rows(surrogates, Surrogate) if surrogates else [],
        keys=keys,
        routed_keys=routed_keys,
        treatments=treatments_of(treatments),
    )
    logger = get_run_logger()
    logger.info(
        "wrote %d answers to %d queries with %s contexts in %.1f s", len(answers), len(rows), contexts.name, seconds
    )
    for status in sorted({answer.status for answer in answers} - {"ok"}):
        logger.warning("%d answers are missing: %s", sum(answer.status == status for answer in answers), status)
    return write_rows(answers, AnswerText, f"answers/{contexts.family}") | {"seconds": seconds}
