"""A dry run: what becomes of the rows, contexts as a model reads them, and an estimate, without the weights."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from safetensors import safe_open
from transformers import AutoTokenizer

from flows.experiment import experiment
from tasks import results
from tasks.commands import estimates
from tasks.commands.run import run_command
from tasks.loading.models import identify_language_model, load_language_model, outline_language_model
from tasks.priming.arms.writing import fixed_surrogate
from tasks.priming.records import Sample
from tasks.priming.settings import resolve_settings
from tasks.store import manifests
from tests.published_rows import record, score
from tests.tiny_models import tiny_folder, tiny_settings

TINY = tiny_settings()
PARAMETERS = 2 * 32_000 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64) + 64
"""By hand: embeddings and output; per layer queries and output, keys and values, the MLP, two norms; the last norm."""
PASSAGES = ("The ferry to the north island leaves at nine.", "A ticket for the ferry costs four crowns.")
ROWS = [
    {"passage": PASSAGES[0], "query": "ferry when", "answer": "At nine."},
    {"passage": PASSAGES[1], "query": "ferry price", "answer": "Four crowns."},
    {"passage": PASSAGES[1], "query": "ferry price", "answer": "Four crowns."},  # the same once more
    {"passage": "Too short.", "query": "why", "answer": "So."},
    {"passage": PASSAGES[0], "query": "ferry when", "answer": ""},
]
"""Passages of nine and eight words, counted by hand."""


def a_sample(name: str) -> Sample:
    return Sample(name, 0, PASSAGES[0], "ferry when", "At nine.", None, f"p{name}")


@pytest.fixture
def weightless_model(tmp_path: Path) -> Path:
    """A model's folder with a file of weights that nobody can read."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder(), folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    return folder


def dry_run(tmp_path: Path, rows: list[dict[str, Any]], *flags: str) -> int:
    data = tmp_path / "my.jsonl"
    flags = (f"--language-model={tiny_folder()}", *flags)  # of a flag that is given twice the last counts
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return run_command(experiment, ["--dry-run", f"--data={data}", "--min-words=5", *flags])


def words_of(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was printed, in one line of one blank a gap."""
    output = capsys.readouterr()
    assert output.err == ""
    assert max(map(cell_len, output.out.splitlines())) <= 80
    return " ".join(output.out.split())


def test_own_data_and_model_are_checked_without_the_weights(
    tmp_path: Path, artifacts_folder: Path, weightless_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(tmp_path, ROWS, f"--language-model={weightless_model}", "--full") == 0
    said = words_of(capsys)
    for line in (
        "read 5",
        "dropped: duplicate of an earlier row -1",
        "dropped: no answer -1",
        "dropped: selected passage outside 5-200 words -1",
        "eligible 2",
        "drawn as samples 2",
        "16 samples were asked for (--sample-count); 2 qualify.",
    ):
        assert line in said
    assert said.count("This document may be relevant to queries like:") == 2
    assert said.count("Query: ferry") == 3
    assert "first token <s> every context" in said
    assert "relevant to queries like: What is this and what does it mean? Document: " in said
    assert "12 surrogates, --max-new-tokens each" in said  # five kinds and that of another document, twice
    assert list(artifacts_folder.iterdir()) == []


def test_tokens_are_those_of_the_contexts_with_query_and_answer(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted once more from the notebook's templates, as they are printed there."""
    assert dry_run(tmp_path, ROWS[:1], "--families=baseline,static") == 0
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder())
    phrases = (
        "What is this and what does it mean?",
        "How do I do this step by step?",
        "How much does this cost or how long does it take?",
        "What are the key facts I need to know?",
        "What problem does this solve?",
    )
    contexts = [f"Document:\n{PASSAGES[0]}"]
    contexts += [f"This document may be relevant to queries like: {p}\n\nDocument:\n{PASSAGES[0]}" for p in phrases]
    behind = sum(
        len(tokenizer(text, add_special_tokens=False)["input_ids"])
        for text in ("\n\nQuery: ferry when\n\nAnswer:", "At nine.")
    )
    counts = [len(tokenizer(text)["input_ids"]) + behind for text in contexts]
    said = words_of(capsys)
    assert f"tokens scored {sum(counts):,} " in said
    assert f"longest sample {max(counts)} tokens" in said
    assert "surrogates, --max-new-tokens" not in said  # nothing is written in such a run


