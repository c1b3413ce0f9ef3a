-- The database artifacts/results.duckdb: one row a record, and the questions as views.
-- It is derived: tasks/results.py rebuilds it whole from the run manifests and parquet files, so nothing here migrates.
-- Tables of records have the fields of the class of the same name in tasks/priming/records.py, behind run_id.

CREATE TABLE run (
    run_id TEXT NOT NULL,
    profile TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('running', 'complete', 'failed', 'interrupted', 'incomplete')),
    seed BIGINT,
    sample_count BIGINT,
    data TEXT,
    language_model TEXT,
    embedding_model TEXT,
    parameter_count BIGINT,
    dtype TEXT,
    quantization TEXT,
    first_token TEXT,
    answer_delimiter TEXT,
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
COMMENT ON COLUMN run.status IS 'running; complete; failed; interrupted (it was stopped, or its process died); incomplete (it completed, but an artifact has since gone: see table check, and start the run again). Conclusions come from complete runs only.';
COMMENT ON COLUMN run.seed IS 'Seed of every random draw.';
COMMENT ON COLUMN run.sample_count IS 'Samples asked for.';
COMMENT ON COLUMN run.data IS 'Data set: a known name, an id on the hub or a file.';
COMMENT ON COLUMN run.language_model IS 'The model that writes surrogates and scores answers: a hub id or a folder.';
COMMENT ON COLUMN run.embedding_model IS 'The sentence-embedding model that routes.';
COMMENT ON COLUMN run.parameter_count IS 'Parameters of the language model.';
COMMENT ON COLUMN run.dtype IS 'Number format of the language model''s weights, or of its arithmetic where they are quantised.';
COMMENT ON COLUMN run.quantization IS 'none, or how the language model''s weights are quantised.';
COMMENT ON COLUMN run.first_token IS 'The token that every context begins with; NULL if there is none, or before scoring was checked.';
COMMENT ON COLUMN run.answer_delimiter IS 'What stands between the query prompt and the answer; NULL before scoring was checked.';
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
COMMENT ON COLUMN attempt.status IS 'running, complete, failed, or interrupted (it was stopped, or its process died).';
COMMENT ON COLUMN attempt.started_at IS 'Start (UTC).';
COMMENT ON COLUMN attempt.ended_at IS 'End (UTC); NULL while it runs or if it was killed.';
COMMENT ON COLUMN attempt.error IS 'Why it failed.';

CREATE TABLE stage_time (
    run_id TEXT NOT NULL,
    stage TEXT NOT NULL,
    entry TEXT NOT NULL,
    chunk TEXT NOT NULL,
    seconds DOUBLE NOT NULL CHECK (isfinite(seconds)),
    PRIMARY KEY (run_id, stage, entry, chunk)
);

COMMENT ON TABLE stage_time IS 'What the computation of each artifact took, when it was computed.';
COMMENT ON COLUMN stage_time.run_id IS 'The run.';
COMMENT ON COLUMN stage_time.stage IS 'The table that it filled, e.g. score.';
COMMENT ON COLUMN stage_time.entry IS 'The family, or control, e.g. static or control/random_words; empty where a stage has no such parts.';
COMMENT ON COLUMN stage_time.chunk IS 'The chunk of samples, e.g. 0000; all, or what was checked.';
COMMENT ON COLUMN stage_time.seconds IS 'Seconds.';

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

CREATE TABLE distractor (
    run_id TEXT NOT NULL,
    sample_id TEXT NOT NULL,
    number BIGINT NOT NULL CHECK (number >= 0),
    answer TEXT NOT NULL,
    source_id TEXT NOT NULL,
    PRIMARY KEY (run_id, sample_id, number)
);

COMMENT ON TABLE distractor IS 'A wrong answer to a sample''s query: the answer to another query, of the same type where there is one, about another passage.';
COMMENT ON COLUMN distractor.run_id IS 'The run.';
COMMENT ON COLUMN distractor.sample_id IS 'The sample whose cache it is scored on.';
COMMENT ON COLUMN distractor.number IS 'Its place among the sample''s distractors, from 0.';
COMMENT ON COLUMN distractor.answer IS 'The text that is scored.';
COMMENT ON COLUMN distractor.source_id IS 'The sample_id of the row that it answers, drawn or not.';

CREATE TABLE surrogate (
    run_id TEXT NOT NULL,
    sample_id TEXT NOT NULL,
    family TEXT NOT NULL,
    key TEXT NOT NULL,
    text TEXT NOT NULL,
    raw_text TEXT NOT NULL,
    prompt_token_count BIGINT NOT NULL CHECK (prompt_token_count >= 0),
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
COMMENT ON COLUMN surrogate.prompt_token_count IS 'Tokens of the instruction and passage that the model read for it; 0 for a fixed phrase.';
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
    answer_tokens VARCHAR[],
    nll DOUBLE CHECK (isfinite(nll)),
    nll_notebook DOUBLE CHECK (isfinite(nll_notebook)),
    distractor_nlls FLOAT[],
    margin DOUBLE CHECK (isfinite(margin)),
    context_token_count BIGINT NOT NULL CHECK (context_token_count >= 0),
    query_token_count BIGINT NOT NULL CHECK (query_token_count >= 0),
    answer_token_count BIGINT NOT NULL CHECK (answer_token_count >= 0),
    control_string_count BIGINT NOT NULL CHECK (control_string_count >= 0),
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
COMMENT ON COLUMN score.answer_tokens IS 'The text of each answer token, in order; together they are the answer as the tokenizer decodes it.';
COMMENT ON COLUMN score.nll IS 'Mean of token_nlls (nats per answer token): the metric of record.';
COMMENT ON COLUMN score.nll_notebook IS 'Mean over all tokens but the first, which is what the notebook''s code computes; NULL for a one-token answer.';
COMMENT ON COLUMN score.distractor_nlls IS 'Mean NLL of each distractor on the same cache (nats per token of its own), in the order of their numbers; NULL where the sample has none, where one does not fit the model''s window or is not finite, or unless status is ok.';
COMMENT ON COLUMN score.margin IS 'Mean of distractor_nlls - nll: how far the answer is preferred to wrong ones; NULL without distractor_nlls.';
COMMENT ON COLUMN score.context_token_count IS 'Tokens of the context, BOS included: what the KV cache holds.';
COMMENT ON COLUMN score.query_token_count IS 'Tokens of the query prompt.';
COMMENT ON COLUMN score.answer_token_count IS 'Tokens of the answer.';
COMMENT ON COLUMN score.control_string_count IS 'Control tokens that passage, surrogate, query and answer spell out, e.g. </s>: each was read as text.';

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
    improvement_trimmed_mean DOUBLE CHECK (isfinite(improvement_trimmed_mean)),
    improvement_sd DOUBLE CHECK (isfinite(improvement_sd)),
    improvement_low DOUBLE CHECK (isfinite(improvement_low)),
    improvement_high DOUBLE CHECK (isfinite(improvement_high)),
    interval_method TEXT NOT NULL,
    confidence_level DOUBLE NOT NULL CHECK (confidence_level > 0 AND confidence_level < 1),
    cohens_d DOUBLE CHECK (isfinite(cohens_d)),
    cohens_d_low DOUBLE CHECK (isfinite(cohens_d_low)),
    cohens_d_high DOUBLE CHECK (isfinite(cohens_d_high)),
    win_count BIGINT NOT NULL CHECK (win_count >= 0),
    tie_count BIGINT NOT NULL CHECK (tie_count >= 0),
    loss_count BIGINT NOT NULL CHECK (loss_count >= 0),
    t_statistic DOUBLE CHECK (isfinite(t_statistic)),
    t_p_value DOUBLE CHECK (t_p_value BETWEEN 0 AND 1),
    wilcoxon_p_value DOUBLE CHECK (wilcoxon_p_value BETWEEN 0 AND 1),
    sign_p_value DOUBLE CHECK (sign_p_value BETWEEN 0 AND 1),
    p_value DOUBLE CHECK (p_value BETWEEN 0 AND 1),
    p_adjusted DOUBLE CHECK (p_adjusted BETWEEN 0 AND 1),
    adjustment TEXT,
    smallest_detectable_improvement DOUBLE CHECK (isfinite(smallest_detectable_improvement)),
    equivalence_margin DOUBLE NOT NULL CHECK (isfinite(equivalence_margin)),
    equivalence_p_value DOUBLE CHECK (equivalence_p_value BETWEEN 0 AND 1),
    equivalence_power DOUBLE CHECK (isfinite(equivalence_power)),
    n_to_decide BIGINT CHECK (n_to_decide >= 0),
    n_to_decide_margin BIGINT CHECK (n_to_decide_margin >= 0),
    verdict TEXT NOT NULL,
    PRIMARY KEY (run_id, comparison),
    CHECK (win_count + tie_count + loss_count = n),
    CHECK (improvement_low <= improvement_high)
);

