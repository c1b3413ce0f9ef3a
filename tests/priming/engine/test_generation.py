"""Generation on a real small transformer: a line depends on its own prompt and identity, whatever surrounds it."""

import dataclasses
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from tasks.bench.timing import peak_cpu_bytes
from tasks.priming.arms import writing
from tasks.priming.arms.writing import Writing, clean, write_generated
from tasks.priming.engine import generation
from tasks.priming.engine.decoding import buffer_length
from tasks.priming.engine.generation import Prompt, generate_completions, sample_tokens, uniforms
from tasks.priming.engine.model import LanguageModel, encode_chat
from tasks.priming.engine.numeric_path import choose_numeric_path, is_batch_invariant
from tasks.priming.errors import UsageError
from tasks.priming.prompts import GENERATION_INSTRUCTIONS, generation_prompt
from tasks.priming.records import Sample
from tasks.priming.settings import GenerationSettings
from tests.tiny_models import reading, tiny_mistral

PATH = choose_numeric_path("cpu", "float32")
SETTINGS = GenerationSettings(max_new_tokens=12)
needs_exact_path = pytest.mark.skipif(
    not is_batch_invariant(PATH), reason=f"bits are promised on oneDNN only, this machine has {PATH}"
)


@pytest.fixture(scope="module")
def writer(mistral_tokenizer_folder: Any) -> LanguageModel:
    tokenizer = transformers.AutoTokenizer.from_pretrained(mistral_tokenizer_folder)
    model = tiny_mistral(
        vocab_size=32_000,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.nn.init.normal_(model.lm_head.weight, std=0.5)  # a peaked distribution: the draws and the prompt both matter
    return LanguageModel(model, tokenizer, 512, PATH)


def prompts(count: int) -> list[Prompt]:
    keys = list(GENERATION_INSTRUCTIONS)
    return [
        Prompt(
            generation_prompt(keys[n % 5], f"Passage {n} " + "of words " * (n % 7)),
            identity=f"42|{keys[n % 5]}|{n}",
            prefix_probes=(generation_prompt(keys[n % 5], "One"), generation_prompt(keys[n % 5], "2")),
        )
        for n in range(count)
    ]


@needs_exact_path
def test_a_line_is_the_same_alone_reversed_and_in_a_subset(writer: LanguageModel) -> None:
    asked = prompts(15)
    together = generate_completions(asked, writer, SETTINGS)
    assert len({line.text for line in together}) > 10  # the prompts and draws do lead to different texts
    assert [generate_completions([prompt], writer, SETTINGS)[0] for prompt in asked[:4]] == together[:4]
    assert generate_completions(asked[::-1], writer, SETTINGS)[::-1] == together
    assert generate_completions(asked[::4], writer, SETTINGS) == together[::4]


def test_a_line_tells_how_long_its_prompt_is(writer: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expected: the ids that transformers' own chat template gives, instruction and all, whatever is computed once."""
    asked = prompts(6)
    chats = [[{"role": "user", "content": prompt.message}] for prompt in asked]
    template = writer.tokenizer.apply_chat_template
    expected = [len(template(chat, add_generation_prompt=True, return_dict=False)) for chat in chats]
    assert len(set(expected)) > 3
    assert [line.prompt_token_count for line in generate_completions(asked, writer, SETTINGS)] == expected
    monkeypatch.setattr(generation, "_HELD_TOKENS", 300)
    assert [line.prompt_token_count for line in generate_completions(asked, writer, SETTINGS)] == expected


@needs_exact_path
def test_a_line_does_not_depend_on_the_size_of_batches(writer: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = prompts(8)
    together = generate_completions(asked, writer, SETTINGS)
    monkeypatch.setattr(generation, "_HELD_TOKENS", 300)
    monkeypatch.setattr(generation, "token_budget", lambda device: 250)
    assert generate_completions(asked, writer, SETTINGS) == together


@pytest.mark.slow
def test_writing_holds_the_keys_and_values_of_its_lines_once(mistral_tokenizer_folder: Any) -> None:
    """Prompts' caches next to the buffers, and copies of these when lines ended, came to more than twice as much.

    In a process of its own: what other tests have freed in this one is counted or not, as it happens.
    """
    with ProcessPoolExecutor(1, get_context("spawn")) as fresh:
        held, together, in_parts = fresh.submit(bytes_of_writing, mistral_tokenizer_folder).result()
    assert held > 200_000_000  # beside which all else is little
    assert together < 1.75 * held
    assert in_parts < 0.6 * held


def bytes_of_writing(tokenizer_folder: Any) -> tuple[int, int, int]:
    """Return the size of all lines' keys and values, and the peaks of writing them together and in parts (bytes)."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_folder)
    shape = {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64, "num_hidden_layers": 8}
    model = tiny_mistral(vocab_size=32_000, max_position_embeddings=512, **shape)
    writer = LanguageModel(model, tokenizer, 512, PATH)
    asked = [dataclasses.replace(prompt, token_limit=4 + n % 9) for n, prompt in enumerate(prompts(60))]
    lengths = [buffer_length(len(encode_chat(reading(tokenizer), p.message)), p.token_limit or 0) for p in asked]
    held = sum(lengths) * 2 * 8 * 8 * 64 * 4  # keys and values, layers, heads, dimension, bytes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generation, "_HELD_BYTES", 2 * held)
        generate_completions(asked[:1], writer, SETTINGS)
        together = peak_cpu_bytes(lambda: generate_completions(asked, writer, SETTINGS))
        patch.setattr(generation, "_HELD_BYTES", held // 3)
        patch.setattr(generation, "_LEAST_HELD_TOKENS", 0)
        return held, together, peak_cpu_bytes(lambda: generate_completions(asked, writer, SETTINGS))


def test_a_line_depends_on_its_identity(writer: LanguageModel) -> None:
    prompt = prompts(1)[0]
    others = [dataclasses.replace(prompt, identity=f"{seed}|x") for seed in range(5)]
    assert len({line.text for line in generate_completions(others, writer, SETTINGS)}) > 1


def test_nearly_greedy_lines_equal_transformers_own_greedy_generation(writer: LanguageModel) -> None:
    asked = prompts(5)
    cold = GenerationSettings(temperature=1e-4, max_new_tokens=8)
    for prompt, line in zip(asked, generate_completions(asked, writer, cold), strict=True):
        ids = torch.tensor([encode_chat(writer, prompt.message)])
        # the other way to compute: transformers' generate, without sampling
        output = writer.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8)
        assert line.text == writer.tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


def test_a_line_ends_at_the_first_newline_that_follows_text(
    writer: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    newline, word = writer.tokenizer.convert_tokens_to_ids(["<0x0A>", "▁word"])
    script = iter([newline, word, newline, word])
    monkeypatch.setattr(generation, "sample_tokens", lambda *_: torch.tensor([next(script)]))
    line = generate_completions(prompts(1), writer, SETTINGS)[0]
    assert (line.finish, line.token_count) == ("stop", 3)
    assert line.text.strip() == "word"


def test_a_line_ends_at_the_end_of_text_token(writer: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    script = iter([writer.tokenizer.convert_tokens_to_ids("▁word"), 2, 5])
    monkeypatch.setattr(generation, "sample_tokens", lambda *_: torch.tensor([next(script)]))
    line = generate_completions(prompts(1), writer, SETTINGS)[0]
    assert (line.finish, line.token_count, line.text) == ("stop", 2, "word")


def test_a_line_that_reaches_the_limit_says_so(writer: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    word = writer.tokenizer.convert_tokens_to_ids("▁word")
    monkeypatch.setattr(generation, "sample_tokens", lambda *_: torch.tensor([word]))
    line = generate_completions(prompts(1), writer, GenerationSettings(max_new_tokens=5))[0]
    assert (line.finish, line.token_count, line.text) == ("length", 5, "word word word word word")


def test_a_prompt_that_exceeds_the_window_is_refused(writer: LanguageModel) -> None:
    long = dataclasses.replace(prompts(1)[0], message="word " * 600)
    with pytest.raises(UsageError, match="window is 512"):
        generate_completions([long], writer, SETTINGS)


def test_sampled_tokens_follow_the_tempered_distribution_over_the_top_k() -> None:
    logits = torch.tensor([2.0, 1.0, 0.5, -1.0, 1.5])
    draws = torch.linspace(0, 1, 20_001, dtype=torch.float64)[:-1]
    tokens = sample_tokens(logits.expand(20_000, 5), draws, temperature=0.7, top_k=3)
    kept = np.exp(np.array([2.0, 1.5, 1.0]) / 0.7)  # by hand: softmax of the three largest at temperature 0.7
    shares = [float((tokens == token).double().mean()) for token in (0, 4, 1)]
    assert shares == pytest.approx(list(kept / kept.sum()), abs=1e-4)
    assert set(tokens.tolist()) == {0, 1, 4}


def test_the_uniforms_are_those_of_philox_keyed_by_blake2b() -> None:
    import hashlib

    key = int.from_bytes(hashlib.blake2b(b"42|a|b", digest_size=16).digest(), "little")
    expected = np.random.Generator(np.random.Philox(key=key)).random(3)  # numpy's own generator
    assert uniforms("42|a|b", 3).tolist() == expected.tolist()
    assert uniforms("42|a|b", 8)[:3].tolist() == expected.tolist()


@needs_exact_path
def test_samples_that_share_a_passage_get_the_same_surrogates(writer: LanguageModel) -> None:
    samples = [
        Sample("a", 0, "One passage.", "first query", "x", None, "p"),
        Sample("b", 1, "One passage.", "second query", "y", None, "p"),
        Sample("c", 2, "Another passage.", "third query", "z", None, "q"),
    ]
    written = write_generated(samples, Writing(42, writer, SETTINGS))
    texts = {(s.sample_id, s.key): s.raw_text for s in written}
    assert len(texts) == 15
    assert all(texts["a", key] == texts["b", key] for key in GENERATION_INSTRUCTIONS)
    alone = write_generated(samples[2:], Writing(42, writer, SETTINGS))
    assert [s.raw_text for s in alone] == [texts["c", key] for key in GENERATION_INSTRUCTIONS]
    read = {(s.sample_id, s.key): s.prompt_token_count for s in written}
    for key in GENERATION_INSTRUCTIONS:  # what the chat's ids are many of
        assert read["a", key] == len(encode_chat(writer, generation_prompt(key, "One passage.")))
    other_seed = write_generated(samples[2:], Writing(43, writer, SETTINGS))
    assert [s.raw_text for s in other_seed] != [s.raw_text for s in alone]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('  "best grass seed" \n\nExplanation: it is short', "best grass seed"),
        # science: the notebook strips the whole text, then takes the first line, and so kept this stray quote
        ('What not to plant?"\n(for gardeners)', "What not to plant?"),
        ("'quoted'", "quoted"),
        ("\n\n", ""),
        ("it's fine", "it's fine"),
    ],
)
def test_the_first_line_is_kept_without_surrounding_quotes(raw: str, expected: str) -> None:
    assert clean(raw) == expected


def test_a_prompt_and_its_line_may_fill_the_window(writer: LanguageModel) -> None:
    prompt = prompts(1)[0]
    (line,) = generate_completions([prompt], writer, SETTINGS)
    count = line.prompt_token_count + SETTINGS.max_new_tokens
    assert len(generate_completions([prompt], dataclasses.replace(writer, window=count), SETTINGS)) == 1
    with pytest.raises(UsageError, match=f"takes {count} tokens"):
        generate_completions([prompt], dataclasses.replace(writer, window=count - 1), SETTINGS)


def test_a_draw_on_a_boundary_takes_the_token_that_begins_there() -> None:
    """Expected: numpy's search in the cumulative shares 1/4, 1/2, 3/4, 1; draws are below 1, and 0 takes the first."""
    draws = np.array([0.0, 0.1, 0.25, np.nextafter(0.5, 0), 0.5, 0.75, np.nextafter(1, 0)])
    expected = np.searchsorted(np.array([0.25, 0.5, 0.75, 1.0]), draws, side="right")
    logits = torch.zeros(len(draws), 4)
    order = torch.topk(logits, 4, dim=-1).indices  # of equal logits whichever torch gives
    found = sample_tokens(logits, torch.from_numpy(draws), temperature=1.0, top_k=4)
    assert found.tolist() == order.gather(1, torch.from_numpy(expected)[:, None])[:, 0].tolist()
    assert sorted(expected.tolist()) == [0, 0, 1, 1, 2, 3, 3]


def test_each_instruction_draws_numbers_of_its_own(writer: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one and the same prompt for all instructions only the draws can lead to different texts."""
    monkeypatch.setattr(writing, "instructed", lambda instruction, passage: f"Write about this: {passage}")
    one = Sample("a", 0, "One passage.", "a query", "x", None, "p")
    written = write_generated([one], Writing(42, writer, SETTINGS))
    assert len({surrogate.raw_text for surrogate in written}) == len(written) == 5
