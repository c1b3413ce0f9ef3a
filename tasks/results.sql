-- The views of artifacts/results.duckdb: the questions that a run answers, and what they are made from.
-- The tables are made from the records (tasks/store/tables.py), before this file is run. The database is derived:
-- tasks/results.py rebuilds it whole from the run manifests and parquet files, so nothing here migrates.

-- Each view is defined once, in schema all_runs, with run_id. tasks/results.py adds the questions whose views differ in
-- the question alone, makes of each view one in schema latest that answers for the newest complete run, and gives a
-- column without a comment that of the column it comes from.

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
    answer.samples_for_precision,
    comparison.n,
    answer.improvement_mean,
    answer.answer_low,
    answer.answer_high,
    answer.answer_p,
    comparison.improvement_low,
    comparison.improvement_high,
    comparison.p_value,
    comparison.interval_method,
    comparison.confidence_level,
    comparison.cohens_d,
    comparison.win_count / nullif(comparison.n, 0) AS win_rate,
    comparison.tie_count / nullif(comparison.n, 0) AS tie_rate,
    comparison.equivalence_margin,
    margin.improvement_mean AS margin_improvement_mean,
    margin.answer_low AS margin_answer_low,
    margin.answer_high AS margin_answer_high,
    comparison.verdict
FROM answer
JOIN run
    ON run.run_id = answer.run_id
LEFT JOIN comparison
    ON comparison.run_id = answer.run_id
    AND comparison.comparison = answer.comparison
LEFT JOIN measure AS margin
    ON margin.run_id = answer.run_id
    AND margin.comparison = answer.comparison
    AND margin.measure = 'margin'
WHERE run.status = 'complete'
ORDER BY
    run.started_at DESC,
    run.run_id,
    answer.position;

COMMENT ON VIEW all_runs.what_did_it_find IS 'What did the run find? One row per answer, in the order in which answers are shown: the headline first, then what each question is answered for each family or control.';
COMMENT ON COLUMN all_runs.what_did_it_find.win_rate IS 'Share of pairs in which the arm is strictly better.';
COMMENT ON COLUMN all_runs.what_did_it_find.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN all_runs.what_did_it_find.margin_improvement_mean IS 'Mean improvement of the margin, NLL(distractor) - NLL(answer): how much more the answer is preferred to wrong ones (nats per token).';
COMMENT ON COLUMN all_runs.what_did_it_find.margin_answer_low IS 'Lower end of its interval at the level of answers.';
COMMENT ON COLUMN all_runs.what_did_it_find.margin_answer_high IS 'Upper end of it.';

CREATE VIEW all_runs.should_i_prime AS
SELECT
    contender.run_id,
    contender.condition,
    contender.cost_rank,
    contender.n,
    contender.probability_mean,
    contender.lag_low,
    contender.lag_high,
    contender.may_be_best,
    contender.is_close_to_best,
    cost.index_flops / nullif(baseline.index_flops, 0) AS index_flops_ratio,
    cost.cache_bytes / nullif(baseline.cache_bytes, 0) AS cache_bytes_ratio,
    cost.extra_attended_tokens,
    answer.answer,
    answer.sentence
FROM contender
JOIN run
    ON run.run_id = contender.run_id
LEFT JOIN answer
    ON answer.run_id = contender.run_id
    AND answer.question = 'should_i_prime'
LEFT JOIN cost
    ON cost.run_id = contender.run_id
    AND cost.condition = contender.condition
LEFT JOIN cost AS baseline
    ON baseline.run_id = contender.run_id
    AND baseline.condition = 'baseline/document'
WHERE run.status = 'complete'
ORDER BY
    run.started_at DESC,
    run.run_id,
    contender.cost_rank;

COMMENT ON COLUMN all_runs.should_i_prime.index_flops_ratio IS 'Floating-point operations to index a document, divided by those of the baseline.';
COMMENT ON COLUMN all_runs.should_i_prime.cache_bytes_ratio IS 'Size of the caches kept per document, divided by that of the baseline.';
COMMENT ON COLUMN all_runs.should_i_prime.answer IS 'The answer of the whole run.';
COMMENT ON COLUMN all_runs.should_i_prime.sentence IS 'The answer of the whole run as it is shown.';

