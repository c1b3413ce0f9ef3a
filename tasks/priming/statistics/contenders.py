"""Which of the conditions that could be deployed may be the best, and which cannot be far from it.

In: a run's rows. Out: one Contender per deployable condition.
"""

import math

import numpy as np

from tasks.priming.records import Contender
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.conditions import conditions_of, passages_of, probability
from tasks.priming.statistics.contrasts import deployable
from tasks.priming.statistics.cost import cost_of_conditions, cost_order
from tasks.priming.statistics.inference import compare_with_best
from tasks.priming.statistics.run_data import RunData

_UNKNOWN = (math.inf,) * 3


def rank_contenders(run: RunData, settings: StatisticsSettings, seed: int) -> list[Contender]:
    """Compare every deployable condition with the best of the others, on the samples that all of them have.

    A condition without any score is no contender. The intervals hold together and at any look (`compare_with_best`), so
    that nothing has to be adjusted for having looked for the best.

    Returns:
        From the cheapest to the most expensive; nothing for fewer than two contenders, or without a common sample.
    """
    conditions, passages = conditions_of(run), passages_of(run)
    names = [name for name in deployable(run) if conditions.get(name)]
    common = [sample for sample in passages if all(sample in conditions[name] for name in names)]
    if len(names) < 2 or not common:
        return []
    clusters = np.unique([passages[sample] for sample in common], return_inverse=True)[1]
    values = np.array([[probability(conditions[name][sample]) for name in names] for sample in common])
    found = compare_with_best(values, clusters, 1 - settings.confidence_level)
    means = values.mean(axis=0).tolist()
    costs = {cost.condition: cost_order(cost) for cost in run.once(cost_of_conditions, settings, seed)}
    order = sorted(names, key=lambda name: (costs.get(name, _UNKNOWN), names.index(name)))
    rows = []
    for rank, name in enumerate(order):
        place = names.index(name)
        lag = found.intervals[place] if found else None
        rows.append(
            Contender(
                condition=name,
                cost_rank=rank,
                n=len(common),
                passage_count=int(clusters.max()) + 1,
                probability_mean=means[place],
                lag_low=lag.low if lag else None,
                lag_high=lag.high if lag else None,
                may_be_best=found is None or found.may_be_best[place],
                is_close_to_best=lag is not None and lag.high < settings.equivalence_margin,
            )
        )
    return rows
