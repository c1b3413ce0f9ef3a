"""The rows that travel between stages, one frozen dataclass a kind.

Each record is one row of a stage's parquet file and of a DuckDB table, which has the fields as columns and the
docstrings as comments. This module never moves: its names are part of what is stored. Missing is None, never 0.0.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal[
    "better",
    "worse",
    "better, but negligibly",
    "worse, but negligibly",
    "equivalent",
    "no difference shown",
    "undecided: too few passages",
    "undecided: no interval could be computed",
    "explored, not a verdict",
    "optimistic by construction, not a verdict",
]
"""What one comparison alone says; `judge` in tasks/priming/statistics/comparisons.py gives the rules."""

AnswerValue: TypeAlias = Literal[
    "yes",
    "negligible",  # better, but by less than the margin
    "any_text_helps",  # better than no text, but not better than random words
    "equivalent",
    "hurts",  # worse
    "undecided",
    "not_asked",  # nothing that was run asks it, or what it is asked about was not shown
    "controls_missing",
    "likelihood_only",  # the answer becomes likelier; that it is preferred to wrong ones any more is not shown
    "cannot_read",  # the answer is not shown to be less probable without the passage
    "could_not_show",  # "no" would be the answer, but this run could not have shown a gain
    "depends_on_measure",  # another likelihood measure shows the opposite
    "run_incomplete",  # given where a run that is not complete is shown, never stored
]
"""All answers that there are to a question."""

KEPT = "kept"
"""The treatment that leaves everything in sight: a condition's name does not mention it."""

LEAST_CLUSTERS = 100
"""No answer at any look with fewer passages: p-values are 1 and intervals None.

Simulated: where one sample in ten carries the whole effect, reading from 20 passages on gives 16 % errors in place of
5 %, from 100 on 4 to 5 %. Where one in twenty carries it, 100 passages are too few (8 to 10 %), and 200 are not.
"""


def condition_name(family: str, key: str, treatment: str = KEPT) -> str:
    """Return the name of a condition, e.g. "static/factual", or "static/factual+stripped" if it is not kept."""
    return f"{family}/{key}" if treatment == KEPT else f"{family}/{key}+{treatment}"


DistractorSource: TypeAlias = Literal["same_passage", "unselected_passage", "other_passage"]
"""What a distractor is about, the hardest first."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One query with its gold answer and the passage that answers it."""

    sample_id: str
    """Hash of passage, query and answer: the same text has the same id in every data set and run."""
    position: int
    """Its row in the data, counted from 1; in a .jsonl file that is its line."""
    passage: str
    """The document whose cache is built."""
    query: str
    """What the user asked."""
    answer: str
    """The gold answer that is scored."""
    query_type: str | None
    """The data set's own label of the query (e.g. numeric), where it has one."""
    passage_id: str
    """Hash of the passage: the cluster for standard errors, since queries on one passage are not independent."""
    answers: tuple[str, ...] = ()
    """All accepted answers, the one that is scored first: what the model writes is compared with each of them."""

    def __post_init__(self) -> None:
        """Let a sample of which no other answers are known accept the one that is scored."""
        if not self.answers:
            object.__setattr__(self, "answers", (self.answer,))


@dataclass(frozen=True, slots=True)
class Reject:
    """A row of the data that could not be a sample: the first 1,000 of a run."""

    position: int
    """Its row in the data, counted from 1 as sample.position is; in a .jsonl file that is its line."""
    reason: str
    """Why it was dropped."""
    excerpt: str
    """How its query begins, or its passage or answer where there is no query, or what of it is no row: at most 80
    characters."""


@dataclass(frozen=True, slots=True)
class Distractor:
    """A wrong answer to a query: the answer to another one, about the same passage if there is any."""

    sample_id: str
    """The sample whose cache it is scored on."""
    number: int
    """Its place among the sample's distractors, from 0."""
    answer: str
    """The text that is scored."""
    source_id: str
    """The sample_id of the row that it answers, drawn or not."""
    source: DistractorSource
    """What it is about: same_passage; unselected_passage, which the sample's row lists but does not select; or
    other_passage."""