CREATE VIEW all_runs.do_answers_and_likelihood_agree AS
SELECT
    found.run_id, found.comparison, found.answer, found.sentence, found.n, found.improvement_mean, found.answer_low,
    found.answer_high,
    f1.improvement_mean AS f1_improvement_mean, f1.answer_low AS f1_answer_low, f1.answer_high AS f1_answer_high,
    recall.improvement_mean AS recall_improvement_mean, recall.answer_low AS recall_answer_low,
    recall.answer_high AS recall_answer_high,
    arm.changed_rate, arm.word_count_mean, reference.word_count_mean AS reference_word_count_mean
FROM all_runs.what_did_it_find AS found
LEFT JOIN measure AS f1
    ON f1.run_id = found.run_id AND f1.comparison = found.comparison AND f1.measure = 'f1'
LEFT JOIN measure AS recall
    ON recall.run_id = found.run_id AND recall.comparison = found.comparison AND recall.measure = 'recall'
LEFT JOIN text_summary AS arm
    ON arm.run_id = found.run_id AND arm.condition = found.arm
LEFT JOIN text_summary AS reference
    ON reference.run_id = found.run_id AND reference.condition = found.reference
WHERE found.question = 'do_answers_and_likelihood_agree';

COMMENT ON COLUMN all_runs.do_answers_and_likelihood_agree.f1_improvement_mean IS 'Mean improvement of F1 (points).';
COMMENT ON COLUMN all_runs.do_answers_and_likelihood_agree.f1_answer_low IS 'Lower end of its interval at the level of answers.';
COMMENT ON COLUMN all_runs.do_answers_and_likelihood_agree.f1_answer_high IS 'Upper end of it.';
COMMENT ON COLUMN all_runs.do_answers_and_likelihood_agree.recall_improvement_mean IS 'Mean improvement of recall (points).';
COMMENT ON COLUMN all_runs.do_answers_and_likelihood_agree.recall_answer_low IS 'Lower end of its interval at the level of answers.';
COMMENT ON COLUMN all_runs.do_answers_and_likelihood_agree.recall_answer_high IS 'Upper end of it.';
COMMENT ON COLUMN all_runs.do_answers_and_likelihood_agree.reference_word_count_mean IS 'Mean number of words of the texts after the reference.';

CREATE VIEW all_runs.is_generation_worth_its_compute AS
SELECT
    found.run_id, found.subject, found.answer, found.sentence, found.comparison, found.n, found.improvement_mean,
    found.answer_low, found.answer_high, found.equivalence_margin, comparison.cross_fitted_mean,
    written.prompt_tokens + written.generated_tokens AS written_tokens,
    written.index_flops / nullif(baseline.index_flops, 0) AS index_flops_ratio,
    written.cache_bytes / nullif(baseline.cache_bytes, 0) AS cache_bytes_ratio,
    found.samples_for_precision, found.win_rate, found.tie_rate, found.verdict
FROM all_runs.what_did_it_find AS found
LEFT JOIN comparison
    ON comparison.run_id = found.run_id
    AND comparison.comparison = found.comparison
LEFT JOIN cost AS written
    ON written.run_id = found.run_id
    AND written.condition = found.arm
LEFT JOIN cost AS baseline
    ON baseline.run_id = found.run_id
    AND baseline.condition = 'baseline/document'
WHERE found.question = 'is_generation_worth_its_compute';

COMMENT ON COLUMN all_runs.is_generation_worth_its_compute.written_tokens IS 'Tokens that the model reads and writes for the surrogates, per document.';

CREATE VIEW all_runs.does_routing_help AS
SELECT
    found.run_id, found.subject, split_part(found.arm, '/', 1) AS family, found.answer, found.sentence,
    found.comparison, found.n, found.improvement_mean, found.answer_low, found.answer_high, found.answer_p,
    routing_agreement.agreement_rate, routing_agreement.chance_rate, found.samples_for_precision, found.win_rate,
    found.tie_rate, found.cohens_d, found.verdict
