"""The rows that travel between stages, one frozen dataclass a kind.

Each record is one row of a stage's parquet file and of the DuckDB table of the same name. This module never moves:
its names are part of what is stored. Missing is None, never 0.0.
"""

from dataclasses import dataclass


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


@dataclass(frozen=True, slots=True)
class Surrogate:
    """One guess of the query, written before the query is known."""

    sample_id: str
    """The sample whose passage it stands before."""
    family: str
    """static, generated or control."""
    key: str
    """Which surrogate of the family, e.g. quantitative or target_question."""
    text: str
    """The text that goes into the template; empty where the model wrote nothing."""
    raw_text: str
    """What the model wrote before post-processing; the text itself for a fixed phrase."""
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
    """The similarity of one surrogate to the query, and whether the router chose it."""

    sample_id: str
    """The sample."""
    family: str
    """The family within which the router chooses."""
    key: str
    """The arm of this row."""
    similarity: float | None
    """Cosine similarity of the two sentence embeddings; None for an empty surrogate."""
    is_routed: bool
    """Whether this arm has the highest similarity of its family; true for exactly one key, or for none if all are
    empty."""
    is_tie: bool
    """Whether another key of the family has the same similarity to the last bit (the first key then wins)."""


@dataclass(frozen=True, slots=True)
class Score:
    """The negative log-likelihood of the gold answer, read from one context's KV cache."""

    sample_id: str
    """The sample."""
    family: str
    """The arm's family."""
    key: str
    """The arm's key within the family."""
    status: str
    """ok; too_long (context and continuation exceed the model's window), no_answer_tokens, not_finite (the model
    gave NaN or infinity) or out_of_memory (even alone). Anything but ok has no NLL and is excluded pairwise."""
    token_nlls: tuple[float, ...] | None
    """Nats for every answer token, the first included, in order; None unless status is ok or not_finite."""
    nll: float | None
    """Mean of token_nlls: the metric of record."""
    nll_notebook: float | None
    """Mean over all tokens but the first, which is what the notebook's code computes; None for a one-token answer."""
    context_token_count: int
    """Tokens of the context, BOS included: what the KV cache holds."""
    query_token_count: int
    """Tokens of the query prompt."""
    answer_token_count: int
    """Tokens of the answer."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One paired comparison: improvement = NLL(reference) - NLL(arm), so that positive means the arm is better."""

    comparison: str
    """Readable name, e.g. "generated routed vs baseline"."""
    kind: str
    """routed, between_families, fixed_arm, routing, control or oracle."""
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
    p_value: float | None
    """Two-sided p-value of the mean with errors clustered by passage: the one the verdict uses."""
    p_holm: float | None
    """p_value after Holm's adjustment over `holm_family`; None for oracles."""
    holm_family: str | None
    """The declared set of comparisons that p_holm corrects for."""
    verdict: str
    """What this comparison alone says: better, worse, no difference shown, or undecided with the reason."""


@dataclass(frozen=True, slots=True)
class Check:
    """One property that a run verified about itself."""

    name: str
    """What was checked, e.g. cache_equals_plain_pass."""
    value: float | None
    """What was measured; None where it could not be."""
    limit: float | None
    """The largest value that passes."""
    passed: bool | None
    """Whether the value is within its limit; None where the property is recorded but not promised."""
    detail: str
    """On how many samples and arms, and in what unit."""
