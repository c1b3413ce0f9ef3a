"""What a dry run says of memory is what a worker process then takes."""

import dataclasses
import os
import shutil
from pathlib import Path

import pytest

from tasks.commands.estimates import TokenCounts, count_tokens, estimate_memory
from tasks.loading.models import identify_language_model, outline_language_model
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.numeric_path import choose_numeric_path
from tasks.priming.records import Distractor, Sample
from tasks.priming.settings import LanguageModelSettings, resolve_settings
from tasks.workers.processes import with_language_model, working
from tests.tiny_models import Nameless, tiny_mistral

COUNTS = TokenCounts(
    scored=100_000,
    prompts=50_000,
    surrogates=250,
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
    assert memory.total == memory.weights + memory.libraries + memory.writing
    few = dataclasses.replace(COUNTS, prompts=1_000, written_at_most=200, longest=5_000)
    assert estimate_memory(FLOAT32, outline(), few, "cpu").writing == 2 * 3 * 2 * 8 * 4 * (1_200 + 5_000)
    none = dataclasses.replace(COUNTS, prompts=0, surrogates=0, written_at_most=0)
    assert estimate_memory(FLOAT32, outline(), none, "cpu").writing == 0


def test_a_model_with_large_caches_holds_fewer_lines_at_once() -> None:
    """A token of 32 layers x 8 heads x 128 in float32 takes 262,144 bytes: 8,192 of them, for fewer waste a step."""
    large = outline(num_hidden_layers=32, num_key_value_heads=8, num_attention_heads=8, head_dim=128)
    assert estimate_memory(FLOAT32, large, COUNTS, "cpu").writing == 262_144 * (8_192 + 2_048)
    assert estimate_memory(FLOAT32, large, COUNTS, "cuda").writing == 262_144 * (32_768 + 8_192)
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
    distractors = [Distractor(s.sample_id, n, f"Under {n} of them.", "x") for s in samples for n in range(2)]
    outlined = outline_language_model(settings.language_model)
    expected = estimate_memory(settings.language_model, outlined, count_tokens(samples, settings, outlined), "cpu")
    identity = identify_language_model(settings.language_model)
    with working(2, identity):
        peak, _ = with_language_model(peak_of_work, identity, samples=samples, distractors=distractors)
    assert expected.total == pytest.approx(peak, rel=0.2)