@dataclass(frozen=True, slots=True)
class Surrogate:
    """One guess of the query, written before the query is known."""

    sample_id: str
    """The sample whose passage it stands before."""
    family: str
    """The arm's family."""
    key: str
    """The arm's key within the family, e.g. quantitative or target_question."""
    text: str
    """The text that goes into the template; empty where the model wrote nothing."""
    raw_text: str
    """What the model wrote before post-processing; the text itself for a fixed phrase."""
    prompt_token_count: int
    """Tokens of the instruction and passage that the model read for it; 0 for a fixed phrase."""
    token_count: int
    """Tokens that the model generated for it, the stop token included; 0 for a fixed phrase."""
    finish: str
    """Why writing ended: stop (end of line or of text), length (the token limit), fixed (nothing was generated)."""
    is_over_word_limit: bool
    """Whether it has more words than its instruction allows."""
    is_query: bool
    """Whether it equals the user's query but for case and space: the answerer would have seen the question."""
    has_stray_marks: bool
    """Whether it carries quotes or a parenthetical explanation that nobody types into a search box."""


@dataclass(frozen=True, slots=True)
class Route:
    """How similar a surrogate is to the query, and whether the router chose it."""

    sample_id: str
    """The sample."""
    family: str
    """The family within which the router chooses."""
    key: str
    """The arm's key within the family."""
    similarity: float | None
    """Cosine similarity of the two sentence embeddings; None for an empty surrogate."""
    is_routed: bool
    """Whether this arm has the highest similarity of its family; true for exactly one key, or for none if all are
    empty."""
    is_tie: bool
    """Whether another key of the family has the same similarity to the last bit (the first key then wins)."""


@dataclass(frozen=True, slots=True)
class Score:
    """The negative log-likelihood (NLL) of the gold answer, read from the KV cache of one arm's context."""

    sample_id: str
    """The sample."""
    family: str
    """The arm's family."""
    key: str
    """The arm's key within the family."""
    treatment: str
    """What was done with the computed context: kept (all of it is in sight), stripped (what precedes the document and
    its frame is dropped), hidden (the query does not see the surrogate), blind (the passage does not), masked (neither
    does)."""
    status: str
    """ok; too_long (context and continuation exceed the model's window), no_answer_tokens, no_context_tokens (neither a
    document nor a first token), cannot_strip (the model's positions do not allow a part of the context to be dropped),
    not_finite (the model gave NaN or infinity) or out_of_memory (even alone). Anything but ok has no NLL and is
    excluded pairwise."""
    token_nlls: tuple[float, ...] | None
    """Nats for every answer token, the first included, in order; None unless status is ok or not_finite."""
    answer_tokens: tuple[str, ...]
    """The text of each answer token, in order; together they are the answer as the tokenizer decodes it."""
    nll: float | None
    """Mean of token_nlls, nats per answer token: the metric of record."""
    nll_notebook: float | None
    """Mean over all tokens but the first, which is what the notebook's code computes; None for a one-token answer."""
    distractor_nlls: tuple[float, ...] | None
    """Mean NLL of each distractor on the same cache, nats per token of its own, in the order of their numbers; None
    where the sample has none, where one does not fit the model's window or is not finite, or unless status is ok."""
    margin: float | None
    """Mean of distractor_nlls - nll: how far the answer is preferred to wrong ones; None without distractor_nlls."""
    context_token_count: int
    """Tokens of the context, BOS included: what is computed before the query."""
    cached_token_count: int
    """Those of them that the KV cache holds when the query comes: fewer where a part was dropped."""
    has_document_ids: bool | None
    """Whether the cache holds exactly the token ids of the plain document, as the baseline's does: a tokenizer may join
    the start of the document with the text before it. None where nothing is dropped."""
    query_token_count: int
    """Tokens of the query prompt."""
    answer_token_count: int
    """Tokens of the answer."""
    control_string_count: int
    """Control tokens that passage, surrogate, query and answer spell out, e.g. </s>: each was read as text."""

    @property
    def condition(self) -> str:
        """The name of its condition."""
        return condition_name(self.family, self.key, self.treatment)