COMMENT ON TABLE comparison IS 'One paired comparison: improvement = NLL(reference) - NLL(arm), so that positive means the arm is better.';
COMMENT ON COLUMN comparison.run_id IS 'The run.';
COMMENT ON COLUMN comparison.comparison IS 'Readable name, e.g. generated routed vs baseline.';
COMMENT ON COLUMN comparison.kind IS 'routed, between_families, fixed_arm, routing, control, worth or oracle.';
COMMENT ON COLUMN comparison.arm IS 'The condition in question, e.g. generated/routed or static/factual.';
COMMENT ON COLUMN comparison.reference IS 'What it is compared with, e.g. baseline/document or static/routed.';
COMMENT ON COLUMN comparison.is_optimistic IS 'True for oracles: the minimum of several noisy scores is better than its parts by construction.';
COMMENT ON COLUMN comparison.n IS 'Sample pairs in which both scores are finite.';
COMMENT ON COLUMN comparison.excluded_count IS 'Pairs left out because one of the two scores is missing or not finite.';
COMMENT ON COLUMN comparison.passage_count IS 'Distinct passages among the pairs: the clusters.';
COMMENT ON COLUMN comparison.nll_arm_mean IS 'Mean NLL of the arm, nats per answer token.';
COMMENT ON COLUMN comparison.nll_reference_mean IS 'Mean NLL of the reference, nats per answer token.';
COMMENT ON COLUMN comparison.improvement_mean IS 'Mean improvement, nats per answer token.';
COMMENT ON COLUMN comparison.improvement_median IS 'Median improvement.';
COMMENT ON COLUMN comparison.improvement_trimmed_mean IS 'Mean without the largest and the smallest fifth of the improvements.';
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
COMMENT ON COLUMN comparison.sign_p_value IS 'Two-sided p-value of the sign test on wins and losses (descriptive).';
COMMENT ON COLUMN comparison.p_value IS 'Two-sided p-value of the mean with errors clustered by passage: the one the verdict uses.';
COMMENT ON COLUMN comparison.p_adjusted IS 'p_value after adjustment for the number of comparisons declared with it; NULL for oracles.';
COMMENT ON COLUMN comparison.adjustment IS 'holm (over the primary comparisons) or benjamini_hochberg (over all others); NULL for oracles.';
COMMENT ON COLUMN comparison.smallest_detectable_improvement IS 'The mean improvement that these pairs would have shown with a chance of 80 %, nats per answer token.';
COMMENT ON COLUMN comparison.equivalence_margin IS 'Mean improvements smaller than this are negligible: declared before the run, nats per answer token.';
COMMENT ON COLUMN comparison.equivalence_p_value IS 'p-value of the two one-sided tests that the mean improvement lies within the margin.';
COMMENT ON COLUMN comparison.equivalence_power IS 'The chance of showing equivalence with these pairs if the true improvement were 0.';
COMMENT ON COLUMN comparison.n_to_decide IS 'Pairs that would show a difference, or equivalence if the mean is within the margin, with a chance of 80 % if the true improvement were the measured one; NULL where the verdict stands or no number of pairs would decide.';
COMMENT ON COLUMN comparison.n_to_decide_margin IS 'Pairs that would show, likewise, on which side of the margin (of +margin) the improvement lies; NULL where the interval does not hold the margin.';
COMMENT ON COLUMN comparison.verdict IS 'What this comparison alone says: better, worse, either of them but negligibly, equivalent, no difference shown, or undecided with the reason.';

CREATE TABLE variant (
    run_id TEXT NOT NULL,
    comparison TEXT NOT NULL,
    variant TEXT NOT NULL,
    unit TEXT NOT NULL,
    n BIGINT NOT NULL CHECK (n >= 0),
    passage_count BIGINT NOT NULL CHECK (passage_count >= 0),
    arm_mean DOUBLE CHECK (isfinite(arm_mean)),
    reference_mean DOUBLE CHECK (isfinite(reference_mean)),
    improvement_mean DOUBLE CHECK (isfinite(improvement_mean)),
    improvement_low DOUBLE CHECK (isfinite(improvement_low)),
    improvement_high DOUBLE CHECK (isfinite(improvement_high)),
    cohens_d DOUBLE CHECK (isfinite(cohens_d)),
    p_value DOUBLE CHECK (p_value BETWEEN 0 AND 1),
    PRIMARY KEY (run_id, comparison, variant),
    CHECK (improvement_low <= improvement_high)
);

