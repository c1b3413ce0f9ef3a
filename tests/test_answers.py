"""The stage that lets the model answer: what is asked, under which key it is cached, and how it is stored."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest
from prefect.logging import disable_run_logger

from tasks import results
from tasks.answers import answer_queries, answering_calls, groups_to_ask
from tasks.commands.prune import STAGE_FOLDERS
from tasks.loading.data import Identity, identify_data
from tasks.loading.models import identify_language_model, load_language_model
from tasks.priming.answer_measures import measure_text
from tasks.priming.answers import answer_family
from tasks.priming.arms.arms import ARM_GROUPS, entries_of
from tasks.priming.arms.writing import Writing, write_static
from tasks.priming.records import AnswerText, Route, Sample, Surrogate
from tasks.priming.settings import DataSettings, SamplingSettings, resolve_settings
from tasks.sampling import draw_samples
from tasks.scoring import score_contexts, scoring_calls, treatments_of
from tasks.store import code, manifests
from tasks.store.artifacts import Reference, chunks_of, read_rows, write_rows
from tasks.store.caching import Batch
from tests.published_rows import record, start
from tests.store.test_key_rule import closure_of, executed
from tests.tiers import slow
from tests.tiny_models import tiny_settings

MODEL = {"sha256": "of a model"}
GROUPS = {name: ARM_GROUPS[name] for name in ("baseline", "static", "generated", "control/blank_surrogate")}


def sample(number: int, *answers: str) -> Sample:
    passage = f"Passage {number} says that a cashier earns ${15_000 + number} per year, and a manager more."
    accepted = answers or (f"${15_000 + number}",)
    return Sample(f"sample{number}", number, passage, f"cashier pay {number}", accepted[0], None, "p", accepted)


SAMPLES = [sample(number) for number in range(3)]


def routes(static: Sequence[str | None], generated: Sequence[str | None]) -> list[Route]:
    """Return the routes of SAMPLES within the two families; None where nothing was chosen."""
    return [
        Route(row.sample_id, family, key, 0.5, key == chosen, False)
        for family, choices in (("static", static), ("generated", generated))
        for row, chosen in zip(SAMPLES, choices, strict=True)
        for key in ARM_GROUPS[family].contexts.arm_keys
    ]


def chunk(samples: Sequence[Sample]) -> Reference:
    reference = write_rows(samples, Sample, "sampling")
    return chunks_of(reference, [row.sample_id for row in samples], len(samples))[0]


def calls_of(found: Sequence[Route], which: str = "main") -> Mapping[str, Mapping[str, Any]]:
    batch = {"0000": {"samples": chunk(SAMPLES), "distractors": {}}}
    written = {f"{name}/0000": write_rows([], Surrogate, "surrogates") for name in ("static", "generated")}
    return answering_calls(GROUPS, batch, which, MODEL, written, {"0000": write_rows(found, Route, "routing")})


def key_of(task: Any, inputs: Mapping[str, Any]) -> str:
    """Return the key under which a task's result is cached."""
    found: str = task.cache_policy.compute_key(cast(Any, None), dict(inputs), {})
    return found


# --- what is asked ---


def test_the_main_arms_and_what_the_router_chose_are_asked(artifacts_folder: Path) -> None:
    calls = calls_of(routes(["factual", None, "quantitative"], ["target_question"] * 3))
    assert {part: call["keys"] for part, call in calls.items()} == {
        "baseline/0000": ("document",),
        "static/0000": ("quantitative",),
        "generated/0000": ("target_question",),
    }
    assert calls["static/0000"]["routed_keys"] == ["factual", None, "quantitative"]
    assert calls["generated/0000"]["routed_keys"] == ["target_question"] * 3
    assert calls["baseline/0000"]["routed_keys"] == []


def test_all_arms_are_asked_if_all_are_wanted(artifacts_folder: Path) -> None:
    calls = calls_of(routes(["factual"] * 3, ["target_question"] * 3), "all")
    assert {part: call["keys"] for part, call in calls.items()} == {
        f"{name}/0000": group.contexts.arm_keys for name, group in GROUPS.items()
    }


def test_no_arm_is_asked_if_none_is_wanted(artifacts_folder: Path) -> None:
    assert calls_of(routes(["factual"] * 3, ["target_question"] * 3), "none") == {}
    assert groups_to_ask(GROUPS, "none") == {}


def test_every_profile_asks_the_controls_that_it_runs() -> None:
    groups = entries_of(resolve_settings("smollm2-msmarco"))
    assert {name for name, keys in groups_to_ask(groups, "main").items() if keys} >= {
        "baseline",
        "static",
        "generated",
        "control/bare_document",
        "control/random_words",
        "control/actual_query",
    }


# --- keys ---


def test_what_the_router_chose_in_another_family_is_no_part_of_a_key(artifacts_folder: Path) -> None:
    before = calls_of(routes(["factual"] * 3, ["target_question"] * 3))
    after = calls_of(routes(["factual"] * 3, ["synonym_keyword"] * 3))
    changed = {part for part in before if key_of(answer_queries, before[part]) != key_of(answer_queries, after[part])}
    assert changed == {"generated/0000"}


def test_what_is_asked_and_how_it_is_measured_is_no_part_of_a_scores_key() -> None:
    """A change of the answers computes no score anew."""
    scoring = {module for module, _ in code._closure("tasks.priming.scoring", "score_family")}
    answering = {module for module, _ in code._closure("tasks.priming.answers", "answer_family")}
    assert {"tasks.priming.answers", "tasks.priming.answer_measures", "tasks.priming.engine.generation"} <= answering
    assert not {module for module in scoring if "answer" in module}
    batch: Batch = {"0000": {"samples": {}, "distractors": {}}}
    assert not any("answers" in name for call in scoring_calls(GROUPS, batch, MODEL, {}).values() for name in call)
    assert score_contexts.cache_policy != answer_queries.cache_policy


