-- The views of artifacts/results.duckdb: the questions that a run answers, and what they are made from.
-- The tables are made from the records (tasks/store/tables.py), before this file is run. The database is derived:
-- tasks/results.py rebuilds it whole from the run manifests and parquet files, so nothing here migrates.

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
    comparison.p_adjusted,
    comparison.adjustment,
    comparison.win_count / nullif(comparison.n, 0) AS win_rate,
    comparison.tie_count / nullif(comparison.n, 0) AS tie_rate,
    margin.improvement_mean AS margin_improvement_mean,
    margin.improvement_low AS margin_improvement_low,
    margin.improvement_high AS margin_improvement_high,
    comparison.verdict,
    CASE
        WHEN bare_document.verdict IS NULL OR random_words.verdict IS NULL THEN 'undecided: controls not run'
        WHEN comparison.verdict LIKE 'worse%' THEN 'no: ' || replace(comparison.verdict, 'worse', 'worse than the baseline')
        WHEN bare_document.verdict LIKE 'worse%' THEN 'no: ' || replace(bare_document.verdict, 'worse', 'worse than the bare document')
        WHEN comparison.verdict = 'equivalent' THEN 'no: equivalent to the baseline'
        WHEN bare_document.verdict = 'equivalent' THEN 'no: equivalent to the bare document'
        WHEN comparison.verdict NOT LIKE 'better%'
            THEN 'undecided: not shown to be better than the baseline' || coalesce(' (about ' || format('{:,}', comparison.n_to_decide) || ' samples would decide)', '')
        WHEN bare_document.verdict NOT LIKE 'better%'
            THEN 'undecided: not shown to be better than the bare document' || coalesce(' (about ' || format('{:,}', bare_document.n_to_decide) || ' samples would decide)', '')
        WHEN random_words.verdict LIKE 'worse%' OR random_words.verdict = 'equivalent'
            THEN 'any text helps, its content does not'
        WHEN random_words.verdict NOT LIKE 'better%'
            THEN 'any text helps, that its content does is not shown' || coalesce(' (about ' || format('{:,}', random_words.n_to_decide) || ' samples would decide)', '')
        WHEN 'better, but negligibly' IN (comparison.verdict, bare_document.verdict, random_words.verdict)
            THEN 'yes, but negligibly'
        WHEN margin.improvement_low > 0 THEN 'yes'
        WHEN margin.improvement_low <= 0 THEN 'yes in NLL, but the answer is not shown to be preferred to wrong ones any more than before'
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
LEFT JOIN measure AS margin
    ON margin.run_id = comparison.run_id
    AND margin.comparison = comparison.comparison
    AND margin.measure = 'margin'
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
COMMENT ON COLUMN does_priming_help.improvement_mean IS 'Mean NLL of the reference - mean NLL of the arm (nats per answer token): positive where the arm is better.';
COMMENT ON COLUMN does_priming_help.improvement_low IS 'Lower end of the confidence interval of the mean.';
COMMENT ON COLUMN does_priming_help.improvement_high IS 'Upper end of the confidence interval of the mean.';
COMMENT ON COLUMN does_priming_help.interval_method IS 'How the interval was computed.';
COMMENT ON COLUMN does_priming_help.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN does_priming_help.p_value IS 'Two-sided p-value of the mean with errors clustered by passage.';
COMMENT ON COLUMN does_priming_help.p_adjusted IS 'p_value after adjustment for the number of comparisons declared with it.';
COMMENT ON COLUMN does_priming_help.adjustment IS 'holm (over the primary comparisons) or benjamini_hochberg (over all others).';
COMMENT ON COLUMN does_priming_help.win_rate IS 'Share of pairs in which the arm is strictly better.';
COMMENT ON COLUMN does_priming_help.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN does_priming_help.margin_improvement_mean IS 'Mean improvement of the margin, NLL(distractor) - NLL(answer): how much more the answer is preferred to wrong ones (nats per token).';
COMMENT ON COLUMN does_priming_help.margin_improvement_low IS 'Lower end of its cluster-robust interval.';
COMMENT ON COLUMN does_priming_help.margin_improvement_high IS 'Upper end of its cluster-robust interval.';
COMMENT ON COLUMN does_priming_help.verdict IS 'What this comparison alone says.';
COMMENT ON COLUMN does_priming_help.answer IS 'Of the question: yes only if the routed arm beats the baseline and the bare document; without content if it does not also beat random words; in NLL only if it does not prefer the answer to distractors any more than before; undecided without these controls, since a gain over the baseline may be repaired framing.';

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
    comparison.p_adjusted,
    comparison.adjustment,
    comparison.equivalence_margin,
    comparison.equivalence_p_value,
    comparison.smallest_detectable_improvement,
    comparison.win_count / nullif(comparison.n, 0) AS win_rate,
    comparison.tie_count / nullif(comparison.n, 0) AS tie_rate,
    margin.improvement_mean AS margin_improvement_mean,
    margin.improvement_low AS margin_improvement_low,
    margin.improvement_high AS margin_improvement_high,
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
        WHEN comparison.verdict = 'better, but negligibly' THEN 'yes, but negligibly'
        WHEN comparison.verdict = 'worse, but negligibly' THEN 'no: worse, but negligibly'
        WHEN comparison.verdict = 'equivalent' THEN 'no: equivalent'
        ELSE 'undecided: ' || replace(comparison.verdict, 'undecided: ', '') || coalesce(' (about ' || format('{:,}', comparison.n_to_decide) || ' samples would decide)', '')
    END AS answer