COMMENT ON TABLE variant IS 'A comparison made again by another measure or on fewer samples: does its result depend on how it is measured?';
COMMENT ON COLUMN variant.run_id IS 'The run.';
COMMENT ON COLUMN variant.comparison IS 'The comparison that is varied.';
COMMENT ON COLUMN variant.variant IS 'margin (how far the answer is preferred to distractors), answer_first (share of samples in which the answer''s NLL is below every distractor''s), first_token_unscored (the notebook''s NLL) or longer_answers (no one-token answers).';
COMMENT ON COLUMN variant.unit IS 'What the values are: nats per answer token, or share of samples.';
COMMENT ON COLUMN variant.n IS 'Sample pairs in which both sides have the measure.';
COMMENT ON COLUMN variant.passage_count IS 'Distinct passages among the pairs.';
COMMENT ON COLUMN variant.arm_mean IS 'Mean of the measure for the arm.';
COMMENT ON COLUMN variant.reference_mean IS 'Mean of the measure for the reference.';
COMMENT ON COLUMN variant.improvement_mean IS 'How much better the arm is: positive is better, whichever direction the measure has.';
COMMENT ON COLUMN variant.improvement_low IS 'Lower end of the cluster-robust interval of the mean.';
COMMENT ON COLUMN variant.improvement_high IS 'Upper end of the cluster-robust interval of the mean.';
COMMENT ON COLUMN variant.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN variant.p_value IS 'Two-sided p-value with errors clustered by passage, not adjusted.';

CREATE TABLE stratum (
    run_id TEXT NOT NULL,
    comparison TEXT NOT NULL,
    stratified_by TEXT NOT NULL,
    level TEXT NOT NULL,
    rank BIGINT NOT NULL CHECK (rank >= 0),
    difficulty_arm TEXT,
    n BIGINT NOT NULL CHECK (n >= 0),
    passage_count BIGINT NOT NULL CHECK (passage_count >= 0),
    improvement_mean DOUBLE CHECK (isfinite(improvement_mean)),
    improvement_low DOUBLE CHECK (isfinite(improvement_low)),
    improvement_high DOUBLE CHECK (isfinite(improvement_high)),
    cohens_d DOUBLE CHECK (isfinite(cohens_d)),
    win_count BIGINT NOT NULL CHECK (win_count >= 0),
    tie_count BIGINT NOT NULL CHECK (tie_count >= 0),
    PRIMARY KEY (run_id, comparison, stratified_by, rank),
    CHECK (improvement_low <= improvement_high)
);

COMMENT ON TABLE stratum IS 'A comparison within one part of the samples: who gains?';
COMMENT ON COLUMN stratum.run_id IS 'The run.';
COMMENT ON COLUMN stratum.comparison IS 'The comparison.';
COMMENT ON COLUMN stratum.stratified_by IS 'query_type, answer_tokens, passage_words, similarity (of the query to the routed surrogate) or difficulty (NLL of difficulty_arm).';
COMMENT ON COLUMN stratum.level IS 'The part, e.g. numeric or 2: 0.41 to 0.63.';
COMMENT ON COLUMN stratum.rank IS 'Its place in the order of levels, from 0; a level without pairs is left out, and its rank with it.';
COMMENT ON COLUMN stratum.difficulty_arm IS 'The arm whose NLL is the difficulty: one that takes no part in the comparison, since samples on which a side happens to be bad would seem to gain whatever is done (regression to the mean); NULL for other strata. There are no such strata where every scored arm takes part.';
COMMENT ON COLUMN stratum.n IS 'Sample pairs.';
COMMENT ON COLUMN stratum.passage_count IS 'Distinct passages among the pairs.';
COMMENT ON COLUMN stratum.improvement_mean IS 'Mean improvement, nats per answer token.';
COMMENT ON COLUMN stratum.improvement_low IS 'Lower end of the cluster-robust interval of the mean; NULL where it cannot be computed.';
COMMENT ON COLUMN stratum.improvement_high IS 'Upper end of the cluster-robust interval of the mean.';
COMMENT ON COLUMN stratum.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN stratum.win_count IS 'Pairs in which the arm is strictly better.';
COMMENT ON COLUMN stratum.tie_count IS 'Pairs with exactly equal scores.';

CREATE TABLE correlation (
    run_id TEXT NOT NULL,
    family TEXT NOT NULL,
    key TEXT NOT NULL,
    n BIGINT NOT NULL CHECK (n >= 0),
    pearson_r DOUBLE CHECK (isfinite(pearson_r)),
    pearson_low DOUBLE CHECK (isfinite(pearson_low)),
    pearson_high DOUBLE CHECK (isfinite(pearson_high)),
    pearson_p_value DOUBLE CHECK (pearson_p_value BETWEEN 0 AND 1),
    spearman_r DOUBLE CHECK (isfinite(spearman_r)),
    confidence_level DOUBLE NOT NULL CHECK (isfinite(confidence_level)),
    PRIMARY KEY (run_id, family, key),
    CHECK (pearson_low <= pearson_high)
);

COMMENT ON TABLE correlation IS 'Whether a surrogate that is more similar to the query helps more.';
COMMENT ON COLUMN correlation.run_id IS 'The run.';
COMMENT ON COLUMN correlation.family IS 'The family.';
COMMENT ON COLUMN correlation.key IS 'The arm within it, or routed.';
COMMENT ON COLUMN correlation.n IS 'Samples with a similarity and both scores.';
COMMENT ON COLUMN correlation.pearson_r IS 'Correlation of similarity and improvement over the baseline; NULL where one of them is constant, or for fewer than three samples.';
COMMENT ON COLUMN correlation.pearson_low IS 'Lower end of its interval (Fisher''s transformation).';
COMMENT ON COLUMN correlation.pearson_high IS 'Upper end of its interval.';
COMMENT ON COLUMN correlation.pearson_p_value IS 'Two-sided p-value of no correlation (samples taken as independent).';
COMMENT ON COLUMN correlation.spearman_r IS 'Rank correlation, which outliers do not move.';
COMMENT ON COLUMN correlation.confidence_level IS 'Nominal coverage of the interval.';

CREATE TABLE routing_choice (
    run_id TEXT NOT NULL,
    family TEXT NOT NULL,
    routed_key TEXT NOT NULL,
    best_key TEXT NOT NULL,
    "count" BIGINT NOT NULL CHECK ("count" >= 0),
    regret_mean DOUBLE NOT NULL CHECK (isfinite(regret_mean)),
    PRIMARY KEY (run_id, family, routed_key, best_key)
);

