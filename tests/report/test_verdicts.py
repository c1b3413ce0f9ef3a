"""The first screen says what the stored answers say, and nothing that they do not say."""

from typing import Any, get_args

import pytest

from tasks.pages.numbers import interval
from tasks.priming.records import AnswerValue
from tasks.reading.database import RunRows, read_run
from tasks.report import verdicts
from tests.published_rows import comparison
from tests.report.conftest import Published

DETAILS = "The answers below stand only if the failure, listed under Checks, turns out to be harmless."


def made(
    status: str = "complete",
    failed: int = 0,
    sentence: str = "Do not pay for priming",
    look: int = 1,
    before: str | None = None,
) -> RunRows:
    """Return a run whose generation has a price."""
    row = comparison("generated/routed", "free/best_arm", "best_of", question="is_generation_worth_its_compute")
    price = {
        "subject": "generated/routed",
        "index_flops_ratio": 12.0,
        "cache_bytes_ratio": 5.5,
        "written_tokens": 1127.4,
    }
    counts = {"sample_count": 2_500, "surrogate_count": 0, "score_count": 1, "check_failed_count": failed}
    tables: dict[str, Any] = {
        "comparison": [{name: getattr(row, name) for name in row.__slots__}],
        "what_did_it_find": [{"question": "should_i_prime", "answer": "equivalent", "sentence": sentence}],
        "is_generation_worth_its_compute": [price],
        "run_summary": [{"status": status, **counts}],
    }
    return RunRows(run={"status": status, "look": look, "looks_before": before}, tables=tables, nlls={})


def test_the_runs_headline_stands_on_top_with_what_generation_costs() -> None:
    headline = verdicts.make_headline(made())
    assert (headline.text, headline.tone) == ("Do not pay for priming", "no")
    assert headline.details[0].startswith("Generated surrogates take 12 times the operations")
    assert "5.5 times the cache memory, and 1,127 more tokens" in headline.details[0]
    assert "95 % intervals" in headline.details[1]
    assert "±1 (shaded)" in headline.details[1]


def test_a_grown_run_says_how_often_it_was_looked_at() -> None:
    headline = verdicts.make_headline(made(look=3, before="200, 400"))
    assert headline.details[0].startswith("This is look 3 at a run that was grown, after 200, 400 samples")
    assert not any("look 1" in detail for detail in verdicts.make_headline(made()).details)


def test_a_failed_check_comes_before_every_answer() -> None:
    headline = verdicts.make_headline(made(failed=2))
    assert (headline.text, headline.tone) == ("Do not decide by this run: 2 of its checks failed", "open")
    assert headline.details == [DETAILS]


def test_a_run_of_an_earlier_version_has_no_answers_yet() -> None:
    rows = made()
    assert verdicts.make_headline(RunRows(rows.run, {**rows.tables, "what_did_it_find": []}, {})).text.startswith(
        "No answers yet"
    )


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("running", "No conclusions: this run has not ended"),
        ("failed", "No conclusions: this run failed"),
        ("incomplete", "No conclusions: this run is incomplete"),
    ],
)
def test_a_run_that_is_not_complete_gives_no_conclusions(status: str, line: str) -> None:
    headline = verdicts.make_headline(made(status))
    assert (headline.text, headline.tone) == (line, "open")
    assert "2,500 samples, 0 surrogates, 1 scores" in headline.details[0]


def test_an_answer_stands_on_its_own_comparison_and_on_those_with_controls(published: Published) -> None:
    rows = read_run("abc123")
    cards = verdicts.make_cards(rows)
    assert [card.row["question_title"] for card in cards] == [
        "Does priming help?",
        "Does priming help?",
        "Is generated better than static?",
        "Is generated better than static?",
        "Is generation worth its compute?",
    ]
    assert [line.label for line in cards[0].lines] == ["over baseline", "over bare document", "over random words"]
    assert cards[0].row == rows.tables["what_did_it_find"][1]
    found = cards[0].row
    assert cards[0].lines[0].numbers == interval(found["improvement_mean"], found["answer_low"], found["answer_high"])


def test_all_lines_share_one_scale(published: Published) -> None:
    """Zero and the margin lie where they lie, whatever the comparison; everything is on the scale."""
    lines = [line for card in verdicts.make_cards(read_run("abc123")) for line in card.lines]
    assert len({(line.strip["zero"], line.strip["least"], line.strip["most"]) for line in lines}) == 1
    for line in lines:
        strip = line.strip
        assert 0 < strip["low"] <= strip["mean"] <= strip["high"] < 100
        assert strip["least"] < strip["zero"] < strip["most"]


def test_only_a_plain_yes_is_a_yes() -> None:
    tones = {answer: verdicts.tone_of(answer) for answer in get_args(AnswerValue)}
    assert [answer for answer, tone in tones.items() if tone == "yes"] == ["yes"]
    assert {answer for answer, tone in tones.items() if tone == "no"} == {
        "negligible",
        "any_text_helps",
        "equivalent",
        "hurts",
    }
