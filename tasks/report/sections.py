"""The tables of each section of a report.

In: a run's rows. Out: tables by name; one that has no rows is left out. Verdicts stand in tables of complete runs only.
"""

from collections.abc import Iterable, Mapping, Sequence

from tasks.pages.numbers import MINUS, count, duration, interval, number, percent, probability, quantity, ratio
from tasks.reading.answers import by_question, name_of
from tasks.reading.database import Row, RunRows
from tasks.report.plots.arms import ArmSummary
from tasks.report.plots.forest import label_of
from tasks.report.tables import Cell, Column, Table, interval_column, make_table, number_column, text_column

_COMPARISON = text_column("comparison", "comparison", label_of)
_SAMPLES = number_column("n", "n", count)
_IMPROVEMENT = interval_column("improvement (interval)")
_ADJUSTED = number_column("adjusted p", "p_adjusted", probability)


def answer_tables(rows: RunRows) -> list[Table]:
    """Return the comparisons of each question with its answers."""
    tables = []
    for title, found in by_question(rows.tables["answer"]).items():
        columns = [
            Column("comparison", lambda row: Cell(label_of(name_of(row))), is_number=False),
            _SAMPLES,
            _IMPROVEMENT,
            *([_margin_column()] if any(row["margin_improvement_mean"] is not None for row in found) else []),
            number_column("wins", "win_rate", percent),
            _ADJUSTED,
            text_column("answer", "sentence"),
        ]
        tables.append(make_table(title, columns, found, str(found[0]["question"])))
    return tables


def measure_table(rows: RunRows) -> Table:
    """Return whether other measures say the same."""
    columns = [
        _COMPARISON,
        text_column("measure", "measure"),
        text_column("unit", "unit"),
        _SAMPLES,
        _IMPROVEMENT,
        number_column("by mean NLL", "nll_improvement_mean", number),
        text_column("says", "says"),
    ]
    found = rows.tables["does_the_measure_matter"]
    return make_table("By other measures", columns, found, "does_the_measure_matter")


def comparison_table(rows: RunRows) -> Table:
    """Return every comparison; their verdicts where the run is complete."""
    columns = [
        _COMPARISON,
        text_column("kind", "kind"),
        _SAMPLES,
        _IMPROVEMENT,
        number_column("median", "improvement_median", number),
        number_column("trimmed mean", "improvement_trimmed_mean", number),
        number_column("Cohen’s d", "cohens_d", lambda value: number(value, 3)),
        Column("win / tie / loss", _wins),
        _ADJUSTED,
        number_column("equivalence p", "equivalence_p_value", probability),
        number_column("smallest detectable", "smallest_detectable_improvement", number),
        *([text_column("verdict", "verdict")] if rows.is_complete else []),
    ]
    return make_table("All comparisons", columns, rows.tables["comparison"], "comparison")


def arm_table(summaries: Sequence[ArmSummary]) -> Table:
    """Return the NLL of every condition."""
    found = [
        {
            "condition": arm.condition,
            "n": arm.n,
            "mean": arm.mean,
            "lower": arm.quantiles[1],
            "middle": arm.quantiles[2],
            "upper": arm.quantiles[3],
        }
        for arm in summaries
    ]
    columns = [
        text_column("condition", "condition"),
        _SAMPLES,
        number_column("mean NLL", "mean", number),
        number_column("median", "middle", number),
        Column("middle half", lambda row: Cell(_range(row["lower"], row["upper"]), row["upper"])),
    ]
    return make_table("In numbers", columns, found, "outcome")


def strata_table(rows: RunRows) -> Table:
    """Return who gains, by every way to divide the samples."""
    columns = [
        _COMPARISON,
        text_column("divided by", "stratified_by"),
        text_column("level", "level"),
        _SAMPLES,
        _IMPROVEMENT,
        number_column("wins", "win_rate", percent),
        number_column("over all", "overall_improvement_mean", number),
    ]
    return make_table("Who gains", columns, rows.tables["who_gains"], "who_gains")


def correlation_table(rows: RunRows) -> Table:
    """Return whether similarity predicts the gain, for each arm and routed family."""
    columns = [
        text_column("family", "family"),
        text_column("key", "key"),
        _SAMPLES,
        Column("correlation (interval)", lambda row: Cell(_correlation(row), row["pearson_r"])),
        number_column("rank correlation", "spearman_r", lambda value: number(value, 3)),
        number_column("p", "pearson_p_value", probability),
    ]
    return make_table("Similarity and improvement", columns, rows.tables["correlation"], "correlation")


