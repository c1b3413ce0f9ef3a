"""The experiment: six stages in order, chunk by chunk.

Run it without a server by `python -m flows run --profile demo`, or as a deployment by
`prefect deployment run experiment/demo`. Finished chunks are cached: a rerun resumes where the last one stopped.
"""

from typing import Any

from prefect import flow

from tasks.answers import answer_queries, answering_calls
from tasks.loading.redaction import keeps_secrets
from tasks.priming import settings as allowed
from tasks.priming.arms.arms import entries_of
from tasks.priming.settings import resolve_settings
from tasks.report.publishing import publish_results, report_results
from tasks.routing import route_queries, routing_calls
from tasks.run import name_flow_run, recorded_run
from tasks.sampling import draw_samples, drawing_call
from tasks.scoring import check_scoring, checking_call, score_contexts, scoring_calls
from tasks.server.form import with_form
from tasks.server.run_states import report_stopped
from tasks.server.ui_artifacts import concluded, show_results
from tasks.statistics import compute_statistic, forget_rows, preliminary_summary, statistics_calls
from tasks.surrogates import write_surrogates, writing_calls, writing_order


@with_form
@keeps_secrets
@flow(name="experiment", flow_run_name=name_flow_run, on_crashed=[report_stopped], on_failure=[report_stopped])
def experiment(
    profile: allowed.ProfileName = "demo",
    sample_count: allowed.SampleCount | None = None,
    seed: allowed.Seed | None = None,
    families: allowed.Families | None = None,
    controls: allowed.Controls | None = None,
    free_texts: allowed.FreeTexts | None = None,
    treatments: allowed.Treatments | None = None,
    answers: allowed.Answers | None = None,
    arms: allowed.OwnArms | None = None,
    data: allowed.Data | None = None,
    data_config: allowed.DataConfig | None = None,
    data_split: allowed.DataSplit | None = None,
    data_revision: allowed.Revision | None = None,
    columns: allowed.Columns | None = None,
    skip_bad_rows: allowed.SkipBadRows | None = None,
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
    writer_model: allowed.WriterModel | None = None,
    writer_model_revision: allowed.Revision | None = None,
    embedding_model: allowed.EmbeddingModel | None = None,
    embedding_model_revision: allowed.Revision | None = None,
    temperature: allowed.Temperature | None = None,
    top_k: allowed.TopK | None = None,
    max_new_tokens: allowed.NewTokens | None = None,
    chunk_size: allowed.ChunkSize | None = None,
    bootstrap_resamples: allowed.Resamples | None = None,
    confidence_level: allowed.ConfidenceLevel | None = None,
    equivalence_margin: allowed.EquivalenceMargin | None = None,
    answers_margin: allowed.AnswersMargin | None = None,
    workers: allowed.Workers | None = None,
    ray_address: allowed.RayAddress | None = None,
    name: allowed.RunName | None = None,
) -> dict[str, Any]:
    """Measure whether priming a document's KV cache helps.

    Every parameter but `profile` is optional and replaces the profile's value. Outcomes land in
    artifacts/results.duckdb.
    """
    changes = {name: value for name, value in locals().items() if name not in ("profile", *allowed.PLACEMENT)}
    settings = resolve_settings(profile, **changes)
    with recorded_run(profile, settings, name=name, workers=workers, ray_address=ray_address) as run:
        model = run.inputs.language_model
        size = run.chunk_size(chunk_size, settings.sampling.sample_count)
        samples = run.stage("sample", draw_samples, drawing_call(run.inputs.data, settings, size))["all"]
        groups = entries_of(settings, samples["provided_keys"])
        run.record("reject", "all", samples["rejects"])
        run.record("distractor", "all", samples["distractors"])
        run.plan(groups, samples["chunks"], settings.answers)

        made: dict[str, dict[str, Any]] = {"surrogate": {}, "route": {}, "score": {}, "answer_text": {}}
        surrogates, routes, scores, texts = made.values()
        for batch in run.batches(samples["chunks"]):
            for entry in writing_order(groups):
                to_write = run.written_with(batch, samples["chunks"])
                writing = writing_calls(entry, to_write, settings, run.inputs.identity_for(entry[1]), surrogates)
                surrogates |= run.stage("surrogate", write_surrogates, writing)
            routing = routing_calls(groups, batch, run.inputs.embedding_model, surrogates)
            routes |= run.stage("route", route_queries, routing)
            scoring = scoring_calls(groups, batch, model, surrogates)
            scores |= run.stage("score", score_contexts, scoring)
            if answering := answering_calls(groups, batch, settings.answers, model, surrogates, routes):
                texts |= run.stage("answer_text", answer_queries, answering)
            if run.is_preliminary:
                calls = statistics_calls(groups, samples, made, None, settings)
                run.remark(preliminary_summary(calls["comparison"]))

        checking = checking_call(groups, samples, model, surrogates, scores)
        facts = run.stage("run_check", check_scoring, checking)["scoring"]["model"]
        for table, call in statistics_calls(groups, samples, made, facts, settings).items():
            run.stage(table, compute_statistic, {"all": call})
        forget_rows()
    with run.progress.running("publish results") as stage:
        published = publish_results()
        reported = report_results(run.run_id)
        show_results(run.run_id, reported["plots"])
        run.progress.finish(stage, "all")
    return concluded({"run_id": run.run_id, "report": reported["path"], **published})


if __name__ == "__main__":
    from flows.__main__ import enter

    enter("run")
