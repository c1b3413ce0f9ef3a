"""Sampling lines of text from a language model, many prompts at once, each as if it were alone.

In: prompts with an identity each. Out: a line for each. A row's random numbers come from a counter-based generator
keyed by its identity, its tokens from the inverse cumulative distribution, and its forward passes from the packed
layout, so that a text never depends on what else was generated, in what order or in which batch.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from tasks.priming.engine.batches import run_in_batches, token_budget
from tasks.priming.engine.decoding import DecodingPack, buffer_length
from tasks.priming.engine.forward import forward_packed
from tasks.priming.engine.kv_cache import SharedPrefixes, caches_of, common_prefix
from tasks.priming.engine.model import LanguageModel, encode_chat, stop_ids
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.engine.stepping import Stepper
from tasks.priming.errors import UsageError
from tasks.priming.settings import GenerationSettings
from tasks.priming.statistics.run_data import ModelFacts
from tasks.priming.watching import part, tell_share

# The share of a line's time that goes into reading its prompt, as it is told to who watches.
_READING_SHARE = 0.6
# Tokens whose keys and values are held while lines are written, room for the lines included: on a GPU 4.3 GB for a 7B
# model in 16 bits.
_HELD_TOKENS = 32_768
# On a CPU so many bytes of them, but that a step of fewer rows reads all weights for too little.
_HELD_BYTES = 800_000_000
_LEAST_HELD_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request for a line of text."""

    message: str
    """What the user says; the chat template goes around it."""
    identity: str
    """What the sampled text may depend on beside the message: the key of its random numbers."""
    prefix_probes: tuple[str, str]
    """Two other messages that begin as this one always does: what the three share is computed once for all."""
    token_limit: int | None = None
    """Most new tokens of this line; None: the settings' limit."""


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model wrote."""

    text: str
    """The decoded text up to where it ended, control tokens left out."""
    prompt_token_count: int
    """Tokens of the whole prompt, BOS and chat template included, also those that are computed once for several."""
    token_count: int
    """Tokens generated, the one that ended the line included."""
    finish: str
    """stop: the model ended the text or the line; length: the limit on tokens was reached."""


def generate_lines(
    prompts: Sequence[Prompt], language_model: LanguageModel, settings: GenerationSettings
) -> list[Completion]:
    """Return the line that the model writes for each prompt.

    Raises:
        UsageError: A prompt and its line do not fit the model's window.
        MemoryError: One prompt alone does not fit into memory.
    """
    rows = [_Row(prompt, language_model, settings) for prompt in prompts]
    longest = max((len(row.ids) for row in rows), default=0) + settings.max_new_tokens
    if longest > language_model.window:
        raise UsageError(
            f"A generation prompt with its {settings.max_new_tokens} new tokens takes {longest} tokens; the model's "
            f"window is {language_model.window}. Lower `max_words` or use a model with a longer window."
        )
    prefixes = {
        common_prefix(*(encode_chat(language_model, message) for message in prefix_probes))
        for prefix_probes in {prompt.prefix_probes for prompt in prompts}
    }
    with numeric_path(language_model.numeric_path):
        writer = _Writer(language_model, settings, SharedPrefixes(language_model.model, prefixes))
        counts = [buffer_length(len(row.ids), row.limit) for row in rows]
        held = held_tokens(language_model.facts, language_model.model.device.type)
        lines = run_in_batches(rows, counts, held, writer.write)
    if any(line is None for line in lines):
        raise MemoryError("A single generation prompt does not fit into memory; use a smaller model or `max_words`.")
    return [line for line in lines if line is not None]


def held_tokens(facts: ModelFacts, device_type: str) -> int:
    """Return how many tokens' keys and values are held at once while lines are written, unless one line needs more."""
    if device_type == "cuda":
        return _HELD_TOKENS
    fitting = _HELD_BYTES // facts.cache_bytes_per_token
    return min(_HELD_TOKENS, max(_LEAST_HELD_TOKENS, fitting))


