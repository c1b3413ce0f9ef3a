"""A dry run: what becomes of the rows, contexts as a model reads them, and an estimate, without the weights."""

import dataclasses
import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.filesize import decimal
from safetensors import safe_open
from transformers import AutoTokenizer

from flows.__main__ import main
from tasks import results
from tasks.commands import dry_run as command
from tasks.commands.dry_run import TokenCounts, count_tokens, estimate_memory, find_pace
from tasks.loading.models import identify_language_model, load_language_model, outline_language_model
from tasks.priming.arms.writing import fixed_surrogate
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.numeric_path import choose_numeric_path
from tasks.priming.records import AnswerText, Distractor, Sample
from tasks.priming.settings import LanguageModelSettings, resolve_settings
from tasks.store import manifests
from tasks.workers.processes import with_language_model, working
from tests.published_rows import record, score
from tests.tiny_models import Nameless, tiny_folder, tiny_mistral, tiny_settings

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
    return main(["run", "--dry-run", f"--data={data}", "--min-words=5", *flags])


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
        "dropped: duplicate of an earlier row -1 3",
        "dropped: no answer -1 5",
        "dropped: selected passage outside 5-200 words -1 4",
        "eligible 2",
        "drawn as samples 2",
        "10 samples were asked for (--sample-count); 2 qualify.",
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
    assert dry_run(tmp_path, ROWS[:1], "--families=baseline,static", "--treatments=kept") == 0
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
    after = sum(
        len(tokenizer(text, add_special_tokens=False)["input_ids"])
        for text in ("\n\nQuery: ferry when\n\nAnswer:", "At nine.")
    )
    counts = [len(tokenizer(text)["input_ids"]) + after for text in contexts]
    said = words_of(capsys)
    assert f"tokens scored {sum(counts):,} " in said
    assert f"longest sample {max(counts)} tokens" in said
    assert "surrogates, --max-new-tokens" not in said  # nothing is written in such a run


