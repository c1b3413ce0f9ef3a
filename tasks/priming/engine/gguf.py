"""Models in GGUF files: weights are dequantised, the tokenizer is rebuilt, and nothing is dropped silently.

In: a file. Out: a model and a tokenizer of transformers. The file is untrusted: its header is read here, and every
count is checked against the file's size before a library sees it. What the file states but transformers would ignore (a
sliding window, a scaling of rotary positions, a way to split text) is refused by name with a SetupError, for it would
change numbers.
"""

import logging
import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tasks.priming.errors import SetupError

_MODEL_TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3": "gemma3_text"}
"""Architecture in the file -> model type of transformers. Mistral's files declare llama."""

_KNOWN_KEYS = {
    "attention.key_length", "attention.sliding_window", "attention.value_length", "attn_logit_softcapping",
    "final_logit_softcapping", "rope.dimension_count", "rope.scaling.factor", "rope.scaling.original_context_length",
    "rope.scaling.type",
}  # fmt: skip
"""Keys of an architecture that are read or checked here, besides those that transformers maps."""

_MOST_KEYS, _MOST_TENSORS, _MOST_ITEMS = 10_000, 100_000, 2_000_000
"""More than any model has: metadata keys, tensors, items of a list (tokens, merges)."""

_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9

_logger = logging.getLogger(__name__)


class _Tensor(NamedTuple):
    """A tensor's place in the file."""

    shape: tuple[int, ...]
    kind: int
    start: int
    size: int


@dataclass(frozen=True, slots=True)
class GgufFile:
    """The header of a GGUF file."""

    path: Path  # the file
    metadata: dict[str, Any]  # keys and values
    tensors: dict[str, _Tensor]  # tensors by name

    @property
    def quantization(self) -> str:
        """How most weights are stored, e.g. "gguf:Q4_1"."""
        from gguf import GGMLQuantizationType

        kinds: Counter[int] = Counter()
        for tensor in self.tensors.values():
            kinds[tensor.kind] += prod(tensor.shape)
        return f"gguf:{GGMLQuantizationType(kinds.most_common(1)[0][0]).name}"

    @property
    def parameter_count(self) -> int:
        """Number of elements of all tensors."""
        return sum(prod(tensor.shape) for tensor in self.tensors.values())

    def of_architecture(self, key: str) -> Any:  # noqa: ANN401 - a number, a text or a list
        """Return the value of a key of the file's architecture; None if there is none."""
        return self.metadata.get(f"{self.metadata['general.architecture']}.{key}")


def read_gguf(path: Path) -> GgufFile:
    """Read the header of a GGUF file."""
    if find_spec("gguf") is None:
        raise SetupError(
            f"The package gguf is not installed, which reads {path}. Install it: "
            ".venv/bin/pip install -c constraints.txt gguf"
        )
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Header(content).read(path)
    except SetupError:
        raise
    except OSError as error:
        raise _unfit(path, f"it cannot be read ({error.strerror or error})") from None
    except (struct.error, ValueError, LookupError, TypeError, ArithmeticError, MemoryError) as error:
        raise _unfit(path, f"it is damaged or cut short ({type(error).__name__}: {error})") from None