FROM comparison
JOIN run
    ON run.run_id = comparison.run_id
LEFT JOIN measure AS margin
    ON margin.run_id = comparison.run_id
    AND margin.comparison = comparison.comparison
    AND margin.measure = 'margin'
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
COMMENT ON COLUMN is_generated_better_than_static.improvement_mean IS 'Mean NLL of the reference - mean NLL of the arm (nats per answer token): positive where the arm is better.';
COMMENT ON COLUMN is_generated_better_than_static.improvement_low IS 'Lower end of the confidence interval of the mean.';
COMMENT ON COLUMN is_generated_better_than_static.improvement_high IS 'Upper end of the confidence interval of the mean.';
COMMENT ON COLUMN is_generated_better_than_static.interval_method IS 'How the interval was computed.';
COMMENT ON COLUMN is_generated_better_than_static.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN is_generated_better_than_static.p_value IS 'Two-sided p-value of the mean with errors clustered by passage.';
COMMENT ON COLUMN is_generated_better_than_static.p_adjusted IS 'p_value after adjustment for the number of comparisons declared with it.';
COMMENT ON COLUMN is_generated_better_than_static.adjustment IS 'holm (over the primary comparisons) or benjamini_hochberg (over all others).';
COMMENT ON COLUMN is_generated_better_than_static.equivalence_margin IS 'Mean improvements smaller than this are negligible (nats per answer token).';
COMMENT ON COLUMN is_generated_better_than_static.equivalence_p_value IS 'p-value of the two one-sided tests that the mean improvement lies within the margin.';
COMMENT ON COLUMN is_generated_better_than_static.smallest_detectable_improvement IS 'The mean improvement that these pairs would have shown with a chance of 80 % (nats per answer token).';
COMMENT ON COLUMN is_generated_better_than_static.win_rate IS 'Share of pairs in which the arm is strictly better.';
COMMENT ON COLUMN is_generated_better_than_static.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN is_generated_better_than_static.margin_improvement_mean IS 'Mean improvement of the margin, NLL(distractor) - NLL(answer): how much more the answer is preferred to wrong ones (nats per token).';
COMMENT ON COLUMN is_generated_better_than_static.margin_improvement_low IS 'Lower end of its cluster-robust interval.';
COMMENT ON COLUMN is_generated_better_than_static.margin_improvement_high IS 'Upper end of its cluster-robust interval.';
COMMENT ON COLUMN is_generated_better_than_static.verdict IS 'What this comparison alone says.';
COMMENT ON COLUMN is_generated_better_than_static.answer IS 'Of the question: the verdict, once the controls have been run.';

CREATE VIEW is_generation_worth_its_compute AS
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
    comparison.p_adjusted,
    comparison.adjustment,
    comparison.equivalence_margin,
    written.prompt_tokens + written.generated_tokens AS written_tokens,
    written.index_flops / nullif(baseline.index_flops, 0) AS index_flops_ratio,
    written.cache_bytes / nullif(baseline.cache_bytes, 0) AS cache_bytes_ratio,
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
        WHEN comparison.improvement_low > comparison.equivalence_margin THEN 'yes'
        WHEN comparison.improvement_high < comparison.equivalence_margin THEN 'no'
        WHEN comparison.improvement_low IS NULL THEN comparison.verdict
        ELSE 'undecided' || coalesce(
            ' (about ' || format('{:,}', comparison.n_to_decide_margin) || ' samples would decide)',
            ''
        )
    END AS answer
