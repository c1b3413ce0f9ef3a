"""Written answers, summarised by condition and compared between conditions; expected values are worked out by hand."""

from collections.abc import Sequence

import pytest

from tasks.priming.records import AnswerText
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.measures import MEASURES, TEXT_MEASURES, summarise_texts, vary_comparisons
from tasks.priming.statistics.run_data import RunData
from tests.run_rows import route, sample, score

SETTINGS = StatisticsSettings(bootstrap_resamples=100)
BASELINE, BARE = "baseline/document", "control/bare_document"
IDS = ("a", "b", "c")


def text(sample_id: str, arm: str, f1: float, said: str = "so", **changes: object) -> AnswerText:
    """Return what was written after an arm; a routed one is what the router chose."""
    family, key = arm.split("/")
    fields: dict[str, object] = {
        "is_routed": family == "static",
        "text": said,
        "normalised_text": said,
        "token_count": 2,
        "finish": "stop",
        "exact_match": f1 == 1,
        "f1": f1,
        "recall": f1 / 2,
        "rouge_l": f1 / 4,
        "word_count": len(said.split()),
        "is_empty": not said,
        "is_refusal": False,
    }
    return AnswerText(sample_id, family, key, "kept", **{"status": "ok"} | fields | changes)  # type: ignore[arg-type]


def run_of(texts: Sequence[AnswerText]) -> RunData:
    arms = (BASELINE, BARE, "static/factual", "control/random_words")
    return RunData(
        [sample(name) for name in IDS],
        [route(name, "static/factual") for name in IDS],
        [score(name, arm, 1.0 + number / 10) for name in IDS for number, arm in enumerate(arms)],
        [],
        answer_texts=texts,
    )


TEXTS = [
    *(text(name, BASELINE, f1) for name, f1 in zip(IDS, (0.0, 0.5, 1.0), strict=True)),
    *(text(name, "static/factual", f1, "so it") for name, f1 in zip(IDS, (0.5, 0.5, 0.5), strict=True)),
]


def test_each_condition_is_summarised_by_its_means() -> None:
    plain, key, routed = summarise_texts(run_of(TEXTS), SETTINGS, 1)
    assert (plain.condition, plain.n, plain.f1_mean, plain.recall_mean, plain.rouge_l_mean) == (
        BASELINE,
        3,
        0.5,
        0.25,
        0.125,
    )
    assert plain.exact_match_rate == pytest.approx(1 / 3)
    assert (plain.word_count_mean, plain.changed_rate) == (1, 0)
    assert (routed.condition, routed.f1_mean, routed.word_count_mean, routed.changed_rate) == (
        "static/routed",
        0.5,
        2,
        1,
    )
    assert key.condition == "static/factual"


def test_a_text_that_was_not_written_takes_no_part() -> None:
    missing = AnswerText("c", "baseline", "document", "kept", is_routed=False, status="too_long")
    plain, *_ = summarise_texts(run_of([*TEXTS[:2], missing, *TEXTS[3:]]), SETTINGS, 1)
    assert (plain.n, plain.f1_mean) == (2, 0.25)


def test_what_was_asked_on_both_sides_is_compared_in_points() -> None:
    rows = [row for row in vary_comparisons(run_of(TEXTS), SETTINGS, 1) if row.measure in TEXT_MEASURES]
    compared = {"static/factual vs baseline", "static routed vs baseline"}  # not with the bare document or random words
    assert {(row.comparison, row.measure) for row in rows} == {
        (name, each) for name in compared for each in TEXT_MEASURES
    }
    by_name = {row.measure: row for row in rows if row.comparison == "static routed vs baseline"}
    f1, recall = by_name["f1"], by_name["recall"]
    assert (f1.n, f1.unit, f1.arm_mean, f1.reference_mean, f1.improvement_mean) == (3, "percentage points", 50, 50, 0)
    assert (recall.arm_mean, recall.reference_mean) == (25, 25)
    assert by_name["exact_match"].improvement_mean == pytest.approx(-100 / 3)


def test_nothing_is_compared_where_nothing_was_written() -> None:
    assert {row.measure for row in vary_comparisons(run_of([]), SETTINGS, 1)} == {*MEASURES}