@dataclass(frozen=True, slots=True)
class AnswerText:
    """What the model answers, taking the likeliest token each time, from the KV cache of one condition."""

    sample_id: str
    """The sample."""
    family: str
    """The arm's family."""
    key: str
    """The arm's key within the family."""
    treatment: str
    """What was done with the computed context: see table score."""
    is_routed: bool
    """Whether the router chose this key for the sample; False in families that are not routed."""
    status: str
    """ok; too_long (context, query and the longest answer exceed the model's window), cannot_strip (as in table score)
    or out_of_memory (even alone). Anything but ok has no text."""
    text: str | None = None
    """The first line that the model writes, without surrounding space; it may be empty. Text, never markup."""
    normalised_text: str | None = None
    """The text in lower case, without punctuation, articles and extra space: texts that are equal in this are the same
    answer."""
    token_count: int | None = None
    """Tokens that the model wrote, the final one included."""
    finish: str | None = None
    """Why it ended: stop (end of the line or of the text) or length (the token limit)."""
    exact_match: bool | None = None
    """Whether the normalised text equals that of an accepted answer."""
    f1: float | None = None
    """Harmonic mean of precision and recall of the normalised words, 0 to 1; the best over the accepted answers."""
    recall: float | None = None
    """Share of an accepted answer's normalised words that occur in the text, 0 to 1; the best over the answers."""
    rouge_l: float | None = None
    """F-measure of the longest common subsequence of words, 0 to 1; the best over the accepted answers."""
    word_count: int | None = None
    """Words of the text, split at white space."""
    is_empty: bool | None = None
    """Whether the normalised text is empty."""
    is_refusal: bool | None = None
    """Whether it says, in one of a few English phrases, that there is no answer."""

    @property
    def condition(self) -> str:
        """The name of its condition."""
        return condition_name(self.family, self.key, self.treatment)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One paired comparison by the measure of record: the probability of an answer's token, in percentage points.

    It has two pairs of an interval and a p-value, each from one test: (improvement_low, improvement_high, p_value) and
    (answer_low, answer_high, answer_p). Answers read the second alone.
    """

    comparison: str
    """Readable name, e.g. "generated routed vs baseline"."""
    question: str | None
    """The question whose answer rests on it, e.g. does_priming_help: its comparisons are adjusted together; None where
    no answer does."""
    subject: str
    """What it asks, or of what its question is asked."""
    kind: str
    """routed, between_families, best_of (the reference is the best of several conditions), single (one deployable
    condition), routing, treatment, control, assay (whether the run could show anything) or oracle."""
    arm: str
    """The condition in question, e.g. "generated/routed" or "static/factual+stripped"."""
    reference: str
    """What it is compared with, e.g. "baseline/document" or "static/routed"."""
    is_optimistic: bool
    """True for oracles: the best of several noisy scores is better than its parts by construction."""
    n: int
    """Sample pairs in which both scores are finite."""
    excluded_count: int
    """Pairs left out because one of the two scores is missing or not finite."""
    passage_count: int
    """Distinct passages among the pairs: the clusters."""
    nll_arm_mean: float | None
    """Mean NLL of the arm, nats per answer token."""
    nll_reference_mean: float | None
    """Mean NLL of the reference; of kind best_of, of the condition with the highest probability."""
    probability_arm_mean: float | None
    """Mean probability of an answer's token in the arm: the mean over answers of 100 exp(-NLL), percentage points."""
    probability_reference_mean: float | None
    """The same in the reference."""
    improvement_mean: float | None
    """probability_arm_mean - probability_reference_mean, points: positive where the arm is better."""
    improvement_error: float | None
    """Standard error of it, clustered by passage."""
    improvement_low: float | None
    """Lower end of its interval by the cluster-robust t test: unadjusted, for a number of samples that was fixed
    before."""
    improvement_high: float | None
    """Upper end of it."""
    p_value: float | None
    """Two-sided p-value of that test."""
    interval_method: str
    """How that interval was computed: cluster_robust, constant (all improvements are equal) or none (as for
    best_of)."""
    answer_low: float | None
    """Lower end of the interval that answers read: it holds together with those of all comparisons of the question, at
    any look at a growing run."""
    answer_high: float | None
    """Upper end of it."""
    answer_p: float | None
    """p-value that belongs to it, adjusted by Holm's method within the question; None for best_of, whose interval
    stands for itself."""
    fdr_p_value: float | None
    """p_value adjusted by Benjamini and Hochberg's method over all comparisons on which no answer rests; None for those
    on which one does, and for oracles."""
    confidence_level: float
    """Nominal coverage of the intervals, e.g. 0.95."""
    bca_low: float | None
    """Lower end of the bootstrap's BCa interval of the mean: a description."""
    bca_high: float | None
    """Upper end of it."""
    cross_fitted_mean: float | None
    """Of kind best_of: mean improvement over the condition that is best on other passages, a description without a
    test."""
    improvement_median: float | None
    """Median improvement."""
    improvement_trimmed_mean: float | None
    """Mean without the largest and the smallest fifth of the improvements."""
    improvement_sd: float | None
    """Standard deviation of the improvements (n - 1); None for fewer than two pairs."""
    cohens_d: float | None
    """Mean improvement / standard deviation of the improvements."""
    cohens_d_low: float | None
    """Lower end of the interval of d (BCa)."""
    cohens_d_high: float | None
    """Upper end of the interval of d."""
    win_count: int
    """Pairs in which the arm is strictly better."""
    tie_count: int
    """Pairs with exactly equal scores."""
    loss_count: int
    """Pairs in which the arm is strictly worse."""
    t_statistic: float | None
    """Paired t statistic."""
    t_p_value: float | None
    """Two-sided p-value of the paired t-test (descriptive: it takes the pairs as independent)."""
    wilcoxon_p_value: float | None
    """Two-sided p-value of the Wilcoxon signed-rank test (descriptive)."""
    sign_p_value: float | None
    """Two-sided p-value of the sign test on wins and losses (descriptive)."""
    equivalence_margin: float
    """Improvements smaller than this are negligible: declared before the run, points."""
    n_for_precision: int | None
    """Pairs with which the interval that answers read would reach half the margin to either side, so that it excludes 0
    or lies within the margin; None where no answer rests on the comparison."""
    verdict: Verdict
    """What this comparison alone says, by the interval that answers read."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A comparison made again by another measure or on fewer samples: does its result depend on how it is measured?"""

    comparison: str
    """The comparison that is made again."""
    measure: str
    """nll (mean NLL), log_ratio (of the NLLs: ln(NLL of the reference / NLL of the arm)), nll_per_byte, summed_nll,
    first_token_unscored (the notebook's NLL), longer_answers (the measure of record without one-token answers), margin
    (how far the answer is preferred to distractors), answer_first (share of samples in which the answer's NLL is
    below every distractor's), or of the answers that the model wrote f1, recall, exact_match or rouge_l: see table
    answer_text."""
    unit: str
    """What the values are."""
    n: int
    """Sample pairs in which both sides have the measure."""
    passage_count: int
    """Distinct passages among the pairs."""
    arm_mean: float | None
    """Mean of the measure for the arm."""
    reference_mean: float | None
    """Mean of the measure for the reference."""
    improvement_mean: float | None
    """How much better the arm is: positive is better, whichever direction the measure has."""
    improvement_low: float | None
    """Lower end of the cluster-robust interval of the mean, unadjusted."""
    improvement_high: float | None
    """Upper end of the cluster-robust interval of the mean."""
    p_value: float | None
    """Two-sided p-value of the same test."""
    answer_low: float | None
    """Lower end of the interval at the level of answers, as in table comparison: within the question, at any look."""
    answer_high: float | None
    """Upper end of it."""
    answer_p: float | None
    """p-value that belongs to it."""
    cohens_d: float | None
    """Mean improvement / standard deviation of the improvements."""


