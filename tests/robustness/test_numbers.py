"""Numbers that are none: NaN and infinity in logits, weights and embeddings, vectors without a direction, float16.

What is broken is marked, left out of every comparison and counted; what stands beside it keeps its bits.
"""

import copy
import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tasks import results
from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.arms.writing import Writing, write_generated, write_static
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.numeric_path import choose_numeric_path
from tasks.priming.errors import UsageError
from tasks.priming.records import Route, Sample, Score, Surrogate
from tasks.priming.routing import route_queries
from tasks.priming.scoring import score_family
from tasks.priming.settings import StatisticsSettings, resolve_settings
from tasks.priming.statistics.all_statistics import STATISTICS
from tasks.priming.statistics.run_data import RunData
from tasks.store.artifacts import digest
from tests.published_rows import finish
from tests.report.conftest import Words, make_evidence
from tests.robustness.cases import sample
from tests.run_rows import score, surrogate
from tests.tiers import slow

QUERIES = ("when was the mill built", "who built it", "what did it grind")
SAMPLES = [sample(query=query) for query in QUERIES]
GENERATION = resolve_settings("demo").generation
QUICK = StatisticsSettings(bootstrap_resamples=100)


@contextmanager
def logits_changed(model: Any, change: Any) -> Iterator[None]:
    """Within the context, hand the model's logits (rows, vocabulary) to a function that may change them."""

    def hook(module: Any, arguments: Any, output: torch.Tensor) -> torch.Tensor:
        changed = output.clone()
        change(changed.view(-1, changed.shape[-1]))
        return changed

    handle = model.lm_head.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def scores(model: LanguageModel, samples: list[Sample] = SAMPLES) -> list[Score]:
    return score_family(ARM_GROUPS["static"].contexts, samples, write_static(samples, Writing(42)), model)


# --- logits ---


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_broken_row_of_logits_spoils_its_own_score_alone(tiny_model: LanguageModel, value: float) -> None:
    whole = scores(tiny_model)

    def spoil(rows: torch.Tensor) -> None:
        rows[0] = value

    with logits_changed(tiny_model.model, spoil):
        found = scores(tiny_model)
    broken = [number for number, score in enumerate(found) if score.status != "ok"]
    assert len(broken) == 1
    (bad,) = (found[number] for number in broken)
    assert (bad.status, bad.nll, bad.nll_notebook, bad.margin) == ("not_finite", None, None, None)
    assert bad.token_nlls is not None
    assert not all(map(math.isfinite, bad.token_nlls))
    assert [s for n, s in enumerate(found) if n not in broken] == [s for n, s in enumerate(whole) if n not in broken]


def test_a_token_that_the_model_rules_out_has_no_finite_nll(tiny_model: LanguageModel) -> None:
    def rule_out(rows: torch.Tensor) -> None:
        rows[:, :-1] = -math.inf  # all tokens but one, which no answer here has

    with logits_changed(tiny_model.model, rule_out):
        found = scores(tiny_model)
    assert {score.status for score in found} == {"not_finite"}
    assert all(score.token_nlls == (math.inf,) * score.answer_token_count for score in found)


def test_broken_weights_leave_every_score_out_and_stop_nothing(tiny_model: LanguageModel) -> None:
    broken = copy.deepcopy(tiny_model.model)
    broken.model.layers[0].mlp.down_proj.weight.data[0, 0] = math.nan
    found = scores(dataclasses.replace(tiny_model, model=broken))
    assert {score.status for score in found} == {"not_finite"}
    written = write_generated(SAMPLES, Writing(42, dataclasses.replace(tiny_model, model=broken), GENERATION))
    assert len(written) == 5 * len(SAMPLES)  # whatever they say, no score behind them is finite either


def test_float16_that_overflows_is_not_taken_for_a_score(tiny_model: LanguageModel) -> None:
    half = copy.deepcopy(tiny_model.model).half()
    model = dataclasses.replace(tiny_model, model=half, numeric_path=choose_numeric_path("cpu", "float16"))
    assert {score.status for score in scores(model)} == {"ok"}
    for projection in (half.model.layers[0].mlp.gate_proj, half.model.layers[0].mlp.up_proj):
        projection.weight.data *= 6e4  # 65,504 is the largest number of float16
    assert {score.status for score in scores(model)} == {"not_finite"}


