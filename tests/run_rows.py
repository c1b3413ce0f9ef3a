"""Rows of an imagined run: a test names only the fields that it looks at."""

import dataclasses
import random
from typing import Any, TypeVar

from tasks.priming.records import KEPT, Route, Sample, Score, Surrogate
from tasks.priming.statistics.run_data import RunData

Known = TypeVar("Known")


def known(value: Known | None) -> Known:
    """Return a value that must not be None."""
    assert value is not None
    return value


def sample(sample_id: str, passage_id: str | None = None, **changes: Any) -> Sample:
    """Return a sample about a passage of its own."""
    row = Sample(sample_id, 0, "passage", "query", "answer", None, passage_id or f"passage of {sample_id}")
    return dataclasses.replace(row, **changes)


def surrogate(sample_id: str, arm: str, **changes: Any) -> Surrogate:
    """Return a surrogate of an arm such as "static/factual", which took no tokens to write."""
    family, key = arm.split("/")
    row = Surrogate(sample_id, family, key, "text", "text", 0, 0, "stop", False, False, False)
    return dataclasses.replace(row, **changes)


def route(sample_id: str, arm: str, similarity: float | None = 0.5, *, is_routed: bool = True) -> Route:
    """Return the route of an arm."""
    family, key = arm.split("/")
    return Route(sample_id, family, key, similarity, is_routed, is_tie=False)


def score(sample_id: str, arm: str, nll: float | None, **changes: Any) -> Score:
    """Return the score of a two-token answer in an arm, kept unless its name ends like "+stripped"."""
    text, _, treatment = arm.partition("+")
    family, key = text.split("/")
    row = Score(
        sample_id=sample_id,
        family=family,
        key=key,
        treatment=treatment or KEPT,
        status="ok",
        token_nlls=None,
        nll=nll,
        nll_notebook=None,
        answer_tokens=(),
        distractor_nlls=None,
        margin=None,
        context_token_count=1,
        cached_token_count=changes.get("context_token_count", 1),
        has_document_ids=None,
        query_token_count=1,
        answer_token_count=2,
        control_string_count=0,
    )
    return dataclasses.replace(row, **changes)


def shuffled(run: RunData, seed: int) -> RunData:
    """Return the same rows in another order."""
    generator = random.Random(seed)
    names = ("samples", "routes", "scores", "surrogates", "distractors", "answer_texts")
    rows: dict[str, Any] = {}
    for name in names:
        rows[name] = generator.sample(getattr(run, name), len(getattr(run, name)))
    return dataclasses.replace(run, **rows)
