"""Language and embedding models, from the hub or from disk.

In: settings. Out: loaded models, and identities: small dicts that say exactly what is loaded (a commit, or the hash of
the files) and on what it runs, which are part of the keys of the stages that use it. Weights are read from safetensors
or GGUF only, and no code that comes with a model is run. Whatever the user can fix raises a SetupError: a model that
cannot be found or loaded, or does not fit the machine or its tokenizer.
"""

import gc
import importlib.metadata
import json
import subprocess
import sys
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import psutil

from tasks.loading.data import Identity
from tasks.loading.libraries import (
    keep_freed_memory,
    shut_out_fetched_kernels,
    without_progress_bars,
    without_warnings_of_transformers,
)
from tasks.loading.model_files import (
    GGUF,
    WORKING_BYTES,
    find_model,
    identified_model,
    identify_files,
    known_parameter_count,
    locate_outline,
    weight_bytes,
)
from tasks.loading.redaction import brief, presentable, printable
from tasks.priming.engine.gguf import gguf_config, gguf_tokenizer, load_gguf, read_gguf
from tasks.priming.engine.model import LanguageModel, first_token_id, make_text_stay_text
from tasks.priming.errors import SetupError, UsageError
from tasks.priming.settings import EmbeddingSettings, ExperimentSettings, LanguageModelSettings
from tasks.store.code import code_digest

_LOADING = Lock()  # held while a model is loaded, so that two threads that want the same model load it once

_DRIVER = Path("/proc/driver/nvidia/version")  # exists where NVIDIA's driver is loaded

_NF4 = {"load_in_4bit": True, "bnb_4bit_use_double_quant": True, "bnb_4bit_quant_type": "nf4"}
"""The notebook's quantisation: 4-bit weights, doubly quantised."""

_TEMPLATE_SECONDS, _TEMPLATE_BYTES = 10, 1 << 30  # limits of filling a chat template

_FILL = """
import json, resource, sys
from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

seconds, size, template = json.load(sys.stdin)
resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
resource.setrlimit(resource.RLIMIT_AS, (size, size))
environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
environment.globals |= {"raise_exception": str, "strftime_now": str}
try:
    messages = [{"role": "user", "content": "a"}]
    text = environment.from_string(template).render(messages=messages, add_generation_prompt=True)
except MemoryError:
    sys.exit(3)
except Exception:  # reported when a prompt is encoded
    sys.exit(0)
sys.exit(3 if len(text) > 1_000_000 else 0)
"""


def identify_language_model(settings: LanguageModelSettings) -> Identity:
    """Return everything that determines the numbers of a language model on this machine."""
    import torch

    from tasks.priming.engine.numeric_path import choose_numeric_path, instruction_set

    device = settings.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        # A driver that is older than torch's CUDA looks to torch like no GPU.
        reason = f", although there is a driver: torch {torch.__version__} may need a newer one"
        driver = reason if _DRIVER.exists() else ""
        raise SetupError(
            f"These settings need a CUDA GPU; none was found{driver}. Use device=cpu, or run the small profile "
            "instead: python -m flows run --profile demo"
        )
    is_nf4 = settings.quantization == "nf4"
    held = held_quantization(settings, device)
    compute = {"bnb_4bit_compute_dtype": settings.dtype}
    quantized = {"quantization_settings": _NF4 | compute, "held_quantization": held} if is_nf4 else {}
    path = find_model(settings.language_model)
    gguf = {}
    if path and path.suffix == GGUF:
        if settings.quantization != "none":
            raise SetupError(
                f"{printable(settings.language_model)} holds quantised weights already, which {settings.quantization} "
                "cannot quantise again. Leave the quantisation out: --quantization none"
            )
        dequantising = code_digest("tasks.priming.engine.gguf:load_gguf")
        gguf = {"quantization": read_gguf(path).quantization, "gguf_code": dequantising}
    return {
        "language_model": settings.language_model,
        **identify_files(settings.language_model, settings.language_model_revision),
        "dtype": settings.dtype,
        "quantization": settings.quantization,
        "first_token": settings.first_token,
        **quantized,
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "numeric_path": choose_numeric_path(device, settings.dtype, held),
        **({"instruction_set": instruction_set()} if device == "cpu" else {}),
        "versions": _versions(
            "torch", "transformers", *(["bitsandbytes"] if is_nf4 else []), *(["gguf", "tokenizers"] if gguf else [])
        ),
        **gguf,
    }


