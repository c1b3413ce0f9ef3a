"""What a run verifies about its own rows, once all of them are there.

In: the rows of a run. Out: Check rows. Some properties are promised (a limit of 0); others are measured and recorded,
so that a reader can judge what the results rest on: how many scores are missing, how good the surrogates are.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tasks.priming.records import Check, Comparison, Measure, Score
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.comparisons import compare_conditions
from tasks.priming.statistics.conditions import conditions_of, probability
from tasks.priming.statistics.contrasts import BASELINE, REPEATED_BASELINE, WRITTEN_FAMILY
from tasks.priming.statistics.measures import vary_comparisons
from tasks.priming.statistics.run_data import RunData


class _Seen(NamedTuple):
    """The part of a score that checks need; among millions of scores some hundreds differ in it."""

    status: str
    nll_count: int
    query_token_count: int
    answer_token_count: int
    has_margin: bool
    has_document_ids: bool | None


def check_outcomes(evidence: RunData, settings: StatisticsSettings, seed: int) -> list[Check]:
    """Return the checks of a run's rows, in a fixed order; one that has nothing to look at is left out.

    Rows of other samples are ignored.
    """
    known = {sample.sample_id for sample in evidence.samples}
    arms: dict[str, dict[str, _Seen]] = {}
    noise: dict[str, dict[str, float | None]] = {BASELINE: {}, REPEATED_BASELINE: {}}
    same: dict[_Seen, _Seen] = {}
    first_nlls, all_nlls, long_answers = 0.0, 0.0, 0
    for score in evidence.scores:
        if score.sample_id not in known:
            continue
        arm, seen = score.condition, _look_at(score)
        arms.setdefault(arm, {})[score.sample_id] = same.setdefault(seen, seen)
        if arm in noise:
            noise[arm][score.sample_id] = score.nll
        if arm == BASELINE and score.status == "ok" and score.token_nlls and len(score.token_nlls) > 1:
            first_nlls += score.token_nlls[0]
            all_nlls += sum(score.token_nlls)
            long_answers += 1
    scores = Counter(seen for rows in arms.values() for seen in rows.values())
    is_promised = evidence.model is not None and evidence.model.is_batch_invariant
    return [
        *_repeated_baseline(noise, 0.0 if is_promised else None),
        _token_counts(sorted(known), arms),
        _missing_scores(scores),
        *_first_token_share(first_nlls, all_nlls, long_answers),
        *_written_surrogates(evidence, known),
        *_distractors(scores),
        *_headroom(evidence, settings),
        *_intervals_match(
            [*evidence.once(compare_conditions, settings, seed), *evidence.once(vary_comparisons, settings, seed)],
            1 - settings.confidence_level,
        ),
        *_stripped(scores, has_first_token=evidence.model is None or evidence.model.first_token is not None),
    ]


def _look_at(score: Score) -> _Seen:
    return _Seen(
        score.status,
        len(score.token_nlls or ()),
        score.query_token_count,
        score.answer_token_count,
        score.margin is not None,
        score.has_document_ids,
    )


def _repeated_baseline(nlls: Mapping[str, Mapping[str, float | None]], limit: float | None) -> list[Check]:
    """Return the largest difference between the baseline and its repetition in other batches: the noise floor."""
    first, second = nlls[BASELINE], nlls[REPEATED_BASELINE]
    pairs = [(first[sample], second[sample]) for sample in first.keys() & second.keys()]
    differences = [abs(left - right) for left, right in pairs if left is not None and right is not None]
    if not differences:
        return []
    scope = f"largest |difference of mean NLL|, nats per token; {len(differences)} samples"
    return [_check("repeated_baseline_noise", max(differences), limit, scope)]


def _token_counts(sample_ids: Sequence[str], arms: Mapping[str, Mapping[str, _Seen]]) -> Check:
    """Return how many rows are missing, and how many token counts contradict each other."""
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
    """Return how many scores have no NLL; each stays in its table with the reason."""
    without: Counter[str] = Counter()
    for seen, count in scores.items():
        if seen.status != "ok":
            without[seen.status] += count
    listed = ", ".join(f"{count} {status}" for status, count in sorted(without.items())) or "none"
    detail = f"scores: {listed}; of {sum(scores.values())}"
    return _check("scores_without_nll", sum(without.values()), None, detail)


def _first_token_share(first: float, total: float, count: int) -> list[Check]:
    """Return how much of the answers' NLL their first tokens carry; answers of one token have nothing to compare."""
    if not total:
        return []
    detail = (
        f"share of the summed NLL that the first token carries, in the baseline; {count} answers of two or more "
        "tokens. A share near 1 means that one token, perhaps one that is not as the model expects it, decides every "
        "comparison"
    )
    return [_check("first_answer_token_share", first / total, None, detail)]