@dataclass(frozen=True, slots=True)
class TextSummary:
    """What the model wrote after one condition, on average; table answer_text has the texts."""

    condition: str
    """An arm ("static/quantitative+stripped") or what the router chose ("static/routed"), asked on every sample."""
    n: int
    """Samples whose answer was written."""
    exact_match_rate: float | None
    """Share of texts that equal an accepted answer."""
    f1_mean: float | None
    """Mean F1 of their words, 0 to 1."""
    recall_mean: float | None
    """Mean share of an accepted answer's words that occur, 0 to 1."""
    rouge_l_mean: float | None
    """Mean F-measure of the longest common subsequence of words, 0 to 1."""
    word_count_mean: float | None
    """Mean number of words."""
    empty_rate: float | None
    """Share of texts without any word."""
    refusal_rate: float | None
    """Share of texts that say that there is no answer."""
    changed_rate: float | None
    """Share of texts that differ from what the model wrote after the plain document, in more than case, punctuation
    and articles."""


@dataclass(frozen=True, slots=True)
class Contender:
    """A condition that could be deployed, compared with the best of all others (Hsu's multiple comparisons)."""

    condition: str
    """The condition."""
    cost_rank: int
    """Its place by cost, from 0: by operations to index a document, then bytes kept, then tokens attended; by name
    where the costs are not known."""
    n: int
    """Samples that all contenders have."""
    passage_count: int
    """Distinct passages among them."""
    probability_mean: float
    """Mean probability of an answer's token, percentage points."""
    lag_low: float | None
    """Lower end of what choosing it costs: the best of all contenders minus it, points; above 0 where it is shown not
    to be the best. The intervals of all contenders hold together, at any look; None for too few passages."""
    lag_high: float | None
    """Upper end of it."""
    may_be_best: bool
    """Whether no other is shown to be better."""
    is_close_to_best: bool
    """Whether lag_high lies below the equivalence margin."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """A comparison within one part of the samples: who gains?"""

    comparison: str
    """The comparison."""
    stratified_by: str
    """query_type, answer_tokens, passage_words, similarity (of the query to the routed surrogate), difficulty (by the
    mean of both sides), bare_difficulty (by the bare document, where that is no side) or distractor_source."""
    level: str
    """The part, e.g. "numeric" or "2: 41 to 63"; difficulty in points that the answer's probability lacks to 100."""
    rank: int
    """Its place in the order of levels, from 0; a level without pairs is left out, and its rank with it."""
    measure: str
    """What is compared: probability (the measure of record, points), or margin (nats) by distractor_source."""
    n: int
    """Sample pairs."""
    passage_count: int
    """Distinct passages among the pairs."""
    improvement_mean: float | None
    """Mean improvement."""
    improvement_low: float | None
    """Lower end of the cluster-robust interval of the mean; None where it cannot be computed."""
    improvement_high: float | None
    """Upper end of the cluster-robust interval of the mean."""
    cohens_d: float | None
    """Mean improvement / standard deviation of the improvements."""
    win_count: int
    """Pairs in which the arm is strictly better."""
    tie_count: int
    """Pairs with exactly equal scores."""


