-- The database artifacts/results.duckdb: one row a record, and the questions as views.
-- It is derived: tasks/results.py rebuilds it whole from the run manifests and parquet files, so nothing here migrates.
-- Tables of records have the fields of the class of the same name in tasks/priming/records.py, behind run_id.

CREATE TABLE run (
    run_id TEXT NOT NULL,
    profile TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'complete', 'failed', 'incomplete')),
    seed BIGINT,
    sample_count BIGINT,
    data TEXT,
    language_model TEXT,
    embedding_model TEXT,
    parameter_count BIGINT,
    dtype TEXT,
    quantization TEXT,
    device TEXT,
    numeric_path TEXT,
    row_count BIGINT,
    eligible_count BIGINT,
    drawn_count BIGINT,
    seconds DOUBLE CHECK (isfinite(seconds)),
    started_at TIMESTAMP,
    ended_at TIMESTAMP,
    settings TEXT NOT NULL,
    versions TEXT NOT NULL,
    data_identity TEXT NOT NULL,
    language_model_identity TEXT NOT NULL,
    embedding_model_identity TEXT NOT NULL,
    funnel TEXT,
    stage_seconds TEXT NOT NULL,
    PRIMARY KEY (run_id)
);

COMMENT ON TABLE run IS 'One experiment: settings and inputs, however often it was executed.';
COMMENT ON COLUMN run.run_id IS 'Hash of the settings and the inputs.';
COMMENT ON COLUMN run.profile IS 'Profile that the settings started from.';
COMMENT ON COLUMN run.status IS 'running; complete; failed; incomplete (it completed, but an artifact has since gone: see table check, and start the run again). Conclusions come from complete runs only.';
COMMENT ON COLUMN run.seed IS 'Seed of every random draw.';
COMMENT ON COLUMN run.sample_count IS 'Samples asked for.';
COMMENT ON COLUMN run.data IS 'Data set: a known name, an id on the hub or a file.';
COMMENT ON COLUMN run.language_model IS 'The model that writes surrogates and scores answers: a hub id or a folder.';
COMMENT ON COLUMN run.embedding_model IS 'The sentence-embedding model that routes.';
COMMENT ON COLUMN run.parameter_count IS 'Parameters of the language model.';
COMMENT ON COLUMN run.dtype IS 'Number format of the language model''s weights, or of its arithmetic where they are quantised.';
COMMENT ON COLUMN run.quantization IS 'none, or how the language model''s weights are quantised.';
COMMENT ON COLUMN run.device IS 'Where the models ran.';
COMMENT ON COLUMN run.numeric_path IS 'How the numbers were computed: what decides whether bits repeat.';
COMMENT ON COLUMN run.row_count IS 'Rows of the data set that were read.';
COMMENT ON COLUMN run.eligible_count IS 'Rows that could be samples.';
COMMENT ON COLUMN run.drawn_count IS 'Samples that were drawn.';
COMMENT ON COLUMN run.seconds IS 'What the computations of all stages took (seconds), remembered ones included.';
COMMENT ON COLUMN run.started_at IS 'Start of the latest attempt (UTC).';
COMMENT ON COLUMN run.ended_at IS 'End of the latest attempt (UTC); NULL while it runs or if it was killed.';
COMMENT ON COLUMN run.settings IS 'All settings (JSON).';
COMMENT ON COLUMN run.versions IS 'Version of each library that numbers depend on (JSON).';
COMMENT ON COLUMN run.data_identity IS 'What identifies the data set, e.g. revision or sha256 (JSON).';
COMMENT ON COLUMN run.language_model_identity IS 'What identifies the language model, e.g. revision or sha256 (JSON).';
COMMENT ON COLUMN run.embedding_model_identity IS 'What identifies the embedding model, e.g. revision or sha256 (JSON).';
COMMENT ON COLUMN run.funnel IS 'How rows became samples (JSON); the rejected ones are table reject.';
COMMENT ON COLUMN run.stage_seconds IS 'What each stage''s computation took (JSON, seconds).';

CREATE TABLE reject (
    run_id TEXT NOT NULL,
    reason TEXT NOT NULL,
    "count" BIGINT NOT NULL CHECK ("count" >= 0),
    PRIMARY KEY (run_id, reason)
);

COMMENT ON TABLE reject IS 'Rows of the data set that did not become samples: the funnel.';
COMMENT ON COLUMN reject.run_id IS 'The run.';
COMMENT ON COLUMN reject.reason IS 'Why the row could not be a sample.';
COMMENT ON COLUMN reject."count" IS 'Rows dropped for this reason.';

CREATE TABLE attempt (
    run_id TEXT NOT NULL,
    attempt_id TEXT NOT NULL,
    flow_run_id TEXT,
    status TEXT NOT NULL,
    started_at TIMESTAMP NOT NULL,
    ended_at TIMESTAMP,
    error TEXT,
    PRIMARY KEY (run_id, attempt_id)
);