def held_quantization(settings: LanguageModelSettings, device: str) -> str:
    """Return how weights are kept while they are used: "none" where quantised ones are dequantised once, else as set.

    NF4 weights become weights of the run's dtype when they are loaded, provided that the device, "cpu" or "cuda", has
    memory for them: a packed layer is dequantised at every pass, and on a GPU by kernels that depend on the number of
    rows. Last bits may differ, so what decides is all memory that there is, not what is free.
    """
    import torch

    parameters = known_parameter_count(settings.language_model)
    if settings.quantization == "none" or parameters is None:  # of unknown size: as small as can be
        return settings.quantization
    if device == "cuda":
        gpus = range(torch.cuda.device_count())
        memory = min((torch.cuda.get_device_properties(number).total_memory for number in gpus), default=0)
    else:
        memory = psutil.virtual_memory().total
    fits = weight_bytes(parameters, settings.dtype, "none") + WORKING_BYTES <= memory
    return "none" if fits else settings.quantization


def writer_settings(settings: ExperimentSettings) -> LanguageModelSettings | None:
    """Return the settings of the model that writes surrogates; None if it is the one that reads."""
    other = settings.writer
    if other.writer_model is None:
        return None
    # A first token that is named belongs to the other tokenizer.
    changes = {"language_model": other.writer_model, "language_model_revision": other.writer_model_revision}
    return settings.language_model.model_copy(update=changes | {"first_token": "auto"})


def identify_embedding_model(settings: EmbeddingSettings) -> Identity:
    """Return everything that determines the numbers of the sentence-embedding model."""
    from tasks.priming.engine.numeric_path import choose_numeric_path, instruction_set

    return {
        "embedding_model": settings.embedding_model,
        **identify_files(settings.embedding_model, settings.embedding_model_revision),
        "dtype": "float32",  # whatever the dtype of the stored weights: bfloat16 would change routes
        "numeric_path": choose_numeric_path("cpu", "float32"),
        "instruction_set": instruction_set(),
        "versions": _versions("torch", "transformers", "sentence-transformers", "scikit-learn"),
    }


def load_language_model(identity: Identity) -> LanguageModel:
    """Return the language model of an identity; the newest one is kept in this process."""
    key = json.dumps(identity, sort_keys=True)
    with _LOADING:
        if _newest != [key]:
            # One after the other: two 7B models would not fit into memory.
            _language_model.cache_clear()
            gc.collect()
            _newest[:] = [key]
        return _language_model(key)


_newest: list[str] = []  # the identity of the language model that is kept


@lru_cache(maxsize=1)
def _language_model(identity_json: str) -> LanguageModel:
    import torch

    shut_out_fetched_kernels()
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    identity: Identity = json.loads(identity_json)
    if identity["device"] == "cpu":
        keep_freed_memory()
    name = identity["language_model"]
    settings = identity.get("quantization_settings")
    quantization = BitsAndBytesConfig(**settings) if settings else None
    with without_progress_bars(), identified_model(name, identity) as path:
        try:
            tokenizer = _load_tokenizer(path)
            if path.suffix == GGUF:
                model, report = load_gguf(read_gguf(path), getattr(torch, identity["dtype"]), identity["device"])
            else:
                model, report = AutoModelForCausalLM.from_pretrained(
                    path,
                    local_files_only=True,
                    trust_remote_code=False,
                    use_safetensors=True,
                    dtype=getattr(torch, identity["dtype"]),
                    device_map=identity["device"],
                    quantization_config=quantization,
                    output_loading_info=True,
                )
        except UsageError:
            raise
        except Exception as error:  # the libraries raise many kinds for a damaged or unfit folder
            raise SetupError(
                f"The language model {name} cannot be loaded: {brief(error)} A causal language model with safetensors "
                "weights and a tokenizer is needed, on the hub or in a local folder, or a GGUF file."
            ) from presentable(error)
    if missing := sorted(report["missing_keys"]):
        raise SetupError(
            f"The language model {name} lacks {len(missing)} weights, {missing[0]} the first, which would be filled "
            "with random numbers. Give a whole causal language model, output layer included."
        )
    if quantization and identity["held_quantization"] == "none":
        with without_warnings_of_transformers():  # that the model is dequantised, as it was asked to be
            model = model.dequantize(getattr(torch, identity["dtype"]))
    return _checked(model.eval().requires_grad_(False), tokenizer, name, identity)


def outline_language_model(settings: LanguageModelSettings) -> LanguageModel:
    """Return a model with its real tokenizer and shape but no weights, from files of some megabytes.

    Of such a model only `facts` can be used.
    """
    shut_out_fetched_kernels()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tasks.priming.engine.numeric_path import choose_numeric_path

    name = settings.language_model
    path = locate_outline(name, settings.language_model_revision)
    with without_progress_bars():
        try:
            tokenizer = _load_tokenizer(path)
            if path.suffix == GGUF:
                configuration = gguf_config(read_gguf(path))
            else:
                configuration = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(configuration, dtype=getattr(torch, settings.dtype))
        except UsageError:
            raise
        except Exception as error:  # as above
            raise SetupError(
                f"The configuration of {name} cannot be read: {brief(error)} A causal language model with a tokenizer "
                "is needed, on the hub or in a local folder."
            ) from presentable(error)
    # For a CPU: what is known before the model runs does not depend on where it runs.
    numeric_path = choose_numeric_path("cpu", settings.dtype)
    return _checked(model, tokenizer, name, {"numeric_path": numeric_path, "first_token": settings.first_token})