class _Header:
    """Reads a header from the start; anything beyond the end of the file raises."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._place = 0

    def read(self, path: Path) -> GgufFile:
        if self._content[:4] != b"GGUF":
            raise _unfit(path, "it does not begin with the letters GGUF")
        self._place = 4
        version, tensor_count, key_count = self._numbers("I")[0], *self._numbers("QQ")
        if version not in (2, 3):
            raise _unfit(path, f"it has version {version}; versions 2 and 3 of little-endian files can be read")
        if tensor_count > _MOST_TENSORS or key_count > _MOST_KEYS:
            raise _unfit(path, f"it claims to hold {tensor_count:,} tensors and {key_count:,} keys")
        metadata: dict[str, Any] = {}
        for _ in range(key_count):
            key = self._text()
            if key in metadata:
                raise _unfit(path, f"it states {key!r} twice")
            metadata[key] = self._value(self._numbers("I")[0])
        if not isinstance(metadata.get("general.architecture"), str):
            raise _unfit(path, "it does not state its architecture")
        return GgufFile(path, metadata, self._tensors(tensor_count, metadata.get("general.alignment", 32)))

    def _tensors(self, count: int, alignment: int) -> dict[str, _Tensor]:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        listed = {}
        for _ in range(count):
            name = self._text()
            (dimensions,) = self._numbers("I")
            if dimensions > 4:
                raise ValueError(f"tensor {name!r} has {dimensions} dimensions")
            shape = tuple(reversed(self._numbers(f"{dimensions}Q")))
            listed[name] = shape, *self._numbers("IQ")
        if not 1 <= alignment <= 1 << 16:
            raise ValueError(f"an alignment of {alignment}")
        begin = -(-self._place // alignment) * alignment
        tensors = {}
        for name, (shape, kind, offset) in listed.items():
            per_block, bytes_per_block = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
            if prod(shape) % per_block or shape[-1] % per_block:
                raise ValueError(f"tensor {name!r} of shape {shape} is not made of blocks of {per_block}")
            size = prod(shape) // per_block * bytes_per_block
            if begin + offset + size > len(self._content):
                raise ValueError(
                    f"tensor {name!r} would end at byte {begin + offset + size:,} of {len(self._content):,}"
                )
            tensors[name] = _Tensor(shape, kind, begin + offset, size)
        return tensors

    def _numbers(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from(f"<{form}", self._content, self._place)
        self._place += struct.calcsize(f"<{form}")
        return found

    def _text(self) -> str:
        (length,) = self._numbers("Q")
        if length > len(self._content) - self._place:
            raise ValueError(f"a text of {length:,} bytes")
        self._place += length
        return str(self._content[self._place - length : self._place], "utf-8")

    def _value(self, kind: int) -> Any:  # noqa: ANN401
        if kind == _STRING:
            return self._text()
        if kind != _LIST:
            return self._numbers(_NUMBERS[kind])[0]
        item_kind, count = self._numbers("IQ")
        if count > _MOST_ITEMS:
            raise ValueError(f"a list of {count:,} items")
        if item_kind == _STRING:
            return [self._text() for _ in range(count)]
        return list(self._numbers(f"{count}{_NUMBERS[item_kind]}"))


def gguf_config(file: GgufFile) -> Any:  # noqa: ANN401 - the library has no types
    """Return the configuration of a file's model."""
    from transformers import AutoConfig
    from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

    architecture = file.metadata["general.architecture"]
    if architecture not in _MODEL_TYPES:
        known = ", ".join(_MODEL_TYPES)
        raise _unfit(file.path, f"its architecture {architecture!r} is unknown; known are {known} (Mistral is llama)")
    names = GGUF_CONFIG_MAPPING[architecture]
    prefix = f"{architecture}."
    stated = {key.removeprefix(prefix): value for key, value in file.metadata.items() if key.startswith(prefix)}
    if lost := sorted(stated.keys() - names.keys() - _KNOWN_KEYS):
        raise _lost(file, lost[0])
    values = {names[key]: value for key, value in stated.items() if names.get(key)}
    embedding = _shape(file, "token_embd.weight")
    heads, head_size = values["num_attention_heads"], stated.get("attention.key_length")
    head_size = head_size or stated.get("rope.dimension_count") or embedding[1] // heads
    _require_stated_shapes(file, values, head_size)
    values |= {
        "head_dim": head_size,
        "vocab_size": embedding[0],
        "tie_word_embeddings": "output.weight" not in file.tensors,
        "rope_theta": stated.get("rope.freq_base", 10_000.0),
        **{f"{name}_token_id": file.metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in _SPECIAL.items()},
    }
    values.setdefault("num_key_value_heads", heads)
    for key in ("attn_logit_softcapping", "final_logit_softcapping"):
        if key in stated:
            values[key] = stated[key]
    model_type = _MODEL_TYPES[architecture]
    if architecture.startswith("gemma"):
        if "attention.sliding_window" not in stated:
            raise _unfit(file.path, f"it declares architecture {architecture} and no sliding window")
        # As in llama.cpp, since the file does not say: the models of 27 billion parameters differ from the others.
        is_largest = values["num_hidden_layers"] == {"gemma2": 46, "gemma3": 62}[architecture]
        values["query_pre_attn_scalar"] = embedding[1] // heads if is_largest else head_size
    elif architecture == "llama":
        model_type, values = _with_window(file, values)
    elif stated.get("attention.sliding_window"):
        raise _lost(file, "attention.sliding_window")
    return AutoConfig.for_model(model_type, **values)


_SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding"}


def _with_window(file: GgufFile, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the model type and values of a file that declares llama: a Mistral if it states a sliding window."""
    window = file.of_architecture("attention.sliding_window")
    if window:
        return "mistral", values | {"sliding_window": window}
    called = " ".join(str(file.metadata.get(f"general.{key}", "")) for key in ("name", "basename"))
    if "mistral" in called.lower():
        _logger.warning(
            "%s calls itself %r, declares the architecture llama and states no sliding window. If the model was "
            "trained with one (Mistral 7B v0.1: 4,096 tokens), longer texts are computed differently than in training",
            file.path,
            called.strip(),
        )
    return "llama", values


def _require_stated_shapes(file: GgufFile, values: dict[str, Any], head_size: int) -> None:
    """Check the shape that a file states against its tensors, before memory is allocated."""
    layers = {int(name.split(".")[1]) for name in file.tensors if name.startswith("blk.")}
    expected = {
        "block_count": (values["num_hidden_layers"], len(layers)),
        "embedding_length": (values["hidden_size"], _shape(file, "token_embd.weight")[1]),
        "feed_forward_length": (values["intermediate_size"], _shape(file, "blk.0.ffn_up.weight")[0]),
        "attention.head_count": (values["num_attention_heads"] * head_size, _shape(file, "blk.0.attn_q.weight")[0]),
        "rope.dimension_count": (file.of_architecture("rope.dimension_count") or head_size, head_size),
        "attention.value_length": (file.of_architecture("attention.value_length") or head_size, head_size),
    }
    for key, (stated, found) in expected.items():
        if stated != found:
            raise _unfit(file.path, f"its {key} implies {stated}, and its tensors have {found}")
    if layers != set(range(len(layers))):
        raise _unfit(file.path, "some of its layers are missing")
    if file.metadata.get("split.count", 1) > 1:
        raise _unfit(file.path, "it is one of several parts; join them first: llama-gguf-split --merge")
    kind, factor = (file.of_architecture(f"rope.scaling.{key}") for key in ("type", "factor"))
    if kind not in (None, "none") or factor not in (None, 0, 1):
        raise _lost(file, "rope.scaling")
    if "rope_freqs.weight" in file.tensors:
        raise _lost(file, "rope_freqs.weight")


def _shape(file: GgufFile, name: str) -> tuple[int, ...]:
    if name not in file.tensors or len(file.tensors[name].shape) != 2:
        raise _unfit(file.path, f"it has no tensor {name} of two dimensions")
    return file.tensors[name].shape


def gguf_tokenizer(file: GgufFile) -> Any:  # noqa: ANN401 - as above
    """Return the tokenizer of a file."""
    from tokenizers import normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.gguf import convert_gguf_tokenizer, get_gguf_tokenizer
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    kind, split = (file.metadata.get(f"tokenizer.ggml.{key}") for key in ("model", "pre"))
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    others = {
        "gpt-2": byte_level,
        # transformers treats it as GPT-2's, and then splits a digit after two spaces differently.
        "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]),
    }
    if kind not in ("gpt2", "llama"):
        raise _unfit(file.path, f"its tokenizer is of kind {kind!r}; known are gpt2 and llama")
    if kind == "gpt2" and split not in GGUF_PRE_TOKENIZER_SPLITS and split not in others:
        known = ", ".join(sorted([*GGUF_PRE_TOKENIZER_SPLITS, *others]))
        raise _unfit(file.path, f"its tokenizer splits text as {split!r}, which is unknown; known are {known}")
    architecture, vocabulary, options = get_gguf_tokenizer(str(file.path))
    if kind == "llama" and not architecture.startswith("gemma") and vocabulary.get("add_prefix_space") is False:
        raise _lost(file, "tokenizer.ggml.add_space_prefix")
    fast, _ = convert_gguf_tokenizer(architecture, vocabulary)
    if kind == "gpt2" and split in others:
        fast.pre_tokenizer = others[split]
    elif kind == "llama" and not architecture.startswith("gemma"):
        # sentencepiece puts a space before every text; transformers omits it if there is one already.
        fast.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        fast.pre_tokenizer = None
    return PreTrainedTokenizerFast(tokenizer_object=fast, **options)


def load_gguf(file: GgufFile, dtype: Any, device: str) -> Any:  # noqa: ANN401 - as above
    """Return the model of a file with its weights dequantised to a torch dtype, and the library's loading report."""
    import torch
    from gguf import MODEL_ARCH_NAMES, GGMLQuantizationType, dequantize, get_tensor_name_map
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor

    config = gguf_config(file)
    with torch.device("meta"):
        outline = AutoModelForCausalLM.from_config(config)
    architecture = file.metadata["general.architecture"]
    kinds = {name: kind for kind, name in MODEL_ARCH_NAMES.items()}
    # transformers' own loading does the same but makes this table again for each module: 10 s instead of 0.1.
    table = get_tensor_name_map(kinds[architecture], config.num_hidden_layers)
    names: dict[str, str] = {}
    for name in outline.state_dict():
        if name != "lm_head.weight" or not config.tie_word_embeddings:  # the output layer may be the embedding
            stem, _, ending = name.rpartition(".")
            names[f"{table.get_name(stem)}.{ending}"] = name
    if unknown := sorted(file.tensors.keys() - names.keys()):
        raise _unfit(file.path, f"{len(unknown)} of its tensors are not those of a {architecture}, first {unknown[0]}")
    if missing := sorted(names.keys() - file.tensors.keys()):
        raise _unfit(file.path, f"it lacks {len(missing)} weights, {missing[0]} the first")
    processor = TENSOR_PROCESSORS.get(architecture, TensorProcessor)(config=config.to_dict())
    content = np.memmap(file.path, mode="r", dtype=np.uint8)
    weights = {}
    for name, tensor in file.tensors.items():
        kind = GGMLQuantizationType(tensor.kind)
        stored = content[tensor.start : tensor.start + tensor.size]
        if kind in (GGMLQuantizationType.F32, GGMLQuantizationType.F16):
            stored = stored.view(np.float32 if kind == GGMLQuantizationType.F32 else np.float16)
        values = dequantize(stored.reshape(*tensor.shape[:-1], -1), kind)
        values = processor.process(weights=values, name=name).weights
        weights[names[name]] = torch.from_numpy(np.array(values)).to(dtype)
    return type(outline).from_pretrained(
        None, config=config, state_dict=weights, dtype=dtype, device_map=device, output_loading_info=True
    )


def _lost(file: GgufFile, key: str) -> SetupError:
    return _unfit(file.path, f"it states {key}, which would be ignored and change its numbers")


def _unfit(path: Path, reason: str) -> SetupError:
    return SetupError(
        f"The GGUF file {path} cannot be used: {reason}. Give another file, or the folder or hub id of the same model "
        "with safetensors weights: --language-model ./folder"
    )