COMMENT ON TABLE routing_choice IS 'How often the router chose one key where another one had the lowest NLL: a cell of the confusion table.';
COMMENT ON COLUMN routing_choice.run_id IS 'The run.';
COMMENT ON COLUMN routing_choice.family IS 'The family.';
COMMENT ON COLUMN routing_choice.routed_key IS 'What the router chose.';
COMMENT ON COLUMN routing_choice.best_key IS 'The key with the lowest NLL on the sample, known afterwards; the alphabetically first of equals.';
COMMENT ON COLUMN routing_choice."count" IS 'Samples.';
COMMENT ON COLUMN routing_choice.regret_mean IS 'Mean NLL(routed) - NLL(best) on these samples, nats per answer token.';

CREATE TABLE routing_agreement (
    run_id TEXT NOT NULL,
    family TEXT NOT NULL,
    n BIGINT NOT NULL CHECK (n >= 0),
    agreement_rate DOUBLE CHECK (isfinite(agreement_rate)),
    chance_rate DOUBLE CHECK (isfinite(chance_rate)),
    kappa DOUBLE CHECK (isfinite(kappa)),
    kappa_low DOUBLE CHECK (isfinite(kappa_low)),
    kappa_high DOUBLE CHECK (isfinite(kappa_high)),
    similarity_tie_count BIGINT NOT NULL CHECK (similarity_tie_count >= 0),
    best_tie_count BIGINT NOT NULL CHECK (best_tie_count >= 0),
    PRIMARY KEY (run_id, family)
);

COMMENT ON TABLE routing_agreement IS 'How often the router chooses the key that turns out best, beside what chance would give.';
COMMENT ON COLUMN routing_agreement.run_id IS 'The run.';
COMMENT ON COLUMN routing_agreement.family IS 'The family.';
COMMENT ON COLUMN routing_agreement.n IS 'Samples in which every key has a score and one is routed.';
COMMENT ON COLUMN routing_agreement.agreement_rate IS 'Share of samples in which the routed key has the lowest NLL (equal lowest ones count).';
COMMENT ON COLUMN routing_agreement.chance_rate IS 'The same (equal lowest ones count), if routed and best keys had the frequencies that they have, but nothing to do with each other.';
COMMENT ON COLUMN routing_agreement.kappa IS 'Cohen''s kappa of table routing_choice: 0 is chance, 1 is perfect; NULL where the table has a single cell.';
COMMENT ON COLUMN routing_agreement.kappa_low IS 'Lower end of its interval (asymptotic); NULL where its error is zero, e.g. in perfect agreement.';
COMMENT ON COLUMN routing_agreement.kappa_high IS 'Upper end of its interval.';
COMMENT ON COLUMN routing_agreement.similarity_tie_count IS 'Samples in which two keys of the family were equally similar to the query.';
COMMENT ON COLUMN routing_agreement.best_tie_count IS 'Samples in which two keys had the same lowest NLL.';

CREATE TABLE cost (
    run_id TEXT NOT NULL,
    condition TEXT NOT NULL,
    document_count BIGINT NOT NULL CHECK (document_count >= 0),
    prompt_tokens DOUBLE NOT NULL CHECK (isfinite(prompt_tokens)),
    generated_tokens DOUBLE NOT NULL CHECK (isfinite(generated_tokens)),
    prefill_tokens DOUBLE NOT NULL CHECK (isfinite(prefill_tokens)),
    index_flops DOUBLE NOT NULL CHECK (isfinite(index_flops)),
    cache_bytes DOUBLE NOT NULL CHECK (isfinite(cache_bytes)),
    attended_tokens DOUBLE NOT NULL CHECK (isfinite(attended_tokens)),
    extra_attended_tokens DOUBLE NOT NULL CHECK (isfinite(extra_attended_tokens)),
    query_flops DOUBLE NOT NULL CHECK (isfinite(query_flops)),
    nll_mean DOUBLE CHECK (isfinite(nll_mean)),
    improvement_mean DOUBLE CHECK (isfinite(improvement_mean)),
    improvement_per_1000_tokens DOUBLE CHECK (isfinite(improvement_per_1000_tokens)),
    is_dominated BOOLEAN NOT NULL,
    dominated_by TEXT,
    PRIMARY KEY (run_id, condition)
);

COMMENT ON TABLE cost IS 'What one condition costs, beside what it gains: per document when it is indexed, and per query.';
COMMENT ON COLUMN cost.run_id IS 'The run.';
COMMENT ON COLUMN cost.condition IS 'An arm (static/factual) or a routed family (static/routed: all its caches are built, one is read).';
COMMENT ON COLUMN cost.document_count IS 'Documents that the means are over.';
COMMENT ON COLUMN cost.prompt_tokens IS 'Tokens that the model reads to write surrogates, per document.';
COMMENT ON COLUMN cost.generated_tokens IS 'Tokens that it writes, per document.';
COMMENT ON COLUMN cost.prefill_tokens IS 'Tokens of the contexts whose caches are built, per document.';
COMMENT ON COLUMN cost.index_flops IS 'Floating-point operations of all these, per document.';
COMMENT ON COLUMN cost.cache_bytes IS 'Size of the caches that are kept, per document.';
COMMENT ON COLUMN cost.attended_tokens IS 'Cached tokens that a query attends to.';
COMMENT ON COLUMN cost.extra_attended_tokens IS 'The same, more than the baseline''s.';
COMMENT ON COLUMN cost.query_flops IS 'Floating-point operations of query and answer behind the cache, per query.';
COMMENT ON COLUMN cost.nll_mean IS 'Mean NLL on the samples that all conditions have, nats per answer token.';
COMMENT ON COLUMN cost.improvement_mean IS 'Mean improvement over the baseline on these samples.';
COMMENT ON COLUMN cost.improvement_per_1000_tokens IS 'improvement_mean per 1,000 tokens read, written and prefilled for the index beyond the baseline''s; NULL where there are no more.';
COMMENT ON COLUMN cost.is_dominated IS 'Whether another condition has a lower mean NLL at no more index operations, bytes and attended tokens.';
COMMENT ON COLUMN cost.dominated_by IS 'The one with the lowest NLL of those.';

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

CREATE TABLE bench (
    bench_id TEXT NOT NULL,
    measured_at TIMESTAMP NOT NULL,
    device TEXT NOT NULL,
    is_quick BOOLEAN NOT NULL,
    part TEXT NOT NULL,
    model TEXT NOT NULL,
    dtype TEXT NOT NULL,
    method TEXT NOT NULL,
    quantity TEXT NOT NULL,
    value DOUBLE NOT NULL CHECK (isfinite(value)),
    unit TEXT NOT NULL,
    low DOUBLE CHECK (isfinite(low)),
    high DOUBLE CHECK (isfinite(high)),
    goal DOUBLE CHECK (isfinite(goal)),
    bound TEXT CHECK (bound IN ('at least', 'at most')),
    is_met BOOLEAN,
    workload TEXT NOT NULL,
    machine TEXT NOT NULL,
    versions TEXT NOT NULL,
    PRIMARY KEY (bench_id, part, model, dtype, method, quantity)
);