COMMENT ON TABLE attempt IS 'One execution of a run.';
COMMENT ON COLUMN attempt.run_id IS 'The run.';
COMMENT ON COLUMN attempt.attempt_id IS 'The execution.';
COMMENT ON COLUMN attempt.flow_run_id IS 'Prefect''s id of the execution.';
COMMENT ON COLUMN attempt.status IS 'running, complete, failed, or interrupted (still running when the next one started: presumably killed).';
COMMENT ON COLUMN attempt.started_at IS 'Start (UTC).';
COMMENT ON COLUMN attempt.ended_at IS 'End (UTC); NULL while it runs or if it was killed.';
COMMENT ON COLUMN attempt.error IS 'Why it failed.';

CREATE TABLE sample (
    run_id TEXT NOT NULL,
    sample_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    passage TEXT NOT NULL,
    query TEXT NOT NULL,
    answer TEXT NOT NULL,
    query_type TEXT,
    passage_id TEXT NOT NULL,
    PRIMARY KEY (run_id, sample_id)
);

COMMENT ON TABLE sample IS 'One query with its gold answer and the passage that answers it.';
COMMENT ON COLUMN sample.run_id IS 'The run.';
COMMENT ON COLUMN sample.sample_id IS 'Hash of passage, query and answer: the same text has the same id in every data set and run.';
COMMENT ON COLUMN sample.position IS 'Row number in the data set, from 0.';
COMMENT ON COLUMN sample.passage IS 'The document whose cache is built.';
COMMENT ON COLUMN sample.query IS 'What the user asked.';
COMMENT ON COLUMN sample.answer IS 'The gold answer that is scored.';
COMMENT ON COLUMN sample.query_type IS 'The data set''s own label of the query, where it has one.';
COMMENT ON COLUMN sample.passage_id IS 'Hash of the passage: the cluster for standard errors.';

CREATE TABLE surrogate (
    run_id TEXT NOT NULL,
    sample_id TEXT NOT NULL,
    family TEXT NOT NULL,
    key TEXT NOT NULL,
    text TEXT NOT NULL,
    raw_text TEXT NOT NULL,
    token_count BIGINT NOT NULL CHECK (token_count >= 0),
    finish TEXT NOT NULL,
    is_over_word_limit BOOLEAN NOT NULL,
    is_query BOOLEAN NOT NULL,
    has_stray_marks BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, sample_id, family, key)
);

COMMENT ON TABLE surrogate IS 'One guess of the query, written before the query is known.';
COMMENT ON COLUMN surrogate.run_id IS 'The run.';
COMMENT ON COLUMN surrogate.sample_id IS 'The sample whose passage it stands before.';
COMMENT ON COLUMN surrogate.family IS 'The arm''s family.';
COMMENT ON COLUMN surrogate.key IS 'The arm''s key within the family.';
COMMENT ON COLUMN surrogate.text IS 'The text that goes into the template; empty where the model wrote nothing.';
COMMENT ON COLUMN surrogate.raw_text IS 'What the model wrote before post-processing; the text itself for a fixed phrase.';
COMMENT ON COLUMN surrogate.token_count IS 'Tokens that the model generated for it, the stop token included; 0 for a fixed phrase.';
COMMENT ON COLUMN surrogate.finish IS 'Why writing ended: stop (end of line or of text), length (the token limit), fixed (nothing was generated).';
COMMENT ON COLUMN surrogate.is_over_word_limit IS 'Whether it has more words than its instruction allows.';
COMMENT ON COLUMN surrogate.is_query IS 'Whether it equals the user''s query but for case and space: the answerer would have seen the question.';
COMMENT ON COLUMN surrogate.has_stray_marks IS 'Whether it carries quotes or an explanation that nobody types into a search box.';

CREATE TABLE route (
    run_id TEXT NOT NULL,
    sample_id TEXT NOT NULL,
    family TEXT NOT NULL,
    key TEXT NOT NULL,
    similarity DOUBLE CHECK (isfinite(similarity)),
    is_routed BOOLEAN NOT NULL,
    is_tie BOOLEAN NOT NULL,
    PRIMARY KEY (run_id, sample_id, family, key)
);

COMMENT ON TABLE route IS 'How similar each surrogate is to the query, and which one the router chose.';
COMMENT ON COLUMN route.run_id IS 'The run.';
COMMENT ON COLUMN route.sample_id IS 'The sample.';
COMMENT ON COLUMN route.family IS 'The family within which the router chooses.';
COMMENT ON COLUMN route.key IS 'The arm''s key within the family.';
COMMENT ON COLUMN route.similarity IS 'Cosine similarity of the two sentence embeddings; NULL for an empty surrogate.';
COMMENT ON COLUMN route.is_routed IS 'Whether this arm has the highest similarity of its family; true for exactly one key, or for none if all are empty.';
COMMENT ON COLUMN route.is_tie IS 'Whether another key of the family has the same similarity to the last bit (the first key then wins).';