@dataclass(frozen=True, slots=True)
class Correlation:
    """Whether a surrogate that is more similar to the query helps more."""

    family: str
    """The family."""
    key: str
    """The arm within it, or "routed"."""
    n: int
    """Samples with a similarity and both scores."""
    pearson_r: float | None
    """Correlation of similarity and improvement over the baseline; None where one of them is constant, or for fewer
    than three samples."""
    pearson_low: float | None
    """Lower end of its interval (Fisher's transformation)."""
    pearson_high: float | None
    """Upper end of its interval."""
    pearson_p_value: float | None
    """Two-sided p-value of no correlation (samples taken as independent)."""
    spearman_r: float | None
    """Rank correlation, which outliers do not move."""
    confidence_level: float
    """Nominal coverage of the interval."""


@dataclass(frozen=True, slots=True)
class RoutingChoice:
    """How often the router chose one key where another one had the lowest NLL: a cell of the confusion table."""

    family: str
    """The family."""
    routed_key: str
    """What the router chose."""
    best_key: str
    """The key with the lowest NLL on the sample, known afterwards; the alphabetically first of equals."""
    count: int
    """Samples."""
    regret_mean: float
    """Mean NLL(routed) - NLL(best) on these samples, nats per answer token."""


@dataclass(frozen=True, slots=True)
class RoutingAgreement:
    """How often the router chooses the key that turns out best, compared with what chance would give."""

    family: str
    """The family."""
    n: int
    """Samples in which every key has a score and one is routed."""
    agreement_rate: float | None
    """Share of samples in which the routed key has the lowest NLL (equal lowest ones count)."""
    chance_rate: float | None
    """The same (equal lowest ones count), if routed and best keys had the frequencies that they have, but nothing to
    do with each other."""
    kappa: float | None
    """Cohen's kappa of table routing_choice: 0 is chance, 1 is perfect; None where the table has a single cell."""
    kappa_low: float | None
    """Lower end of its interval (asymptotic); None where its error is zero, e.g. in perfect agreement."""
    kappa_high: float | None
    """Upper end of its interval."""
    similarity_tie_count: int
    """Samples in which two keys of the family were equally similar to the query."""
    best_tie_count: int
    """Samples in which two keys had the same lowest NLL."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one condition costs and what it gains: per document when it is indexed, and per query."""

    condition: str
    """An arm ("static/factual") or a routed family ("static/routed": all its caches are built, one is read)."""
    document_count: int
    """Documents that the means are over."""
    prompt_tokens: float
    """Tokens that the model reads to write surrogates, per document."""
    generated_tokens: float
    """Tokens that it writes, per document."""
    prefill_tokens: float
    """Tokens of the contexts whose caches are built, per document."""
    index_flops: float
    """Floating-point operations of all these, per document."""
    cache_bytes: float
    """Size of the caches that are kept, per document."""
    attended_tokens: float
    """Cached tokens that a query attends to."""
    extra_attended_tokens: float
    """The same, more than the baseline's."""
    query_flops: float
    """Floating-point operations of query and answer on the cache, per query."""
    nll_mean: float | None
    """Mean NLL on the samples that all conditions have, nats per answer token."""
    probability_mean: float | None
    """Mean probability of an answer's token on these samples, percentage points."""
    improvement_mean: float | None
    """How much higher it is than the baseline's, points."""
    improvement_per_1000_tokens: float | None
    """improvement_mean per 1,000 tokens read, written and prefilled for the index beyond the baseline's; None where
    there are no more."""
    is_dominated: bool
    """Whether a condition that could be deployed takes no more index operations, bytes and attended tokens, less of one
    of them, and is shown not to be worse by more than the equivalence margin (at any look)."""
    dominated_by: str | None
    """The one with the highest probability of those."""


