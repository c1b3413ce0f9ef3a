"""A run's id stands for its settings, its inputs and its code, however they are written and wherever they lie."""

import dataclasses
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks import run
from tasks.priming.arms.arms import ARM_GROUPS, entries_of
from tasks.priming.settings import ExperimentSettings, resolve_settings
from tasks.run import RunInputs, name_run
from tasks.surrogates import writing_order

SETTINGS = resolve_settings("demo")
INPUTS = RunInputs(
    data={"data": "rows.jsonl", "file": "rows.jsonl", "sha256": "d"},
    language_model={"language_model": "./model", "sha256": "m", "dtype": "float32"},
    embedding_model={"embedding_model": "./router", "sha256": "r"},
)


def changed(part: str, **changes: Any) -> RunInputs:
    parts = {name: getattr(INPUTS, name) for name in ("data", "language_model", "embedding_model")}
    return RunInputs(**parts | {part: parts[part] | changes})


def test_the_id_changes_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before and after an edited prompt, runs shared an id, and the later replaced the earlier without a trace."""
    before = name_run(SETTINGS, INPUTS)
    monkeypatch.setattr("tasks.run.package_digest", lambda: "the digest of edited code")
    assert name_run(SETTINGS, INPUTS) != before


@pytest.mark.parametrize("part", ["data", "language_model", "embedding_model"])
def test_the_id_changes_with_each_input(part: str) -> None:
    assert name_run(SETTINGS, changed(part, sha256="another")) != name_run(SETTINGS, INPUTS)


def test_the_id_changes_with_each_setting() -> None:
    changes: list[dict[str, Any]] = [{"seed": 1}, {"sample_count": 5}, {"temperature": 1.0}, {"first_token": "none"}]
    ids = {name_run(resolve_settings("demo", **change), INPUTS) for change in [{}, *changes]}
    assert len(ids) == 1 + len(changes)


def test_the_id_is_the_same_however_paths_are_written() -> None:
    """Relative and absolute paths, with a slash at the end or without, were different runs."""
    written = [
        (resolve_settings("demo", data=f"{start}rows.jsonl", language_model=f"{start}model{end}"), start, end)
        for start in ("./", "/somewhere/")
        for end in ("", "/")
    ]
    ids = set()
    for settings, start, end in written:
        inputs = RunInputs(
            data=INPUTS.data | {"data": f"{start}rows.jsonl"},
            language_model=INPUTS.language_model | {"language_model": f"{start}model{end}"},
            embedding_model=INPUTS.embedding_model | {"embedding_model": f"{start}router{end}"},
        )
        ids.add(name_run(settings, inputs))
    assert len(ids) == 1


def test_models_of_the_hub_are_told_apart_by_their_names() -> None:
    on_hub = {"language_model": "owner/one", "revision": "0" * 40}
    inputs = [RunInputs(INPUTS.data, on_hub | {"language_model": f"owner/{n}"}, INPUTS.embedding_model) for n in (1, 2)]
    assert name_run(SETTINGS, inputs[0]) != name_run(SETTINGS, inputs[1])


WRITER = {"language_model": "./writer", "sha256": "w", "device": "cpu"}


def test_the_id_changes_with_another_writer_and_not_with_its_path() -> None:
    own, other = INPUTS, dataclasses.replace(INPUTS, other_writer=WRITER)
    ids = {
        name_run(resolve_settings("demo", writer_model=path), inputs)
        for path, inputs in ((None, own), ("./writer", other), ("/somewhere/writer/", other))
    }
    assert len(ids) == 2


def test_another_writer_writes_what_is_written_and_nothing_else() -> None:
    """Random words are counted in the reading model's tokens, and a fixed phrase needs no model."""
    both = dataclasses.replace(INPUTS, other_writer=WRITER)
    by = {name: both.identity_for(entry) for name, entry in ARM_GROUPS.items() if entry.needs_language_model}
    assert by == {"generated": WRITER, "control/random_words": INPUTS.language_model, "control/other_document": WRITER}
    assert {id(INPUTS.identity_for(entry)) for entry in ARM_GROUPS.values()} == {id(INPUTS.language_model)}


def test_what_is_written_comes_first() -> None:
    """The other model is loaded once for it; what starts from it, and what needs no model, follows."""
    own = {"family": "mine", "key": "a", "template": "{text}{passage}", "instruction": "Write.", "word_limit": 5}
    order = [name for name, _ in writing_order(entries_of(resolve_settings("laptop", arms=[own])))]
    assert order[:3] == ["generated", "control/other_document", "mine/a"]
    assert "control/random_words" in order[3:]
    assert "baseline" not in order


def test_as_many_processes_start_as_suit_both_models(monkeypatch: pytest.MonkeyPatch) -> None:
    both = dataclasses.replace(INPUTS, other_writer=WRITER)
    monkeypatch.setattr(run, "sensible_count", lambda model: 2 if model is WRITER else 5)
    assert (both.process_count(None), both.process_count(3)) == (2, 3)
    assert (INPUTS.process_count(None), INPUTS.process_count(3)) == (None, 3)


def test_another_model_writes_everything_before_the_first_batch_is_scored() -> None:
    """Chunk by chunk the models would take turns, and each would be loaded for every chunk."""
    chunks = [{"samples": number} for number in range(5)]
    with_writer, alone = (
        run.Run("aaaa", inputs, cast(Any, None))
        for inputs in (dataclasses.replace(INPUTS, other_writer=WRITER), INPUTS)
    )
    found = [with_writer.written_with(batch, chunks) for batch in with_writer.batches(chunks)]
    assert found == [run.named_chunks(chunks), {}, {}, {}, {}]
    assert [alone.written_with(batch, chunks) for batch in alone.batches(chunks)] == [
        {name: chunk} for name, chunk in run.named_chunks(chunks).items()
    ]


def test_a_command_identifies_what_its_flow_reads_once(monkeypatch: pytest.MonkeyPatch) -> None:
    identified: list[str] = []

    def identify(settings: ExperimentSettings, ray_address: str | None = None) -> RunInputs:
        identified.append(settings.data.data)
        return RunInputs({"data": settings.data.data}, {}, {})

    monkeypatch.setattr(run, "identify_inputs", identify)
    settings, other = resolve_settings("demo"), resolve_settings("demo", data="other.jsonl")
    inputs = run.inputs_of(settings)
    with run.inputs_handed_over(settings, inputs):
        assert run.inputs_of(settings) is inputs
        assert run.inputs_of(other).data == {"data": "other.jsonl"}
    assert identified == ["example", "other.jsonl"]
    run.inputs_of(settings)  # what lies there may have changed since
    assert identified == ["example", "other.jsonl", "example"]


def test_a_flow_run_is_named_by_what_differs_from_its_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form of a deployment sends a box that is not ticked."""
    given: dict[str, Any] = {
        "profile": "demo",
        "name": None,
        "sample_count": 3,
        "skip_bad_rows": False,
        "seed": 7,
        "workers": 2,
    }
    monkeypatch.setattr(run, "flow_run", SimpleNamespace(get_parameters=lambda: given))
    assert run.name_flow_run() == "demo, 3 samples, packaged/smollm2-135m-instruct, seed 7"
    own = {"family": "notes", "key": "price", "template": "{text}\n\nDocument:\n{passage}", "text": "What it costs"}
    given |= {"name": "mine", "arms": [own]}
    assert run.name_flow_run() == "mine: demo, 3 samples, packaged/smollm2-135m-instruct, seed 7, arms 1 of its own"