CREATE TABLE score (
    run_id TEXT NOT NULL,
    sample_id TEXT NOT NULL,
    family TEXT NOT NULL,
    key TEXT NOT NULL,
    status TEXT NOT NULL,
    token_nlls FLOAT[],
    nll DOUBLE CHECK (isfinite(nll)),
    nll_notebook DOUBLE CHECK (isfinite(nll_notebook)),
    context_token_count BIGINT NOT NULL CHECK (context_token_count >= 0),
    query_token_count BIGINT NOT NULL CHECK (query_token_count >= 0),
    answer_token_count BIGINT NOT NULL CHECK (answer_token_count >= 0),
    PRIMARY KEY (run_id, sample_id, family, key),
    CHECK ((status = 'ok') = (nll IS NOT NULL)),
    CHECK (status <> 'ok' OR len(token_nlls) = answer_token_count)
);

COMMENT ON TABLE score IS 'Negative log-likelihood (NLL) of the gold answer, read from the KV cache of one arm''s context.';
COMMENT ON COLUMN score.run_id IS 'The run.';
COMMENT ON COLUMN score.sample_id IS 'The sample.';
COMMENT ON COLUMN score.family IS 'The arm''s family.';
COMMENT ON COLUMN score.key IS 'The arm''s key within the family.';
COMMENT ON COLUMN score.status IS 'ok; too_long (context and continuation exceed the model''s window), no_answer_tokens, not_finite (the model gave NaN or infinity) or out_of_memory (even alone). Anything but ok has no NLL and is excluded pairwise.';
COMMENT ON COLUMN score.token_nlls IS 'Nats for every answer token, the first included, in order; NULL unless status is ok or not_finite.';
COMMENT ON COLUMN score.nll IS 'Mean of token_nlls (nats per answer token): the metric of record.';
COMMENT ON COLUMN score.nll_notebook IS 'Mean over all tokens but the first, which is what the notebook''s code computes; NULL for a one-token answer.';
COMMENT ON COLUMN score.context_token_count IS 'Tokens of the context, BOS included: what the KV cache holds.';
COMMENT ON COLUMN score.query_token_count IS 'Tokens of the query prompt.';
COMMENT ON COLUMN score.answer_token_count IS 'Tokens of the answer.';

CREATE TABLE comparison (
    run_id TEXT NOT NULL,
    comparison TEXT NOT NULL,
    kind TEXT NOT NULL,
    arm TEXT NOT NULL,
    reference TEXT NOT NULL,
    is_optimistic BOOLEAN NOT NULL,
    n BIGINT NOT NULL CHECK (n >= 0),
    excluded_count BIGINT NOT NULL CHECK (excluded_count >= 0),
    passage_count BIGINT NOT NULL CHECK (passage_count >= 0),
    nll_arm_mean DOUBLE CHECK (isfinite(nll_arm_mean)),
    nll_reference_mean DOUBLE CHECK (isfinite(nll_reference_mean)),
    improvement_mean DOUBLE CHECK (isfinite(improvement_mean)),
    improvement_median DOUBLE CHECK (isfinite(improvement_median)),
    improvement_sd DOUBLE CHECK (isfinite(improvement_sd)),
    improvement_low DOUBLE CHECK (isfinite(improvement_low)),
    improvement_high DOUBLE CHECK (isfinite(improvement_high)),
    interval_method TEXT NOT NULL,
    confidence_level DOUBLE NOT NULL CHECK (confidence_level > 0 AND confidence_level < 1),
    cohens_d DOUBLE CHECK (isfinite(cohens_d)),
    cohens_d_low DOUBLE CHECK (isfinite(cohens_d_low)),
    cohens_d_high DOUBLE CHECK (isfinite(cohens_d_high)),
    win_count BIGINT NOT NULL,
    tie_count BIGINT NOT NULL,
    loss_count BIGINT NOT NULL,
    t_statistic DOUBLE CHECK (isfinite(t_statistic)),
    t_p_value DOUBLE CHECK (t_p_value BETWEEN 0 AND 1),
    wilcoxon_p_value DOUBLE CHECK (wilcoxon_p_value BETWEEN 0 AND 1),
    p_value DOUBLE CHECK (p_value BETWEEN 0 AND 1),
    p_holm DOUBLE CHECK (p_holm BETWEEN 0 AND 1),
    holm_family TEXT,
    verdict TEXT NOT NULL,
    PRIMARY KEY (run_id, comparison),
    CHECK (win_count + tie_count + loss_count = n),
    CHECK (improvement_low <= improvement_high)
);