FROM comparison
JOIN run
    ON run.run_id = comparison.run_id
LEFT JOIN cost AS written
    ON written.run_id = comparison.run_id
    AND written.condition = comparison.arm
LEFT JOIN cost AS baseline
    ON baseline.run_id = comparison.run_id
    AND baseline.condition = 'baseline/document'
WHERE run.status = 'complete'
    AND comparison.kind = 'worth'
ORDER BY
    run.started_at DESC,
    run.run_id,
    comparison.comparison;

COMMENT ON VIEW is_generation_worth_its_compute IS 'Do routed surrogates that a language model wrote beat the best arm for which nothing is written by more than the margin? One row per complete run, the newest first.';
COMMENT ON COLUMN is_generation_worth_its_compute.run_id IS 'The run.';
COMMENT ON COLUMN is_generation_worth_its_compute.comparison IS 'What is compared with what.';
COMMENT ON COLUMN is_generation_worth_its_compute.n IS 'Sample pairs in which both scores are finite.';
COMMENT ON COLUMN is_generation_worth_its_compute.improvement_mean IS 'Mean improvement over the free arm that is best on other passages (nats per answer token).';
COMMENT ON COLUMN is_generation_worth_its_compute.improvement_low IS 'Lower end of the confidence interval of the mean.';
COMMENT ON COLUMN is_generation_worth_its_compute.improvement_high IS 'Upper end of the confidence interval of the mean.';
COMMENT ON COLUMN is_generation_worth_its_compute.interval_method IS 'How the interval was computed.';
COMMENT ON COLUMN is_generation_worth_its_compute.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN is_generation_worth_its_compute.p_value IS 'Two-sided p-value of the mean with errors clustered by passage.';
COMMENT ON COLUMN is_generation_worth_its_compute.p_adjusted IS 'p_value after adjustment for the number of comparisons declared with it.';
COMMENT ON COLUMN is_generation_worth_its_compute.adjustment IS 'holm (over the primary comparisons) or benjamini_hochberg (over all others).';
COMMENT ON COLUMN is_generation_worth_its_compute.equivalence_margin IS 'Mean improvements smaller than this are negligible (nats per answer token).';
COMMENT ON COLUMN is_generation_worth_its_compute.written_tokens IS 'Tokens that the model reads and writes for the surrogates, per document.';
COMMENT ON COLUMN is_generation_worth_its_compute.index_flops_ratio IS 'Floating-point operations to index a document, over those of the baseline.';
COMMENT ON COLUMN is_generation_worth_its_compute.cache_bytes_ratio IS 'Size of the caches kept per document, over that of the baseline.';
COMMENT ON COLUMN is_generation_worth_its_compute.win_rate IS 'Share of pairs in which the arm is strictly better.';
COMMENT ON COLUMN is_generation_worth_its_compute.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN is_generation_worth_its_compute.verdict IS 'What this comparison alone says.';
COMMENT ON COLUMN is_generation_worth_its_compute.answer IS 'Of the question: yes if the whole interval is above the margin, no if it is below, else undecided, also without the controls.';