def _written_surrogates(evidence: RunData, known: set[str]) -> list[Check]:
    """Return what share of the generated surrogates are good, cut off, or the query itself."""
    counts: Counter[str] = Counter()
    total = 0
    for row in evidence.surrogates:
        if row.sample_id in known and row.family == WRITTEN_FAMILY:
            total += 1
            obeys = bool(row.text) and not row.is_over_word_limit and not row.has_stray_marks
            counts["surrogates_obey_their_template"] += obeys
            counts["generations_cut_off"] += row.finish == "length"
            counts["surrogates_equal_to_the_query"] += row.is_query
    meanings = {
        "surrogates_obey_their_template": "neither empty, too long nor with stray marks",
        "generations_cut_off": "cut off by the token limit",
        "surrogates_equal_to_the_query": "equal to the user's query",
    }
    return [
        _check(
            name, counts[name] / total, None, f"share of {total} generated surrogates that are {said}: {counts[name]}"
        )
        for name, said in meanings.items()
        if total
    ]


def _distractors(scores: Mapping[_Seen, int]) -> list[Check]:
    """Return the share of scores that have a margin; nothing for a run without distractors."""
    good = sum(count for seen, count in scores.items() if seen.status == "ok")
    with_margin = sum(count for seen, count in scores.items() if seen.status == "ok" and seen.has_margin)
    detail = f"share of {good} scores with an NLL that have a margin"
    return [_check("distractors_scored", with_margin / good, None, detail)] if with_margin else []


def _headroom(run: RunData, settings: StatisticsSettings) -> list[Check]:
    """Return how much there is to gain: what the answers' probability lacks in the baseline, in margins."""
    lacking = [*conditions_of(run).get(BASELINE, {}).values()]
    if not lacking:
        return []
    mean = math.fsum(lacking) / len(lacking)
    detail = (
        f"equivalence margins that the mean probability of an answer's token lacks in the baseline, which is "
        f"{probability(mean):.1f} %; {len(lacking)} samples"
    )
    return [_check("headroom", mean / settings.equivalence_margin, None, detail)]


def _intervals_match(rows: Sequence[Comparison | Measure], alpha: float) -> list[Check]:
    """Return how many intervals exclude 0 where their p-value is not below the level, or the reverse: promised is 0."""
    pairs = [
        (low > 0 or high < 0, p_value < alpha)
        for row in rows
        for low, high, p_value in (
            (row.improvement_low, row.improvement_high, row.p_value),
            (row.answer_low, row.answer_high, row.answer_p),
        )
        if low is not None and high is not None and p_value is not None
    ]
    wrong = sum(excludes != is_below for excludes, is_below in pairs)
    detail = f"intervals that say otherwise than their p-value; {len(pairs)} pairs"
    return [_check("intervals_match_p_values", wrong, 0.0, detail)] if pairs else []


def _stripped(scores: Mapping[_Seen, int], *, has_first_token: bool) -> list[Check]:
    """Return what caches with a dropped prefix are; nothing for a run without them."""
    same, other = (
        sum(count for seen, count in scores.items() if seen.has_document_ids is is_same) for is_same in (True, False)
    )
    if not same + other:
        return []
    detail = (
        f"share of {same + other} scores on a cache with a dropped prefix that holds exactly the token ids of the "
        "plain document; the others differ from it where the text before joins the document"
    )
    begins = (
        "they begin with the first token of every context"
        if has_first_token
        else "no first token: the attention sink is dropped with the prefix, so nothing is concluded from them; set "
        "first_token"
    )
    return [
        _check("stripped_has_the_documents_ids", same / (same + other), None, detail),
        _check("stripped_keeps_a_first_token", has_first_token, None, f"caches with a dropped prefix: {begins}"),
    ]


def _check(name: str, value: float, limit: float | None, detail: str) -> Check:
    return Check(name, float(value), limit, None if limit is None else value <= limit, detail)
