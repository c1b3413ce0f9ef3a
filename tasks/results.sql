-- The views of artifacts/results.duckdb: the questions that a run answers, and what they are made from.
-- The tables are made from the records (tasks/store/tables.py), before this file is run. The database is derived:
-- tasks/results.py rebuilds it whole from the run manifests and parquet files, so nothing here migrates.

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
    measure.run_id,
    measure.comparison,
    measure.measure,
    CASE
        WHEN comparison.improvement_low > 0 AND measure.improvement_high < 0 THEN 'contradicts'
        WHEN comparison.improvement_high < 0 AND measure.improvement_low > 0 THEN 'contradicts'
        WHEN comparison.improvement_low > 0 AND measure.improvement_low > 0 THEN 'confirms'
        WHEN comparison.improvement_high < 0 AND measure.improvement_high < 0 THEN 'confirms'
        WHEN greatest(comparison.improvement_low, measure.improvement_low) <= 0
            AND least(comparison.improvement_high, measure.improvement_high) >= 0 THEN 'neither shows a difference'
        ELSE 'one shows a difference, the other does not'
    END AS says,
    measure.n,
    measure.improvement_mean,
    measure.improvement_low,
    measure.improvement_high,
    comparison.improvement_mean AS nll_improvement_mean,
    measure.unit,
    measure.arm_mean,
    measure.reference_mean,
    measure.cohens_d,
    measure.p_value
FROM measure
JOIN comparison
    ON comparison.run_id = measure.run_id
    AND comparison.comparison = measure.comparison
JOIN run
    ON run.run_id = measure.run_id
WHERE run.status = 'complete'
    AND comparison.improvement_low IS NOT NULL
    AND measure.improvement_low IS NOT NULL
ORDER BY
    run.started_at DESC,
    run.run_id,
    measure.comparison,
    measure.measure;

COMMENT ON VIEW all_runs.does_the_measure_matter IS 'Does a result depend on how it is measured? One row per comparison and other measure, where both have an interval.';
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
    cost.nll_mean,
    cost.condition;

COMMENT ON VIEW all_runs.what_does_it_cost IS 'What does each condition cost, and what does it gain? One row per condition, an arm with a treatment or a routed family, the lowest NLL first.';
COMMENT ON COLUMN all_runs.what_does_it_cost.write_seconds IS 'What writing the surrogates of all samples took (seconds); within a family shared out by the tokens read and written: NULL for the keys of a family without any, and for an arm without surrogates.';
COMMENT ON COLUMN all_runs.what_does_it_cost.score_seconds IS 'What scoring all samples took (seconds), prefill included; within a family, and among the treatments of a text, shared out by prefilled tokens.';

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
    baseline.nll - score.nll AS improvement,
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