COMMENT ON TABLE bench IS 'What the benchmark (make bench) measured: one quantity of one method. Compare within one bench_id: machines differ, and ratios are taken within a round.';
COMMENT ON COLUMN bench.bench_id IS 'Hash of the result: the name of its file under artifacts/bench.';
COMMENT ON COLUMN bench.measured_at IS 'When it ended (UTC).';
COMMENT ON COLUMN bench.device IS 'Where the language models ran: cpu or cuda.';
COMMENT ON COLUMN bench.is_quick IS 'Whether it was the quick run, whose ratios mean little.';
COMMENT ON COLUMN bench.part IS 'scoring, generation, queries, embedding, statistics or identity.';
COMMENT ON COLUMN bench.model IS 'The language model, or what else computed.';
COMMENT ON COLUMN bench.dtype IS 'Number format of the model''s weights.';
COMMENT ON COLUMN bench.method IS 'Who did it: ours, notebook, lm-eval, padded, or products (the limit).';
COMMENT ON COLUMN bench.quantity IS 'What was measured, e.g. times as fast as the notebook.';
COMMENT ON COLUMN bench.value IS 'The value: the median of the rounds.';
COMMENT ON COLUMN bench.unit IS 'Unit of value, low, high and goal; x is a ratio, 1 a share.';
COMMENT ON COLUMN bench.low IS 'Lowest of the rounds; NULL where it was measured once.';
COMMENT ON COLUMN bench.high IS 'Highest of the rounds; NULL where it was measured once.';
COMMENT ON COLUMN bench.goal IS 'What was to be reached; NULL where nothing was.';
COMMENT ON COLUMN bench.bound IS 'On which side of the goal the value should be.';
COMMENT ON COLUMN bench.is_met IS 'Whether it was reached.';
COMMENT ON COLUMN bench.workload IS 'What was computed, in words.';
COMMENT ON COLUMN bench.machine IS 'The machine in words (JSON).';
COMMENT ON COLUMN bench.versions IS 'Version of each library that takes part (JSON).';

CREATE TABLE answer (
    run_id TEXT NOT NULL,
    position BIGINT NOT NULL,
    question TEXT NOT NULL,
    question_title TEXT NOT NULL,
    subject TEXT NOT NULL,
    answer TEXT NOT NULL,
    sentence TEXT NOT NULL,
    comparison TEXT,
    arm TEXT,
    reference TEXT,
    rests_on TEXT,
    improvement_mean DOUBLE CHECK (isfinite(improvement_mean)),
    improvement_low DOUBLE CHECK (isfinite(improvement_low)),
    improvement_high DOUBLE CHECK (isfinite(improvement_high)),
    p_adjusted DOUBLE CHECK (p_adjusted BETWEEN 0 AND 1),
    samples_to_decide BIGINT CHECK (samples_to_decide >= 0),
    PRIMARY KEY (run_id, position)
);

COMMENT ON TABLE answer IS 'What a run answers to one question about one subject.';
COMMENT ON COLUMN answer.run_id IS 'The run.';
COMMENT ON COLUMN answer.position IS 'Its place in the order in which answers are shown, from 0; the first is the run''s headline.';
COMMENT ON COLUMN answer.question IS 'The question''s key, e.g. does_priming_help: the name of its view, but for the headline''s should_i_prime.';
COMMENT ON COLUMN answer.question_title IS 'The question in words.';
COMMENT ON COLUMN answer.subject IS 'What it is asked of, e.g. generated, or which part of the question it is; empty for the headline.';
COMMENT ON COLUMN answer.answer IS 'The answer.';
COMMENT ON COLUMN answer.sentence IS 'The answer as it is shown, with the reason.';
COMMENT ON COLUMN answer.comparison IS 'The comparison that asks the question; NULL where nothing was compared.';
COMMENT ON COLUMN answer.arm IS 'The condition in question, e.g. generated/routed.';
COMMENT ON COLUMN answer.reference IS 'What it is compared with, e.g. baseline/document.';
COMMENT ON COLUMN answer.rests_on IS 'The comparison that settles the answer, or leaves it open: that of the question, or one with a control.';
COMMENT ON COLUMN answer.improvement_mean IS 'Mean improvement in the question''s own comparison, nats per answer token.';
COMMENT ON COLUMN answer.improvement_low IS 'Lower end of its confidence interval.';
COMMENT ON COLUMN answer.improvement_high IS 'Upper end of its confidence interval.';
COMMENT ON COLUMN answer.p_adjusted IS 'Its p-value after adjustment for the number of comparisons declared with it.';
COMMENT ON COLUMN answer.samples_to_decide IS 'Samples that would settle an open answer with a chance of 80 % if the true improvement were the measured one; NULL where the answer stands, or where no number of samples would.';

-- The questions, each defined once in schema all_runs, with run_id. tasks/results.py makes of each one in schema latest
-- that answers for the newest complete run, and gives a column without a comment that of the column it comes from.

CREATE SCHEMA all_runs;
CREATE SCHEMA latest;

CREATE VIEW all_runs.what_did_it_find AS
SELECT
    answer.run_id,
    answer.position,
    answer.question,
    answer.question_title,
    answer.subject,
    answer.answer,
    answer.sentence,
    answer.comparison,
    answer.arm,
    answer.reference,
    answer.rests_on,
    answer.samples_to_decide,
    comparison.n,
    answer.improvement_mean,
    answer.improvement_low,
    answer.improvement_high,
    comparison.interval_method,
    comparison.confidence_level,
    comparison.cohens_d,
    comparison.p_value,
    answer.p_adjusted,
    comparison.adjustment,
    comparison.win_count / nullif(comparison.n, 0) AS win_rate,
    comparison.tie_count / nullif(comparison.n, 0) AS tie_rate,
    comparison.equivalence_margin,
    comparison.equivalence_p_value,
    comparison.smallest_detectable_improvement,
    margin.improvement_mean AS margin_improvement_mean,
    margin.improvement_low AS margin_improvement_low,
    margin.improvement_high AS margin_improvement_high,
    comparison.is_optimistic,
    comparison.verdict
FROM answer
JOIN run
    ON run.run_id = answer.run_id
LEFT JOIN comparison
    ON comparison.run_id = answer.run_id
    AND comparison.comparison = answer.comparison
LEFT JOIN variant AS margin
    ON margin.run_id = answer.run_id
    AND margin.comparison = answer.comparison
    AND margin.variant = 'margin'
WHERE run.status = 'complete'
ORDER BY
    run.started_at DESC,
    run.run_id,
    answer.position;