def agreement_table(rows: RunRows) -> Table:
    """Return how often the router chose the best key."""
    columns = [
        text_column("family", "family"),
        _SAMPLES,
        number_column("best key chosen", "agreement_rate", percent),
        number_column("by chance", "chance_rate", percent),
        Column("kappa (interval)", lambda row: Cell(_kappa(row), row["kappa"])),
        number_column("ties in similarity", "similarity_tie_count", count),
    ]
    return make_table("Router and best key", columns, rows.tables["routing_agreement"], "routing_agreement")


def cost_table(rows: RunRows) -> Table:
    """Return what each condition costs and gains."""
    found = rows.tables["what_does_it_cost"]
    own = _baseline_operations(found)
    columns = [
        text_column("condition", "condition"),
        number_column("mean NLL", "nll_mean", number),
        number_column("improvement", "improvement_mean", number),
        *([_times_column(own)] if own else []),
        number_column("tokens read", "prompt_tokens", count),
        number_column("written", "generated_tokens", count),
        number_column("prefilled", "prefill_tokens", count),
        number_column("cache", "cache_bytes", lambda value: quantity(value, "B")),
        number_column("attended more", "extra_attended_tokens", lambda value: number(value, 1)),
        number_column("gain per 1,000 tokens", "improvement_per_1000_tokens", number),
        number_column("writing took", "write_seconds", duration),
        number_column("scoring took", "score_seconds", duration),
        Column("beaten at no more cost by", lambda row: Cell(row["dominated_by"] or "nothing"), is_number=False),
    ]
    return make_table("Cost and gain", columns, found, "what_does_it_cost")


def front_table(rows: RunRows) -> Table:
    """Return the conditions that nothing beats at no more cost, from the cheapest."""
    found = rows.tables["what_does_it_cost"]
    own = _baseline_operations(found)
    front = sorted((row for row in found if not row["is_dominated"]), key=lambda row: float(row["index_flops"]))
    columns = [
        text_column("condition", "condition"),
        *([_times_column(own)] if own else []),
        number_column("cache", "cache_bytes", lambda value: quantity(value, "B")),
        number_column("improvement", "improvement_mean", number),
    ]
    return make_table("Beaten by nothing at no more cost", columns, front, "what_does_it_cost")


def check_table(rows: RunRows) -> Table:
    """Return what the run verified about itself, failures first."""
    columns = [
        Column("result", lambda row: Cell(_RESULTS[row["passed"]]), is_number=False),
        text_column("check", "name"),
        text_column("part", "chunk"),
        number_column("value", "value", _exact),
        number_column("limit", "limit_value", _exact),
        text_column("detail", "detail"),
    ]
    return make_table("Checks", columns, rows.tables["run_check"], "run_check")


def verdict_counts(rows: RunRows) -> Mapping[str, int]:
    """Return how many checks passed, failed and were recorded only."""
    found = [row["passed"] for row in rows.tables["run_check"]]
    return {words: sum(passed is result for passed in found) for result, words in _RESULTS.items()}


_RESULTS = {True: "passed", False: "failed", None: "recorded"}


def _margin_column() -> Column:
    return interval_column("of the margin over wrong answers", "margin_improvement")


def _baseline_operations(costs: Iterable[Row]) -> float | None:
    return next((row["index_flops"] for row in costs if row["condition"] == "baseline/document"), None)


def _times_column(baseline: float) -> Column:
    return Column(
        "operations, × baseline",
        lambda row: Cell(ratio(row["index_flops"] / baseline), row["index_flops"] / baseline),
    )


def _wins(row: Row) -> Cell:
    return Cell(" / ".join(count(row[f"{name}_count"]) for name in ("win", "tie", "loss")), row["win_count"])


def _range(low: float, high: float) -> str:
    return f"{number(low)} to {number(high)}"


def _correlation(row: Row) -> str:
    return interval(row["pearson_r"], row["pearson_low"], row["pearson_high"])


def _kappa(row: Row) -> str:
    return interval(row["kappa"], row["kappa_low"], row["kappa_high"])


def _exact(value: float | None) -> str:
    """Return a measured value of a check, which may be as small as a rounding error."""
    return "–" if value is None else f"{value:.3g}".replace("-", MINUS)