COMMENT ON TABLE comparison IS 'One paired comparison: improvement = NLL(reference) - NLL(arm), so that positive means the arm is better.';
COMMENT ON COLUMN comparison.run_id IS 'The run.';
COMMENT ON COLUMN comparison.comparison IS 'Readable name, e.g. generated routed vs baseline.';
COMMENT ON COLUMN comparison.kind IS 'routed, between_families, fixed_arm, routing, control or oracle.';
COMMENT ON COLUMN comparison.arm IS 'The condition in question, e.g. generated/routed.';
COMMENT ON COLUMN comparison.reference IS 'What it is compared with, e.g. baseline/document.';
COMMENT ON COLUMN comparison.is_optimistic IS 'True for oracles: the minimum of several noisy scores is better than its parts by construction.';
COMMENT ON COLUMN comparison.n IS 'Sample pairs in which both scores are finite.';
COMMENT ON COLUMN comparison.excluded_count IS 'Pairs left out because one of the two scores is missing or not finite.';
COMMENT ON COLUMN comparison.passage_count IS 'Distinct passages among the pairs: the clusters.';
COMMENT ON COLUMN comparison.nll_arm_mean IS 'Mean NLL of the arm (nats per answer token).';
COMMENT ON COLUMN comparison.nll_reference_mean IS 'Mean NLL of the reference (nats per answer token).';
COMMENT ON COLUMN comparison.improvement_mean IS 'Mean improvement (nats per answer token).';
COMMENT ON COLUMN comparison.improvement_median IS 'Median improvement (nats per answer token).';
COMMENT ON COLUMN comparison.improvement_sd IS 'Standard deviation of the improvements (n - 1); NULL for fewer than two pairs.';
COMMENT ON COLUMN comparison.improvement_low IS 'Lower end of the confidence interval of the mean.';
COMMENT ON COLUMN comparison.improvement_high IS 'Upper end of the confidence interval of the mean.';
COMMENT ON COLUMN comparison.interval_method IS 'How the interval was computed: bca, cluster_robust, constant (all improvements are equal) or none.';
COMMENT ON COLUMN comparison.confidence_level IS 'Nominal coverage of the interval, e.g. 0.95.';
COMMENT ON COLUMN comparison.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN comparison.cohens_d_low IS 'Lower end of the interval of d.';
COMMENT ON COLUMN comparison.cohens_d_high IS 'Upper end of the interval of d.';
COMMENT ON COLUMN comparison.win_count IS 'Pairs in which the arm is strictly better.';
COMMENT ON COLUMN comparison.tie_count IS 'Pairs with exactly equal scores.';
COMMENT ON COLUMN comparison.loss_count IS 'Pairs in which the arm is strictly worse.';
COMMENT ON COLUMN comparison.t_statistic IS 'Paired t statistic.';
COMMENT ON COLUMN comparison.t_p_value IS 'Two-sided p-value of the paired t-test (descriptive: it takes the pairs as independent).';
COMMENT ON COLUMN comparison.wilcoxon_p_value IS 'Two-sided p-value of the Wilcoxon signed-rank test (descriptive).';
COMMENT ON COLUMN comparison.p_value IS 'Two-sided p-value of the mean with errors clustered by passage: the one the verdict uses.';
COMMENT ON COLUMN comparison.p_holm IS 'p_value after Holm''s adjustment over holm_family; NULL for oracles.';
COMMENT ON COLUMN comparison.holm_family IS 'The declared set of comparisons that p_holm corrects for.';
COMMENT ON COLUMN comparison.verdict IS 'What this comparison alone says: better, worse, no difference shown, or undecided with the reason.';

CREATE TABLE "check" (
    run_id TEXT NOT NULL,
    chunk TEXT NOT NULL,
    name TEXT NOT NULL,
    value DOUBLE,
    "limit" DOUBLE,
    passed BOOLEAN,
    detail TEXT NOT NULL,
    PRIMARY KEY (run_id, chunk, name)
);

COMMENT ON TABLE "check" IS 'One property that a run verified about itself, or an artifact of it that could not be loaded (quote the name: FROM "check").';
COMMENT ON COLUMN "check".run_id IS 'The run.';
COMMENT ON COLUMN "check".chunk IS 'The part of the run that was checked.';
COMMENT ON COLUMN "check".name IS 'What was checked, e.g. cache_equals_plain_pass; artifacts_are_intact where a file has gone.';
COMMENT ON COLUMN "check".value IS 'What was measured; NULL where it could not be.';
COMMENT ON COLUMN "check"."limit" IS 'The largest value that passes.';
COMMENT ON COLUMN "check".passed IS 'Whether the value is within its limit; NULL where the property is recorded but not promised.';
COMMENT ON COLUMN "check".detail IS 'On how many samples and arms, and in what unit; or what is wrong with which file.';