def _load_tokenizer(path: Path) -> Any:  # noqa: ANN401 - the library has no types
    """Return the tokenizer of a language model's folder or GGUF file, told to leave control tokens in a text alone."""
    from transformers import AutoTokenizer

    if path.suffix == GGUF:
        tokenizer = gguf_tokenizer(read_gguf(path))
    else:
        # Without mistral_format, Mistral's tokenizer would depend on whether mistral-common is installed.
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, mistral_format=False
        )
    require_end(tokenizer.chat_template)
    make_text_stay_text(tokenizer)
    return tokenizer


def require_end(template: str | dict[str, str] | None) -> None:
    """Make sure that a chat template, or each of several by name, terminates: fill it in another process, with limits.

    A template is a program. Jinja's sandbox keeps it from files and code, but not from nested loops or texts of
    gigabytes.

    Raises:
        SetupError: It takes more than 10 s, 1 GiB or a million characters.
    """
    for text in template.values() if isinstance(template, dict) else filter(None, [template]):
        request = json.dumps([_TEMPLATE_SECONDS, _TEMPLATE_BYTES, text])
        # -I: modules are not searched for in the working folder or in folders named by the environment.
        filled = subprocess.run(
            [sys.executable, "-I", "-c", _FILL], input=request, text=True, capture_output=True, check=False
        )
        if filled.returncode != 0:
            raise SetupError(
                f"The model's chat template does not terminate within {_TEMPLATE_SECONDS} s, "
                f"{_TEMPLATE_BYTES >> 30} GiB and a million characters, so that no instruction could be sent. Give a "
                "model with another template, or remove it to send instructions as plain text: delete "
                "chat_template.jinja"
            )


def _checked(model: Any, tokenizer: Any, name: str, identity: Identity) -> LanguageModel:  # noqa: ANN401
    """Return a model and its tokenizer after checking its window, its first token and the size of its embedding."""
    size = model.get_input_embeddings().weight.shape[0]
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    template = str(tokenizer.chat_template or "")
    # Padding and the like may lie beyond the embedding: no text becomes such a token.
    usable = {token: i for token, i in tokenizer.get_vocab().items() if token not in special or token in template}
    ids = tokenizer("a")["input_ids"]  # with the tokens that begin every text
    usable |= dict(zip(tokenizer.convert_ids_to_tokens(ids), ids, strict=True))
    last = max(usable, key=lambda token: usable[token])
    if usable[last] >= size:
        raise SetupError(
            f"The tokenizer of {name} has the token {printable(last)!r} as number {usable[last]}, and its model has "
            f"embeddings for {size} tokens, 0 to {size - 1}. Give the model the tokenizer that it was trained with, or "
            "enlarge its embedding: model.resize_token_embeddings(len(tokenizer))"
        )
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if not isinstance(window, int):
        raise SetupError(f"{name} does not state its context length; use another model.")
    first_token_id(tokenizer, identity["first_token"])  # raises if it does not exist
    return LanguageModel(model, tokenizer, window, identity["numeric_path"], identity["first_token"])


def load_embedding_model(identity: Identity) -> Any:  # noqa: ANN401
    """Return the sentence-embedding model of an identity; the newest one is kept in this process."""
    with _LOADING:
        return _embedding_model(json.dumps(identity, sort_keys=True))


@lru_cache(maxsize=1)
def _embedding_model(identity_json: str) -> Any:  # noqa: ANN401 - the library has no types
    shut_out_fetched_kernels()
    from sentence_transformers import SentenceTransformer

    identity: Identity = json.loads(identity_json)
    name = identity["embedding_model"]
    with without_progress_bars(), identified_model(name, identity) as folder:
        try:
            return SentenceTransformer(
                str(folder),
                device="cpu",
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": identity["dtype"]},
            )
        except Exception as error:  # as above
            raise SetupError(
                f"The embedding model {name} cannot be loaded: {brief(error)} Give a sentence-transformers model with "
                "safetensors weights, on the hub or in a local folder."
            ) from presentable(error)


def load_in_background(language_model: Identity | None, embedding_model: Identity) -> Thread:
    """Start to load this process's models; an error is raised again when the model is loaded in the foreground."""

    def load() -> None:
        with suppress(UsageError):
            if language_model:
                load_language_model(language_model)
            load_embedding_model(embedding_model)

    thread = Thread(target=load, name="load models", daemon=True)
    thread.start()
    return thread


def _versions(*packages: str) -> dict[str, str]:
    return {package: importlib.metadata.version(package) for package in packages}