def test_more_samples_than_are_counted_are_taken_to_be_like_them(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = resolve_settings("demo", families=("baseline", "generated"))
    model = outline_language_model(TINY)
    samples = [a_sample(str(number)) for number in range(6)]
    whole = estimates.count_tokens(samples, settings, model)
    monkeypatch.setattr(estimates, "COUNTED_SAMPLES", 2)
    part = estimates.count_tokens(samples, settings, model)
    assert (whole.counted_samples, part.counted_samples) == (6, 2)
    assert (part.scored, part.prompts, part.surrogates) == (whole.scored, whole.prompts, 30)


def test_the_outline_tells_what_the_loaded_model_tells() -> None:
    """The parameters are also counted from the file of weights itself."""
    outline = outline_language_model(TINY)
    loaded = load_language_model(identify_language_model(TINY))
    assert (outline.facts, outline.window) == (loaded.facts, loaded.window)
    with safe_open(tiny_folder() / "model.safetensors", "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 - no mapping
    assert outline.facts.parameter_count == sum(map(math.prod, shapes))
    assert {parameter.device.type for parameter in outline.model.parameters()} == {"meta"}


def make_run(run_id: str, **changes: Any) -> None:
    """Publish a complete run of two samples that took 4 s to score and 6 s to write."""
    model = {"language_model": str(tiny_folder()), "dtype": "float32", "quantization": "none"}
    description: dict[str, Any] = {"run_id": run_id, "profile": "demo", "device": "cpu", "language_model": model}
    description |= changes
    settings = resolve_settings("demo", language_model=str(tiny_folder())).model_dump(mode="json")
    attempt = manifests.start_run(manifests.RunDescription(settings=settings, **description))
    samples = [a_sample(name) for name in "ab"]
    record(attempt, "sample", samples)
    record(attempt, "score", [score((s.sample_id, "baseline", "document"), (1.0, 2.0)) for s in samples])
    record(attempt, "surrogate", [fixed_surrogate(s, "generated", "keyword_query", "a guess") for s in samples])
    seconds = {"score/baseline/0000": 1.5, "score/static/0000": 2.5, "surrogate/generated/0000": 6.0}
    manifests.extend_run(attempt, {}, {"stage_seconds": seconds})
    manifests.finish_run(attempt)


@pytest.mark.usefixtures("artifacts_folder")
def test_a_time_is_that_of_an_earlier_run_on_the_same_device() -> None:
    assert estimates.find_pace(TINY, "cpu") is None  # nothing is published
    make_run("aaaa")
    make_run("bbbb", device="NVIDIA Thing")
    results.rebuild_database()
    pace = estimates.find_pace(TINY, "cpu")
    assert pace is not None
    # by hand: two scores of 107 + 16 + 2 tokens in 4 s; two surrogates in 6 s
    assert (pace.run_id, pace.scored_tokens_per_second, pace.seconds_per_surrogate) == ("aaaa", 62.5, 3.0)
    assert estimates.find_pace(TINY.model_copy(update={"dtype": "bfloat16"}), "cpu") is None
    assert estimates.find_pace(TINY.model_copy(update={"language_model": "another/one"}), "cpu") is None


def test_a_time_is_told_with_its_source_or_said_to_be_unknown(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--families=baseline,static", "--workers=1")
    assert dry_run(tmp_path, ROWS[:1], *flags) == 0
    assert "time unknown no complete run with this model on this device (cpu) is in artifacts/" in words_of(capsys)
    make_run("aaaa")
    results.rebuild_database()
    assert dry_run(tmp_path, ROWS[:1], *flags) == 0
    said = words_of(capsys)
    tokens = int(said.partition("tokens scored ")[2].split()[0].replace(",", ""))
    assert 62.5 * 2 < tokens < 62.5 * 10
    assert f"time about {tokens / 62.5:.2g} s run aaaa here: 62 tokens scored a second; 1 process" in said


def test_rows_of_which_none_qualifies_are_refused_with_their_funnel(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(tmp_path, ROWS[3:4]) == 2
    output = capsys.readouterr()
    assert "selected passage outside 5-200 words     -1" in output.out
    assert output.err.startswith("error: No row of ")
    assert output.err.endswith(" Change --min-words and --max-words, now 5 and 200, or give other data.\n")
    assert output.err.count("\n") == 1


def test_what_would_stop_a_run_later_is_said_now(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"passage": "ferry " * 2500, "query": "ferry when", "answer": "At nine."}]
    assert dry_run(tmp_path, rows, "--max-words=9000") == 0
    said = words_of(capsys)
    assert "All eligible rows are about one passage" in said
    assert "1 of 1 samples do not fit into the model's window of 2,048 tokens" in said


def test_a_passage_that_is_markup_to_somebody_is_shown_as_it_is(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    passage = "[bold]{surrogate}[/] <script> \x1b[2J one two three four"
    assert dry_run(tmp_path, [{"passage": passage, "query": "q{0}", "answer": "[red]"}], "--families=baseline") == 0
    said = words_of(capsys)
    assert "[bold]{surrogate}[/] <script>" in said
    assert "\x1b" not in said
    assert 'The answer that is scored: "[red]"' in said


def test_a_model_that_is_not_there_is_refused_after_the_data(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(tmp_path, ROWS, "--language-model=./nope") == 2
    output = capsys.readouterr()
    assert "drawn as samples" in output.out
    assert output.err == (
        "error: There is no model folder ./nope. Give a local folder or the id of a model on the hub.\n"
    )


def test_settings_for_a_gpu_are_estimated_where_there_is_none(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert dry_run(tmp_path, ROWS, "--device=cuda", "--quantization=nf4", "--families=baseline") == 0
    said = words_of(capsys)
    assert "time unknown there is no CUDA GPU here, which these settings need" in said
    assert f"{PARAMETERS:,} parameters in nf4" in said