CREATE VIEW does_the_content_matter AS
SELECT
    comparison.run_id,
    CASE
        WHEN comparison.arm = 'baseline/document' AND comparison.reference = 'control/bare_document'
            THEN 'Does the framing help a document without a surrogate?'
        WHEN comparison.arm = 'control/repeated_baseline' AND comparison.reference = 'baseline/document'
            THEN 'Does scoring the same again, in other batches, change anything? (exactly 0 where scores do not depend on the batch)'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/blank_surrogate'
            THEN 'Does a surrogate help the template without one?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/random_words'
            THEN 'Does it do more than random words?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/shuffled_surrogate'
            THEN 'Does the order of its words help?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/other_document'
            THEN 'Does it help that it is about this passage?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/actual_query'
            THEN 'Is it better than a perfect guess? (negative: so far behind)'
        WHEN comparison.arm = 'control/hidden_surrogate' AND comparison.reference = 'control/blank_surrogate'
            THEN 'Do the passage''s representations gain from it, if the query does not see it?'
        WHEN comparison.arm = 'control/blind_passage' AND comparison.reference = 'control/blank_surrogate'
            THEN 'Does the query gain from reading it, if the passage does not see it?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/hidden_surrogate'
            THEN 'Does the query''s sight of it add to the passage''s?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/blind_passage'
            THEN 'Does the passage''s sight of it add to the query''s?'
        WHEN comparison.arm = 'generated/target_question' AND comparison.reference = 'control/hidden_and_blind_added_up'
            THEN 'Do the two gains do more together than added up? (their interaction)'
    END AS question,
    comparison.comparison,
    comparison.n,
    comparison.improvement_mean,
    comparison.improvement_low,
    comparison.improvement_high,
    comparison.interval_method,
    comparison.cohens_d,
    comparison.p_value,
    comparison.p_adjusted,
    comparison.adjustment,
    comparison.equivalence_margin,
    comparison.equivalence_p_value,
    comparison.win_count / nullif(comparison.n, 0) AS win_rate,
    comparison.tie_count / nullif(comparison.n, 0) AS tie_rate,
    margin.improvement_mean AS margin_improvement_mean,
    margin.improvement_low AS margin_improvement_low,
    margin.improvement_high AS margin_improvement_high,
    comparison.verdict,
    CASE
        WHEN comparison.verdict = 'better' THEN 'yes'
        WHEN comparison.verdict = 'worse' THEN 'no: the other way round'
        WHEN comparison.verdict = 'better, but negligibly' THEN 'yes, but negligibly'
        WHEN comparison.verdict = 'worse, but negligibly' THEN 'no: the other way round, but negligibly'
        WHEN comparison.verdict = 'equivalent' THEN 'no: equivalent'
        ELSE 'undecided: ' || replace(comparison.verdict, 'undecided: ', '') || coalesce(' (about ' || format('{:,}', comparison.n_to_decide) || ' samples would decide)', '')
    END AS answer
FROM comparison
JOIN run
    ON run.run_id = comparison.run_id
LEFT JOIN measure AS margin
    ON margin.run_id = comparison.run_id
    AND margin.comparison = comparison.comparison
    AND margin.measure = 'margin'
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
COMMENT ON COLUMN does_the_content_matter.p_adjusted IS 'p_value after adjustment for the number of comparisons declared with it.';
COMMENT ON COLUMN does_the_content_matter.adjustment IS 'holm (over the primary comparisons) or benjamini_hochberg (over all others).';
COMMENT ON COLUMN does_the_content_matter.equivalence_margin IS 'Mean improvements smaller than this are negligible (nats per answer token).';
COMMENT ON COLUMN does_the_content_matter.equivalence_p_value IS 'p-value of the two one-sided tests that the mean improvement lies within the margin.';
COMMENT ON COLUMN does_the_content_matter.win_rate IS 'Share of pairs in which the arm is strictly better.';
COMMENT ON COLUMN does_the_content_matter.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN does_the_content_matter.margin_improvement_mean IS 'Mean improvement of the margin, NLL(distractor) - NLL(answer): how much more the answer is preferred to wrong ones (nats per token).';
COMMENT ON COLUMN does_the_content_matter.margin_improvement_low IS 'Lower end of its cluster-robust interval.';
COMMENT ON COLUMN does_the_content_matter.margin_improvement_high IS 'Upper end of its cluster-robust interval.';
COMMENT ON COLUMN does_the_content_matter.verdict IS 'What this comparison alone says.';
COMMENT ON COLUMN does_the_content_matter.answer IS 'Of the question, from the verdict.';

CREATE VIEW does_routing_help AS
SELECT
    comparison.run_id,
    split_part(comparison.arm, '/', 1) AS family,
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
    comparison.p_adjusted,
    comparison.adjustment,
    comparison.win_count / nullif(comparison.n, 0) AS win_rate,
    comparison.tie_count / nullif(comparison.n, 0) AS tie_rate,
    comparison.verdict,
    routing_agreement.agreement_rate,
    routing_agreement.chance_rate,
    CASE WHEN NOT comparison.is_optimistic THEN CASE
            WHEN comparison.verdict = 'better' THEN 'yes'
            WHEN comparison.verdict = 'worse' THEN 'no: the other way round'
            WHEN comparison.verdict = 'better, but negligibly' THEN 'yes, but negligibly'
            WHEN comparison.verdict = 'worse, but negligibly' THEN 'no: the other way round, but negligibly'
            WHEN comparison.verdict = 'equivalent' THEN 'no: equivalent'
            ELSE 'undecided: ' || replace(comparison.verdict, 'undecided: ', '') || coalesce(' (about ' || format('{:,}', comparison.n_to_decide) || ' samples would decide)', '')
        END END AS answer
