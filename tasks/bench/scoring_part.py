"""Scoring: eleven contexts a sample, by every method.

In: a model in its number formats, a plan. Out: figures of speed, of memory and of how far the numbers of each method
are from the notebook's in the first number format.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tasks.bench import goals, lm_eval_method
from tasks.bench.matrix_products import Product, compute_products, record_products, token_count, unshared_products
from tasks.bench.methods import LIMITS, LM_EVAL, NOTEBOOK, OURS, PADDED, PRODUCTS, UNSHARED_PRODUCTS, lm_eval_name
from tasks.bench.plans import Plan
from tasks.bench.scorers import Found, difference, score_by_lm_eval, score_by_notebook, score_by_ours, score_by_padding
from tasks.bench.sheet import Sheet
from tasks.bench.timing import Arm, Meter, Timing, speed_ratios, time_rounds, waiting
from tasks.bench.workload import Workload, make_workload
from tasks.priming.engine.model import LanguageModel

Name = tuple[str, str]
"""A method and a number format."""

# Arms that no goal rests on run once.
_ONCE = 1
# One by one, one sample shows how much memory is needed; a batch has to be full.
_WARM_UP_SAMPLES = 1
_FULL_SAMPLES = 2
# A layer or two: the whole would take as long as a round.
_WARM_UP_PRODUCTS = 16


@dataclass(frozen=True, slots=True)
class _Loads:
    """A workload and its parts."""

    whole: Workload
    """What ours scores."""
    part: Workload
    """What slow methods score."""
    limited: Workload
    """What the bare products are computed for."""

    @staticmethod
    def of(plan: Plan) -> "_Loads":
        """Return the workloads of a plan."""
        whole = make_workload(plan.samples)
        return _Loads(whole, whole.first(plan.slice_samples), whole.first(plan.limit_samples))


def measure_scoring(
    name: str, models: Mapping[str, LanguageModel], plan: Plan, *, meter: Meter, report: Callable[[str], None]
) -> Sheet:
    """Measure scoring by every method.

    Args:
        name: The model's name.
        models: It, by number format; the first one's notebook arm is what all are compared with.
        plan: How much is computed.
        meter: How it is measured.
        report: Told what is being done.
    """
    sheet = Sheet("scoring", name)
    loads = _Loads.of(plan)
    first = next(iter(models))
    limits = {limit: found for dtype, model in models.items() for limit, found in _limits(dtype, model, loads).items()}
    arms = _notebook_and_lm_eval_arms(models, loads)
    for dtype, model in models.items():
        arms += _batching_arms(dtype, model, loads)
        arms += [_limit_arm(limit, limits[limit], model, loads) for limit in limits if limit[1] == dtype]
    if not lm_eval_method.is_installed():
        sheet.notes.append('lm-eval was left out, it is not installed: pip install -c constraints.txt ".[bench]"')
    timings = time_rounds(arms, plan.rounds, meter=meter, report=lambda text: report(f"{name}: scoring, {text}"))
    _add_arms(sheet, timings, base=(NOTEBOOK, first))
    for limit, products in limits.items():
        sheet.add(limit, "tokens computed", float(token_count(products)), "tokens")
        sheet.add(limit, "operations", float(sum(product.operations for product in products)), "FLOP")
    for dtype, model in models.items():
        _add_ratios_of_ours(sheet, dtype, timings)
        weights = model.parameter_count * model.model.dtype.itemsize
        sheet.add((OURS, dtype), goals.MEMORY_WITH_WEIGHTS, float(weights + timings[OURS, dtype].peak_bytes), "bytes")
    sheet.workload = f"{plan.samples} samples in 11 contexts, {timings[OURS, first].work:,} tokens"
    if plan.slice_samples < plan.samples:
        sheet.workload += f"; slow methods: {plan.slice_samples} samples"
    else:
        sheet.workload += f" ({token_count(limits[PRODUCTS, first]):,} computed)"
    sheet.waiting = waiting(timings)
    return sheet


def _notebook_and_lm_eval_arms(models: Mapping[str, LanguageModel], loads: _Loads) -> list[Arm]:
    """Return the arms of others: lm-eval in the first number format only."""
    first = next(iter(models))
    one, full = loads.whole.first(_WARM_UP_SAMPLES), loads.whole.first(_FULL_SAMPLES)

    def arm(
        method: str, dtype: str, score: Callable[[Workload, LanguageModel], Found], few: Workload, rounds: int | None
    ) -> Arm:
        model = models[dtype]
        work = loads.part.token_count(model)
        return Arm(method, dtype, work, partial(score, loads.part, model), partial(score, few, model), rounds)

    arms = [arm(NOTEBOOK, dtype, score_by_notebook, one, None if dtype == first else _ONCE) for dtype in models]
    if lm_eval_method.is_installed():
        for size in lm_eval_method.BATCH_SIZES:
            score = partial(score_by_lm_eval, batch_size=size)
            few, rounds = (one, None) if size == 1 else (full, _ONCE)
            arms.append(arm(lm_eval_name(size), first, score, few, rounds))
    return arms


def _batching_arms(dtype: str, model: LanguageModel, loads: _Loads) -> list[Arm]:
    """Return the arms that compute many answers at a time."""
    full = loads.whole.first(_FULL_SAMPLES)
    part, whole = loads.part.token_count(model), loads.whole.token_count(model)
    padded = partial(score_by_padding, loads.part, model)
    ours = partial(score_by_ours, loads.whole, model)
    return [
        Arm(PADDED, dtype, part, padded, partial(score_by_padding, full, model), _ONCE),
        Arm(OURS, dtype, whole, ours, partial(score_by_ours, full, model)),
    ]


def _limits(dtype: str, model: LanguageModel, loads: _Loads) -> dict[Name, list[Product]]:
    """Return the products that ours computes, and those that it would compute if it shared nothing."""
    items = [arm.request for arm in loads.limited.arms(model)]
    return {
        (PRODUCTS, dtype): record_products(model.model, lambda: score_by_ours(loads.limited, model)),
        (UNSHARED_PRODUCTS, dtype): unshared_products(items, model),
    }


def _limit_arm(limit: Name, products: list[Product], model: LanguageModel, loads: _Loads) -> Arm:
    compute = partial(compute_products, products, model.numeric_path)
    few = partial(compute_products, products[:_WARM_UP_PRODUCTS], model.numeric_path)
    rounds = None if limit[0] == PRODUCTS else _ONCE
    return Arm(*limit, loads.limited.token_count(model), compute, few, rounds)


def _add_arms(sheet: Sheet, timings: Mapping[Name, Timing], base: Name) -> None:
    """Add what each arm took, beside the notebook's, and how far its numbers are from the notebook's."""
    for arm, timing in timings.items():
        sheet.add_timing(arm, timing, "tokens")
        sheet.add(arm, goals.TIMES_NOTEBOOK, speed_ratios(timing, timings[base]), "x")
        if arm[0] not in LIMITS and arm != base:
            found = difference(timing.result, timings[base].result)
            sheet.add(arm, goals.LARGEST_DIFFERENCE, found.largest, "nats")
            sheet.add(arm, goals.RMS_DIFFERENCE, found.rms, "nats")
            if found.largest_notebook is not None:
                sheet.add(arm, goals.LARGEST_NOTEBOOK_DIFFERENCE, found.largest_notebook, "nats")


def _add_ratios_of_ours(sheet: Sheet, dtype: str, timings: Mapping[Name, Timing]) -> None:
    """Add how ours compares with the limit, with the notebook in the same number format, and with lm-eval."""
    arm = (OURS, dtype)
    ours = timings[arm]
    sheet.add(arm, goals.SHARE_OF_LIMIT, speed_ratios(ours, timings[PRODUCTS, dtype]), "1")
    unshared = speed_ratios(ours, timings[UNSHARED_PRODUCTS, dtype])
    sheet.add(arm, goals.SHARE_UNSHARED, unshared, "1")
    sheet.add(arm, f"{goals.TIMES_NOTEBOOK} in {dtype}", speed_ratios(ours, timings[NOTEBOOK, dtype]), "x")
    harness = [timing for (method, kind), timing in timings.items() if method.startswith(LM_EVAL) and kind == dtype]
    if harness:
        best = min(harness, key=lambda timing: min(timing.seconds.values()))
        sheet.add(arm, goals.TIMES_LM_EVAL, speed_ratios(ours, best), "x")
