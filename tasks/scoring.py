"""Stage 4, score_contexts: per family and chunk, contexts -> scores; and check_scoring, what the run verifies of it.

In: a chunk of samples, the family's surrogates and the distractors of it, the language model's identity. Out: one
parquet file of Score rows (or Check rows). Remembered per family and chunk, so that a crash loses only the chunk in
flight.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from prefect import get_run_logger, task

from tasks.loading.data import Identity
from tasks.loading.redaction import without_secrets
from tasks.priming.arms.contexts import ContextRule
from tasks.priming.engine.model import LanguageModel
from tasks.priming.records import Check, Distractor, Sample, Score, Surrogate
from tasks.store.artifacts import Reference, open_rows, read_rows, read_rows_of, write_rows
from tasks.store.caching import stage_options
from tasks.workers.processes import with_language_model, worker_count

if TYPE_CHECKING:  # torch is not loaded before a model is
    from tasks.priming.scoring_checks import CheckedFamily, SeenFamily

_UNWRITTEN = "A surrogate of the usual length, for counting: some ten words."
"""Stands for a surrogate whose text is not looked at."""


def scores_to_compute(rules: Sequence[ContextRule], chunks: Sequence[Reference]) -> tuple[list[float], int]:
    """Return how much there is to read for each family and chunk, family by family, and how many scores all give.

    Counted in characters of contexts, queries and answers: what tokens are proportional to before a tokenizer is there.
    """
    samples = [read_rows(chunk, Sample) for chunk in chunks]
    lengths = [sum(len(s.passage) + len(s.query) + len(s.answer) for s in chunk) for chunk in samples]
    sizes = []
    for rule in rules:
        texts = rule.fixed_surrogates or (_UNWRITTEN if rule.has_surrogate else None,) * len(rule.arm_keys)
        framing = sum(len(rule.context("", text)) for text in texts)
        sizes += [
            float(len(texts) * length + framing * len(chunk)) for chunk, length in zip(samples, lengths, strict=True)
        ]
    return sizes, sum(len(rule.arm_keys) for rule in rules) * sum(map(len, samples))


@task(
    name="score contexts",
    task_run_name="score {contexts.name} contexts {samples[start]}-{samples[stop]}",
    **stage_options("scoring", "tasks.priming.scoring:score_family", folder=lambda inputs: inputs["contexts"].family),
)
@without_secrets()
def score_contexts(
    contexts: ContextRule,
    samples: Reference,
    surrogates: Reference | None,
    distractors: Reference,
    language_model: Identity,
) -> Reference:
    """Score the gold answers and the distractors of a chunk behind every context of one family.

    Args:
        contexts: The family's arms and the template of their contexts.
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
    )
    logger = get_run_logger()
    logger.info("scored %d samples behind %s in %.1f s", len(rows), contexts.name, seconds)
    for status in sorted({score.status for score in scores} - {"ok"}):
        logger.warning("%d scores are missing: %s", sum(score.status == status for score in scores), status)
    return write_rows(scores, Score, f"scoring/{contexts.family}") | {"seconds": seconds}


def sensible_check_count(sample_count: int) -> int:
    """Return how many samples suffice to see a broken cache or a batch effect; each costs a plain pass per arm."""
    return 1 if sample_count < 50 else 2


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
    **stage_options("checks", "tasks.priming.scoring_checks:check_scoring"),
)
@without_secrets()
def check_scoring(
    families: Sequence[tuple[ContextRule, Sequence[Reference], Sequence[Reference]]],
    samples: Reference,
    language_model: Identity,
    checked_count: int = 2,
) -> Reference:
    """Verify on the samples of the highest loss that a cache changes no number and scoring changes no cache.

    Args:
        families: Per family its contexts, its surrogates and its scores, those of all chunks; the first is baseline.
        samples: The run's samples, with their distractors.
        language_model: The identity of the model that scored.
        checked_count: How many samples.

    Returns:
        The reference of the checks, with "seconds" and "model", the facts that costs follow from.
    """
    from tasks.priming.scoring_checks import CheckedFamily, choose_checked, judge

    (_, _, baseline), *_ = families
    chosen = choose_checked(open_rows(baseline, Score), checked_count)
    looked_at = [
        CheckedFamily(contexts, read_rows_of(chosen, surrogates, Surrogate), read_rows_of(chosen, scores, Score))
        for contexts, surrogates, scores in families
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
    return reference | {"seconds": seconds, "model": asdict(facts)}
