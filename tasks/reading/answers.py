"""A run's answers as people read them: each question with its comparisons, rounded, under short headings.

In: a run's rows of the question views. Out: text for a terminal or a page. No number is computed here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from tasks.results import QUESTIONS, open_results

Rows = list[dict[str, Any]]

TITLES = {
    "does_priming_help": "Does priming help?",
    "is_generated_better_than_static": "Is generated better than static?",
    "is_generation_worth_its_compute": "Is generation worth its compute?",
    "does_the_content_matter": "What is a gain made of?",
    "does_routing_help": "Does routing by similarity help?",
}
"""The views that answer by comparisons, in the order in which they are asked."""

COLUMNS = ("comparison", "n", "improvement", "interval", "d", "p (adjusted)", "win", "tie", "answer")
"""The headings of a comparison."""


def read_questions(run_id: str, views: Iterable[str] = QUESTIONS) -> dict[str, Rows]:
    """Return the rows of question views for one run, by view, a dict a row; the database is opened once.

    Args:
        run_id: The run; one that is not published, or not complete, has no rows.
        views: Names in QUESTIONS.

    Raises:
        FileNotFoundError: Nothing has been published yet.
    """
    questions = {}
    with open_results() as connection:
        for view in views:
            assert view in QUESTIONS
            answer = connection.execute(f"SELECT * FROM {view} WHERE run_id = ?", [run_id])
            names = [column[0] for column in answer.description]
            questions[view] = [dict(zip(names, row, strict=True)) for row in answer.fetchall()]
    return questions


def answers_of(questions: Mapping[str, Rows]) -> dict[str, list[dict[str, str]]]:
    """Return the comparisons of each question in TITLES as text by heading; a question without any is left out."""
    return {view: [_shown(row) for row in questions[view]] for view in TITLES if questions[view]}


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    texts = (
        row.get("question") or row["comparison"],
        str(row["n"]),
        _number(row["improvement_mean"], "+.4f"),
        f"{_number(row['improvement_low'], '+.4f')} to {_number(row['improvement_high'], '+.4f')}",
        _number(row["cohens_d"], "+.3f"),
        _number(row["p_adjusted"], ".2g"),
        _number(row["win_rate"], ".1%"),
        _number(row["tie_rate"], ".1%"),
        row["answer"] or row["verdict"],  # an oracle answers nothing
    )
    return dict(zip(COLUMNS, texts, strict=True))


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