CREATE VIEW outcome AS
SELECT
    score.run_id,
    score.sample_id,
    score.family,
    score.key,
    score.status,
    score.nll,
    score.nll_notebook,
    baseline.nll - score.nll AS improvement,
    route.similarity,
    route.is_routed,
    score.context_token_count,
    score.answer_token_count
FROM score
LEFT JOIN score AS baseline
    ON baseline.run_id = score.run_id
    AND baseline.sample_id = score.sample_id
    AND baseline.family = 'baseline'
    AND baseline.key = 'document'
LEFT JOIN route
    ON route.run_id = score.run_id
    AND route.sample_id = score.sample_id
    AND route.family = score.family
    AND route.key = score.key;

COMMENT ON VIEW outcome IS 'One row per sample and arm: its NLL, what it gains over the baseline, and whether the router chose it. Runs that are not complete are included.';
COMMENT ON COLUMN outcome.run_id IS 'The run.';
COMMENT ON COLUMN outcome.sample_id IS 'The sample.';
COMMENT ON COLUMN outcome.family IS 'The arm''s family.';
COMMENT ON COLUMN outcome.key IS 'The arm''s key within the family.';
COMMENT ON COLUMN outcome.status IS 'Of the score: ok, or why there is no NLL.';
COMMENT ON COLUMN outcome.nll IS 'Mean NLL over all answer tokens (nats per answer token).';
COMMENT ON COLUMN outcome.nll_notebook IS 'Mean NLL over all answer tokens but the first, as the notebook computes it.';
COMMENT ON COLUMN outcome.improvement IS 'Baseline NLL - this NLL (nats per answer token): positive is better than the baseline. NULL where either is missing.';
COMMENT ON COLUMN outcome.similarity IS 'Cosine similarity of surrogate and query; NULL for an arm without a surrogate to route to.';
COMMENT ON COLUMN outcome.is_routed IS 'Whether the router chose this arm within its family; NULL for an arm that it does not choose from.';
COMMENT ON COLUMN outcome.context_token_count IS 'Tokens of the context, BOS included: what the KV cache holds.';
COMMENT ON COLUMN outcome.answer_token_count IS 'Tokens of the answer.';

CREATE VIEW does_priming_help AS
SELECT
    comparison.run_id,
    comparison.comparison,
    comparison.n,
    comparison.improvement_mean,
    comparison.improvement_low,
    comparison.improvement_high,
    comparison.interval_method,
    comparison.cohens_d,
    comparison.p_value,
    comparison.p_holm,
    comparison.win_count / nullif(comparison.n, 0) AS win_rate,
    comparison.tie_count / nullif(comparison.n, 0) AS tie_rate,
    comparison.verdict,
    CASE
        WHEN bare_document.verdict IS NULL OR random_words.verdict IS NULL THEN 'undecided: controls not run'
        WHEN 'worse' IN (comparison.verdict, bare_document.verdict) THEN 'no'
        WHEN comparison.verdict <> 'better' THEN 'undecided: not shown to be better than the baseline'
        WHEN bare_document.verdict <> 'better' THEN 'undecided: not shown to be better than the bare document'
        WHEN random_words.verdict <> 'better' THEN 'any text helps, its content does not'
        ELSE 'yes'
    END AS answer
FROM comparison
JOIN run
    ON run.run_id = comparison.run_id
LEFT JOIN comparison AS bare_document
    ON bare_document.run_id = comparison.run_id
    AND bare_document.kind = 'routed'
    AND bare_document.arm = comparison.arm
    AND bare_document.reference = 'control/bare_document'
LEFT JOIN comparison AS random_words
    ON random_words.run_id = comparison.run_id
    AND random_words.kind = 'routed'
    AND random_words.arm = comparison.arm
    AND random_words.reference = 'control/random_words'
WHERE run.status = 'complete'
    AND comparison.kind = 'routed'
    AND comparison.reference = 'baseline/document'
ORDER BY
    run.started_at DESC,
    run.run_id,
    comparison.comparison;