FROM all_runs.what_did_it_find AS found
LEFT JOIN routing_agreement
    ON routing_agreement.run_id = found.run_id
    AND routing_agreement.family = split_part(found.arm, '/', 1)
WHERE found.question = 'does_routing_help';

COMMENT ON COLUMN all_runs.does_routing_help.family IS 'The family that is routed.';

CREATE VIEW all_runs.who_gains AS
SELECT
    stratum.run_id,
    stratum.comparison,
    stratum.stratified_by,
    stratum.level,
    stratum.measure,
    stratum.n,
    stratum.improvement_mean,
    stratum.improvement_low,
    stratum.improvement_high,
    CASE WHEN stratum.measure = 'probability' THEN comparison.improvement_mean ELSE margin.improvement_mean END
        AS overall_improvement_mean,
    stratum.cohens_d,
    stratum.win_count / nullif(stratum.n, 0) AS win_rate,
    stratum.tie_count / nullif(stratum.n, 0) AS tie_rate,
    stratum.passage_count,
    stratum.rank
FROM stratum
JOIN comparison
    ON comparison.run_id = stratum.run_id
    AND comparison.comparison = stratum.comparison
LEFT JOIN measure AS margin
    ON margin.run_id = stratum.run_id
    AND margin.comparison = stratum.comparison
    AND margin.measure = stratum.measure
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
COMMENT ON COLUMN all_runs.who_gains.overall_improvement_mean IS 'Mean improvement over all samples, by the same measure.';

CREATE VIEW all_runs.does_the_measure_matter AS
SELECT
    measure.run_id,
    measure.comparison,
    measure.measure,
    CASE
        WHEN comparison.answer_low > 0 AND measure.answer_high < 0 THEN 'contradicts'
        WHEN comparison.answer_high < 0 AND measure.answer_low > 0 THEN 'contradicts'
        WHEN comparison.answer_low > 0 AND measure.answer_low > 0 THEN 'confirms'
        WHEN comparison.answer_high < 0 AND measure.answer_high < 0 THEN 'confirms'
        WHEN greatest(comparison.answer_low, measure.answer_low) <= 0
            AND least(comparison.answer_high, measure.answer_high) >= 0 THEN 'neither shows a difference'
        ELSE 'one shows a difference, the other does not'
    END AS says,
    measure.n,
    measure.improvement_mean,
    measure.answer_low,
    measure.answer_high,
    measure.improvement_low,
    measure.improvement_high,
    comparison.improvement_mean AS probability_improvement_mean,
    measure.unit,
    measure.arm_mean,
    measure.reference_mean,
    measure.cohens_d,
    measure.p_value,
    measure.answer_p,
    comparison.kind
FROM measure
JOIN comparison
    ON comparison.run_id = measure.run_id
    AND comparison.comparison = measure.comparison
JOIN run
    ON run.run_id = measure.run_id
WHERE run.status = 'complete'
    AND comparison.answer_low IS NOT NULL
    AND measure.answer_low IS NOT NULL
ORDER BY
    run.started_at DESC,
    run.run_id,
    measure.comparison,
    measure.measure;

COMMENT ON VIEW all_runs.does_the_measure_matter IS 'Does a result depend on how it is measured? One row per comparison and other measure, where both have an interval at the level of answers.';
COMMENT ON COLUMN all_runs.does_the_measure_matter.says IS 'Whether the interval at the level of answers lies on the same side of 0 as that of the measure of record.';
COMMENT ON COLUMN all_runs.does_the_measure_matter.probability_improvement_mean IS 'Mean improvement by the measure of record, percentage points.';

