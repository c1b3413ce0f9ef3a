"""The page and the tables of a finished run: what JSON can say, what the page can show, and nobody else's markup."""

import base64
import json
import math
from datetime import datetime
from pathlib import Path

import pytest

from tasks.priming.records import Check
from tasks.results import rebuild_database
from tasks.server.ui_artifacts import question_table, read_tables, results_page
from tests.published_rows import comparison, finish, score

# A picture of one pixel.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def run_id(artifacts_folder: Path) -> str:
    """A published run with two comparisons and one failed check."""
    finish(
        "abc",
        score=[score(("a", "static", "factual"), (1.0, 2.0))],
        comparison=[
            comparison("static/routed", "baseline/document"),
            comparison("generated/routed", "baseline/document", answer_low=None),
        ],
        run_check=[Check(name="cache|unchanged", value=0.5, limit_value=1e-05, passed=False, detail="see <b>here</b>")],
    )
    rebuild_database()
    return "abc"


def page_of(run_id: str, plots: dict[str, bytes]) -> str:
    _, tables, checks = read_tables(run_id)
    return results_page(tables, checks, plots)


def test_the_page_has_the_headline_and_the_table_of_each_question(run_id: str) -> None:
    page = page_of(run_id, {})
    assert page.startswith("## Do not decide by this run: 1 of its checks failed\n")
    assert "| Does priming help? | answer | improvement (interval) |" in page
    # 5 (3 to 7), as published_rows has them
    assert "| static/routed vs baseline/document | undecided: the bare document" in page
    assert "| +5.00 (+3.00 to +7.00) |" in page
    assert "(unadjusted: +4.00 to +6.00)" in page  # where the interval that answers read is not there
    assert "data:image" not in page


def test_a_failed_check_is_shown_with_what_it_found(run_id: str) -> None:
    page = page_of(run_id, {})
    assert "0 checks passed, 1 failed, 0 were recorded only. Do not believe the answers" in page
    assert r"| cache\|unchanged | ` see <b>here</b> ` | 0.5 | 1e−05 |" in page  # a bar would end the cell


def test_plots_stand_in_the_page_itself(run_id: str) -> None:
    page = page_of(run_id, {"Who gains [by length]": PNG})
    assert rf"![Who gains \[by length\]](data:image/png;base64,{base64.b64encode(PNG).decode()})" in page


def test_a_table_says_only_what_json_can_say() -> None:
    moment = datetime(2026, 11, 25, 3, 7, 4)
    rows = [{"run_id": "abc", "n": 3, "answer": "yes", "low": math.nan, "high": math.inf, "mean": 1 / 3, "at": moment}]
    (row,) = question_table(rows)
    json.dumps(row, allow_nan=False)
    assert row == {
        "n": 3,
        "answer": "yes",
        "low": None,
        "high": None,
        "mean": 0.333333,
        "at": "2026-11-25 03:07:04 UTC",
    }


def test_every_question_can_be_a_table_that_says_what_it_holds(run_id: str) -> None:
    questions, tables, _ = read_tables(run_id)
    assert len(tables["does_priming_help"]) == 2
    assert "outcome" not in questions
    assert questions["who_gains"].startswith("Which samples gain?")
    for rows in tables.values():
        json.dumps(question_table(rows), allow_nan=False)