def test_more_samples_than_are_counted_are_taken_to_be_like_them(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = resolve_settings("demo", families=("baseline", "generated"))
    model = outline_language_model(TINY)
    samples = [a_sample(str(number)) for number in range(6)]
    whole = count_tokens(samples, settings, model)
    monkeypatch.setattr(command, "COUNTED_SAMPLES", 2)
    part = count_tokens(samples, settings, model)
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


def make_run(run_id: str, *, answered: bool = False, **changes: Any) -> None:
    """Publish a complete run of two samples that took 4 s to score and 6 s to write, and 5 s to answer."""
    model = {"language_model": str(tiny_folder()), "dtype": "float32", "quantization": "none"}
    description: dict[str, Any] = {"run_id": run_id, "profile": "demo", "device": "cpu", "language_model": model}
    description |= changes
    settings = resolve_settings("demo", language_model=str(tiny_folder())).model_dump(mode="json")
    attempt = manifests.start_run(manifests.RunDescription(settings=settings, **description))
    samples = [a_sample(name) for name in "ab"]
    record(attempt, "sample", samples)
    record(attempt, "score", [score((s.sample_id, "baseline", "document"), (1.0, 2.0)) for s in samples])
    record(attempt, "surrogate", [fixed_surrogate(s, "generated", "keyword_query", "a guess") for s in samples])
    if answered:
        record(
            attempt,
            "answer_text",
            [AnswerText(s.sample_id, "baseline", "document", "kept", False, "too_long") for s in samples],
        )
    seconds = {"score/baseline/0000": 1.5, "score/static/0000": 2.5, "surrogate/generated/0000": 6.0}
    seconds |= {"answer_text/baseline/0000": 5.0} if answered else {}
    manifests.extend_run(attempt, {}, {"stage_seconds": seconds})
    manifests.finish_run(attempt)


@pytest.mark.usefixtures("artifacts_folder")
def test_a_time_is_that_of_an_earlier_run_on_the_same_device() -> None:
    assert find_pace(TINY, "cpu") is None  # nothing is published
    make_run("aaaa")
    make_run("bbbb", device="NVIDIA Thing")
    results.rebuild_database()
    pace = find_pace(TINY, "cpu")
    assert pace is not None
    # by hand: two scores of 107 + 16 + 2 tokens in 4 s; two surrogates in 6 s
    assert (pace.run_id, pace.scored_tokens_per_second, pace.seconds_per_surrogate) == ("aaaa", 62.5, 3.0)
    assert find_pace(TINY.model_copy(update={"dtype": "bfloat16"}), "cpu") is None
    assert find_pace(TINY.model_copy(update={"language_model": "another/one"}), "cpu") is None


@pytest.mark.slow
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
    assert f"time about {tokens / 62.5:.2g} s run aaaa here: 62 tokens scored per second; 1 process" in said


@pytest.mark.slow
def test_answers_are_counted_and_their_time_is_added(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By hand: after the plain document, after static/quantitative, and after what the router chooses."""
    flags = ("--families=baseline,static", "--treatments=kept", "--workers=1", "--answers=main")
    make_run("aaaa")
    results.rebuild_database()
    assert dry_run(tmp_path, ROWS[:1], *flags) == 0
    said = words_of(capsys)
    assert "answers written at most 3 of at most 32 tokens each" in said
    assert "s and the answers run aaaa here: 62 tokens scored per second; it wrote none of the answers" in said
    make_run("bbbb", answered=True)
    results.rebuild_database()
    assert dry_run(tmp_path, ROWS[:1], *flags) == 0
    said = words_of(capsys)
    tokens = int(said.partition("tokens scored ")[2].split()[0].replace(",", ""))
    assert f"time about {tokens / 62.5 + 3 * 2.5:.2g} s run bbbb here: 62 tokens scored per second, 2.5 s per" in said


def test_rows_of_which_none_qualifies_are_refused_with_their_funnel(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(tmp_path, ROWS[3:4]) == 2
    output = capsys.readouterr()
    assert "selected passage outside 5-200 words     -1      1" in output.out
    assert output.err.startswith("error: No row of ")
    assert "Their columns are answer, passage, query. Name those to read by --columns" in output.err
    assert output.err.endswith(" change --min-words and --max-words, now 5 and 200, or give other data.\n")
    assert output.err.count("\n") == 1


def test_all_rows_that_cannot_be_read_are_listed_at_once(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Expected: by reading; what a run would say is said after the list, and --skip-bad-rows goes on."""
    rows: list[Any] = [*ROWS[:1], "no row", *({"query": n} for n in range(12)), {"passage": "[bold]", "answer": []}]
    assert dry_run(tmp_path, rows) == 2
    output = capsys.readouterr()
    said = " ".join(output.out.split())
    assert "dropped: unreadable: query is int instead of text -12 3, 4, 5, 6, 7, ..." in said
    assert "2 not a JSON object 'no row' 3 query is int instead of text 0" in said
    assert "14 query is int instead of text 11 15 answer is list instead of text []" in said
    assert "tokens scored" not in said
    assert output.err.startswith("error: 14 rows cannot be read:\n  row 2: not a JSON object: 'no row'\n  row 3: ")
    assert dry_run(tmp_path, rows, "--skip-bad-rows", "--families=baseline") == 0
    assert "tokens scored" in capsys.readouterr().out


OWN = """
families:
  notes:
    template: "Notes: {text}\\n\\nDocument:\\n{passage}"
    treatments: [kept, stripped]
    texts: {short: A short note.}
    instructions:
      summary: {instruction: Sum it up., word_limit: 20}
"""


def test_own_texts_are_shown_with_a_context_and_counted(
    tmp_path: Path, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Tokens to read are counted once more from the instruction as it is sent."""
    (tmp_path / "my.yaml").write_text(OWN, encoding="utf-8")
    rows = [row | {"surrogates": {"guess": "When does it leave?"}} for row in ROWS[:2]]
    assert dry_run(tmp_path, rows, "--families=baseline", f"--arms={tmp_path / 'my.yaml'}") == 0
    said = words_of(capsys)
    assert "notes/short text A short note. kept, stripped" in said
    assert "notes/summary written by Sum it up. kept, stripped" in said
    assert "provided/guess column surrogates" in said
    assert "in arm notes/short, with its query: Notes: A short note. Document:" in said
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder())
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": f"Sum it up.\n\nText:\n{passage}"}], add_generation_prompt=True
        )["input_ids"]
        for passage in PASSAGES
    ]
    assert f"tokens read to write {sum(map(len, prompts)):,} " in said
    assert "2 surrogates, --max-new-tokens each" in said


def test_another_writer_is_named_with_what_it_takes(
    tmp_path: Path, artifacts_folder: Path, weightless_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dry_run(tmp_path, ROWS, "--families=baseline,generated", f"--writer-model={weightless_model}") == 0
    size = decimal(4 * PARAMETERS)  # float32
    assert f'" first, whose weights take {size} and leave the memory before the reading model is loaded.' in words_of(
        capsys
    )
    assert dry_run(tmp_path, ROWS, "--writer-model=./nope") == 2
    assert capsys.readouterr().err == (
        "error: There is no model folder ./nope. Give a local folder or the id of a model on the hub.\n"
    )


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


# --- memory: what is estimated is what a worker process then takes ---

COUNTS = TokenCounts(
    scored=100_000,
    prompts=50_000,
    surrogates=250,
    answers=0,
    written_at_most=11_250,
    longest=300,
    predicted_share=0.25,
    too_long=0,
    counted_samples=50,
)
FLOAT32 = LanguageModelSettings(dtype="float32", device="cpu")


def outline(**shape: int) -> LanguageModel:
    return LanguageModel(tiny_mistral(**shape), Nameless(), 256, choose_numeric_path("cpu", "float32"))


def test_memory_is_counted_from_the_models_shape() -> None:
    """By hand, from the shape in tiny_models: keys and values of a token are 2 x 3 layers x 2 heads x 8 x 4 bytes."""
    memory = estimate_memory(FLOAT32, outline(), COUNTS, "cpu")
    assert memory.writing == 2 * 3 * 2 * 8 * 4 * (32_768 + 2_048)
    assert memory.scoring == 2 * 0.25 * 2_048 * 300 * 4  # two copies of logits of 300 words
    assert memory.total == memory.weights + command._LIBRARY_BYTES + memory.writing
    few = dataclasses.replace(COUNTS, prompts=1_000, written_at_most=200, longest=5_000)
    assert estimate_memory(FLOAT32, outline(), few, "cpu").writing == 2 * 3 * 2 * 8 * 4 * (1_200 + 5_000)
    none = dataclasses.replace(COUNTS, prompts=0, surrogates=0, written_at_most=0)
    assert estimate_memory(FLOAT32, outline(), none, "cpu").writing == 0


def test_a_model_with_large_caches_holds_fewer_lines_at_once() -> None:
    """A token of 32 layers x 8 heads x 128 in float32 takes 262,144 bytes: 8,192 of them, for fewer waste a step."""
    large = outline(num_hidden_layers=32, num_key_value_heads=8, num_attention_heads=8, head_dim=128)
    assert estimate_memory(FLOAT32, large, COUNTS, "cpu").writing == 262_144 * (8_192 + 2_048)
    # A GPU holds what its free memory takes: here all there is to read and write, and a pass.
    every = COUNTS.prompts + COUNTS.written_at_most
    assert estimate_memory(FLOAT32, large, COUNTS, "cuda").writing == 262_144 * (every + 4_096)
    middle = outline(num_hidden_layers=8, num_key_value_heads=8, num_attention_heads=8, head_dim=64)
    assert estimate_memory(FLOAT32, middle, COUNTS, "cpu").writing == 32_768 * (800_000_000 // 32_768 + 2_048)


def peak_of_work(samples: list[Sample], distractors: list[Distractor], *, language_model: LanguageModel) -> float:
    """Write and score as a run does, and return the most memory that this process has ever held (bytes)."""
    from tasks.priming.arms.arms import ARM_GROUPS
    from tasks.priming.arms.writing import Writing, write_generated
    from tasks.priming.scoring import score_family
    from tasks.priming.settings import GenerationSettings

    written = write_generated(samples, Writing(42, language_model, GenerationSettings()))
    score_family(ARM_GROUPS["generated"].contexts, samples, written, language_model, distractors)
    line = next(row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the system does not tell a process's peak")
@pytest.mark.parametrize(
    "shape",
    [{}, {"num_hidden_layers": 8, "num_key_value_heads": 8, "num_attention_heads": 8, "head_dim": 64}],
    ids=["small", "large caches"],
)
def test_memory_is_what_a_worker_takes(mistral_tokenizer_folder: Path, tmp_path: Path, shape: dict[str, int]) -> None:
    """Peaks of 5.5 GB stood where the estimate was 1.3; both models' main parts are other ones."""
    folder = tmp_path / "model"
    shutil.copytree(mistral_tokenizer_folder, folder)
    tiny_mistral(vocab_size=32_000, max_position_embeddings=512, **shape).save_pretrained(folder)
    settings = resolve_settings("laptop", language_model=str(folder), dtype="float32", device="cpu", max_words=90)
    passages = [" ".join(f"word{n} of passage {n + place}" for place in range(20)) for n in range(16)]
    samples = [
        Sample(f"s{n}", n, text, f"where is {n}", f"At {n} of it.", None, f"p{n}") for n, text in enumerate(passages)
    ]
    distractors = [
        Distractor(s.sample_id, n, f"Under {n} of them.", "x", "other_passage") for s in samples for n in range(2)
    ]
    outlined = outline_language_model(settings.language_model)
    expected = estimate_memory(settings.language_model, outlined, count_tokens(samples, settings, outlined), "cpu")
    identity = identify_language_model(settings.language_model)
    with working(2, identity):
        peak, _ = with_language_model(peak_of_work, identity, samples=samples, distractors=distractors)
    assert expected.total == pytest.approx(peak, rel=0.2)