COMMENT ON VIEW does_priming_help IS 'Does a routed surrogate beat no surrogate? One row per family of each complete run, the newest run first.';
COMMENT ON COLUMN does_priming_help.run_id IS 'The run.';
COMMENT ON COLUMN does_priming_help.comparison IS 'What is compared with what.';
COMMENT ON COLUMN does_priming_help.n IS 'Sample pairs in which both scores are finite.';
COMMENT ON COLUMN does_priming_help.improvement_mean IS 'Mean improvement over the baseline (nats per answer token): positive is better.';
COMMENT ON COLUMN does_priming_help.improvement_low IS 'Lower end of the confidence interval of the mean.';
COMMENT ON COLUMN does_priming_help.improvement_high IS 'Upper end of the confidence interval of the mean.';
COMMENT ON COLUMN does_priming_help.interval_method IS 'How the interval was computed.';
COMMENT ON COLUMN does_priming_help.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN does_priming_help.p_value IS 'Two-sided p-value of the mean with errors clustered by passage.';
COMMENT ON COLUMN does_priming_help.p_holm IS 'p_value after Holm''s adjustment.';
COMMENT ON COLUMN does_priming_help.win_rate IS 'Share of pairs in which the routed arm is strictly better.';
COMMENT ON COLUMN does_priming_help.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN does_priming_help.verdict IS 'What this comparison alone says.';
COMMENT ON COLUMN does_priming_help.answer IS 'Of the question: yes only if the routed arm beats the baseline and the bare document; without content if it does not also beat random words; undecided without these controls, since a gain over the baseline may be repaired framing.';

CREATE VIEW is_generated_better_than_static AS
SELECT
    comparison.run_id,
    comparison.comparison,
    comparison.n,
    comparison.improvement_mean,
    comparison.improvement_low,
    comparison.improvement_high,
    comparison.interval_method,
    comparison.cohens_d,
    comparison.p_value,
    comparison.p_holm,
    comparison.win_count / nullif(comparison.n, 0) AS win_rate,
    comparison.tie_count / nullif(comparison.n, 0) AS tie_rate,
    comparison.verdict,
    CASE
        WHEN NOT EXISTS (
            SELECT 1
            FROM score
            WHERE score.run_id = comparison.run_id
                AND score.family = 'control'
        ) THEN 'undecided: controls not run'
        WHEN comparison.verdict = 'better' THEN 'yes'
        WHEN comparison.verdict = 'worse' THEN 'no'
        ELSE 'undecided: ' || replace(comparison.verdict, 'undecided: ', '')
    END AS answer
FROM comparison
JOIN run
    ON run.run_id = comparison.run_id
WHERE run.status = 'complete'
    AND comparison.kind = 'between_families'
    AND comparison.arm = 'generated/routed'
    AND comparison.reference = 'static/routed'
ORDER BY
    run.started_at DESC,
    run.run_id,
    comparison.comparison;

COMMENT ON VIEW is_generated_better_than_static IS 'Does the surrogate that a language model wrote beat the fixed phrase, each routed within its family? One row per complete run, the newest first.';
COMMENT ON COLUMN is_generated_better_than_static.run_id IS 'The run.';
COMMENT ON COLUMN is_generated_better_than_static.comparison IS 'What is compared with what.';
COMMENT ON COLUMN is_generated_better_than_static.n IS 'Sample pairs in which both scores are finite.';
COMMENT ON COLUMN is_generated_better_than_static.improvement_mean IS 'Mean improvement of generated over static (nats per answer token): positive is better.';
COMMENT ON COLUMN is_generated_better_than_static.improvement_low IS 'Lower end of the confidence interval of the mean.';
COMMENT ON COLUMN is_generated_better_than_static.improvement_high IS 'Upper end of the confidence interval of the mean.';
COMMENT ON COLUMN is_generated_better_than_static.interval_method IS 'How the interval was computed.';
COMMENT ON COLUMN is_generated_better_than_static.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN is_generated_better_than_static.p_value IS 'Two-sided p-value of the mean with errors clustered by passage.';
COMMENT ON COLUMN is_generated_better_than_static.p_holm IS 'p_value after Holm''s adjustment.';
COMMENT ON COLUMN is_generated_better_than_static.win_rate IS 'Share of pairs in which generated is strictly better.';
COMMENT ON COLUMN is_generated_better_than_static.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN is_generated_better_than_static.verdict IS 'What this comparison alone says.';
COMMENT ON COLUMN is_generated_better_than_static.answer IS 'Of the question: the verdict, once the controls have been run.';

CREATE VIEW does_the_content_matter AS
SELECT
    comparison.run_id,
    CASE
        WHEN comparison.arm = 'baseline/document' AND comparison.reference = 'control/bare_document' THEN 'What does the framing do to a document without a surrogate?'
        WHEN comparison.arm = 'control/repeated_baseline' AND comparison.reference = 'baseline/document' THEN 'How much is noise? (exactly 0 where scores do not depend on the batch)'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/blank_surrogate' THEN 'What does the surrogate add to the template without one?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/random_words' THEN 'What does it add to random words?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/shuffled_surrogate' THEN 'What does the order of its words add?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/other_document' THEN 'What does it add that it is about this passage?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/actual_query' THEN 'How far is it from a perfect guess? (negative: so far behind)'
        WHEN comparison.arm = 'control/hidden_surrogate' AND comparison.reference = 'control/blank_surrogate' THEN 'What do the passage''s representations gain from it, if the query does not see it?'
        WHEN comparison.arm = 'control/blind_passage' AND comparison.reference = 'control/blank_surrogate' THEN 'What does the query gain from reading it, if the passage does not see it?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/hidden_surrogate' THEN 'What does the query''s sight of it add to the passage''s?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/blind_passage' THEN 'What does the passage''s sight of it add to the query''s?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/hidden_and_blind_added_up' THEN 'Do the two gains do more together than added up? (their interaction)'
    END AS question,
    comparison.comparison,
    comparison.n,
    comparison.improvement_mean,
    comparison.improvement_low,
    comparison.improvement_high,
    comparison.interval_method,
    comparison.cohens_d,
    comparison.p_value,
    comparison.p_holm,
    comparison.win_count / nullif(comparison.n, 0) AS win_rate,
    comparison.tie_count / nullif(comparison.n, 0) AS tie_rate,
    comparison.verdict
