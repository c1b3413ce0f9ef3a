"""The tables of a report: what each column is called, where its values come from, and how they are shown.

In: a run's rows. Out: tables by name. Verdicts are shown of complete runs only.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from math import fsum
from typing import Any

from tasks.pages.blocks import (
    Column,
    Quoted,
    Table,
    Value,
    interval_column,
    make_table,
    number_column,
    only_with,
    text_column,
)
from tasks.pages.numbers import MISSING, count, duration, number, percent, probability, quantity, ratio
from tasks.reading.answers import by_question, name_of
from tasks.reading.database import Row, RunRows

BASELINE = "baseline/document"
FAMILIES = ("baseline", "static", "generated", "control")
_SHOWN_ATTEMPTS = 5
_RESULTS = {True: "passed", False: "failed", None: "recorded"}


def role_of(condition: str) -> str:
    """Return the role of a condition such as "static/routed": its family, or oracle; the free arms count as static."""
    family, _, name = condition.partition("/")
    if name == "oracle":
        return "oracle"
    return family if family in FAMILIES else "static" if family == "free" else "muted"


def label_of(comparison: str) -> str:
    """Return the name of a comparison without the family "control", which its keys imply."""
    return comparison.replace("control/", "").replace(BASELINE, "baseline")


def moment(time: str) -> str:
    """Return a time without fractions of a second."""
    return time.partition(".")[0]


_COMPARISON = text_column("comparison", change=label_of)
_CONDITION, _FAMILY, _KEY = map(text_column, ("condition", "family", "key"))
_SAMPLES = number_column("n", form=count)
_IMPROVEMENT = interval_column("improvement (interval)", "improvement")
_ANSWER = interval_column("improvement (interval, any look)", "answer", "improvement_mean")
_MARGIN = only_with(
    "margin_improvement_mean",
    interval_column("of the margin over wrong answers", "margin_answer", "margin_improvement_mean"),
)
_ASKED = Column("comparison", lambda row: Quoted(label_of(name_of(row))), is_text=True)
_WINS_AND_LOSSES = Column(
    "win / tie / loss",
    lambda row: Value(" / ".join(count(row[f"{name}_count"]) for name in ("win", "tie", "loss")), row["win_count"]),
)
_WINS = number_column("wins", "win_rate", percent)
_ADJUSTED = number_column("its p", "answer_p", probability)
_CACHE = number_column("cache", "cache_bytes", partial(quantity, unit="B"))
_OPERATIONS = only_with("times_baseline", number_column("operations, × baseline", "times_baseline", ratio))
_ONE_DECIMAL, _THREE_DECIMALS = partial(number, decimals=1), partial(number, decimals=3)

_TABLES: dict[str, tuple[str, str, list[Column]]] = {
    "measures": ("By other measures", "does_the_measure_matter", [
        _COMPARISON, text_column("measure"), text_column("unit"), _SAMPLES, _ANSWER,
        number_column("by probability", "probability_improvement_mean"), text_column("says"),
    ]),
    "funnel": ("How rows became samples", "reject", [text_column("step"), number_column("rows", form=count)]),
    "attempts": ("Latest executions", "attempt", [
        text_column("started (UTC)", "started_at", moment), text_column("ended (UTC)", "ended_at", moment),
        text_column("status"), only_with("error", text_column("error")),
    ]),
    "stages": ("Time by stage", "stage_time", [
        text_column("table", "stage"), number_column("artifacts", form=count), number_column("time", "total", duration),
    ]),
    "comparisons": ("All comparisons", "comparison", [
        _COMPARISON, _SAMPLES, interval_column("improvement (unadjusted, fixed n)", "improvement"),
        number_column("p", "p_value", probability), interval_column("adjusted, any look", "answer", "improvement_mean"),
        _ADJUSTED, number_column("false discovery rate", "fdr_p_value", probability),
        only_with("verdict", text_column("verdict")),
    ]),
    "sizes": ("All comparisons, sample by sample", "comparison", [
        _COMPARISON, number_column("median", "improvement_median"),
        number_column("trimmed mean", "improvement_trimmed_mean"),
        number_column("Cohen’s d", "cohens_d", _THREE_DECIMALS), _WINS_AND_LOSSES,
        number_column("NLL of arm", "nll_arm_mean"), number_column("of reference", "nll_reference_mean"),
    ]),
    "contenders": ("Which condition to deploy", "should_i_prime", [
        _CONDITION, _SAMPLES, number_column("probability, %", "probability_mean"),
        Column("behind the best, points", lambda row: Value(_lag(row), row["lag_high"])),
        Column("may be the best", lambda row: "yes" if row["may_be_best"] else "no", is_text=True),
        number_column("operations, × baseline", "index_flops_ratio", ratio),
        number_column("bytes, × baseline", "cache_bytes_ratio", ratio),
        number_column("attended more", "extra_attended_tokens", _ONE_DECIMAL),
    ]),
    "conditions": ("In numbers", "outcome", [
        _CONDITION, _SAMPLES, number_column("mean NLL", "mean"), number_column("median"),
        Column("middle half", lambda row: Value(f"{number(row['lower'])} to {number(row['upper'])}", row["upper"])),
    ]),
    "strata": ("Who gains", "who_gains", [
        _COMPARISON, text_column("divided by", "stratified_by"), text_column("level"), text_column("measure"), _SAMPLES,
        _IMPROVEMENT, _WINS,
        number_column("over all", "overall_improvement_mean"),
    ]),
    "correlations": ("Similarity and improvement", "correlation", [
        _FAMILY, _KEY, _SAMPLES, interval_column("correlation (interval)", "pearson", "pearson_r"),
        number_column("rank correlation", "spearman_r", _THREE_DECIMALS),
        number_column("p", "pearson_p_value", probability),
    ]),
    "agreement": ("Router and best key", "routing_agreement", [
        _FAMILY, _SAMPLES, number_column("best key chosen", "agreement_rate", percent),
        number_column("by chance", "chance_rate", percent), interval_column("kappa (interval)", "kappa", "kappa"),
        number_column("ties in similarity", "similarity_tie_count", count),
    ]),
    "choices": ("Routed and best key", "routing_choice", [
        _FAMILY, text_column("routed key", "routed_key"), text_column("best key", "best_key"),
        number_column("samples", "count", count),
    ]),
    "front": ("Nothing cheaper is shown to be as good", "what_does_it_cost", [
        _CONDITION, _OPERATIONS, _CACHE, number_column("improvement", "improvement_mean"),
    ]),
    "costs": ("Cost and gain", "what_does_it_cost", [
        _CONDITION, number_column("mean NLL", "nll_mean"), number_column("probability, %", "probability_mean"),
        number_column("improvement", "improvement_mean"), _OPERATIONS, _CACHE,
        number_column("attended more", "extra_attended_tokens", _ONE_DECIMAL),
        Column("cheaper and not worse", lambda row: row["dominated_by"] or "nothing", is_text=True),
    ]),
    "tokens": ("Tokens and time", "what_does_it_cost", [
        _CONDITION, number_column("tokens read", "prompt_tokens", count),
        number_column("written", "generated_tokens", count), number_column("prefilled", "prefill_tokens", count),
        number_column("gain per 1,000 tokens", "improvement_per_1000_tokens"),
        number_column("writing took", "write_seconds", duration),
        number_column("scoring took", "score_seconds", duration),
    ]),
    "flags": ("Flags of written surrogates", "surrogate", [
        _FAMILY, _KEY, number_column("written", "surrogates", count), number_column("empty", form=count),
        number_column("over word limit", "over_word_limit", count),
        number_column("equals query", "equals_query", count), number_column("stray marks", "stray_marks", count),
        number_column("cut off", "cut_off", count), number_column("mean tokens", "tokens", _ONE_DECIMAL),
    ]),
    "texts": ("Written answers", "text_summary", [
        _CONDITION, _SAMPLES, number_column("F1", "f1_mean", percent), number_column("recall", "recall_mean", percent),
        number_column("exact", "exact_match_rate", percent), number_column("ROUGE-L", "rouge_l_mean", percent),
        number_column("words", "word_count_mean", _ONE_DECIMAL), number_column("empty", "empty_rate", percent),
        number_column("refused", "refusal_rate", percent),
        number_column("changed from the plain document", "changed_rate", percent),
    ]),
    "checks": ("Checks", "run_check", [
        Column("result", lambda row: _RESULTS[row["passed"]], is_text=True), text_column("check", "name"),
        text_column("part", "chunk"), number_column("value", form=ratio),
        number_column("limit", "limit_value", form=ratio), text_column("detail"),
    ]),
}  # fmt: skip
"""Name -> caption, the table or view that holds all rows, and columns."""


def tables_of(rows: RunRows, conditions: Sequence[Row]) -> dict[str, Table]:
    """Return the tables of a report by name, all but those of the answers.

    Args:
        rows: The run's.
        conditions: The NLLs of every condition, as plots.summarize_conditions gives them.
    """
    found = rows.tables
    own = next((row["index_flops"] for row in found["what_does_it_cost"] if row["condition"] == BASELINE), None)
    costs = [row | {"times_baseline": row["index_flops"] / own if own else None} for row in found["what_does_it_cost"]]
    shown = {
        "measures": [row for row in found["does_the_measure_matter"] if row["kind"] != "single"],
        "contenders": found["should_i_prime"],
        "funnel": _funnel(rows),
        "attempts": found["attempt"][-_SHOWN_ATTEMPTS:],
        "stages": [row | {"total": fsum(row["seconds"])} for row in found["stage_time"]],
        "comparisons": [row | {"verdict": row["verdict"] if rows.is_complete else None} for row in found["comparison"]],
        "sizes": found["comparison"],
        "conditions": conditions,
        "strata": found["who_gains"],
        "correlations": found["correlation"],
        "agreement": found["routing_agreement"],
        "choices": found["routing_choice"],
        "front": sorted((row for row in costs if not row["is_dominated"]), key=lambda row: float(row["index_flops"])),
        "costs": costs,
        "tokens": costs,
        "flags": found["flag"],
        "texts": found["text_summary"],
        "checks": found["run_check"],
    }
    return {name: make_table(caption, source, shown[name], made) for name, (caption, source, made) in _TABLES.items()}


def answer_tables(rows: RunRows) -> list[Table]:
    """Return, for each question that has answers, the comparisons that they rest on."""
    columns = [_ASKED, _SAMPLES, _ANSWER, _MARGIN, _WINS, _ADJUSTED, text_column("answer", "sentence")]
    return [
        make_table(title, found[0]["question"], found, columns)
        for title, found in by_question(rows.tables["what_did_it_find"]).items()
    ]


def _lag(row: Mapping[str, Any]) -> str:
    """Return how far a condition may lag behind the best; the best has nobody to lag behind."""
    low, high = row["lag_low"], row["lag_high"]
    return MISSING if low is None else f"{number(max(low, 0.0))} to {number(max(high, 0.0))}"


def check_counts(rows: RunRows) -> dict[str, int]:
    """Return how many checks passed, failed and were only recorded."""
    found = [row["passed"] for row in rows.tables["run_check"]]
    return {name: sum(passed is result for passed in found) for result, name in _RESULTS.items()}


def _funnel(rows: RunRows) -> list[Row]:
    """Return how rows of the data set became samples; nothing while that is not known."""
    run = rows.run
    if run["row_count"] is None:
        return []
    rejected = sorted(run["funnel"]["rejected"].items(), key=lambda item: (-item[1], item[0]))
    dropped = [{"step": f"dropped: {reason}", "rows": -count} for reason, count in rejected]
    ends = [{"step": "eligible", "rows": run["eligible_count"]}, {"step": "drawn", "rows": run["drawn_count"]}]
    return [{"step": "rows read", "rows": run["row_count"]}, *dropped, *ends]