FROM comparison
JOIN run
    ON run.run_id = comparison.run_id
LEFT JOIN routing_agreement
    ON routing_agreement.run_id = comparison.run_id
    AND routing_agreement.family = split_part(comparison.arm, '/', 1)
WHERE run.status = 'complete'
    AND comparison.kind IN ('routing', 'oracle')
ORDER BY
    run.started_at DESC,
    run.run_id,
    comparison.comparison;

COMMENT ON VIEW does_routing_help IS 'Does routing by similarity beat a key drawn at random, and the one key that is best on other passages? One row per comparison of each complete run, the newest run first.';
COMMENT ON COLUMN does_routing_help.run_id IS 'The run.';
COMMENT ON COLUMN does_routing_help.family IS 'The family that is routed.';
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
COMMENT ON COLUMN does_routing_help.p_adjusted IS 'p_value after adjustment for the number of comparisons declared with it.';
COMMENT ON COLUMN does_routing_help.adjustment IS 'holm (over the primary comparisons) or benjamini_hochberg (over all others).';
COMMENT ON COLUMN does_routing_help.win_rate IS 'Share of pairs in which the arm is strictly better.';
COMMENT ON COLUMN does_routing_help.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN does_routing_help.verdict IS 'What this comparison alone says.';
COMMENT ON COLUMN does_routing_help.agreement_rate IS 'Share of samples in which the router chose the key with the lowest NLL.';
COMMENT ON COLUMN does_routing_help.chance_rate IS 'The same if routed and best keys had nothing to do with each other.';
COMMENT ON COLUMN does_routing_help.answer IS 'Of the question, from the verdict; NULL for an oracle.';

CREATE VIEW who_gains AS
SELECT
    stratum.run_id,
    stratum.comparison,
    stratum.stratified_by,
    stratum.level,
    stratum.rank,
    stratum.difficulty_arm,
    stratum.n,
    stratum.passage_count,
    stratum.improvement_mean,
    stratum.improvement_low,
    stratum.improvement_high,
    stratum.cohens_d,
    stratum.win_count / nullif(stratum.n, 0) AS win_rate,
    stratum.tie_count / nullif(stratum.n, 0) AS tie_rate,
    comparison.improvement_mean AS overall_improvement_mean
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

COMMENT ON VIEW who_gains IS 'Which samples gain? One row per level of each way to divide the samples, for every comparison that a verdict rests on, of each complete run, the newest run first.';
COMMENT ON COLUMN who_gains.run_id IS 'The run.';
COMMENT ON COLUMN who_gains.comparison IS 'What is compared with what.';
COMMENT ON COLUMN who_gains.stratified_by IS 'query_type, answer_tokens, passage_words, similarity or difficulty.';
COMMENT ON COLUMN who_gains.level IS 'The part of the samples.';
COMMENT ON COLUMN who_gains.rank IS 'Its place in the order of levels.';
COMMENT ON COLUMN who_gains.difficulty_arm IS 'The arm whose NLL is the difficulty: one that takes no part in the comparison, against regression to the mean; NULL for other strata.';
COMMENT ON COLUMN who_gains.n IS 'Sample pairs in the level.';
COMMENT ON COLUMN who_gains.passage_count IS 'Distinct passages among them.';
COMMENT ON COLUMN who_gains.improvement_mean IS 'Mean NLL of the reference - mean NLL of the arm (nats per answer token): positive where the arm is better.';
COMMENT ON COLUMN who_gains.improvement_low IS 'Lower end of the cluster-robust interval of the mean, not adjusted for the number of levels.';
COMMENT ON COLUMN who_gains.improvement_high IS 'Upper end of that interval.';
COMMENT ON COLUMN who_gains.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN who_gains.win_rate IS 'Share of pairs in which the arm is strictly better.';
COMMENT ON COLUMN who_gains.tie_rate IS 'Share of pairs with exactly equal scores.';
COMMENT ON COLUMN who_gains.overall_improvement_mean IS 'Mean improvement over all samples.';