COMMENT ON VIEW all_runs.what_did_it_find IS 'What did the run find? One row per answer, in the order in which answers are shown: the headline first, then what each question is answered for each family or control.';
COMMENT ON COLUMN all_runs.what_did_it_find.win_rate IS 'Share of pairs in which the arm is strictly better.';
COMMENT ON COLUMN all_runs.what_did_it_find.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN all_runs.what_did_it_find.margin_improvement_mean IS 'Mean improvement of the margin, NLL(distractor) - NLL(answer): how much more the answer is preferred to wrong ones (nats per token).';
COMMENT ON COLUMN all_runs.what_did_it_find.margin_improvement_low IS 'Lower end of its cluster-robust interval.';
COMMENT ON COLUMN all_runs.what_did_it_find.margin_improvement_high IS 'Upper end of its cluster-robust interval.';

CREATE VIEW all_runs.does_priming_help AS
SELECT
    run_id, subject, answer, sentence, comparison, n, improvement_mean, improvement_low, improvement_high,
    p_adjusted, adjustment, samples_to_decide, win_rate, tie_rate, cohens_d, p_value, interval_method,
    margin_improvement_mean, margin_improvement_low, margin_improvement_high, rests_on, verdict
FROM all_runs.what_did_it_find
WHERE question = 'does_priming_help';

COMMENT ON VIEW all_runs.does_priming_help IS 'Does a routed surrogate beat no surrogate? One row per family. Yes only if it beats the baseline, the bare document and random words, and prefers the answer to wrong ones more than before: a gain over the baseline alone may be repaired framing.';

CREATE VIEW all_runs.is_generated_better_than_static AS
SELECT
    run_id, subject, answer, sentence, comparison, n, improvement_mean, improvement_low, improvement_high,
    p_adjusted, adjustment, samples_to_decide, win_rate, tie_rate, cohens_d, p_value, interval_method,
    margin_improvement_mean, margin_improvement_low, margin_improvement_high, equivalence_margin, equivalence_p_value,
    smallest_detectable_improvement, verdict
FROM all_runs.what_did_it_find
WHERE question = 'is_generated_better_than_static';

COMMENT ON VIEW all_runs.is_generated_better_than_static IS 'Does the surrogate that a language model wrote beat the fixed phrase, each routed within its family? One row; the answer is the verdict, once controls were run.';

CREATE VIEW all_runs.is_generation_worth_its_compute AS
SELECT
    found.run_id, found.subject, found.answer, found.sentence, found.comparison, found.n, found.improvement_mean,
    found.improvement_low, found.improvement_high, found.equivalence_margin,
    written.prompt_tokens + written.generated_tokens AS written_tokens,
    written.index_flops / nullif(baseline.index_flops, 0) AS index_flops_ratio,
    written.cache_bytes / nullif(baseline.cache_bytes, 0) AS cache_bytes_ratio,
    found.p_adjusted, found.adjustment, found.samples_to_decide, found.win_rate, found.tie_rate, found.cohens_d,
    found.p_value, found.interval_method, found.verdict
FROM all_runs.what_did_it_find AS found
LEFT JOIN cost AS written
    ON written.run_id = found.run_id
    AND written.condition = found.arm
LEFT JOIN cost AS baseline
    ON baseline.run_id = found.run_id
    AND baseline.condition = 'baseline/document'
WHERE found.question = 'is_generation_worth_its_compute';

COMMENT ON VIEW all_runs.is_generation_worth_its_compute IS 'Do routed surrogates that a language model wrote beat the best arm for which nothing is written by more than the margin? One row. Yes if the whole interval lies above the margin, no if it lies below, else undecided, also without controls.';
COMMENT ON COLUMN all_runs.is_generation_worth_its_compute.written_tokens IS 'Tokens that the model reads and writes for the surrogates, per document.';
COMMENT ON COLUMN all_runs.is_generation_worth_its_compute.index_flops_ratio IS 'Floating-point operations to index a document, divided by those of the baseline.';
COMMENT ON COLUMN all_runs.is_generation_worth_its_compute.cache_bytes_ratio IS 'Size of the caches kept per document, divided by that of the baseline.';

CREATE VIEW all_runs.does_the_content_matter AS
SELECT
    run_id, subject, answer, sentence, comparison, n, improvement_mean, improvement_low, improvement_high,
    p_adjusted, adjustment, samples_to_decide, win_rate, tie_rate, cohens_d, p_value, interval_method,
    margin_improvement_mean, margin_improvement_low, margin_improvement_high, equivalence_margin, equivalence_p_value,
    verdict
FROM all_runs.what_did_it_find
WHERE question = 'does_the_content_matter';

COMMENT ON VIEW all_runs.does_the_content_matter IS 'What is a gain made of: framing, any text, words, their order, the passage they are about? One row per question that a control answers; the subject is that question.';

CREATE VIEW all_runs.does_routing_help AS
SELECT
    found.run_id, found.subject, split_part(found.arm, '/', 1) AS family, found.answer, found.sentence,
    found.comparison, found.n, found.improvement_mean, found.improvement_low, found.improvement_high,
    routing_agreement.agreement_rate, routing_agreement.chance_rate, found.p_adjusted, found.adjustment,
    found.samples_to_decide, found.win_rate, found.tie_rate, found.cohens_d, found.p_value, found.interval_method,
    found.is_optimistic, found.verdict
FROM all_runs.what_did_it_find AS found
LEFT JOIN routing_agreement
    ON routing_agreement.run_id = found.run_id
    AND routing_agreement.family = split_part(found.arm, '/', 1)
WHERE found.question = 'does_routing_help';

COMMENT ON VIEW all_runs.does_routing_help IS 'Does routing by similarity beat a key drawn at random, and the one key that is best on other passages? One row per family and alternative; oracles, which are optimistic by construction, answer nothing.';
COMMENT ON COLUMN all_runs.does_routing_help.family IS 'The family that is routed.';

CREATE VIEW all_runs.who_gains AS
SELECT
    stratum.run_id,
    stratum.comparison,
    stratum.stratified_by,
    stratum.level,
    stratum.n,
    stratum.improvement_mean,
    stratum.improvement_low,
    stratum.improvement_high,
    comparison.improvement_mean AS overall_improvement_mean,
    stratum.cohens_d,
    stratum.win_count / nullif(stratum.n, 0) AS win_rate,
    stratum.tie_count / nullif(stratum.n, 0) AS tie_rate,
    stratum.passage_count,
    stratum.rank,
    stratum.difficulty_arm
FROM stratum
JOIN comparison
    ON comparison.run_id = stratum.run_id
    AND comparison.comparison = stratum.comparison
JOIN run
    ON run.run_id = stratum.run_id
