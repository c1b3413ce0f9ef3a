"""Whatever stands in a passage, a query or a setting stays text, and what cannot be used is the project's own error.

Properties over invented texts; each says what no text may do.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks import results
from tasks.loading.data import identify_data, load_rows
from tasks.loading.models import identify_embedding_model, identify_language_model
from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.arms.writing import clean
from tasks.priming.errors import UsageError
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, fill, generation_prompt, query_prompt
from tasks.priming.records import Sample
from tasks.priming.sampling import draw_samples
from tasks.priming.settings import (
    DataSettings,
    EmbeddingSettings,
    ExperimentSettings,
    LanguageModelSettings,
    SamplingSettings,
    resolve_settings,
)
from tasks.store import artifacts
from tasks.store.artifacts import read_rows, read_table, write_rows
from tests.published_rows import finish
from tests.robustness.cases import plain, sample
from tests.robustness.invented import filled, often, rarely, texts

# --- templates ---


@often
@given(texts, texts)
def test_a_value_goes_into_a_template_verbatim(surrogate: str, passage: str) -> None:
    """Expected: the pieces joined by hand."""
    context = ARM_GROUPS["generated"].contexts.context(passage, surrogate)
    assert context == f"This document may be relevant to queries like: {surrogate}\n\nDocument:\n{passage}"
    assert query_prompt(surrogate) == f"\n\nQuery: {surrogate}\n\nAnswer:"
    for key, instruction in GENERATION_INSTRUCTIONS.items():
        assert generation_prompt(key, passage) == f"{instruction.text}\n\nText:\n{passage}"


@often
@given(texts)
@example("{document.__init__.__globals__}")
@example("{document:>100000000}")
@example("{document[")
def test_a_template_that_is_not_refused_is_filled_as_python_would(template: str) -> None:
    try:
        found = fill(template, document="D{0}")
    except ValueError:
        return
    assert found == template.format(document="D{0}")
    assert len(found) <= len(template) + len("D{0}") * template.count("{document}")


@often
@given(texts)
def test_what_a_model_wrote_is_one_line_of_it(raw: str) -> None:
    found = clean(raw)
    assert "\n" not in found
    assert found in raw
    assert found == found.strip()


# --- loaders ---


def drawn_from(path: Path) -> Any:
    given_data = DataSettings(data=str(path))
    sampling = SamplingSettings(sample_count=5, min_words=1, max_words=100_000)
    return draw_samples(load_rows(identify_data(given_data)), sampling, 42)


@rarely
@given(st.lists(st.builds(plain, passage=filled, query=filled, answer=filled), max_size=4))
def test_both_kinds_of_file_give_back_every_text(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("data")
    lines = [json.dumps(row, ensure_ascii=number % 2 == 0) for number, row in enumerate(rows)]
    (folder / "rows.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    schema = pa.schema([(name, pa.string()) for name in ("passage", "query", "answer")])
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "rows.parquet")
    first, second = (drawn_from(folder / name) for name in ("rows.jsonl", "rows.parquet"))
    assert first == second
    assert first.funnel.rejected.get("text with half a surrogate pair") is None
    found = {(s.passage, s.query, s.answer) for s in first.samples}
    assert found <= {(row["passage"], row["query"], row["answer"]) for row in rows}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
columns = st.sampled_from(["passage", "query", "answer", "answers", "wellFormedAnswers", "passages", "query_type"])


@pytest.mark.slow
@often
@given(st.lists(st.dictionaries(columns, json_values, max_size=7), max_size=3))
def test_any_row_is_a_sample_a_reason_or_the_projects_own_error(rows: list[dict[str, Any]]) -> None:
    try:
        found = draw_samples(rows, SamplingSettings(sample_count=5, min_words=1, max_words=50), 42)
    except UsageError:
        return
    assert found.funnel.rows == len(rows) == found.funnel.eligible + sum(found.funnel.rejected.values())
    assert all(len(row.excerpt.encode()) <= 4 * 80 for row in found.rejects)


# --- what is stored ---


@pytest.mark.slow
@rarely
@given(st.lists(texts, min_size=1, max_size=4))
def test_stored_texts_come_back_byte_for_byte(tmp_path_factory: pytest.TempPathFactory, parts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", tmp_path_factory.mktemp("artifacts"))
        rows = [Sample(f"{n}", n, text, text, text, text, "p") for n, text in enumerate(parts)]
        reference = write_rows(rows, Sample, "sampling")
        assert read_rows(reference, Sample) == rows
        with duckdb.connect() as connection:
            connection.register("rows", read_table(reference))
            assert connection.execute("SELECT passage FROM rows ORDER BY position").fetchall() == [(p,) for p in parts]


def test_neither_texts_nor_the_folders_name_are_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hostile = "'); DROP TABLE sample; --"
    folder = tmp_path / f"it's a folder{hostile}[bold]"
    folder.mkdir()
    monkeypatch.setattr(artifacts, "ARTIFACTS", folder)
    finish("abc", sample=[sample(passage=hostile, query=hostile, answer=hostile, query_type=hostile)])
    assert results.rebuild_database()["rows"] == 2  # the sample, and the answer that nothing was asked
    with results.open_results() as connection:
        assert connection.execute("SELECT passage, query_type FROM sample").fetchall() == [(hostile, hostile)]


# --- settings and names ---


def what_is_said(action: Callable[[], object]) -> str | None:
    """Return the text of the project's own error, or None if there is none; any other error goes on."""
    try:
        action()
    except UsageError as error:
        return str(error)
    return None


def setting_names() -> Iterator[str]:
    """Yield the names of all settings."""
    for name, value in ExperimentSettings().model_dump().items():
        yield from value if isinstance(value, dict) else [name]


@pytest.mark.slow
@often
@given(st.dictionaries(st.sampled_from(sorted(setting_names())), json_values, max_size=3), texts)
def test_any_value_of_a_setting_is_allowed_or_refused_by_name(changes: dict[str, Any], profile: str) -> None:
    for name in ("demo", profile):
        said = what_is_said(partial(resolve_settings, name, **changes))
        assert said is None or "Unknown profile" in said or any(f"`{change}`" in said for change in changes)


names = st.one_of(
    texts, st.sampled_from(["..", ".", "/", "~", "~x", "a/../b", "x" * 300, "/dev/null", "/proc/self/mem"])
)


@often
@given(names.filter(lambda name: 0 < len(name) <= 1000))
def test_any_name_is_found_or_refused(name: str) -> None:
    language_model = LanguageModelSettings(language_model=name, dtype="float32", device="cpu")
    for identify in (
        partial(identify_data, DataSettings(data=name)),
        partial(identify_language_model, language_model),
        partial(identify_embedding_model, EmbeddingSettings(embedding_model=name)),
    ):
        said = what_is_said(identify)
        assert said is None or all(character.isprintable() for character in said.replace("\n", ""))
