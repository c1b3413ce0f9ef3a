"""The experiment: six stages in order, one branch per surrogate family.

Run it without a server by `python -m flows run --profile demo`, or as a deployment by
`prefect deployment run experiment/demo`. What is finished is remembered: a rerun goes on where the last one ended.
"""

from itertools import chain
from typing import Any

from prefect import flow

from tasks.loading.redaction import keeps_secrets
from tasks.priming import settings as allowed
from tasks.priming.arms.arms import entries_of
from tasks.priming.settings import resolve_settings
from tasks.report.publishing import report_results
from tasks.results import publish_results
from tasks.routing import route_queries
from tasks.run import identify_inputs, name_flow_run, recorded_run
from tasks.sampling import distractor_chunk, donor_chunk, draw_samples
from tasks.scoring import check_scoring, score_contexts, scores_to_compute, sensible_check_count
from tasks.server.form import with_form
from tasks.server.ui_artifacts import show_results
from tasks.statistics import compute_statistic, forget_rows, statistics_by_table
from tasks.surrogates import lines_to_write, write_surrogates
from tasks.workers.processes import in_order, working


@with_form
@keeps_secrets
@flow(name="experiment", flow_run_name=name_flow_run)
def experiment(
    profile: allowed.ProfileName = "demo",
    sample_count: allowed.SampleCount | None = None,
    seed: allowed.Seed | None = None,
    families: allowed.Families | None = None,
    controls: allowed.Controls | None = None,
    data: allowed.Data | None = None,
    data_config: allowed.DataConfig | None = None,
    data_split: allowed.DataSplit | None = None,
    data_revision: allowed.Revision | None = None,
    min_words: allowed.Words | None = None,
    max_words: allowed.Words | None = None,
    draw: allowed.Draw | None = None,
    distractor_count: allowed.DistractorCount | None = None,
    language_model: allowed.LanguageModel | None = None,
    language_model_revision: allowed.Revision | None = None,
    dtype: allowed.DType | None = None,
    quantization: allowed.Quantization | None = None,
    device: allowed.Device | None = None,
    first_token: allowed.FirstToken | None = None,
    embedding_model: allowed.EmbeddingModel | None = None,
    embedding_model_revision: allowed.Revision | None = None,
    temperature: allowed.Temperature | None = None,
    top_k: allowed.TopK | None = None,
    max_new_tokens: allowed.NewTokens | None = None,
    chunk_size: allowed.ChunkSize | None = None,
    bootstrap_resamples: allowed.Resamples | None = None,
    confidence_level: allowed.ConfidenceLevel | None = None,
    equivalence_margin: allowed.EquivalenceMargin | None = None,
    workers: allowed.Workers | None = None,
    ray_address: allowed.RayAddress | None = None,
) -> dict[str, Any]:
    """Measure whether priming a document's KV cache helps.

    Every parameter but `profile` is optional and replaces the profile's value. Outcomes land in
    artifacts/results.duckdb.
    """
    changes = {name: value for name, value in locals().items() if name not in ("profile", *allowed.PLACEMENT)}
    settings = resolve_settings(profile, **changes)
    inputs = identify_inputs(settings)
    model = inputs.language_model
    with working(workers, model, ray_address), recorded_run(profile, settings, inputs) as run:
        size = run.chunk_size(chunk_size, settings.sampling.sample_count)
        run.progress.begin("draw samples", [1, 1])
        samples = draw_samples(run.inputs.data, settings.sampling, settings.seed, size)
        run.record("sample", "all", samples)
        run.record("distractor", "all", samples["distractors"])
        chunks = samples["chunks"]

        entries = entries_of(settings)
        written_entries = [name for name, family in entries.items() if family.write]
        written_families = [entries[name] for name in written_entries]
        parts = run.progress.begin("write surrogates", *lines_to_write(written_families, chunks), unit="lines")
        surrogates: dict[str, list[Any]] = {name: [None] * len(chunks) for name in entries}
        for name in written_entries:
            family = entries[name]
            calls = [
                (
                    name,
                    chunk,
                    settings.seed,
                    model if family.needs_language_model else None,
                    settings.generation if family.needs_language_model else None,
                    donor_chunk(samples, number) if family.needs_donors else None,
                    surrogates["generated"][number] if family.needs_generated else None,
                )
                for number, chunk in enumerate(chunks)
            ]
            for number, written in enumerate(in_order(write_surrogates, calls, parts)):
                surrogates[name][number] = run.record("surrogate", f"{name}/{number:04}", written)

        routed = [reference for name, family in entries.items() if family.is_routed for reference in surrogates[name]]
        run.progress.begin("route queries")
        routes = run.record("route", "all", route_queries(samples, routed, run.inputs.embedding_model))

        rules = [family.contexts for family in entries.values()]
        parts = run.progress.begin("score contexts", *scores_to_compute(rules, chunks), unit="scores")
        places = [(name, number) for name in entries for number in range(len(chunks))]
        scorings = in_order(
            score_contexts,
            (
                (entries[name].contexts, chunks[n], surrogates[name][n], distractor_chunk(samples, n), model)
                for name, n in places
            ),
            parts,
        )
        scores: dict[str, list[Any]] = {name: [] for name in entries}
        for (name, number), scored in zip(places, scorings, strict=True):
            scores[name].append(run.record("score", f"{name}/{number:04}", scored))
        texts = {name: [reference for reference in surrogates[name] if reference] for name in entries}
        looked_at = [(family.contexts, texts[name], scores[name]) for name, family in entries.items()]
        run.progress.begin("check scoring")
        count = sensible_check_count(samples["rows"])
        checked = run.record("check", "scoring", check_scoring(looked_at, samples, model, count))

        facts = checked["model"]
        tables = statistics_by_table()
        how = (settings.statistics, settings.seed)
        run.progress.begin("compute statistics", [1] * len(tables))
        for table in tables:
            rows = compute_statistic(
                table, samples, [*chain(*texts.values())], routes, [*chain(*scores.values())], facts, *how
            )
            run.record(table, "all", rows)
        forget_rows()
    run.progress.begin("publish results")
    published = publish_results()
    reported = report_results(run.run_id)
    show_results(run.run_id, reported["plots"])
    run.progress.advance()
    return {"run_id": run.run_id, "report": reported["path"], **published}


if __name__ == "__main__":
    from flows.__main__ import enter

    enter("run")
