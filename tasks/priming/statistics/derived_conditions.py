"""Conditions that no cache was built for, made from the scores of those that were.

In: NLLs per arm and sample. Out: NLLs per sample: what choosing a key at random would give, what the key that is best
on other passages would give, and what two effects would give if they simply added up.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

FOLDS = 10
REPEATS = 20


def mean_of_keys(nlls: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return per sample the mean NLL over keys: the expectation of routing at random.

    Args:
        nlls: Per key, sample_id -> NLL; samples that lack a key are left out.
    """
    return {sample_id: sum(key[sample_id] for key in nlls) / len(nlls) for sample_id in _in_all(nlls)}


def best_key_elsewhere(nlls: Sequence[Mapping[str, float]], passages: Mapping[str, str], seed: int) -> dict[str, float]:
    """Return per sample the NLL of the one key that is best on average on other passages.

    Choosing a key by the scores that it is then judged by would flatter it. So passages are divided into folds, each
    fold gets the key with the smallest mean NLL on all others (the first of equals), and this is averaged over several
    divisions.

    Args:
        nlls: Per key, sample_id -> NLL; samples that lack a key are left out.
        passages: sample_id -> passage_id; samples of a passage are in one fold.
        seed: Seed of the divisions.

    Returns:
        Nothing where all samples are of one passage.

    Source: scikit-learn's GroupKFold with shuffling; cross-fitting as in Chernozhukov et al. (2018),
    doi:10.1111/ectj.12097.
    """
    sample_ids = sorted(_in_all(nlls))
    # Numbers in the order of the texts: the same folds, without comparing texts two hundred times.
    names, groups = np.unique([passages[sample_id] for sample_id in sample_ids], return_inverse=True)
    fold_count = min(FOLDS, len(names))
    if fold_count < 2:
        return {}
    table = np.array([[key[sample_id] for key in nlls] for sample_id in sample_ids])  # (samples, keys)
    total: NDArray[np.float64] = np.zeros(len(sample_ids))
    for repeat in range(REPEATS):
        folds = GroupKFold(fold_count, shuffle=True, random_state=(seed + repeat) % 2**32)
        for others, fold in folds.split(table, groups=groups):
            total[fold] += table[fold, table[others].mean(axis=0).argmin()]
    return dict(zip(sample_ids, (total / REPEATS).tolist(), strict=True))


def added_up(first: Mapping[str, float], second: Mapping[str, float], neither: Mapping[str, float]) -> dict[str, float]:
    """Return per sample the NLL of two effects together if each did what it does alone: first + second - neither."""
    return {
        sample_id: first[sample_id] + second[sample_id] - neither[sample_id]
        for sample_id in _in_all([first, second, neither])
    }


def _in_all(nlls: Sequence[Mapping[str, float]]) -> set[str]:
    """Return the samples that every mapping has."""
    return set.intersection(*(set(each) for each in nlls)) if nlls else set()
