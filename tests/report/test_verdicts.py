"""The line on top says what the answers of the views come to, and nothing that they do not say."""

from typing import Any

import pytest

from tasks.reading.database import RunRows, read_run
from tasks.report import verdicts
from tests.published_rows import comparison
from tests.report.conftest import Published

EQUIVALENT = "no: equivalent to the bare document"
IN_NLL = "yes in NLL, but the answer is not shown to be preferred to wrong ones any more than before"
OPEN = "undecided: not shown to be better than the baseline (about 3,400 samples would decide)"
SOME_TEXT = "any text helps, its content does not"
MAYBE_TEXT = "any text helps, that its content does is not shown (about 99 samples would decide)"


def made(helps: dict[str, str], worth: str | None = None, **run: Any) -> RunRows:
    """Return a complete run in which families help and generation is worth it as given."""
    compared = [comparison(f"{family}/routed", "baseline/document") for family in helps]
    rows = [{name: getattr(row, name) for name in row.__slots__} for row in compared]
    for row in rows:
        row["comparison"] = f"{row['arm'].replace('/', ' ')} vs baseline"
    price = {"index_flops_ratio": 12.0, "cache_bytes_ratio": 5.5, "written_tokens": 1127.4}
    tables: dict[str, Any] = {
        "comparison": rows,
        "does_priming_help": [
            {"comparison": f"{family} routed vs baseline", "answer": answer} for family, answer in helps.items()
        ],
        "is_generated_better_than_static": [],
        "is_generation_worth_its_compute": [{"comparison": "w", "answer": worth, **price}] if worth else [],
        "run_check": [],
        "run_summary": [{"sample_count": 2_500, "surrogate_count": 0, "score_count": 1}],
    }
    return RunRows(run={"status": "complete", "language_model": "m", "data": "d"} | run, tables=tables, nlls={})


@pytest.mark.parametrize(
    ("generated", "static", "worth", "line", "tone"),
    [
        ("yes", "yes", "yes", "Pay for generated surrogates: they gain more than anything that is free", "yes"),
        ("yes", EQUIVALENT, "yes", "Pay for generated surrogates: they gain more than anything that is free", "yes"),
        ("yes", "yes", "no", "Prime with fixed phrases, which are free; do not pay for generation", "yes"),
        (EQUIVALENT, "yes", "no", "Prime with fixed phrases, which are free; do not pay for generation", "yes"),
        ("yes", OPEN, "no", "Priming helps, but something that is free does as well: do not pay for generation", "no"),
        (
            "yes",
            "yes",
            "undecided (about 9 samples would decide)",
            "Priming helps; whether generated surrogates are worth their compute is undecided",
            "yes",
        ),
        ("yes", "yes", None, "Priming helps (generated and static)", "yes"),
        (EQUIVALENT, EQUIVALENT, "no", "Do not pay for priming", "no"),
        ("no: worse than the baseline", EQUIVALENT, "undecided", "Do not pay for priming", "no"),
        (OPEN, EQUIVALENT, "no", "Undecided: this run cannot tell whether priming helps", "open"),
        (
            IN_NLL,
            EQUIVALENT,
            "yes",
            "Do not pay yet: answers become likelier, but no more preferred to wrong ones",
            "no",
        ),
        (SOME_TEXT, EQUIVALENT, "no", "Do not pay for surrogates: any text in their place helps as much", "no"),
        (MAYBE_TEXT, SOME_TEXT, "no", "Undecided: any text helps; that its content does is not shown", "open"),
        ("yes, but negligibly", EQUIVALENT, "no", "Do not pay for priming: what it gains is negligible", "no"),
        (
            "undecided: controls not run",
            "undecided: controls not run",
            "undecided: controls not run",
            "Undecided: the controls were not run",
            "open",
        ),
    ],
)
def test_the_answers_come_to_one_line(generated: str, static: str, worth: str | None, line: str, tone: str) -> None:
    headline = verdicts.make_headline(made({"generated": generated, "static": static}, worth))
    assert (headline.text, headline.tone) == (line, tone)


def test_every_answer_of_the_view_has_a_line(published: Published, query: Any) -> None:
    """A line for each text that the view may give, read from the view's own definition."""
    ((definition,),) = query("SELECT sql FROM duckdb_views() WHERE view_name = 'does_priming_help'")
    texts = [part for part in definition.split("'") if part.startswith(("yes", "no: ", "any text", "undecided"))]
    assert len(texts) >= 10
    for text in texts:
        assert verdicts.make_headline(made({"static": text})).text


def test_what_generation_costs_stands_below_the_line() -> None:
    headline = verdicts.make_headline(made({"generated": EQUIVALENT}, "no"))
    assert headline.details[0].startswith("Generated surrogates take 12 times the operations")
    assert "5.5 times the cache memory, and 1,127 more tokens" in headline.details[0]
    assert "95 % intervals" in headline.details[1]
    assert "±0.0260" in headline.details[1]


def test_a_failed_check_comes_before_every_answer() -> None:
    rows = made({"generated": "yes"}, "yes")
    failed = RunRows(
        rows.run, {**rows.tables, "run_check": [{"passed": False}, {"passed": True}, {"passed": None}]}, {}
    )
    assert verdicts.make_headline(failed).text == "Do not decide by this run: 1 of its checks failed"


@pytest.mark.parametrize(
    ("status", "line"),
    [
        ("running", "No conclusions: this run has not ended"),
        ("failed", "No conclusions: this run failed"),
        ("incomplete", "No conclusions: this run is incomplete"),
    ],
)
def test_a_run_that_is_not_complete_gives_no_conclusions(status: str, line: str) -> None:
    headline = verdicts.make_headline(made({"generated": "yes"}, "yes", status=status))
    assert headline.text == line
    assert "2,500 samples, 0 surrogates, 1 scores" in headline.details[0]


def test_a_run_without_routed_families_has_no_answer() -> None:
    assert verdicts.make_headline(made({})).text == "No answer: no surrogate was routed in this run"


def test_an_answer_stands_on_its_own_comparison_and_on_those_with_controls(published: Published) -> None:
    rows = read_run("abc123")
    answers = verdicts.make_answers(rows)
    assert [answer.question for answer in answers] == [
        "Does priming help?",
        "Does priming help?",
        "Is generated better than static?",
        "Is generation worth its compute?",
    ]
    assert [line.label for line in answers[0].lines] == ["over baseline", "over bare document", "over random words"]
    row = rows.tables["does_priming_help"][0]
    assert answers[0].answer == row["answer"]
    assert answers[0].lines[0].numbers.startswith(f"{row['improvement_mean']:.3f} (")


def test_all_lines_share_one_scale(published: Published) -> None:
    """Zero and the margin lie where they lie, whatever the comparison; everything is on the scale."""
    lines = [line for answer in verdicts.make_answers(read_run("abc123")) for line in answer.lines]
    assert len({(line.strip["zero"], line.strip["least"], line.strip["most"]) for line in lines}) == 1
    for line in lines:
        strip = line.strip
        assert 0 < strip["low"] <= strip["mean"] <= strip["high"] < 100
        assert strip["least"] < strip["zero"] < strip["most"]


@pytest.mark.parametrize(
    ("answer", "tone"),
    [
        ("yes", "yes"),
        ("no", "no"),
        (EQUIVALENT, "no"),
        (SOME_TEXT, "no"),
        (MAYBE_TEXT, "open"),
        (IN_NLL, "open"),
        (OPEN, "open"),
        (None, "open"),
    ],
)
def test_only_a_plain_yes_is_a_yes(answer: str | None, tone: str) -> None:
    assert verdicts.tone_of(answer) == tone