# --- a model that always says one token ---


def test_a_model_that_always_says_one_token_is_flagged_and_scored(tiny_model: LanguageModel, minilm: Any) -> None:
    token = int(tiny_model.tokenizer("mill", add_special_tokens=False)["input_ids"][-1])

    def say_it(rows: torch.Tensor) -> None:
        rows.zero_()
        rows[:, token] = 1e4

    with logits_changed(tiny_model.model, say_it):
        written = write_generated(SAMPLES[:1], Writing(42, tiny_model, GENERATION))
        found = scores(tiny_model)
    assert {s.finish for s in written} == {"length"}  # the limit, since it never ends a line
    assert {s.token_count for s in written} == {GENERATION.max_new_tokens}
    assert len({s.text for s in written}) == 1
    assert all(route.is_tie for route in route_queries(SAMPLES[:1], written, minilm))
    assert {score.status for score in found} == {"ok"}
    # by hand: e^1e4 beside a sum of e^0 is all of the probability, so that any other token costs 1e4 nats
    assert all(set(score.token_nlls or ()) <= {0.0, 1e4} for score in found)


# --- embeddings ---


class SpoiledEmbedding:
    """The real model, of which the vectors of some texts are replaced."""

    def __init__(self, model: Any, spoiled: dict[str, float]) -> None:
        self._model = model
        self._spoiled = spoiled
        self.tokenizer, self.max_seq_length = model.tokenizer, model.max_seq_length

    def get_embedding_dimension(self) -> int:
        return int(self._model.get_embedding_dimension())

    def encode(self, texts: list[str], **options: Any) -> Any:
        vectors = self._model.encode(texts, **options)
        for number, text in enumerate(texts):
            if text in self._spoiled:
                vectors[number] = self._spoiled[text]
        return vectors


def surrogates(samples: list[Sample], **texts: str) -> list[Surrogate]:
    return [surrogate(one.sample_id, f"generated/{key}", text=text) for one in samples for key, text in texts.items()]


TEXTS = {"a": "mill history", "b": "old mill", "c": "rye"}


def by_arm(routes: list[Route]) -> dict[tuple[str, str], Route]:
    return {(route.sample_id, route.key): route for route in routes}


@pytest.mark.parametrize("value", [math.nan, *slow(0.0, math.inf, -math.inf, 1e30, 1e-30)])
def test_a_vector_without_a_direction_has_no_similarity_and_is_never_routed_to(minilm: Any, value: float) -> None:
    """It once ended the run. 1e30 and 1e-30: their squares are no numbers of float32."""
    whole = by_arm(route_queries(SAMPLES, surrogates(SAMPLES, **TEXTS), minilm))
    spoiled = SpoiledEmbedding(minilm, {"old mill": value, QUERIES[1]: value})
    found = by_arm(route_queries(SAMPLES, surrogates(SAMPLES, **TEXTS), spoiled))
    broken = SAMPLES[1].sample_id
    for (sample_id, key), route in found.items():
        if sample_id == broken or key == "b":
            assert (route.similarity, route.is_routed, route.is_tie) == (None, False, False)
        else:
            assert route.similarity == whole[sample_id, key].similarity  # to the last bit
    routed = {sample_id for (sample_id, _), route in found.items() if route.is_routed}
    assert routed == {one.sample_id for one in SAMPLES} - {broken}


def test_a_model_without_any_usable_vector_is_refused(minilm: Any) -> None:
    spoiled = SpoiledEmbedding(minilm, dict.fromkeys([*TEXTS.values(), *QUERIES], math.nan))
    with pytest.raises(UsageError, match=r"no usable vector for 'mill history' and 5 other .*Use another `embedding"):
        route_queries(SAMPLES, surrogates(SAMPLES, **TEXTS), spoiled)


