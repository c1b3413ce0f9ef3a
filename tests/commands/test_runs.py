"""The verb `runs`: newest first, 80 columns, what each run found; and names that steer no terminal."""

import pytest
from rich.cells import cell_len

from flows.__main__ import main
from tasks import results
from tasks.commands import runs
from tasks.store import manifests
from tests.published_rows import comparison, record_answers

pytestmark = pytest.mark.usefixtures("artifacts_folder")


def start(run_id: str, *, model: str = "owner/model", data: str = "my.jsonl") -> manifests.Attempt:
    settings = {"seed": 42, "language_model": {"language_model": model}, "data": {"data": data}}
    return manifests.start_run(manifests.RunDescription(run_id=run_id, profile="demo", settings=settings))


def listed(capsys: pytest.CaptureFixture[str], *flags: str) -> list[str]:
    assert main(["runs", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(cell_len, lines)) <= 80
    return lines


def test_runs_are_listed_newest_first_with_what_they_found(capsys: pytest.CaptureFixture[str]) -> None:
    complete = start("aaaa")
    manifests.extend_run(complete, {}, {"funnel": {"rows": 9, "eligible": 8, "drawn": 8, "rejected": {}}})
    record_answers(complete, comparison=[comparison("static/routed", "baseline/document")])
    manifests.finish_run(complete)
    manifests.fail_run(start("bbbb"), "ValueError: the disk is full\nand more")
    start("cccc")
    results.rebuild_database()
    lines = listed(capsys)
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == ["cccc", "bbbb", "aaaa"]
    assert [line.split("  ")[2] for line in lines if not line.startswith(" ")] == [
        "running",
        "failed",
        "complete, 8 samples",
    ]
    assert lines[-2:] == [
        "    demo: owner/model on my.jsonl",
        "    No answer: nothing was compared with the document alone",
    ]
    assert "    ValueError: the disk is full" in lines
    assert not any("and more" in line for line in lines)


def test_a_complete_run_that_is_not_published_is_listed_without_a_headline(capsys: pytest.CaptureFixture[str]) -> None:
    manifests.finish_run(start("aaaa"))
    assert [line.strip() for line in listed(capsys)][1:] == ["demo: owner/model on my.jsonl"]
    results.rebuild_database()
    manifests.finish_run(start("bbbb"))
    assert len(listed(capsys)) == 5  # the published one has its headline


def test_names_are_broken_to_the_width_and_steer_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    start("aaaa", model="long/" * 40, data="a\x1b[2J\nb")
    text = "".join(line.strip() for line in listed(capsys))
    assert "long/" * 40 in text
    assert "on a␛[2J␊b" in text


def test_the_oldest_are_listed_only_when_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "_SHOWN_RUNS", 1)
    assert listed(capsys) == ["No run yet. To make one: python -m flows run"]
    for run_id in ("aaaa", "bbbb", "cccc"):
        start(run_id)
    short = listed(capsys)
    assert short[0].startswith("cccc ")
    assert short[-1] == "... and 2 older ones: python -m flows runs --all"
    assert sum(not line.startswith(" ") for line in listed(capsys, "--all")) == 3
