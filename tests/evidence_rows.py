"""Rows of an imagined run, for tests of what is computed from them: only what a test looks at has to be said."""

import dataclasses
import random
from typing import Any

from tasks.priming.records import Sample, Score
from tasks.priming.statistics.run_data import RunData


def sample(sample_id: str, passage_id: str | None = None, **changes: Any) -> Sample:
    """Return a sample about a passage of its own."""
    row = Sample(sample_id, 0, "passage", "query", "answer", None, passage_id or f"passage of {sample_id}")
    return dataclasses.replace(row, **changes)


def score(sample_id: str, arm: str, nll: float | None, **changes: Any) -> Score:
    """Return the score of a two-token answer behind an arm such as "static/factual"."""
    family, key = arm.split("/")
    row = Score(
        sample_id=sample_id,
        family=family,
        key=key,
        status="ok",
        token_nlls=None,
        nll=nll,
        nll_notebook=None,
        answer_tokens=(),
        distractor_nlls=None,
        margin=None,
        context_token_count=1,
        query_token_count=1,
        answer_token_count=2,
        control_string_count=0,
    )
    return dataclasses.replace(row, **changes)


def shuffled(evidence: RunData, seed: int) -> RunData:
    """Return the same rows in another order."""
    generator = random.Random(seed)
    return dataclasses.replace(
        evidence,
        samples=generator.sample(evidence.samples, len(evidence.samples)),
        routes=generator.sample(evidence.routes, len(evidence.routes)),
        scores=generator.sample(evidence.scores, len(evidence.scores)),
    )