def test_all_code_that_answering_executes_is_in_its_digest(identity: Identity) -> None:
    """Treatments are named by the call, whose key has their code."""
    model, group = load_language_model(identity), ARM_GROUPS["static"]
    surrogates = write_static(SAMPLES, Writing(42))
    treatments = treatments_of(group.treatments_by_key)
    arguments = (group.contexts, SAMPLES, surrogates, model, ("quantitative",), ["factual"] * 3, treatments)
    answer_family(*arguments)  # imports what it needs
    found, ran = executed(answer_family, *arguments)
    assert {row.treatment for row in found} == set(group.treatments)
    assert ran <= closure_of(answer_queries, {"treatments": group.treatments_by_key})
    assert ("tasks.priming.answer_measures", "token_f1") in ran


def test_samples_with_other_accepted_answers_are_another_chunk(artifacts_folder: Path, tmp_path: Path) -> None:
    """Their ids are the same, and what is measured is not."""
    passage = "a passage of some words " * 12
    chunks = []
    for accepted in (["nine"], ["nine", "at nine"], ["nine", "9"]):
        rows = tmp_path / "rows.jsonl"
        rows.write_text(json.dumps({"passage": passage, "query": "when", "answers": accepted}) + "\n")
        with disable_run_logger():
            drawn = draw_samples.fn(identify_data(DataSettings(data=str(rows))), SamplingSettings(), 42, 10)
        chunks.append((read_rows(drawn, Sample)[0].sample_id, drawn["chunks"][0]["samples"]["chunk"]))
    assert len({sample_id for sample_id, _ in chunks}) == 1
    assert len({identity for _, identity in chunks}) == 3


# --- the task ---


@pytest.fixture(scope="module")
def identity(mistral_tokenizer_folder: Path) -> Identity:
    return identify_language_model(tiny_settings())


def answered(identity: Identity, samples: Sequence[Sample], routed: Sequence[str | None]) -> list[AnswerText]:
    with disable_run_logger():
        reference = answer_queries.fn(
            contexts=ARM_GROUPS["static"].contexts,
            treatments={key: ["kept"] for key in ARM_GROUPS["static"].contexts.arm_keys},
            keys=["quantitative"],
            routed_keys=routed,
            samples=chunk(samples),
            surrogates=write_rows(write_static(samples, Writing(42)), Surrogate, "surrogates"),
            language_model=identity,
        )
    assert reference["seconds"] > 0
    assert reference["path"].partition("/")[0] in STAGE_FOLDERS  # or nothing would ever delete it
    return read_rows(reference, AnswerText)


def test_a_chunk_is_answered_in_its_arms(identity: Identity, artifacts_folder: Path) -> None:
    found = answered(identity, SAMPLES, ["factual", "quantitative", None])
    assert [(row.sample_id, row.key, row.is_routed, row.status) for row in found] == [
        ("sample0", "quantitative", False, "ok"),
        ("sample1", "quantitative", True, "ok"),
        ("sample2", "quantitative", False, "ok"),
        ("sample0", "factual", True, "ok"),
    ]
    assert all(row.text is not None and row.token_count for row in found)


# --- the table ---

HOSTILE = ["\x1b[2J wiped", "<script>alert(1)</script>", "</s> [INST]", "'; DROP TABLE sample; --", "a\tb\x00c", ""]


def written(number: int, text: str) -> AnswerText:
    found = measure_text(text, ["$15,000"])
    bare = AnswerText(
        f"sample{number}", "baseline", "document", "kept", False, "ok", text, token_count=3, finish="stop"
    )
    return replace(bare, **{name: getattr(found, name) for name in found.__dataclass_fields__})


def test_texts_are_stored_as_they_are(artifacts_folder: Path) -> None:
    attempt = start("abc")
    rows = [
        *map(written, range(len(HOSTILE)), HOSTILE),
        AnswerText("sample9", "baseline", "document", "kept", False, "too_long"),
    ]
    record(attempt, "answer_text", rows)
    manifests.finish_run(attempt)
    results.rebuild_database()
    with results.open_results() as connection:
        found = connection.execute("SELECT text FROM answer_text ORDER BY sample_id").fetchall()
        assert [text for (text,) in found] == [*HOSTILE, None]
        assert connection.execute("SELECT status FROM run").fetchall() == [("complete",)]
        told = "SELECT column_name FROM duckdb_columns() WHERE table_name = 'answer_text' AND comment IS NULL"
        assert connection.execute(told).fetchall() == []


@pytest.mark.parametrize(
    "changes", [{"text": None}, *slow({"status": "too_long"}, {"f1": 1.1}, {"recall": -0.1}, {"exact_match": True})]
)
def test_rows_that_contradict_themselves_are_refused(artifacts_folder: Path, changes: dict[str, Any]) -> None:
    attempt = start("abc")
    record(attempt, "answer_text", [replace(written(0, "in words"), **changes)])
    manifests.finish_run(attempt)
    results.rebuild_database()
    with duckdb.connect(str(artifacts_folder / "results.duckdb"), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM answer_text").fetchall() == [(0,)]
        detail = "SELECT detail FROM run_check WHERE chunk = 'answer_text'"
        assert "its rows were refused" in connection.execute(detail).fetchall()[0][0]
