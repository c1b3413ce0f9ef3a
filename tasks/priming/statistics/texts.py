"""What the model wrote after each condition, on average: how good it is, how long, and how often it changed.

In: a run's rows. Out: one TextSummary per condition that was asked on every sample.
"""

import math

from tasks.priming.answer_measures import measures_by_condition
from tasks.priming.records import TextSummary
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.run_data import RunData


def summarise_texts(run: RunData, settings: StatisticsSettings, seed: int) -> list[TextSummary]:
    """Return the means of each condition, in alphabetical order; settings and seed are not read."""
    measures = measures_by_condition(run.answer_texts)

    def mean(name: str, condition: str) -> float | None:
        values = measures[name][condition]
        return math.fsum(values.values()) / len(values) if values else None

    return [
        TextSummary(
            condition=condition,
            n=len(measures["f1"][condition]),
            exact_match_rate=mean("exact_match", condition),
            f1_mean=mean("f1", condition),
            recall_mean=mean("recall", condition),
            rouge_l_mean=mean("rouge_l", condition),
            word_count_mean=mean("word_count", condition),
            empty_rate=mean("empty", condition),
            refusal_rate=mean("refusal", condition),
            changed_rate=mean("changed", condition),
        )
        for condition in sorted(measures["f1"])
    ]