@dataclass(frozen=True, slots=True)
class Check:
    """One property that a run verified about itself, or an artifact of it that could not be loaded."""

    name: str
    """What was checked, e.g. cache_equals_plain_pass; artifacts_are_intact where a file has gone."""
    value: float | None
    """What was measured; None where it could not be."""
    limit_value: float | None
    """The largest value that passes."""
    passed: bool | None
    """Whether the value is within its limit; None where the property is recorded but not promised."""
    detail: str
    """On how many samples and arms, and in what unit; or what is wrong with which file."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run answers to one question about one subject."""

    position: int
    """Its place in the order in which answers are shown, from 0; the first is the run's headline."""
    question: str
    """The question's key, e.g. does_priming_help: the name of its view."""
    question_title: str
    """The question in words."""
    subject: str
    """What it is asked of, e.g. generated, or which part of the question it is; empty for the headline."""
    answer: AnswerValue
    """The answer."""
    sentence: str
    """The answer as it is shown, with the reason."""
    comparison: str | None
    """The comparison that asks the question; None where nothing was compared."""
    arm: str | None
    """The condition in question, e.g. generated/routed."""
    reference: str | None
    """What it is compared with, e.g. baseline/document."""
    rests_on: str | None
    """The comparison that settles the answer, or leaves it open: that of the question, or one with a control."""
    improvement_mean: float | None
    """Mean improvement in the question's own comparison, points."""
    answer_low: float | None
    """Lower end of its interval that answers read: adjusted within the question, valid at any look."""
    answer_high: float | None
    """Upper end of it."""
    answer_p: float | None
    """Its p-value, adjusted likewise."""
    samples_for_precision: int | None
    """Samples with which the interval of the comparison that leaves the answer open would reach half the margin to
    either side; None where the answer stands."""
