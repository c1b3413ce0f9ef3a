"""What a command prints at the end: the run's answers and where the rest is, in 80 columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from tasks import results
from tasks.commands.summary import larger_draw, print_summary
from tasks.priming.records import Contender
from tasks.priming.settings import EVERYTHING, resolve_settings
from tasks.store import manifests
from tests.published_rows import comparison, record_answers

FUNNEL = {"rows": 9, "eligible": 8, "drawn": 8, "rejected": {}}


def contender(condition: str, rank: int, lag_high: float | None, *, may_be_best: bool = True) -> Contender:
    is_close = lag_high is not None and lag_high < 1
    lag_low = None if lag_high is None else 0.0
    return Contender(condition, rank, 200, 150, 40.0, lag_low, lag_high, may_be_best, is_close)


def record_run(
    run_id: str = "aaaa",
    data: str = "my.jsonl",
    funnel: dict[str, Any] = FUNNEL,
    contenders: Sequence[Contender] = (),
    **more: Any,
) -> None:
    """Record a run with the comparisons that its headline rests on, and more settings."""
    settings = resolve_settings("demo", data=data, language_model="owner/model", **more).model_dump(mode="json")
    model = {"language_model": "owner/model", "dtype": "float32", "quantization": "none"}
    description = manifests.RunDescription(
        run_id=run_id, profile="demo", settings=settings, device="cpu", data={"data": data}, language_model=model
    )
    attempt = manifests.start_run(description)
    rows = [
        comparison("generated/routed", "baseline/document"),
        comparison(
            "static/routed",
            "baseline/document",
            verdict="equivalent",
            improvement_mean=-0.01,
            n=9,
            win_count=6,
            tie_count=2,
            loss_count=1,
            answer_low=-0.5,
            answer_high=0.5,
        ),
    ]
    record_answers(attempt, comparison=rows, contender=contenders)
    manifests.extend_run(attempt, {}, {"funnel": funnel})
    manifests.finish_run(attempt)


def make_run(**run: Any) -> str:
    """Record a run, publish it and return its id."""
    record_run(**run)
    results.rebuild_database()
    return "aaaa"


def summary_of(
    capsys: pytest.CaptureFixture[str], run_id: str, report: str | None = "/a/report.html", *, is_full: bool = True
) -> list[str]:
    print_summary(run_id, is_full=is_full, report=report, path="/a/" + "long/" * 30 + "results.duckdb")
    output = capsys.readouterr()
    assert output.err == ""
    assert "\x1b" not in output.out
    return [" ".join(line.split()) for line in output.out.splitlines()]


@pytest.mark.usefixtures("artifacts_folder")
def test_answers_stand_with_their_numbers_in_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    run_id = make_run()
    lines = summary_of(capsys, run_id)
    wide = [line for line in lines if cell_len(line) > 80]
    assert [line.split()[0] for line in wide] == ["More:", "Results:"]  # a command and a path are not broken
    flat = " ".join(lines)
    assert 'Run aaaa: 8 samples of "my.jsonl", language model "owner/model" on cpu' in flat
    assert "each is the mean of 9 to 200 pairs. The 95% intervals of a question hold together" in flat
    # the numbers of tests/published_rows.py
    assert any(line.startswith("static/routed vs undecided: ") for line in lines)
    assert "-0.01 (-0.50 to +0.50)" in flat
    assert lines[-3] == "Report: /a/report.html"


@pytest.mark.usefixtures("artifacts_folder")
def test_what_the_run_comes_to_is_said_first(capsys: pytest.CaptureFixture[str]) -> None:
    assert summary_of(capsys, make_run())[1] == "No answer: nothing was compared with the document alone"


@pytest.mark.usefixtures("artifacts_folder")
def test_data_with_markup_in_their_name_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    lines = summary_of(capsys, make_run(data="[red]my\x07[/].jsonl"))
    assert any('"[red]my' in line for line in lines)
    assert not any("\x07" in line for line in lines)


@pytest.mark.usefixtures("artifacts_folder")
def test_a_report_that_was_not_written_is_told_how_to_make(capsys: pytest.CaptureFixture[str]) -> None:
    lines = summary_of(capsys, make_run(), report=None)
    assert "Report: not written; make it by python -m flows report aaaa" in lines


def test_nothing_published_is_an_error_of_the_programmers(artifacts_folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        print_summary("aaaa", is_full=True, report=None, path="")


@pytest.mark.usefixtures("artifacts_folder")
def test_what_is_undecided_is_continued_by_a_larger_draw(capsys: pytest.CaptureFixture[str]) -> None:
    """The flags are those by which the run differs from its profile."""
    run_id = make_run(data="my rows.jsonl", funnel={"rows": 300, "eligible": 281, "drawn": 24, "rejected": {}})
    flat = " ".join(summary_of(capsys, run_id))
    continued = "--profile demo --data 'my rows.jsonl' --language-model owner/model --sample-count 240"
    assert f"More: python -m flows run {continued} Report:" in flat


@pytest.mark.usefixtures("artifacts_folder")
def test_a_full_run_is_continued_as_one(capsys: pytest.CaptureFixture[str]) -> None:
    """With the file of its own texts, whose path no run keeps."""
    own = {"family": "notes", "key": "price", "template": "{text}\n\nDocument:\n{passage}", "text": "What it costs"}
    run_id = make_run(funnel=FUNNEL | {"eligible": 281}, arms=(own,), **EVERYTHING)
    flat = " ".join(summary_of(capsys, run_id))
    continued = "--profile demo --full --arms FILE --data my.jsonl --language-model owner/model --sample-count 200"
    assert f"More: python -m flows run {continued} Report:" in flat


@pytest.mark.usefixtures("artifacts_folder")
def test_where_the_data_are_exhausted_other_data_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    flat = " ".join(summary_of(capsys, make_run()))
    assert "More: All 8 rows that qualify were drawn: what is undecided needs other data, best your own" in flat
    assert "--sample-count" not in flat


@pytest.mark.usefixtures("artifacts_folder")
def test_the_chief_answers_fit_a_screen_with_the_headline_and_the_paths(capsys: pytest.CaptureFixture[str]) -> None:
    brief = summary_of(capsys, make_run(), is_full=False)
    assert len(brief) <= 20
    (line,) = (line for line in brief if line.startswith("static/routed vs baseline/document"))
    assert line.endswith("controls missing -0.01 (-0.50 to +0.50)")  # the answer in a word or two, no sentence
    assert brief[-3] == "Report: /a/report.html"


@pytest.mark.usefixtures("artifacts_folder")
def test_an_open_run_grows_by_half_until_its_limit() -> None:
    undecided = [contender("baseline/document", 0, 5.0), contender("static/routed", 1, 5.0)]
    grown = {  # rows that qualify, samples drawn, samples to draw at most -> the next look
        (1000, 24, 500): 200,  # enough for an answer
        (1000, 300, 500): 450,  # half as many more
        (1000, 400, 500): 500,
        (250, 200, 500): 250,  # all there are
        (250, 250, 500): None,
        (1000, 500, 500): None,
    }
    for eligible, drawn, most in grown:
        funnel = {"rows": 1000, "eligible": eligible, "drawn": drawn, "rejected": {}}
        record_run(f"{eligible}-{drawn}-{most}", funnel=funnel, contenders=undecided)
    results.rebuild_database()
    assert {case: larger_draw("-".join(map(str, case)), case[2]) for case in grown} == grown


@pytest.mark.usefixtures("artifacts_folder")
def test_a_run_that_has_an_answer_does_not_grow() -> None:
    funnel = {"rows": 1000, "eligible": 1000, "drawn": 24, "rejected": {}}
    harm = [contender("baseline/document", 0, 0.5), contender("static/routed", 1, 5.0, may_be_best=False)]
    assert larger_draw(make_run(funnel=funnel, contenders=harm), 500) is None