CREATE VIEW does_the_measure_matter AS
SELECT
    measure.run_id,
    measure.comparison,
    measure.measure,
    measure.unit,
    measure.n,
    measure.arm_mean,
    measure.reference_mean,
    measure.improvement_mean,
    measure.improvement_low,
    measure.improvement_high,
    measure.cohens_d,
    measure.p_value,
    comparison.improvement_mean AS nll_improvement_mean,
    CASE
        WHEN comparison.improvement_low > 0 AND measure.improvement_high < 0 THEN 'contradicts'
        WHEN comparison.improvement_high < 0 AND measure.improvement_low > 0 THEN 'contradicts'
        WHEN comparison.improvement_low > 0 AND measure.improvement_low > 0 THEN 'confirms'
        WHEN comparison.improvement_high < 0 AND measure.improvement_high < 0 THEN 'confirms'
        WHEN comparison.improvement_low <= 0
            AND comparison.improvement_high >= 0
            AND measure.improvement_low <= 0
            AND measure.improvement_high >= 0 THEN 'neither shows a difference'
        ELSE 'one shows a difference, the other does not'
    END AS says
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

COMMENT ON VIEW does_the_measure_matter IS 'Does a result depend on how it is measured? One row per comparison and other measure, both with an interval, of each complete run, the newest run first.';
COMMENT ON COLUMN does_the_measure_matter.run_id IS 'The run.';
COMMENT ON COLUMN does_the_measure_matter.comparison IS 'What is compared with what.';
COMMENT ON COLUMN does_the_measure_matter.measure IS 'margin, answer_first, first_token_unscored or longer_answers (see table measure).';
COMMENT ON COLUMN does_the_measure_matter.unit IS 'What the values are.';
COMMENT ON COLUMN does_the_measure_matter.n IS 'Sample pairs in which both sides have the measure.';
COMMENT ON COLUMN does_the_measure_matter.arm_mean IS 'Mean of the measure for the arm.';
COMMENT ON COLUMN does_the_measure_matter.reference_mean IS 'Mean of the measure for the reference.';
COMMENT ON COLUMN does_the_measure_matter.improvement_mean IS 'How much better the arm is: positive is better, whichever direction the measure has.';
COMMENT ON COLUMN does_the_measure_matter.improvement_low IS 'Lower end of the confidence interval of the mean.';
COMMENT ON COLUMN does_the_measure_matter.improvement_high IS 'Upper end of the confidence interval of the mean.';
COMMENT ON COLUMN does_the_measure_matter.cohens_d IS 'Mean improvement / standard deviation of the improvements.';
COMMENT ON COLUMN does_the_measure_matter.p_value IS 'Two-sided p-value with errors clustered by passage, not adjusted.';
COMMENT ON COLUMN does_the_measure_matter.nll_improvement_mean IS 'Mean improvement by the metric of record.';
COMMENT ON COLUMN does_the_measure_matter.says IS 'Whether the interval lies on the same side of 0 as that of the metric of record.';