def uniforms(identity: str, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return `count` uniform numbers in [0, 1) that depend on the identity alone.

    Source: Philox, a counter-based generator (Salmon et al. 2011, doi:10.1145/2063384.2063405), keyed by BLAKE2b.
    """
    key = hashlib.blake2b(identity.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(count)


def sample_tokens(logits: torch.Tensor, draws: torch.Tensor, temperature: float, top_k: int) -> torch.Tensor:
    """Return one token id a row: the inverse of the cumulative distribution over the top-k tokens at `draws`.

    Args:
        logits: (rows, vocabulary).
        draws: (rows,) float64 in [0, 1).
        temperature: Divides the logits.
        top_k: Candidates; all tokens if the vocabulary is smaller.
    """
    values, ids = torch.topk(logits.float(), min(top_k, logits.shape[-1]), dim=-1)
    cumulative = torch.softmax(values.double() / temperature, dim=-1).cumsum(dim=-1)
    chosen = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(dim=-1)
    return ids.gather(1, chosen.clamp(max=ids.shape[-1] - 1)[:, None])[:, 0]


class _Row:
    """One line in the making: its prompt, its random numbers and what is written so far."""

    def __init__(self, prompt: Prompt, language_model: LanguageModel, settings: GenerationSettings) -> None:
        self.ids = encode_chat(language_model, prompt.message)
        self.limit = prompt.token_limit or settings.max_new_tokens
        self.draws = uniforms(prompt.identity, self.limit)


class _Writer:
    """Writes the lines of a batch of rows together; finished rows leave the batch."""

    def __init__(self, language_model: LanguageModel, settings: GenerationSettings, shared: SharedPrefixes) -> None:
        self._language_model = language_model
        self._settings = settings
        self._shared = shared
        self._stops = stop_ids(language_model)

    def write(self, rows: list[_Row]) -> list[Completion]:
        """Return the rows' lines, in order."""
        pack = DecodingPack([len(row.ids) for row in rows], max(row.limit for row in rows))
        with part(0.0, _READING_SHARE):
            logits = self._prefill(rows, pack)
        stepper = Stepper(self._language_model.model, pack)
        order = pack.rows
        written: list[list[int]] = [[] for _ in rows]
        finish = ["length"] * len(rows)
        active = set(order)
        while True:
            # A row that has finished may still be computed; what it draws does not matter.
            draws = torch.tensor(
                [rows[r].draws[len(written[r])] if r in active else 0.0 for r in order], dtype=torch.float64
            )
            tokens = sample_tokens(logits, draws.to(logits.device), self._settings.temperature, self._settings.top_k)
            for row, token in zip(order, tokens.tolist(), strict=True):
                if row in active:
                    written[row].append(token)
                    if token in self._stops or self._ends_line(written[row]):
                        finish[row] = "stop"
                    if finish[row] == "stop" or len(written[row]) == rows[row].limit:
                        active.remove(row)
            if not active:
                break
            left = sum(1 - len(written[row]) / rows[row].limit for row in active) / len(rows)
            tell_share(1 - (1 - _READING_SHARE) * left)
            order = stepper.keep(active)
            logits = stepper.step([written[row][-1] for row in order])
        return [
            Completion(self._decode(tokens), len(row.ids), len(tokens), end)
            for row, tokens, end in zip(rows, written, finish, strict=True)
        ]

    def _prefill(self, rows: list[_Row], pack: DecodingPack) -> torch.Tensor:
        """Fill a pack with the prompts, and return the logits that follow each, in the pack's order."""
        segments = [self._shared.segment(row.ids) for row in rows]

        def run(numbers: list[int]) -> list[torch.Tensor]:
            chosen = [segments[number] for number in numbers]
            stops = itertools.accumulate(len(segment.ids) for segment in chosen)
            output = forward_packed(
                self._language_model.model, chosen, keep=[stop - 1 for stop in stops], keeps_keys=True
            )
            assert output.logits is not None
            for number, cache in zip(numbers, caches_of(output, chosen), strict=True):
                pack.fill(number, cache)
            return list(output.logits)

        outputs = run_in_batches(
            range(len(rows)),
            [len(segment.ids) for segment in segments],
            token_budget(self._language_model.model.device.type),
            run,
        )
        found = [output for output in outputs if output is not None]
        if len(found) < len(rows):
            raise MemoryError
        return torch.stack([found[row] for row in pack.rows])

    def _ends_line(self, tokens: list[int]) -> bool:
        """Tell whether a line break follows text; only the newest token can have brought one."""
        newest = self._language_model.tokenizer.decode(tokens[-1:])
        return "\n" in newest and "\n" in self._decode(tokens).lstrip()

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._language_model.tokenizer.decode(tokens, skip_special_tokens=True)
        return text
