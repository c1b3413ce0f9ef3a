"""What a run verifies about its own rows, once all of them are there.

In: the rows of a run. Out: Check rows. Some properties are promised (a limit of 0); others are measured and recorded,
so that a reader can judge what the results rest on: how many scores are missing, how good the surrogates are.
"""

from collections import Counter
from collections.abc import Callable, Sequence

from tasks.priming.contrasts import BASELINE, REPEATED_BASELINE, WRITTEN_FAMILY
from tasks.priming.evidence import Evidence
from tasks.priming.records import Check, Score, Surrogate
from tasks.priming.settings import StatisticsSettings


def check_outcomes(evidence: Evidence, settings: StatisticsSettings, seed: int) -> list[Check]:
    """Return the checks of a run's rows, in a fixed order; one that has nothing to look at is left out.

    Args:
        evidence: The rows of the run; those of samples that are not given take no part.
        settings: How conditions are compared; nothing of it matters here.
        seed: The run's seed; likewise.
    """
    known = {sample.sample_id for sample in evidence.samples}
    arms: dict[str, dict[str, Score]] = {}
    for score in evidence.scores:
        if score.sample_id in known:
            arms.setdefault(f"{score.family}/{score.key}", {})[score.sample_id] = score
    scores = [score for rows in arms.values() for score in rows.values()]
    written = [s for s in evidence.surrogates if s.sample_id in known and s.family == WRITTEN_FAMILY]
    is_promised = evidence.model is not None and evidence.model.is_batch_invariant
    return [
        *_repeated_baseline(arms, 0.0 if is_promised else None),
        _token_counts(sorted(known), arms),
        _missing_scores(scores),
        *_share_of(written, "surrogates_obey_their_template", "neither empty, too long nor with stray marks", _obeys),
        *_share_of(written, "generations_cut_off", "cut off by the token limit", lambda s: s.finish == "length"),
        *_share_of(written, "surrogates_equal_to_the_query", "equal to the user's query", lambda s: s.is_query),
        *_distractors(scores),
    ]


def _repeated_baseline(arms: dict[str, dict[str, Score]], limit: float | None) -> list[Check]:
    """Largest difference between the baseline and the same computed again in other batches: the noise floor."""
    first, second = arms.get(BASELINE, {}), arms.get(REPEATED_BASELINE, {})
    pairs = [(first[sample].nll, second[sample].nll) for sample in first.keys() & second.keys()]
    differences = [abs(left - right) for left, right in pairs if left is not None and right is not None]
    if not differences:
        return []
    scope = f"largest |difference of mean NLL|, nats per token; {len(differences)} samples"
    return [_check("repeated_baseline_noise", max(differences), limit, scope)]


def _token_counts(sample_ids: Sequence[str], arms: dict[str, dict[str, Score]]) -> Check:
    """Rows that are missing, and token counts that contradict each other."""
    wrong_lengths = sum(
        score.status == "ok" and len(score.token_nlls or ()) != score.answer_token_count
        for rows in arms.values()
        for score in rows.values()
    )
    unequal = missing = 0
    for sample_id in sample_ids:
        found = [rows[sample_id] for rows in arms.values() if sample_id in rows]
        # Query and answer are the same text in every arm, tokenised on their own.
        unequal += len({(score.query_token_count, score.answer_token_count) for score in found}) > 1
        missing += len(arms) - len(found)
    detail = (
        f"{wrong_lengths} scores without one NLL per answer token, {unequal} samples whose query or answer has other "
        f"token counts in another arm, {missing} missing scores; {len(sample_ids)} samples, {len(arms)} arms"
    )
    return _check("token_counts_add_up", wrong_lengths + unequal + missing, 0.0, detail)


def _missing_scores(scores: Sequence[Score]) -> Check:
    """Scores without an NLL: every sample stays in the table, with the reason."""
    statuses = Counter(score.status for score in scores)
    without = {status: count for status, count in sorted(statuses.items()) if status != "ok"}
    listed = ", ".join(f"{count} {status}" for status, count in without.items()) or "none"
    return _check("scores_without_nll", sum(without.values()), None, f"scores: {listed}; of {len(scores)}")


def _obeys(surrogate: Surrogate) -> bool:
    return bool(surrogate.text) and not surrogate.is_over_word_limit and not surrogate.has_stray_marks


def _distractors(scores: Sequence[Score]) -> list[Check]:
    """Share of scores that have a margin; left out of a run without distractors."""
    good = [score for score in scores if score.status == "ok"]
    count = sum(score.margin is not None for score in good)
    detail = f"share of {len(good)} scores with an NLL that have a margin"
    return [_check("distractors_scored", count / len(good), None, detail)] if count else []


def _share_of(
    surrogates: Sequence[Surrogate], name: str, predicate: str, holds: Callable[[Surrogate], bool]
) -> list[Check]:
    """Return how large a share of the written surrogates something holds for."""
    if not surrogates:
        return []
    count = sum(map(holds, surrogates))
    detail = f"share of {len(surrogates)} generated surrogates that are {predicate}: {count}"
    return [_check(name, count / len(surrogates), None, detail)]


def _check(name: str, value: float, limit: float | None, detail: str) -> Check:
    return Check(name, float(value), limit, None if limit is None else value <= limit, detail)
