"""Conditions that are made from others: random routing, the best key elsewhere, effects added up."""

import math

import pytest

from tasks.priming.statistics.conditions import (
    added_up,
    best_elsewhere,
    conditions_of,
    mean_of_keys,
    nll,
    probability,
    shortfall,
)
from tasks.priming.statistics.run_data import RunData
from tests.run_rows import route, sample, score


def test_the_mean_of_keys_is_over_all_keys_and_complete_samples() -> None:
    """Expected: by hand, (1 + 3) / 2; sample b lacks a key."""
    assert mean_of_keys([{"a": 1.0, "b": 5.0}, {"a": 3.0}]) == {"a": 2.0}
    assert mean_of_keys([]) == {}


def test_the_best_key_is_chosen_on_other_passages() -> None:
    """Expected by hand: on each passage the key is chosen that the other one favours, whatever it does itself."""
    first = {"a": 0.0, "b": 9.0}
    second = {"a": 5.0, "b": 1.0}
    passages = {"a": "p", "b": "q"}
    # a is judged by what is best on b, the second key; b by what is best on a, the first.
    assert best_elsewhere([first, second], passages, seed=1) == {"a": 5.0, "b": 9.0}


def test_samples_of_one_passage_never_choose_for_each_other() -> None:
    """Expected by hand: passage p favours the first key, all others the second, so p is judged by the second."""
    first = {f"p{number}": 0.0 for number in range(5)} | {f"q{number}": 3.0 for number in range(4)}
    second = {f"p{number}": 1.0 for number in range(5)} | {f"q{number}": 2.0 for number in range(4)}
    passages = {sample: "p" if sample[0] == "p" else sample for sample in first}
    found = best_elsewhere([first, second], passages, seed=3)
    assert [found[f"p{number}"] for number in range(5)] == [1.0] * 5


def test_one_passage_has_nothing_elsewhere() -> None:
    assert best_elsewhere([{"a": 1.0, "b": 2.0}], {"a": "p", "b": "p"}, seed=1) == {}


def test_the_division_is_seeded() -> None:
    first = {f"s{number}": float(number % 7) for number in range(50)}
    second = {f"s{number}": float(number % 5) for number in range(50)}
    passages = {sample: sample for sample in first}
    once, twice = (best_elsewhere([first, second], passages, seed=5) for _ in range(2))
    assert once == twice


def test_effects_add_up() -> None:
    """Expected: by hand, 2 + 3 - 4."""
    assert added_up({"a": 2.0, "b": 1.0}, {"a": 3.0}, {"a": 4.0, "b": 1.0}) == {"a": 1.0}


def test_the_measure_of_record_is_the_geometric_mean_probability_of_a_token() -> None:
    """Expected: by hand, the geometric mean of 0.5 and 0.125 is 0.25; a tiny NLL keeps its digits."""
    row = score("a", "baseline/document", (math.log(2) + math.log(8)) / 2)
    assert probability(shortfall(row) or 0) == pytest.approx(25.0)
    assert shortfall(score("a", "baseline/document", 1e-14)) == pytest.approx(1e-12)
    assert shortfall(score("a", "baseline/document", None)) is None
    assert shortfall(score("a", "baseline/document", math.inf)) is None


def test_a_condition_is_a_text_and_a_treatment_also_where_it_was_routed() -> None:
    """Expected: by eye; the oracle takes the smaller of both keys, each treatment for itself."""
    nlls = {"static/x": 1.0, "static/y": 2.0, "static/x+stripped": 4.0, "static/y+stripped": 3.0}
    rows = [score("a", arm, value) for arm, value in nlls.items()]
    run = RunData([sample("a")], [route("a", "static/x", is_routed=False), route("a", "static/y")], rows, [])
    found = {name: values["a"] for name, values in conditions_of(run, nll).items()}
    assert found == nlls | {
        "static/routed": 2.0,
        "static/routed+stripped": 3.0,
        "static/oracle": 1.0,
        "static/oracle+stripped": 3.0,
        "static/mean_of_keys": 1.5,
        "static/mean_of_keys+stripped": 3.5,
    }
