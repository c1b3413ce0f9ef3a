"""A run is called by all that its numbers follow from."""

from dataclasses import replace
from typing import Any

import pytest

from tasks.priming.settings import resolve_settings
from tasks.run import RunInputs, name_run

INPUTS = RunInputs(
    data={"data": "rows.jsonl", "sha256": "a"},
    language_model={"language_model": "owner/model", "sha256": "b"},
    embedding_model={"embedding_model": "owner/sentences", "sha256": "c"},
)


def test_the_same_experiment_has_the_same_id() -> None:
    again = RunInputs(dict(INPUTS.data), dict(INPUTS.language_model), dict(INPUTS.embedding_model))
    assert name_run(resolve_settings("demo"), INPUTS) == name_run(resolve_settings("demo"), again)


@pytest.mark.parametrize("name", ["data", "language_model", "embedding_model"])
def test_another_content_of_anything_that_is_read_is_another_run(name: str) -> None:
    """The names of file and models are the same: what they hold is not."""
    changed: dict[str, Any] = {name: {**getattr(INPUTS, name), "sha256": "other"}}
    assert name_run(resolve_settings("demo"), replace(INPUTS, **changed)) != name_run(resolve_settings("demo"), INPUTS)


@pytest.mark.parametrize("changes", [{"seed": 7}, {"sample_count": 3}, {"bootstrap_resamples": 150}])
def test_another_setting_is_another_run(changes: dict[str, Any]) -> None:
    assert name_run(resolve_settings("demo", **changes), INPUTS) != name_run(resolve_settings("demo"), INPUTS)