FROM comparison
JOIN run
    ON run.run_id = comparison.run_id
WHERE run.status = 'complete'
    AND comparison.kind = 'control'
ORDER BY
    run.started_at DESC,
    run.run_id,
    comparison.comparison;

COMMENT ON VIEW does_the_content_matter IS 'What is a gain made of: framing, any text, words, their order, the passage they are about? One row per control question of each complete run, the newest run first.';
COMMENT ON COLUMN does_the_content_matter.run_id IS 'The run.';
COMMENT ON COLUMN does_the_content_matter.question IS 'What the comparison tells.';
COMMENT ON COLUMN does_the_content_matter.comparison IS 'What is compared with what.';
COMMENT ON COLUMN does_the_content_matter.n IS 'Sample pairs in which both scores are finite.';
COMMENT ON COLUMN does_the_content_matter.improvement_mean IS 'Mean NLL of the reference - mean NLL of the arm (nats per answer token): positive where the arm is better.';
COMMENT ON COLUMN does_the_content_matter.improvement_low IS 'Lower end of the confidence interval of the mean.';
COMMENT ON COLUMN does_the_content_matter.improvement_high IS 'Upper end of the confidence interval of the mean.';
COMMENT ON COLUMN does_the_content_matter.interval_method IS 'How the interval was computed.';
COMMENT ON COLUMN does_the_content_matter.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN does_the_content_matter.p_value IS 'Two-sided p-value of the mean with errors clustered by passage.';
COMMENT ON COLUMN does_the_content_matter.p_holm IS 'p_value after Holm''s adjustment over the control comparisons of the run.';
COMMENT ON COLUMN does_the_content_matter.win_rate IS 'Share of pairs in which the arm is strictly better.';
COMMENT ON COLUMN does_the_content_matter.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN does_the_content_matter.verdict IS 'What this comparison alone says.';

CREATE VIEW does_routing_help AS
SELECT
    comparison.run_id,
    split_part(comparison.arm, '/', 1) AS family,
    split_part(comparison.reference, '/', 1) AS reference_family,
    CASE split_part(comparison.reference, '/', 2)
        WHEN 'mean_of_keys' THEN 'a key drawn at random'
        WHEN 'best_key' THEN 'the one key that is best on other passages'
        WHEN 'document' THEN 'the best of all keys, known afterwards, over the baseline'
    END AS instead,
    comparison.comparison,
    comparison.is_optimistic,
    comparison.n,
    comparison.improvement_mean,
    comparison.improvement_low,
    comparison.improvement_high,
    comparison.interval_method,
    comparison.cohens_d,
    comparison.p_value,
    comparison.p_holm,
    comparison.win_count / nullif(comparison.n, 0) AS win_rate,
    comparison.tie_count / nullif(comparison.n, 0) AS tie_rate,
    comparison.verdict
FROM comparison
JOIN run
    ON run.run_id = comparison.run_id
WHERE run.status = 'complete'
    AND comparison.kind IN ('routing', 'oracle')
ORDER BY
    run.started_at DESC,
    run.run_id,
    comparison.comparison;

