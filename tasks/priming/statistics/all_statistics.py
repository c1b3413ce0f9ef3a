"""Stage 5, computed: every statistic of a run, as data.

In: all rows of the stages before. Out: rows of one table a statistic. A new statistic is one function from RunData to
rows and one entry here; its table is declared in tasks/store/tables.py. What each computes is told in its own module.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from tasks.priming.records import (
    Answer,
    Check,
    Comparison,
    Contender,
    Correlation,
    Cost,
    Measure,
    RoutingAgreement,
    RoutingChoice,
    Stratum,
    TextSummary,
)
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.run_data import RunData


@dataclass(frozen=True, slots=True)
class Statistic:
    """One way to look at a run's rows."""

    record: type
    """The class of its rows; described field by field, as its table then is."""
    computation: str
    """The computing function as "module:function": its libraries take seconds to load, often for nothing."""

    def compute(self, evidence: RunData, settings: StatisticsSettings, seed: int) -> list[Any]:
        """Compute the rows from a run's rows, how to compare and the run's seed; those of another may be used."""
        module, _, name = self.computation.partition(":")
        return evidence.once(getattr(import_module(module), name), settings, seed)


STATISTICS: dict[str, Statistic] = {
    "comparison": Statistic(Comparison, "tasks.priming.statistics.comparisons:compare_conditions"),
    "measure": Statistic(Measure, "tasks.priming.statistics.measures:vary_comparisons"),
    "text_summary": Statistic(TextSummary, "tasks.priming.statistics.measures:summarise_texts"),
    "contender": Statistic(Contender, "tasks.priming.statistics.comparisons:rank_contenders"),
    "stratum": Statistic(Stratum, "tasks.priming.statistics.strata:describe_strata"),
    "correlation": Statistic(Correlation, "tasks.priming.statistics.router:correlate_similarity"),
    "routing_choice": Statistic(RoutingChoice, "tasks.priming.statistics.router:confuse_routes"),
    "routing_agreement": Statistic(RoutingAgreement, "tasks.priming.statistics.router:agree_with_oracle"),
    "cost": Statistic(Cost, "tasks.priming.statistics.cost:cost_of_conditions"),
    "run_check": Statistic(Check, "tasks.priming.statistics.checks:check_outcomes"),
    "answer": Statistic(Answer, "tasks.priming.statistics.verdicts:answer_questions"),
}
"""Table -> what fills it."""