CREATE VIEW all_runs.what_does_it_cost AS
WITH spent AS (
    SELECT run_id, stage, entry, sum(seconds) AS seconds
    FROM stage_time
    GROUP BY ALL
),
together AS (
    SELECT
        cost.run_id,
        spent.entry,
        sum(cost.prompt_tokens + cost.generated_tokens) FILTER (cost.condition NOT LIKE '%+%') AS written_tokens,
        sum(cost.prefill_tokens) AS prefill_tokens
    FROM cost
    JOIN spent
        ON spent.run_id = cost.run_id
        AND spent.stage = 'score'
        AND spent.entry IN (split_part(cost.condition, '+', 1), split_part(cost.condition, '/', 1))
    WHERE cost.condition NOT LIKE '%/routed%'
    GROUP BY ALL
)
SELECT
    cost.run_id,
    cost.condition,
    cost.nll_mean,
    cost.probability_mean,
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
        WHEN split_part(cost.condition, '+', 1) = writing.entry OR cost.condition LIKE '%/routed%' THEN 1
        ELSE (cost.prompt_tokens + cost.generated_tokens) / nullif(together.written_tokens, 0)
    END AS write_seconds,
    scoring.seconds * cost.prefill_tokens / nullif(together.prefill_tokens, 0) AS score_seconds
FROM cost
JOIN run
    ON run.run_id = cost.run_id
LEFT JOIN spent AS writing
    ON writing.run_id = cost.run_id
    AND writing.stage = 'surrogate'
    AND writing.entry IN (split_part(cost.condition, '+', 1), split_part(cost.condition, '/', 1))
LEFT JOIN spent AS scoring
    ON scoring.run_id = cost.run_id
    AND scoring.stage = 'score'
    AND scoring.entry IN (split_part(cost.condition, '+', 1), split_part(cost.condition, '/', 1))
LEFT JOIN together
    ON together.run_id = cost.run_id
    AND together.entry = scoring.entry
WHERE run.status = 'complete'
ORDER BY
    run.started_at DESC,
    run.run_id,
    cost.probability_mean DESC,
    cost.condition;

COMMENT ON VIEW all_runs.what_does_it_cost IS 'What does each condition cost, and what does it gain? One row per condition, an arm with a treatment or a routed family, the highest probability of the answer first.';
COMMENT ON COLUMN all_runs.what_does_it_cost.write_seconds IS 'What writing the surrogates of all samples took (seconds); within a family shared out by the tokens read and written: NULL for the keys of a family without any, and for an arm without surrogates.';
COMMENT ON COLUMN all_runs.what_does_it_cost.score_seconds IS 'What scoring all samples took (seconds), prefill included; within a family, and among the treatments of a text, shared out by prefilled tokens.';

CREATE VIEW all_runs.when_does_it_pay AS
SELECT
    own.run_id,
    own.condition,
    own.probability_mean,
    own.prompt_tokens + own.generated_tokens + own.prefill_tokens AS index_tokens,
    own.index_flops,
    own.write_seconds,
    own.score_seconds,
    own.cache_bytes,
    own.extra_attended_tokens,
    own.query_flops,
    other.condition AS overtakes,
    other.probability_mean AS probability_mean_overtaken,
    ceil((own.index_flops - other.index_flops) / (other.query_flops - own.query_flops)) AS queries_to_overtake
FROM all_runs.what_does_it_cost AS own
JOIN contender
    ON contender.run_id = own.run_id AND contender.condition = own.condition
LEFT JOIN (all_runs.what_does_it_cost AS other
JOIN contender AS rival
    ON rival.run_id = other.run_id AND rival.condition = other.condition)
    ON other.run_id = own.run_id
    AND other.index_flops < own.index_flops
    AND other.query_flops > own.query_flops
ORDER BY own.run_id, contender.cost_rank, queries_to_overtake, overtakes;

COMMENT ON VIEW all_runs.when_does_it_pay IS 'What does each condition that could be deployed take, per document and per query, and after how many queries of a document has it taken fewer operations than one that is cheaper to index? One row per condition and other condition that it overtakes; one without where it overtakes none.';
COMMENT ON COLUMN all_runs.when_does_it_pay.index_tokens IS 'Tokens read and written for the surrogate, and tokens of the contexts, per document.';
COMMENT ON COLUMN all_runs.when_does_it_pay.overtakes IS 'A condition that is cheaper to index and dearer to query.';
COMMENT ON COLUMN all_runs.when_does_it_pay.probability_mean_overtaken IS 'Its mean probability of an answer token, percentage points.';
COMMENT ON COLUMN all_runs.when_does_it_pay.queries_to_overtake IS 'Queries of a document from which on both together have taken fewer operations.';