# --- statistics ---


def broken_scores(evidence: RunData, is_broken: Any) -> RunData:
    """Return rows in which some scores are not finite."""
    changes = {"status": "not_finite", "nll": None, "nll_notebook": None, "margin": None, "distractor_nlls": None}
    changed = [dataclasses.replace(s, **changes) if is_broken(s) else s for s in evidence.scores]  # type: ignore[arg-type]
    return dataclasses.replace(evidence, scores=changed)


def numbers_of(rows: list[Any]) -> list[float]:
    values = [value for row in rows for value in dataclasses.astuple(row)]
    return [value for value in values if isinstance(value, float)]


@pytest.fixture(scope="module")
def evidence() -> RunData:
    return make_evidence(Words(), 24)


@pytest.mark.parametrize(
    ("is_broken", "excluded"),
    [
        (lambda score: score.sample_id == "0003", 1),
        (lambda score: score.sample_id == "0003" and score.family == "baseline", 1),
        (lambda score: score.family == "baseline", 24),
        (lambda score: True, 24),
    ],
    ids=["a sample", "one score", "an arm", "everything"],
)
def test_no_statistic_is_nan_whatever_scores_are_missing(evidence: RunData, is_broken: Any, excluded: int) -> None:
    found = broken_scores(evidence, is_broken)
    tables = {table: statistic.compute(found, QUICK, 42) for table, statistic in STATISTICS.items()}
    for table, rows in tables.items():
        assert [n for n in numbers_of(rows) if not math.isfinite(n)] == [], table
    compared = [row for row in tables["comparison"] if not row.is_optimistic]
    with_baseline = [row for row in compared if row.reference == "baseline/document"]
    assert with_baseline
    for row in with_baseline:
        assert row.excluded_count == excluded
        assert row.n == 24 - excluded
        if not row.n:
            assert row.improvement_mean is None
            assert row.verdict.startswith("undecided")
    (missing,) = (row for row in tables["run_check"] if row.name == "scores_without_nll")
    assert missing.value == sum(map(is_broken, evidence.scores))


def test_a_missing_score_is_left_out_of_its_own_pairs_alone(evidence: RunData) -> None:
    """Expected: the statistics of the rows without that sample, in pairs that have it; the others as they were."""
    one = broken_scores(evidence, lambda score: score.sample_id == "0003" and score.key == "factual")
    without = dataclasses.replace(evidence, samples=[s for s in evidence.samples if s.sample_id != "0003"])

    def compared(rows: RunData) -> dict[str, Any]:
        return {row.comparison: row for row in STATISTICS["comparison"].compute(rows, QUICK, 42)}

    changed, reference, whole = compared(one), compared(without), compared(evidence)
    name, other = (f"static/{key} vs baseline" for key in ("factual", "problem"))
    assert changed[name].improvement_mean == reference[name].improvement_mean
    assert changed[name].excluded_count == 1
    assert changed[other].improvement_mean == whole[other].improvement_mean
    assert changed[other].excluded_count == 0


# --- what is stored ---


def test_nothing_that_is_no_number_leaves_the_scores_table(artifacts_folder: Path) -> None:
    good = score("s", "baseline/document", 1.5, token_nlls=(1.0, 2.0))
    bad = score("s", "static/factual", None, status="not_finite", token_nlls=(math.nan, math.inf))
    one = dataclasses.replace(sample(), sample_id="s")
    finish("abc", sample=[one], score=[good, bad])
    results.rebuild_database()
    with results.open_results() as connection:
        stored = connection.execute("SELECT token_nlls FROM score WHERE status = 'not_finite'").fetchall()[0][0]
        assert np.isnan(stored[0])  # kept as they came, for whoever looks for the reason
        assert math.isinf(stored[1])
        found = connection.execute("SELECT avg(nll), count(nll), max(improvement) FROM all_runs.outcome").fetchall()
    assert found == [(1.5, 1, 0.0)]


def test_a_key_is_never_made_from_what_is_no_number() -> None:
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="not JSON compliant"):
            digest({"temperature": value})
