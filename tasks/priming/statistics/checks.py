"""What a run verifies about its own rows, once all of them are there.

In: the rows of a run. Out: Check rows. Some properties are promised (a limit of 0); others are measured and recorded,
so that a reader can judge what the results rest on: how many scores are missing, how good the surrogates are.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tasks.priming.records import Check, Score, Surrogate
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.contrasts import BASELINE, REPEATED_BASELINE, WRITTEN_FAMILY
from tasks.priming.statistics.run_data import RunData


class _Seen(NamedTuple):
    """What is looked at of a score; of millions some hundreds differ."""

    status: str
    nll_count: int
    query_token_count: int
    answer_token_count: int
    has_margin: bool


class _Quality(NamedTuple):
    """What is looked at of a written surrogate."""

    obeys: bool
    is_cut_off: bool
    is_query: bool


class _FirstTokens:
    """How much of the answers' NLL their first tokens carry, in the baseline."""

    def __init__(self) -> None:
        self._first = self._all = 0.0
        self._count = 0

    def add(self, score: Score) -> None:
        """Take in an answer; one of a single token has nothing to compare."""
        if score.token_nlls and len(score.token_nlls) > 1:
            self._first += score.token_nlls[0]
            self._all += sum(score.token_nlls)
            self._count += 1

    def checks(self) -> list[Check]:
        """Return the share as a check; none where no answer has two tokens."""
        if not self._all:
            return []
        detail = (
            f"share of the summed NLL that the first token carries, in the baseline; {self._count} answers of two or "
            "more tokens. A share near 1 means that one token, perhaps one that is not as the model expects it, "
            "decides every comparison"
        )
        return [_check("first_answer_token_share", self._first / self._all, None, detail)]


def check_outcomes(evidence: RunData, settings: StatisticsSettings, seed: int) -> list[Check]:
    """Return the checks of a run's rows, in a fixed order; one that has nothing to look at is left out.

    Args:
        evidence: The rows of the run; those of samples that are not given take no part.
        settings: How conditions are compared; nothing of it matters here.
        seed: The run's seed; likewise.
    """
    known = {sample.sample_id for sample in evidence.samples}
    arms: dict[str, dict[str, _Seen]] = {}
    noise: dict[str, dict[str, float | None]] = {BASELINE: {}, REPEATED_BASELINE: {}}
    same: dict[_Seen, _Seen] = {}
    shares = _FirstTokens()
    for score in evidence.scores:
        if score.sample_id in known:
            arm, seen = f"{score.family}/{score.key}", _look_at(score)
            arms.setdefault(arm, {})[score.sample_id] = same.setdefault(seen, seen)
            if arm in noise:
                noise[arm][score.sample_id] = score.nll
            if arm == BASELINE and score.status == "ok":
                shares.add(score)
    scores = Counter(seen for rows in arms.values() for seen in rows.values())
    written = Counter(
        _judge(surrogate)
        for surrogate in evidence.surrogates
        if surrogate.sample_id in known and surrogate.family == WRITTEN_FAMILY
    )
    is_promised = evidence.model is not None and evidence.model.is_batch_invariant
    return [
        *_repeated_baseline(noise, 0.0 if is_promised else None),
        _token_counts(sorted(known), arms),
        _missing_scores(scores),
        *shares.checks(),
        *_share_of(written, "surrogates_obey_their_template", "neither empty, too long nor with stray marks", "obeys"),
        *_share_of(written, "generations_cut_off", "cut off by the token limit", "is_cut_off"),
        *_share_of(written, "surrogates_equal_to_the_query", "equal to the user's query", "is_query"),
        *_distractors(scores),
    ]


def _look_at(score: Score) -> _Seen:
    return _Seen(
        score.status,
        len(score.token_nlls or ()),
        score.query_token_count,
        score.answer_token_count,
        score.margin is not None,
    )


def _judge(surrogate: Surrogate) -> _Quality:
    obeys = bool(surrogate.text) and not surrogate.is_over_word_limit and not surrogate.has_stray_marks
    return _Quality(obeys, surrogate.finish == "length", surrogate.is_query)


def _repeated_baseline(nlls: Mapping[str, Mapping[str, float | None]], limit: float | None) -> list[Check]:
    """Largest difference between the baseline and the same computed again in other batches: the noise floor."""
    first, second = nlls[BASELINE], nlls[REPEATED_BASELINE]
    pairs = [(first[sample], second[sample]) for sample in first.keys() & second.keys()]
    differences = [abs(left - right) for left, right in pairs if left is not None and right is not None]
    if not differences:
        return []
    scope = f"largest |difference of mean NLL|, nats per token; {len(differences)} samples"
    return [_check("repeated_baseline_noise", max(differences), limit, scope)]


def _token_counts(sample_ids: Sequence[str], arms: Mapping[str, Mapping[str, _Seen]]) -> Check:
    """Rows that are missing, and token counts that contradict each other."""
    wrong_lengths = sum(
        seen.status == "ok" and seen.nll_count != seen.answer_token_count
        for rows in arms.values()
        for seen in rows.values()
    )
    unequal = missing = 0
    for sample_id in sample_ids:
        found = [rows[sample_id] for rows in arms.values() if sample_id in rows]
        # Query and answer are the same text in every arm, tokenised on their own.
        unequal += len({(seen.query_token_count, seen.answer_token_count) for seen in found}) > 1
        missing += len(arms) - len(found)
    detail = (
        f"{wrong_lengths} scores without one NLL per answer token, {unequal} samples whose query or answer has other "
        f"token counts in another arm, {missing} missing scores; {len(sample_ids)} samples, {len(arms)} arms"
    )
    return _check("token_counts_add_up", wrong_lengths + unequal + missing, 0.0, detail)


def _missing_scores(scores: Mapping[_Seen, int]) -> Check:
    """Scores without an NLL: every sample stays in the table, with the reason."""
    without: Counter[str] = Counter()
    for seen, count in scores.items():
        if seen.status != "ok":
            without[seen.status] += count
    listed = ", ".join(f"{count} {status}" for status, count in sorted(without.items())) or "none"
    detail = f"scores: {listed}; of {sum(scores.values())}"
    return _check("scores_without_nll", sum(without.values()), None, detail)


def _distractors(scores: Mapping[_Seen, int]) -> list[Check]:
    """Share of scores that have a margin; left out of a run without distractors."""
    good = sum(count for seen, count in scores.items() if seen.status == "ok")
    with_margin = sum(count for seen, count in scores.items() if seen.status == "ok" and seen.has_margin)
    detail = f"share of {good} scores with an NLL that have a margin"
    return [_check("distractors_scored", with_margin / good, None, detail)] if with_margin else []


def _share_of(written: Mapping[_Quality, int], name: str, predicate: str, quality: str) -> list[Check]:
    """Return how large a share of the written surrogates something holds for."""
    total = sum(written.values())
    if not total:
        return []
    count = sum(number for found, number in written.items() if getattr(found, quality))
    detail = f"share of {total} generated surrogates that are {predicate}: {count}"
    return [_check(name, count / total, None, detail)]


def _check(name: str, value: float, limit: float | None, detail: str) -> Check:
    return Check(name, float(value), limit, None if limit is None else value <= limit, detail)
