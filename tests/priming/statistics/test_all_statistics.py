"""What holds of every statistic: the order of rows changes no bit, and a run without rows has little to say."""

import dataclasses

import pytest

from tasks.priming.records import Distractor
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.all_statistics import STATISTICS
from tasks.priming.statistics.run_data import ModelFacts, RunData
from tests.priming.statistics.test_worlds import run_in
from tests.run_rows import shuffled, surrogate
from tests.tiers import slow

SETTINGS = StatisticsSettings(bootstrap_resamples=100)


@pytest.fixture(scope="module")
def run() -> RunData:
    """A run of forty samples, two on a passage, with every kind of row."""
    made = run_in("content", 40, 1)
    ids = [row.sample_id for row in made.samples]
    wrong = [Distractor(name, 0, "x", "q", "same_passage" if number % 3 else "other_passage")
             for number, name in enumerate(ids)]  # fmt: skip
    written = [surrogate(row.sample_id, f"{row.family}/{row.key}") for row in made.routes]
    types = [dataclasses.replace(row, query_type="ab"[number % 2]) for number, row in enumerate(made.samples)]
    facts = ModelFacts(1000, 100, 2, 8, 64, is_batch_invariant=True, first_token="<s>")
    return dataclasses.replace(made, samples=types, surrogates=written, model=facts, distractors=wrong)


@pytest.mark.parametrize("table", ["comparison", *slow(*(table for table in STATISTICS if table != "comparison"))])
def test_rows_in_another_order_give_identical_records(run: RunData, table: str) -> None:
    expected = STATISTICS[table].compute(run, SETTINGS, 42)
    assert expected
    assert STATISTICS[table].compute(shuffled(run, 1), SETTINGS, 42) == expected


def test_a_run_without_rows_has_an_open_answer_and_two_checks_of_nothing() -> None:
    found = {table: each.compute(RunData([], [], [], []), SETTINGS, 42) for table, each in STATISTICS.items()}
    assert {table: len(rows) for table, rows in found.items() if rows} == {"answer": 1, "run_check": 2}
    assert found["answer"][0].answer == "not_asked"
    assert [(check.name, check.value) for check in found["run_check"]] == [
        ("token_counts_add_up", 0.0), ("scores_without_nll", 0.0),
    ]  # fmt: skip