COMMENT ON VIEW does_routing_help IS 'Does routing by similarity beat a key drawn at random, and the one key that is best on other passages? One row per comparison of each complete run, the newest run first.';
COMMENT ON COLUMN does_routing_help.run_id IS 'The run.';
COMMENT ON COLUMN does_routing_help.family IS 'The family that is routed.';
COMMENT ON COLUMN does_routing_help.reference_family IS 'The family that the other key is of.';
COMMENT ON COLUMN does_routing_help.instead IS 'What is done in place of routing.';
COMMENT ON COLUMN does_routing_help.comparison IS 'What is compared with what.';
COMMENT ON COLUMN does_routing_help.is_optimistic IS 'True for oracles: the best of several noisy scores is better than its parts by construction.';
COMMENT ON COLUMN does_routing_help.n IS 'Sample pairs in which both scores are finite.';
COMMENT ON COLUMN does_routing_help.improvement_mean IS 'Mean NLL of the reference - mean NLL of the arm (nats per answer token): positive where the arm is better.';
COMMENT ON COLUMN does_routing_help.improvement_low IS 'Lower end of the confidence interval of the mean.';
COMMENT ON COLUMN does_routing_help.improvement_high IS 'Upper end of the confidence interval of the mean.';
COMMENT ON COLUMN does_routing_help.interval_method IS 'How the interval was computed.';
COMMENT ON COLUMN does_routing_help.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN does_routing_help.p_value IS 'Two-sided p-value of the mean with errors clustered by passage.';
COMMENT ON COLUMN does_routing_help.p_holm IS 'p_value after Holm''s adjustment over the routing comparisons of the run.';
COMMENT ON COLUMN does_routing_help.win_rate IS 'Share of pairs in which the arm is strictly better.';
COMMENT ON COLUMN does_routing_help.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN does_routing_help.verdict IS 'What this comparison alone says.';

CREATE VIEW run_summary AS
SELECT
    run.run_id,
    run.profile,
    run.status,
    run.data,
    run.language_model,
    run.embedding_model,
    run.device,
    run.row_count,
    run.eligible_count,
    CASE
        WHEN run.row_count IS NOT NULL THEN (
            SELECT coalesce(sum(reject."count"), 0)::BIGINT
            FROM reject
            WHERE reject.run_id = run.run_id
        )
    END AS rejected_count,
    run.drawn_count,
    (
        SELECT count(*)
        FROM sample
        WHERE sample.run_id = run.run_id
    ) AS sample_count,
    (
        SELECT count(*)
        FROM surrogate
        WHERE surrogate.run_id = run.run_id
    ) AS surrogate_count,
    (
        SELECT count(*)
        FROM score
        WHERE score.run_id = run.run_id
    ) AS score_count,
    (
        SELECT count(*)
        FROM score
        WHERE score.run_id = run.run_id
            AND score.status <> 'ok'
    ) AS score_missing_count,
    (
        SELECT count(*)
        FROM comparison
        WHERE comparison.run_id = run.run_id
    ) AS comparison_count,
    (
        SELECT count(*)
        FROM "check"
        WHERE "check".run_id = run.run_id
            AND NOT "check".passed
    ) AS check_failed_count,
    (
        SELECT count(*)
        FROM attempt
        WHERE attempt.run_id = run.run_id
    ) AS attempt_count,
    run.seconds,
    run.started_at,
    run.ended_at
FROM run
ORDER BY
    run.started_at DESC,
    run.run_id;

COMMENT ON VIEW run_summary IS 'One row per run, the newest first: where it stands, how rows became samples, what it holds.';
COMMENT ON COLUMN run_summary.run_id IS 'The run.';
COMMENT ON COLUMN run_summary.profile IS 'Profile that the settings started from.';
COMMENT ON COLUMN run_summary.status IS 'running, complete, failed or incomplete (see table run).';
COMMENT ON COLUMN run_summary.data IS 'Data set.';
COMMENT ON COLUMN run_summary.language_model IS 'The model that writes surrogates and scores answers.';
COMMENT ON COLUMN run_summary.embedding_model IS 'The sentence-embedding model that routes.';
COMMENT ON COLUMN run_summary.device IS 'Where the models ran.';
COMMENT ON COLUMN run_summary.row_count IS 'Rows of the data set that were read.';
COMMENT ON COLUMN run_summary.eligible_count IS 'Rows that could be samples.';
COMMENT ON COLUMN run_summary.rejected_count IS 'Rows that could not; table reject tells why.';
COMMENT ON COLUMN run_summary.drawn_count IS 'Samples that were drawn.';
COMMENT ON COLUMN run_summary.sample_count IS 'Samples in this database.';
COMMENT ON COLUMN run_summary.surrogate_count IS 'Surrogates in this database.';
COMMENT ON COLUMN run_summary.score_count IS 'Scores in this database.';
COMMENT ON COLUMN run_summary.score_missing_count IS 'Scores without an NLL; their status tells why.';
COMMENT ON COLUMN run_summary.comparison_count IS 'Comparisons in this database.';
COMMENT ON COLUMN run_summary.check_failed_count IS 'Checks that failed: 0 in a sound run.';
COMMENT ON COLUMN run_summary.attempt_count IS 'Executions.';
COMMENT ON COLUMN run_summary.seconds IS 'What the computations of all stages took (seconds), remembered ones included.';
COMMENT ON COLUMN run_summary.started_at IS 'Start of the latest attempt (UTC).';
COMMENT ON COLUMN run_summary.ended_at IS 'End of the latest attempt (UTC); NULL while it runs or if it was killed.';