WHERE run.status = 'complete'
ORDER BY
    run.started_at DESC,
    run.run_id,
    stratum.comparison,
    stratum.stratified_by,
    stratum.rank;

COMMENT ON VIEW all_runs.who_gains IS 'Which samples gain? One row per level of each way to divide the samples, for every comparison that an answer rests on; intervals are not adjusted for the number of levels.';
COMMENT ON COLUMN all_runs.who_gains.overall_improvement_mean IS 'Mean improvement over all samples.';

CREATE VIEW all_runs.does_the_measure_matter AS
SELECT
    variant.run_id,
    variant.comparison,
    variant.variant AS measure,
    CASE
        WHEN comparison.improvement_low > 0 AND variant.improvement_high < 0 THEN 'contradicts'
        WHEN comparison.improvement_high < 0 AND variant.improvement_low > 0 THEN 'contradicts'
        WHEN comparison.improvement_low > 0 AND variant.improvement_low > 0 THEN 'confirms'
        WHEN comparison.improvement_high < 0 AND variant.improvement_high < 0 THEN 'confirms'
        WHEN greatest(comparison.improvement_low, variant.improvement_low) <= 0
            AND least(comparison.improvement_high, variant.improvement_high) >= 0 THEN 'neither shows a difference'
        ELSE 'one shows a difference, the other does not'
    END AS says,
    variant.n,
    variant.improvement_mean,
    variant.improvement_low,
    variant.improvement_high,
    comparison.improvement_mean AS nll_improvement_mean,
    variant.unit,
    variant.arm_mean,
    variant.reference_mean,
    variant.cohens_d,
    variant.p_value
FROM variant
JOIN comparison
    ON comparison.run_id = variant.run_id
    AND comparison.comparison = variant.comparison
JOIN run
    ON run.run_id = variant.run_id
WHERE run.status = 'complete'
    AND comparison.improvement_low IS NOT NULL
    AND variant.improvement_low IS NOT NULL
ORDER BY
    run.started_at DESC,
    run.run_id,
    variant.comparison,
    variant.variant;

COMMENT ON VIEW all_runs.does_the_measure_matter IS 'Does a result depend on how it is measured? One row per comparison and other measure, where both have an interval.';
COMMENT ON COLUMN all_runs.does_the_measure_matter.measure IS 'margin, answer_first, first_token_unscored or longer_answers (see table variant).';
COMMENT ON COLUMN all_runs.does_the_measure_matter.says IS 'Whether the interval lies on the same side of 0 as that of the mean NLL.';
COMMENT ON COLUMN all_runs.does_the_measure_matter.nll_improvement_mean IS 'Mean improvement in mean NLL, the measure of record.';

CREATE VIEW all_runs.what_does_it_cost AS
WITH spent AS (
    SELECT run_id, stage, entry, sum(seconds) AS seconds
    FROM stage_time
    GROUP BY ALL
),
together AS (
    SELECT
        run_id,
        split_part(condition, '/', 1) AS family,
        sum(prompt_tokens + generated_tokens) AS written_tokens,
        sum(prefill_tokens) AS prefill_tokens
    FROM cost
    WHERE split_part(condition, '/', 2) <> 'routed'
    GROUP BY ALL
)
SELECT
    cost.run_id,
    cost.condition,
    cost.nll_mean,
    cost.improvement_mean,
    cost.prompt_tokens,
    cost.generated_tokens,
    cost.prefill_tokens,
    cost.index_flops,
    cost.cache_bytes,
    cost.attended_tokens,
    cost.extra_attended_tokens,
    cost.query_flops,
    cost.improvement_per_1000_tokens,
    cost.is_dominated,
    cost.dominated_by,
    writing.seconds * CASE
        WHEN cost.condition = writing.entry OR split_part(cost.condition, '/', 2) = 'routed' THEN 1
        ELSE (cost.prompt_tokens + cost.generated_tokens) / nullif(together.written_tokens, 0)
    END AS write_seconds,
    scoring.seconds * CASE
        WHEN cost.condition = scoring.entry OR split_part(cost.condition, '/', 2) = 'routed' THEN 1
        ELSE cost.prefill_tokens / nullif(together.prefill_tokens, 0)
    END AS score_seconds
FROM cost
JOIN run
    ON run.run_id = cost.run_id
JOIN together
    ON together.run_id = cost.run_id
    AND together.family = split_part(cost.condition, '/', 1)
LEFT JOIN spent AS writing
    ON writing.run_id = cost.run_id
    AND writing.stage = 'surrogate'
    AND writing.entry IN (cost.condition, together.family)
LEFT JOIN spent AS scoring
    ON scoring.run_id = cost.run_id
    AND scoring.stage = 'score'
    AND scoring.entry IN (cost.condition, together.family)
WHERE run.status = 'complete'
ORDER BY
    run.started_at DESC,
    run.run_id,
    cost.nll_mean,
    cost.condition;

COMMENT ON VIEW all_runs.what_does_it_cost IS 'What does each condition cost, and what does it gain? One row per arm and routed family, the lowest NLL first.';
COMMENT ON COLUMN all_runs.what_does_it_cost.write_seconds IS 'What writing the surrogates of all samples took (seconds); within a family shared out by the tokens read and written: NULL for the keys of a family without any, and for an arm without surrogates.';
COMMENT ON COLUMN all_runs.what_does_it_cost.score_seconds IS 'What scoring all samples took (seconds), prefill included; within a family shared out by prefilled tokens.';

CREATE VIEW all_runs.outcome AS
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

COMMENT ON VIEW all_runs.outcome IS 'One row per sample and arm: its NLL, what it gains over the baseline, and whether the router chose it. In all_runs, runs that are not complete are included.';
COMMENT ON COLUMN all_runs.outcome.improvement IS 'Baseline NLL - this NLL (nats per answer token): positive is better than the baseline. NULL where either is missing.';
COMMENT ON COLUMN all_runs.outcome.similarity IS 'Cosine similarity of surrogate and query; NULL for an arm without a surrogate to route to.';
COMMENT ON COLUMN all_runs.outcome.is_routed IS 'Whether the router chose this arm within its family; NULL for an arm that it does not choose from.';

CREATE VIEW all_runs.run_summary AS
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
        WHEN run.row_count IS NOT NULL
            THEN (SELECT coalesce(sum(reject."count"), 0)::BIGINT FROM reject WHERE reject.run_id = run.run_id)
    END AS rejected_count,
    run.drawn_count,
    (SELECT count(*) FROM sample WHERE sample.run_id = run.run_id) AS sample_count,
    (SELECT count(*) FROM surrogate WHERE surrogate.run_id = run.run_id) AS surrogate_count,
    (SELECT count(*) FROM score WHERE score.run_id = run.run_id) AS score_count,
    (SELECT count(*) FROM score WHERE score.run_id = run.run_id AND score.status <> 'ok') AS score_missing_count,
    (SELECT count(*) FROM comparison WHERE comparison.run_id = run.run_id) AS comparison_count,
    (SELECT count(*) FROM "check" WHERE "check".run_id = run.run_id AND NOT "check".passed) AS check_failed_count,
    (SELECT count(*) FROM attempt WHERE attempt.run_id = run.run_id) AS attempt_count,
    run.seconds,
    run.started_at,
    run.ended_at
