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
    "undecided: fewer than two pairs",
    "undecided: fewer than two passages",
    "undecided: no interval could be computed",
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
    "not_asked",  # nothing that was run asks it, or an oracle does, which is no test
    "controls_missing",
    "likelihood_only",  # the answer becomes likelier, but no more preferred to wrong ones
    "run_incomplete",  # given where a run that is not complete is shown, never stored
    # No rule gives these yet.
    "cannot_read",
    "could_not_show",
    "depends_on_measure",
]
"""All answers that there are to a question."""

KEPT = "kept"
"""The treatment that leaves everything in sight: a condition's name does not mention it."""


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
    """Row number in the data set, from 0."""
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
    """Its place in the data, counted from 1."""
    reason: str
    """Why it was dropped."""
    excerpt: str
    """How its query begins, or its passage or answer where there is no query: at most 80 characters."""


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
    """One paired comparison: improvement = NLL(reference) - NLL(arm), so that positive means the arm is better."""

    comparison: str
    """Readable name, e.g. "generated routed vs baseline"."""
    kind: str
    """routed, between_families, fixed_arm, routing, control, worth or oracle."""
    arm: str
    """The condition in question, e.g. "generated/routed" or "static/factual"."""
    reference: str
    """What it is compared with, e.g. "baseline/document" or "static/routed"."""
    is_optimistic: bool
    """True for oracles: the minimum of several noisy scores is better than its parts by construction."""
    n: int
    """Sample pairs in which both scores are finite."""
    excluded_count: int
    """Pairs left out because one of the two scores is missing or not finite."""
    passage_count: int
    """Distinct passages among the pairs: the clusters."""
    nll_arm_mean: float | None
    """Mean NLL of the arm, nats per answer token."""
    nll_reference_mean: float | None
    """Mean NLL of the reference, nats per answer token."""
    improvement_mean: float | None
    """Mean improvement, nats per answer token."""
    improvement_median: float | None
    """Median improvement."""
    improvement_trimmed_mean: float | None
    """Mean without the largest and the smallest fifth of the improvements."""
    improvement_sd: float | None
    """Standard deviation of the improvements (n - 1); None for fewer than two pairs."""
    improvement_low: float | None
    """Lower end of the confidence interval of the mean."""
    improvement_high: float | None
    """Upper end of the confidence interval of the mean."""
    interval_method: str
    """How the interval was computed: bca, cluster_robust, constant (all improvements are equal) or none."""
    confidence_level: float
    """Nominal coverage of the interval, e.g. 0.95."""
    cohens_d: float | None
    """Mean improvement / standard deviation of the improvements."""
    cohens_d_low: float | None
    """Lower end of the interval of d."""
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
    p_value: float | None
    """Two-sided p-value of the mean with errors clustered by passage: the one the verdict uses."""
    p_adjusted: float | None
    """p_value after adjustment for the number of comparisons declared with it; None for oracles."""
    adjustment: str | None
    """holm (over the primary comparisons) or benjamini_hochberg (over all others); None for oracles."""
    smallest_detectable_improvement: float | None
    """The mean improvement that these pairs would have shown with a chance of 80 %, nats per answer token."""
    equivalence_margin: float
    """Mean improvements smaller than this are negligible: declared before the run, nats per answer token."""
    equivalence_p_value: float | None
    """p-value of the two one-sided tests that the mean improvement lies within the margin."""
    equivalence_power: float | None
    """The chance of showing equivalence with these pairs if the true improvement were 0."""
    n_to_decide: int | None
    """Pairs that would show a difference, or equivalence if the mean is within the margin, with a chance of 80 % if the
    true improvement were the measured one; None where the verdict stands or no number of pairs would decide."""
    n_to_decide_margin: int | None
    """Pairs that would show, likewise, on which side of the margin (of +margin) the improvement lies; None where the
    interval does not hold the margin."""
    verdict: Verdict
    """What this comparison alone says."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A comparison made again by another measure or on fewer samples: does its result depend on how it is measured?"""

    comparison: str
    """The comparison that is made again."""
    measure: str
    """margin (how far the answer is preferred to distractors), answer_first (share of samples in which the answer's
    NLL is below every distractor's), first_token_unscored (the notebook's NLL) or longer_answers (no one-token
    answers)."""
    unit: str
    """What the values are: nats per answer token, or share of samples."""
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
    """Lower end of the cluster-robust interval of the mean."""
    improvement_high: float | None
    """Upper end of the cluster-robust interval of the mean."""
    cohens_d: float | None
    """Mean improvement / standard deviation of the improvements."""
    p_value: float | None
    """Two-sided p-value with errors clustered by passage, not adjusted."""


@dataclass(frozen=True, slots=True)
class Stratum:
    """A comparison within one part of the samples: who gains?"""

    comparison: str
    """The comparison."""
    stratified_by: str
    """query_type, answer_tokens, passage_words, similarity (of the query to the routed surrogate) or difficulty (NLL of
    `difficulty_arm`)."""
    level: str
    """The part, e.g. "numeric" or "2: 0.41 to 0.63"."""
    rank: int
    """Its place in the order of levels, from 0; a level without pairs is left out, and its rank with it."""
    difficulty_arm: str | None
    """The arm whose NLL is the difficulty: one that takes no part in the comparison, since samples on which a side
    happens to be bad would seem to gain whatever is done (regression to the mean); None for other strata. There are no
    such strata where every scored arm takes part."""
    n: int
    """Sample pairs."""
    passage_count: int
    """Distinct passages among the pairs."""
    improvement_mean: float | None
    """Mean improvement, nats per answer token."""
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
    improvement_mean: float | None
    """Mean improvement over the baseline on these samples."""
    improvement_per_1000_tokens: float | None
    """improvement_mean per 1,000 tokens read, written and prefilled for the index beyond the baseline's; None where
    there are no more."""
    is_dominated: bool
    """Whether another condition has a lower mean NLL at no more index operations, bytes and attended tokens."""
    dominated_by: str | None
    """The one with the lowest NLL of those."""


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
    """The question's key, e.g. does_priming_help: the name of its view, but for the headline's should_i_prime."""
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
    """Mean improvement in the question's own comparison, nats per answer token."""
    improvement_low: float | None
    """Lower end of its confidence interval."""
    improvement_high: float | None
    """Upper end of its confidence interval."""
    p_adjusted: float | None
    """Its p-value after adjustment for the number of comparisons declared with it."""
    samples_to_decide: int | None
    """Samples that would settle an open answer with a chance of 80 % if the true improvement were the measured one;
    None where the answer stands, or where no number of samples would."""