CREATE VIEW all_runs.outcome AS
SELECT
    score.run_id,
    score.sample_id,
    score.family,
    score.key,
    score.treatment,
    score.family || '/' || score.key || if(score.treatment = 'kept', '', '+' || score.treatment) AS condition,
    score.status,
    score.nll,
    score.nll_notebook,
    100 * (exp(-score.nll) - exp(-baseline.nll)) AS improvement,
    baseline.nll - score.nll AS nll_improvement,
    route.similarity,
    route.is_routed,
    score.context_token_count,
    score.cached_token_count,
    score.answer_token_count
FROM score
LEFT JOIN score AS baseline
    ON baseline.run_id = score.run_id
    AND baseline.sample_id = score.sample_id
    AND baseline.family = 'baseline'
    AND baseline.key = 'document'
    AND baseline.treatment = 'kept'
LEFT JOIN route
    ON route.run_id = score.run_id
    AND route.sample_id = score.sample_id
    AND route.family = score.family
    AND route.key = score.key;

COMMENT ON VIEW all_runs.outcome IS 'One row per sample and condition, an arm with a treatment: its NLL, what it gains over the baseline, and whether the router chose the arm. In all_runs, runs that are not complete are included.';
COMMENT ON COLUMN all_runs.outcome.condition IS 'Its name, e.g. static/factual, or static/factual+stripped where the treatment is not kept.';
COMMENT ON COLUMN all_runs.outcome.improvement IS 'How much more probable an answer token is than in the baseline: 100 (exp(-NLL) - exp(-baseline NLL)), percentage points. NULL where either is missing.';
COMMENT ON COLUMN all_runs.outcome.nll_improvement IS 'Baseline NLL - this NLL, nats per answer token.';
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
    run.row_count - run.eligible_count AS rejected_count,
    run.drawn_count,
    (SELECT count(*) FROM sample WHERE sample.run_id = run.run_id) AS sample_count,
    (SELECT count(*) FROM surrogate WHERE surrogate.run_id = run.run_id) AS surrogate_count,
    (SELECT count(*) FROM score WHERE score.run_id = run.run_id) AS score_count,
    (SELECT count(*) FROM score WHERE score.run_id = run.run_id AND score.status <> 'ok') AS score_missing_count,
    (SELECT count(*) FROM comparison WHERE comparison.run_id = run.run_id) AS comparison_count,
    (SELECT count(*) FROM run_check WHERE run_check.run_id = run.run_id AND NOT run_check.passed) AS check_failed_count,
    (SELECT count(*) FROM attempt WHERE attempt.run_id = run.run_id) AS attempt_count,
    run.seconds,
    run.started_at,
    run.ended_at
FROM run
ORDER BY
    run.started_at DESC,
    run.run_id;

COMMENT ON VIEW all_runs.run_summary IS 'One row per run, the newest first: where it stands, how rows became samples, what it holds.';
COMMENT ON COLUMN all_runs.run_summary.rejected_count IS 'Rows that could not: see table reject, and run.funnel for all reasons.';
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
        outcome.run_id,
        outcome.sample_id,
        outcome.condition,
        outcome.nll
    FROM all_runs.outcome
    WHERE outcome.nll IS NOT NULL
    UNION ALL
    SELECT
        outcome.run_id,
        outcome.sample_id,
        replace(outcome.condition, '/' || outcome.key, '/routed') AS condition,
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
        AND baseline.treatment = 'kept'
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
    condition NOT LIKE '%/routed%',
    condition;

COMMENT ON VIEW all_runs.compare_runs IS 'How do two runs differ on the samples that they share? One row per pair of complete runs, in both orders, and condition that both have; `python -m flows compare` adds intervals. NLLs of models with different tokenizers cannot be compared.';
COMMENT ON COLUMN all_runs.compare_runs.run_a IS 'One run; name it and run_b in WHERE.';
COMMENT ON COLUMN all_runs.compare_runs.run_b IS 'The other run.';
COMMENT ON COLUMN all_runs.compare_runs.condition IS 'An arm with its treatment, e.g. static/factual or static/factual+stripped, or what the router chose, e.g. static/routed.';
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