FROM run
ORDER BY
    run.started_at DESC,
    run.run_id;

COMMENT ON VIEW all_runs.run_summary IS 'One row per run, the newest first: where it stands, how rows became samples, what it holds.';
COMMENT ON COLUMN all_runs.run_summary.rejected_count IS 'Rows that could not; table reject tells why.';
COMMENT ON COLUMN all_runs.run_summary.sample_count IS 'Samples in this database.';
COMMENT ON COLUMN all_runs.run_summary.surrogate_count IS 'Surrogates in this database.';
COMMENT ON COLUMN all_runs.run_summary.score_count IS 'Scores in this database.';
COMMENT ON COLUMN all_runs.run_summary.score_missing_count IS 'Scores without an NLL; their status tells why.';
COMMENT ON COLUMN all_runs.run_summary.comparison_count IS 'Comparisons in this database.';
COMMENT ON COLUMN all_runs.run_summary.check_failed_count IS 'Checks that failed: 0 in a sound run.';
COMMENT ON COLUMN all_runs.run_summary.attempt_count IS 'Executions.';

CREATE VIEW all_runs.compare_runs AS
WITH value AS (
    SELECT
        score.run_id,
        score.sample_id,
        score.family || '/' || score.key AS condition,
        score.nll
    FROM score
    WHERE score.nll IS NOT NULL
    UNION ALL
    SELECT
        outcome.run_id,
        outcome.sample_id,
        outcome.family || '/routed' AS condition,
        outcome.nll
    FROM all_runs.outcome
    WHERE outcome.nll IS NOT NULL
        AND outcome.is_routed
),
complete AS (
    SELECT
        value.run_id,
        value.sample_id,
        value.condition,
        value.nll,
        baseline.nll - value.nll AS improvement,
        sample.passage_id
    FROM value
    JOIN run
        ON run.run_id = value.run_id
    JOIN sample
        ON sample.run_id = value.run_id
        AND sample.sample_id = value.sample_id
    LEFT JOIN score AS baseline
        ON baseline.run_id = value.run_id
        AND baseline.sample_id = value.sample_id
        AND baseline.family = 'baseline'
        AND baseline.key = 'document'
    WHERE run.status = 'complete'
),
passage AS (
    SELECT
        a.run_id AS run_a,
        b.run_id AS run_b,
        a.condition,
        a.passage_id,
        count(*) AS n,
        sum(a.nll) AS nll_a,
        sum(b.nll) AS nll_b,
        sum(a.nll - b.nll) AS difference,
        count(*) FILTER (a.nll = b.nll) AS equal_count,
        count(a.improvement + b.improvement) AS improvement_n,
        sum(a.improvement) FILTER (b.improvement IS NOT NULL) AS improvement_a,
        sum(b.improvement) FILTER (a.improvement IS NOT NULL) AS improvement_b
    FROM complete AS a
    JOIN complete AS b
        ON b.sample_id = a.sample_id
        AND b.condition = a.condition
        AND b.run_id <> a.run_id
    GROUP BY ALL
)
SELECT
    run_a,
    run_b,
    condition,
    sum(n)::BIGINT AS n,
    count(*) AS passage_count,
    sum(equal_count)::BIGINT AS equal_count,
    sum(nll_a) / sum(n) AS nll_a_mean,
    sum(nll_b) / sum(n) AS nll_b_mean,
    sum(difference) / sum(n) AS difference_mean,
    CASE
        WHEN count(*) > 1 THEN sqrt(
            count(*) / (count(*) - 1)
            * greatest(
                sum(difference * difference)
                - 2 * sum(difference) / sum(n) * sum(difference * n)
                + (sum(difference) / sum(n)) ** 2 * sum(n * n),
                0
            )
        ) / sum(n)
    END AS difference_error,
    sum(improvement_a) / nullif(sum(improvement_n), 0) AS improvement_a_mean,
    sum(improvement_b) / nullif(sum(improvement_n), 0) AS improvement_b_mean,
    (sum(improvement_b) - sum(improvement_a)) / nullif(sum(improvement_n), 0) AS improvement_difference_mean
FROM passage
GROUP BY
    run_a,
    run_b,
    condition
ORDER BY
    run_a,
    run_b,
    condition <> 'baseline/document',
    split_part(condition, '/', 2) <> 'routed',
    condition;

COMMENT ON VIEW all_runs.compare_runs IS 'How do two runs differ on the samples that they share? One row per pair of complete runs, in both orders, and condition that both have; `python -m flows.compare` adds intervals. NLLs of models with different tokenizers cannot be compared.';
COMMENT ON COLUMN all_runs.compare_runs.run_a IS 'One run; name it and run_b in WHERE.';
COMMENT ON COLUMN all_runs.compare_runs.run_b IS 'The other run.';
COMMENT ON COLUMN all_runs.compare_runs.condition IS 'An arm, e.g. static/factual, or what the router chose, e.g. static/routed.';
COMMENT ON COLUMN all_runs.compare_runs.n IS 'Samples that have it in both runs.';
COMMENT ON COLUMN all_runs.compare_runs.passage_count IS 'Distinct passages among them.';
COMMENT ON COLUMN all_runs.compare_runs.equal_count IS 'Samples with exactly the same NLL in both.';
COMMENT ON COLUMN all_runs.compare_runs.nll_a_mean IS 'Mean NLL in run_a on these samples (nats per answer token).';
COMMENT ON COLUMN all_runs.compare_runs.nll_b_mean IS 'Mean NLL in run_b.';
COMMENT ON COLUMN all_runs.compare_runs.difference_mean IS 'nll_a_mean - nll_b_mean: positive where run_b is better.';
COMMENT ON COLUMN all_runs.compare_runs.difference_error IS 'Standard error of difference_mean, clustered by passage; NULL for one passage.';
COMMENT ON COLUMN all_runs.compare_runs.improvement_a_mean IS 'Mean improvement over the baseline of the same run, in run_a.';
COMMENT ON COLUMN all_runs.compare_runs.improvement_b_mean IS 'The same in run_b.';
COMMENT ON COLUMN all_runs.compare_runs.improvement_difference_mean IS 'improvement_b_mean - improvement_a_mean: positive where run_b gains more.';
