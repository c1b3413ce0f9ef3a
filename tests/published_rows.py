"""Rows as the stages write them, and runs that hold them: what the tests of the database start from."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from tasks.priming.records import Comparison, Sample, Score, Verdict
from tasks.priming.statistics.verdicts import answers_from
from tasks.store import artifacts, manifests
from tasks.store.tables import TABLES
from tests import run_rows


def score(arm: tuple[str, str, str], nlls: tuple[float, ...] | None) -> Score:
    """Return the score of (sample, family, key) with these NLLs of its answer's tokens; without any it was too long."""
    sample_id, family, key = arm
    return run_rows.score(
        sample_id,
        f"{family}/{key}",
        sum(nlls) / len(nlls) if nlls else None,
        status="ok" if nlls else "too_long",
        token_nlls=nlls,
        nll_notebook=sum(nlls[1:]) / (len(nlls) - 1) if nlls and len(nlls) > 1 else None,
        context_token_count=107,
        query_token_count=16,
        answer_token_count=len(nlls) if nlls else 3,
    )


def comparison(
    arm: str,
    reference: str,
    kind: str = "routed",
    verdict: Verdict = "better",
    question: str | None = "does_priming_help",
    **changes: object,
) -> Comparison:
    """Return a comparison of two hundred pairs, with some fields changed."""
    row = Comparison(
        comparison=f"{arm} vs {reference}",
        question=question,
        subject=arm.partition("/")[0],
        kind=kind,
        arm=arm,
        reference=reference,
        is_optimistic=False,
        n=200,
        excluded_count=1,
        passage_count=150,
        nll_arm_mean=1.0,
        nll_reference_mean=1.5,
        probability_arm_mean=42.5,
        probability_reference_mean=37.5,
        improvement_mean=5.0,
        improvement_error=0.5,
        improvement_low=4.0,
        improvement_high=6.0,
        p_value=0.01,
        interval_method="cluster_robust",
        answer_low=3.0,
        answer_high=7.0,
        answer_p=0.04,
        fdr_p_value=None,
        confidence_level=0.95,
        bca_low=3.9,
        bca_high=6.1,
        cross_fitted_mean=None,
        improvement_median=4.0,
        improvement_trimmed_mean=4.5,
        improvement_sd=2.0,
        cohens_d=2.5,
        cohens_d_low=1.0,
        cohens_d_high=4.0,
        win_count=125,
        tie_count=50,
        loss_count=25,
        t_statistic=3.0,
        t_p_value=0.02,
        wilcoxon_p_value=0.03,
        sign_p_value=0.22,
        equivalence_margin=1.0,
        n_for_precision=3_400,
        verdict=verdict,
    )
    return replace(row, **changes)  # type: ignore[arg-type]


def start(run_id: str) -> manifests.Attempt:
    """Start a run that has recorded nothing yet."""
    settings = {
        "seed": 42,
        "sampling": {"sample_count": 2},
        "data": {"data": "demo"},
        "language_model": {"language_model": "owner/model"},
        "embedding": {"embedding_model": "packaged/all-MiniLM-L6-v2"},
    }
    return manifests.start_run(manifests.RunDescription(run_id=run_id, profile="demo", settings=settings))


def record(attempt: manifests.Attempt, table: str, rows: Sequence[Any], chunk: str = "all") -> dict[str, Any]:
    """Record rows of a table as the artifact of one chunk, and the samples that they belong to."""
    if table != "sample" and rows and hasattr(rows[0], "sample_id"):
        missing = sorted({row.sample_id for row in rows} - _samples(attempt))
        samples = [Sample(name, place, "passage", "query", "answer", None, name) for place, name in enumerate(missing)]
        if samples:
            record(attempt, "sample", samples, f"of {table} {chunk}")
    reference = artifacts.write_rows(rows, TABLES[table].record, table)
    manifests.extend_run(attempt, {table: {chunk: reference}})
    return reference


def _samples(attempt: manifests.Attempt) -> set[str]:
    """Return the ids of the samples that an attempt has recorded."""
    manifest = manifests.read_manifest(attempt.run_id)
    assert manifest
    chunks = [c for c in manifest.artifacts.get("sample", {}).values() if attempt.attempt_id in c.recorded_by]
    return {name for c in chunks for name in artifacts.read_table(c.model_dump())["sample_id"].to_pylist()}


def record_answers(attempt: manifests.Attempt, **tables: Sequence[Any]) -> None:
    """Record comparisons with the answers that they and the run's other rows give, as the statistics do."""
    for table, rows in tables.items():
        record(attempt, table, rows)
    comparisons, measures, contenders = (tables.get(name, ()) for name in ("comparison", "measure", "contender"))
    answers = answers_from(comparisons, measures, contenders)
    record(attempt, "answer", answers)


def finish(run_id: str, **tables: Sequence[Any]) -> None:
    """Complete a run that has some rows, and the answers to what they ask, alone."""
    attempt = start(run_id)
    record_answers(attempt, **tables)
    manifests.finish_run(attempt)
