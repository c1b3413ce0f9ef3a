"""One workload scored by each method, with numbers that can be laid side by side.

In: a workload and a model. Out: by sample, family and key the mean NLL of the answer.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

from tasks.bench import lm_eval_method, notebook_method
from tasks.bench.padded_method import padded_token_nlls
from tasks.bench.workload import Workload
from tasks.priming.engine.model import LanguageModel
from tasks.priming.scoring import score_family


@dataclass(frozen=True, slots=True)
class Means:
    """The score of one answer in one context, by whichever method."""

    nll: float
    """Mean NLL in nats of all answer tokens."""
    notebook_nll: float | None = None
    """That of all but the first, as the notebook has it; None for one-token answers and methods that do not tell."""


Found: TypeAlias = dict[tuple[str, str, str], Means]
"""By sample, family and key."""


def score_by_ours(workload: Workload, language_model: LanguageModel) -> Found:
    """Score a workload as a run does, family by family."""
    found: Found = {}
    for family, surrogates in workload.families:
        for score in score_family(family.contexts, workload.samples, surrogates, language_model):
            if score.nll is not None:
                found[score.sample_id, score.family, score.key] = Means(score.nll, score.nll_notebook)
    return found


def score_by_notebook(workload: Workload, language_model: LanguageModel) -> Found:
    """Score a workload as the notebook does, one by one."""
    scores = [
        (sample.sample_id, family.contexts.family, key)
        for family, _ in workload.families
        for key in family.contexts.arm_keys
        for sample in workload.samples
    ]
    found = [
        Means(score.mean_nll, score.nll)
        for family, surrogates in workload.families
        for score in notebook_method.score_family(family, workload.samples, surrogates, language_model)
    ]
    return dict(zip(scores, found, strict=True))


def score_by_lm_eval(workload: Workload, language_model: LanguageModel, batch_size: int) -> Found:
    """Score a workload as lm-eval does."""
    arms = workload.arms(language_model)
    sums = lm_eval_method.sum_log_likelihoods([arm.request for arm in arms], language_model, batch_size)
    return {
        (arm.sample_id, arm.family, arm.key): Means(-total / len(arm.request.answer))
        for arm, total in zip(arms, sums, strict=True)
    }


def score_by_padding(workload: Workload, language_model: LanguageModel) -> Found:
    """Score a workload in right-padded batches."""
    arms = workload.arms(language_model)
    nlls = padded_token_nlls([arm.request for arm in arms], language_model)
    return {
        (arm.sample_id, arm.family, arm.key): Means(math.fsum(each) / len(each))
        for arm, each in zip(arms, nlls, strict=True)
    }


@dataclass(frozen=True, slots=True)
class Difference:
    """How far one method's mean NLLs are from another's, in nats."""

    largest: float
    """The largest absolute difference of the mean over all answer tokens."""
    rms: float
    """The root of the mean square of these differences."""
    largest_notebook: float | None
    """The largest absolute difference of the mean over all tokens but the first; None where it is not known."""


def difference(found: Found, base: Found) -> Difference:
    """Compare two methods on the answers that both scored."""
    names = found.keys() & base.keys()
    differences = [found[name].nll - base[name].nll for name in names]
    pairs = [(found[name].notebook_nll, base[name].notebook_nll) for name in names]
    known = [abs(left - right) for left, right in pairs if left is not None and right is not None]
    rms = math.sqrt(math.fsum(d * d for d in differences) / len(differences))
    return Difference(max(map(abs, differences)), rms, max(known, default=None))
