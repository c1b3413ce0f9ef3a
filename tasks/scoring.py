"""Stage 4, score_contexts: per family and chunk, contexts -> scores; and check_scoring, what the run verifies of it.

In: a chunk of samples, the family's surrogates and the distractors of it, the names of the treatments, the language
model's identity. Out: one parquet file of Score rows (or Check rows). Remembered per family and chunk, so that a crash
loses only the chunk in flight. All treatments of a context are scored together, since it is computed once for them: the
key has their names and their code, that of others not.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from prefect import get_run_logger, task

from tasks.loading.data import Identity
from tasks.loading.redaction import without_secrets
from tasks.priming.arms.arms import ArmGroup
from tasks.priming.arms.contexts import ContextRule
from tasks.priming.arms.treatments import TREATMENTS, Treatment
from tasks.priming.engine.model import LanguageModel
from tasks.priming.records import Check, Distractor, Sample, Score, Surrogate
from tasks.store.artifacts import Reference, open_rows, read_rows, read_rows_of, write_rows
from tasks.store.caching import Batch, Calls, Inputs, parts_by_group, stage_options
from tasks.workers.processes import with_language_model, worker_count

if TYPE_CHECKING:  # torch is not loaded before a model is
    from tasks.priming.scoring_checks import CheckedFamily, SeenFamily

_MANY_SAMPLES = 50

_UNWRITTEN = "A surrogate of the usual length, for counting: some ten words."
"""Stands for a surrogate whose text is not looked at."""


def characters_to_read(group: ArmGroup, samples: Sequence[Sample]) -> int:
    """Return the characters of all contexts, and of queries and answers once for each treatment of a context.

    The work on a chunk is proportional to them.
    """
    rule = group.contexts
    texts = rule.fixed_surrogates or (_UNWRITTEN if rule.has_surrogate else None,) * len(rule.arm_keys)
    framing = sum(len(rule.context("", text)) for text in texts)
    passages = sum(len(sample.passage) for sample in samples)
    continuations = sum(len(sample.query) + len(sample.answer) for sample in samples)
    return len(texts) * passages + framing * len(samples) + condition_count(group) * continuations


def condition_count(group: ArmGroup) -> int:
    """Return the number of conditions of a group: each treatment of each arm."""
    return sum(map(len, group.treatments_by_key.values()))


def treatments_of(names: Mapping[str, Sequence[str]]) -> dict[str, dict[str, Treatment]]:
    """Return the treatments of each arm, by key and name, from their names."""
    return {key: {name: TREATMENTS[name] for name in named} for key, named in names.items()}


def _scored_by(inputs: Inputs) -> list[str]:
    """Return what a call of score_contexts runs: scoring, and the treatments that it names."""
    return ["tasks.priming.scoring:score_family", *functions_of([inputs["treatments"]])]


def _checked_by(inputs: Inputs) -> list[str]:
    """Return what the call of check_scoring runs: the checks, and the treatments of all families."""
    treatments = [names for _, names, _, _ in inputs["families"]]
    return ["tasks.priming.scoring_checks:check_scoring", *functions_of(treatments)]


def functions_of(named: Iterable[Mapping[str, Sequence[str]]]) -> list[str]:
    """Return the functions of all treatments that are named, as "module:function"."""
    names = {name for by_key in named for names in by_key.values() for name in names}
    return [f"{TREATMENTS[name].__module__}:{TREATMENTS[name].__name__}" for name in sorted(names)]


def scoring_calls(
    groups: Mapping[str, ArmGroup], batch: Batch, language_model: Identity, surrogates: Mapping[str, Reference]
) -> Calls:
    """Return the calls of score_contexts for some chunks, all groups of a chunk before the next chunk."""
    return {
        f"{name}/{number}": {
            "contexts": group.contexts,
            "treatments": group.treatments_by_key,
            "samples": chunk["samples"],
            "surrogates": surrogates.get(f"{name}/{number}"),
            "distractors": chunk["distractors"],
            "language_model": language_model,
        }
        for number, chunk in batch.items()
        for name, group in groups.items()
    }


@task(
    name="score contexts",
    task_run_name="score {contexts.name} contexts {samples[start]}-{samples[stop]}",
    **stage_options("scoring", _scored_by, folder=lambda inputs: inputs["contexts"].family),
)
@without_secrets()
def score_contexts(
    contexts: ContextRule,
    treatments: Mapping[str, Sequence[str]],
    samples: Reference,
    surrogates: Reference | None,
    distractors: Reference,
    language_model: Identity,
) -> Reference:
    """Score the gold answers and the distractors of a chunk after every context of one family.

    Args:
        contexts: The family's arms and the template of their contexts.
        treatments: Of each arm, by its key, the names of its treatments.
        samples: The chunk.
        surrogates: The family's surrogates of the chunk; None for a family without.
        distractors: The distractors of the chunk.
        language_model: The identity of the model that reads.

    Returns:
        The reference of the scores, with "seconds".
    """
    from tasks.priming.scoring import score_family

    rows = read_rows(samples, Sample)
    scores, seconds = with_language_model(
        score_family,
        language_model,
        contexts=contexts,
        samples=rows,
        surrogates=read_rows(surrogates, Surrogate) if surrogates else [],
        distractors=read_rows(distractors, Distractor),
        treatments=treatments_of(treatments),
    )
    logger = get_run_logger()
    logger.info("scored %d samples with %s contexts in %.1f s", len(rows), contexts.name, seconds)
    for status in sorted({score.status for score in scores} - {"ok"}):
        logger.warning("%d scores are missing: %s", sum(score.status == status for score in scores), status)
    return write_rows(scores, Score, f"scoring/{contexts.family}") | {"seconds": seconds}


def checking_call(
    groups: Mapping[str, ArmGroup],
    samples: Reference,
    language_model: Identity,
    surrogates: Mapping[str, Reference],
    scores: Mapping[str, Reference],
) -> Calls:
    """Return the one call of check_scoring: one sample of few or two of many, each of which costs a pass per arm."""
    written, scored = parts_by_group(groups, surrogates), parts_by_group(groups, scores)
    families = [
        (group.contexts, group.treatments_by_key, written[name], scored[name]) for name, group in groups.items()
    ]
    by_model = (part for name, group in groups.items() if group.is_written for part in written[name])
    writer = next((part["facts"] for part in by_model), None)
    call = {"families": families, "samples": samples, "language_model": language_model, "writer": writer}
    return {"scoring": call | {"checked_count": 1 if samples["rows"] < _MANY_SAMPLES else 2}}


def _look_again(
    family: "CheckedFamily",
    samples: Sequence[Sample],
    distractors: Sequence[Distractor],
    *,
    language_model: LanguageModel,
) -> "SeenFamily":
    from tasks.priming.scoring_checks import look_again

    return look_again(family, samples, distractors, language_model)


@task(
    name="check scoring",
    task_run_name="check scoring",
    **stage_options("checks", _checked_by),
)
@without_secrets()
def check_scoring(
    families: Sequence[tuple[ContextRule, Mapping[str, Sequence[str]], Sequence[Reference], Sequence[Reference]]],
    samples: Reference,
    language_model: Identity,
    checked_count: int,
    writer: Mapping[str, Any] | None = None,
) -> Reference:
    """Verify on the samples of the highest loss that a cache changes no number and scoring changes no cache.

    Args:
        families: Per family its contexts and their treatments, its surrogates and its scores, those of all chunks; the
            first is baseline.
        samples: The run's samples, with their distractors.
        language_model: The identity of the model that scored.
        checked_count: How many samples.
        writer: The fields of the ModelFacts of the model that wrote surrogates; None: none was written.

    Returns:
        The reference of the checks, with "seconds" and "model", the facts that costs follow from.
    """
    from tasks.priming.scoring_checks import CheckedFamily, choose_checked, judge

    (*_, baseline), *_ = families
    chosen = choose_checked(open_rows(baseline, Score), checked_count)
    looked_at = [
        CheckedFamily(
            contexts,
            read_rows_of(chosen, surrogates, Surrogate),
            read_rows_of(chosen, scores, Score),
            treatments_of(treatments),
        )
        for contexts, treatments, surrogates, scores in families
    ]
    rows = sorted(read_rows_of(chosen, [samples], Sample), key=lambda sample: chosen.index(sample.sample_id))
    wrong = read_rows_of(chosen, [samples["distractors"]], Distractor)
    calls = [partial(_look_again, family, rows, wrong) for family in looked_at]
    with ThreadPoolExecutor(worker_count()) as threads:
        found = [*threads.map(lambda call: with_language_model(call, language_model), calls)]
    seen, seconds = [family for family, _ in found], sum(took for _, took in found)
    checks, facts = judge(seen, len(rows)), seen[0].facts
    logger = get_run_logger()
    for failed in (c for c in checks if c.passed is False):
        logger.error(
            "check failed: %s is %s, limit %s (%s)", failed.name, failed.value, failed.limit_value, failed.detail
        )
    logger.info("verified %d properties of scoring in %.1f s", len(checks), seconds)
    reference = write_rows(checks, Check, "checks")
    return reference | {"seconds": seconds, "model": asdict(facts) | {"writer": writer}}