CREATE VIEW what_does_it_cost AS
WITH spent AS (
    SELECT
        run_id,
        stage,
        entry,
        sum(seconds) AS seconds
    FROM stage_time
    GROUP BY ALL
),
together AS (
    SELECT
        run_id,
        split_part(condition, '/', 1) AS family,
        sum(prompt_tokens) AS prompt_tokens,
        sum(generated_tokens) AS generated_tokens,
        sum(prefill_tokens) AS prefill_tokens
    FROM cost
    WHERE condition NOT LIKE '%/routed'
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
        WHEN cost.condition = writing.entry OR cost.condition LIKE '%/routed' THEN 1
        ELSE (cost.prompt_tokens + cost.generated_tokens)
            / nullif(together.prompt_tokens + together.generated_tokens, 0)
    END AS write_seconds,
    scoring.seconds * CASE
        WHEN cost.condition = scoring.entry OR cost.condition LIKE '%/routed' THEN 1
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

COMMENT ON VIEW what_does_it_cost IS 'What does each condition cost, and what does it gain? One row per arm and routed family of each complete run, the newest run first, the lowest NLL first.';
COMMENT ON COLUMN what_does_it_cost.run_id IS 'The run.';
COMMENT ON COLUMN what_does_it_cost.condition IS 'An arm, or a routed family (all its caches are built, one is read).';
COMMENT ON COLUMN what_does_it_cost.nll_mean IS 'Mean NLL on the samples that all conditions have (nats per answer token).';
COMMENT ON COLUMN what_does_it_cost.improvement_mean IS 'Mean improvement over the baseline on these samples (nats per answer token).';
COMMENT ON COLUMN what_does_it_cost.prompt_tokens IS 'Tokens that the model reads to write surrogates, per document.';
COMMENT ON COLUMN what_does_it_cost.generated_tokens IS 'Tokens that it writes, per document.';
COMMENT ON COLUMN what_does_it_cost.prefill_tokens IS 'Tokens of the contexts whose caches are built, per document.';
COMMENT ON COLUMN what_does_it_cost.index_flops IS 'Floating-point operations of all these, per document.';
COMMENT ON COLUMN what_does_it_cost.cache_bytes IS 'Size of the caches that are kept, per document.';
COMMENT ON COLUMN what_does_it_cost.attended_tokens IS 'Cached tokens that a query attends to.';
COMMENT ON COLUMN what_does_it_cost.extra_attended_tokens IS 'The same, more than the baseline''s.';
COMMENT ON COLUMN what_does_it_cost.query_flops IS 'Floating-point operations of query and answer behind the cache, per query.';
COMMENT ON COLUMN what_does_it_cost.improvement_per_1000_tokens IS 'improvement_mean per 1,000 index tokens beyond the baseline''s.';
COMMENT ON COLUMN what_does_it_cost.is_dominated IS 'Whether another condition has a lower mean NLL at no more index operations, bytes and attended tokens.';
COMMENT ON COLUMN what_does_it_cost.dominated_by IS 'The one with the lowest NLL of those.';
COMMENT ON COLUMN what_does_it_cost.write_seconds IS 'What writing the surrogates of all samples took (seconds); within a family shared out by the tokens read and written: NULL for the keys of one without any, as of an arm that has no surrogate.';
COMMENT ON COLUMN what_does_it_cost.score_seconds IS 'What scoring all samples took (seconds), prefill included; within a family shared out by prefilled tokens.';

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
    run.row_count - run.eligible_count AS rejected_count,
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
        FROM run_check
        WHERE run_check.run_id = run.run_id
            AND NOT run_check.passed
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
COMMENT ON COLUMN run_summary.rejected_count IS 'Rows that could not: see table reject, and run.funnel for all reasons.';
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

CREATE VIEW compare_runs AS
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
    FROM outcome
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
    condition NOT LIKE '%/routed',
    condition;

COMMENT ON VIEW compare_runs IS 'How do two runs differ on the samples that they share? One row per pair of complete runs, in both orders, and condition that both have; `python -m flows.compare` adds intervals. NLLs of models with different tokenizers cannot be compared.';
COMMENT ON COLUMN compare_runs.run_a IS 'One run; name it and run_b in WHERE.';
COMMENT ON COLUMN compare_runs.run_b IS 'The other run.';
COMMENT ON COLUMN compare_runs.condition IS 'An arm, e.g. static/factual, or what the router chose, e.g. static/routed.';
COMMENT ON COLUMN compare_runs.n IS 'Samples that have it in both runs.';
COMMENT ON COLUMN compare_runs.passage_count IS 'Distinct passages among them.';
COMMENT ON COLUMN compare_runs.equal_count IS 'Samples with exactly the same NLL in both.';
COMMENT ON COLUMN compare_runs.nll_a_mean IS 'Mean NLL in run_a on these samples (nats per answer token).';
COMMENT ON COLUMN compare_runs.nll_b_mean IS 'Mean NLL in run_b.';
COMMENT ON COLUMN compare_runs.difference_mean IS 'nll_a_mean - nll_b_mean: positive where run_b is better.';
COMMENT ON COLUMN compare_runs.difference_error IS 'Standard error of difference_mean, clustered by passage; NULL for one passage.';
COMMENT ON COLUMN compare_runs.improvement_a_mean IS 'Mean improvement over the baseline of the same run, in run_a.';
COMMENT ON COLUMN compare_runs.improvement_b_mean IS 'The same in run_b.';
COMMENT ON COLUMN compare_runs.improvement_difference_mean IS 'improvement_b_mean - improvement_a_mean: positive where run_b gains more.';
