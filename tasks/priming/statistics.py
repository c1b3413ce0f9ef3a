"""Stage 5, computed: every statistic of a run, as data.

In: all rows of the stages before. Out: rows of one table a statistic. A new statistic is one function from Evidence to
rows and one entry here; its table stands in tasks/results.sql. What each computes is told in its own module.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tasks.priming.comparisons import compare_conditions
from tasks.priming.cost import cost_of_conditions
from tasks.priming.evidence import Evidence
from tasks.priming.outcome_checks import check_outcomes
from tasks.priming.records import (
    Check,
    Comparison,
    Correlation,
    Cost,
    RoutingAgreement,
    RoutingChoice,
    Stratum,
    Variant,
)
from tasks.priming.routing import agree_with_oracle, confuse_routes, correlate_similarity
from tasks.priming.settings import StatisticsSettings
from tasks.priming.strata import describe_strata
from tasks.priming.variants import vary_comparisons


@dataclass(frozen=True, slots=True)
class Statistic:
    """One way to look at a run's rows."""

    record: type
    """The class of its rows; its table has the same name in lower case with underscores."""
    compute: Callable[[Evidence, StatisticsSettings, int], list[Any]]
    """Takes the rows, how to compare, and the run's seed."""

    @property
    def computation(self) -> str:
        """The computing function as "module:function"."""
        return f"{self.compute.__module__}:{self.compute.__name__}"


STATISTICS: dict[str, Statistic] = {
    "comparison": Statistic(Comparison, compare_conditions),
    "variant": Statistic(Variant, vary_comparisons),
    "stratum": Statistic(Stratum, describe_strata),
    "correlation": Statistic(Correlation, correlate_similarity),
    "routing_choice": Statistic(RoutingChoice, confuse_routes),
    "routing_agreement": Statistic(RoutingAgreement, agree_with_oracle),
    "cost": Statistic(Cost, cost_of_conditions),
    "check": Statistic(Check, check_outcomes),
}
"""Table -> what fills it."""
