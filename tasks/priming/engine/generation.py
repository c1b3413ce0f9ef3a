"""Sampling short texts from a language model, many prompts at once, each as if it were alone.

A row's random numbers come from a counter-based generator keyed by its identity, its tokens from the inverse cumulative
distribution, and its forward passes from the packed layout, so a text does not depend on what else is generated, in
what order or in which batch.

A step of a model with many layers is some thousand short operations, whose launch takes a GPU's host longer than the
GPU needs to compute them. On a GPU a step is therefore recorded as a CUDA graph and replayed while the rows stay the
same; the first replay is compared with the computed step, and recording is given up if they differ. Not yet run on a
GPU.
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
from tasks.priming.engine.forward import compute_step, forward_packed, step_ids
from tasks.priming.engine.kv_cache import SharedPrefixes, caches_of, common_prefix
from tasks.priming.engine.model import LanguageModel, encode_chat, stop_ids
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.errors import UsageError
from tasks.priming.settings import GenerationSettings
from tasks.priming.statistics.run_data import ModelFacts
from tasks.priming.watching import part, tell_share

# The fraction of a completion's time spent on its prompt, as reported to progress bars.
_PREFILL_SHARE = 0.6
# Tokens whose keys and values are in memory at once, room for completions included: on a GPU 4.3 GB for a 7B model in
# 16 bits.
_HELD_TOKENS = 32_768
# On a CPU at most so many bytes, but at least so many tokens: a step of few rows reads all weights for little.
_HELD_BYTES = 800_000_000
_LEAST_HELD_TOKENS = 8192
# On a GPU finished rows stay until at most this fraction of the rows is left: every change needs a new recording, and
# a step takes about as long with a few more rows.
_RECORDED_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request for a text."""

    message: str  # the user's message, to be wrapped in the chat template
    identity: str  # seeds the random numbers; together with the message it determines the text
    # Two other messages that begin as this one always does: what all three share is computed once.
    prefix_probes: tuple[str, str]
    token_limit: int | None = None  # maximum number of new tokens; None: the settings' limit


@dataclass(frozen=True, slots=True)
class Completion:
    """What a model generated."""

    text: str  # the decoded text, control tokens left out
    prompt_token_count: int  # tokens of the whole prompt, BOS, chat template and shared prefixes included
    token_count: int  # tokens generated, the final one included
    finish: str  # stop: the model ended the text or the line; length: the token limit was reached


def generate_completions(
    prompts: Sequence[Prompt], language_model: LanguageModel, settings: GenerationSettings
) -> list[Completion]:
    """Return the line of text that the model generates for each prompt.

    Raises:
        UsageError: A prompt and its completion do not fit into the model's window.
        MemoryError: A single prompt does not fit into memory.
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
        generator = _Generator(language_model, settings, SharedPrefixes(language_model.model, prefixes))
        counts = [buffer_length(len(row.ids), row.limit) for row in rows]
        held = held_tokens(language_model.facts, language_model.model.device.type)
        completions = run_in_batches(rows, counts, held, generator.generate)
    if any(completion is None for completion in completions):
        raise MemoryError("A single generation prompt does not fit into memory; use a smaller model or `max_words`.")
    return [completion for completion in completions if completion is not None]


def held_tokens(facts: ModelFacts, device_type: str) -> int:
    """Return how many tokens' keys and values are in memory at once, unless a single row needs more."""
    if device_type == "cuda":
        return _HELD_TOKENS
    return min(_HELD_TOKENS, max(_LEAST_HELD_TOKENS, _HELD_BYTES // facts.cache_bytes_per_token))


def uniforms(identity: str, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return `count` uniform numbers in [0, 1) that depend on the identity alone.

    Source: Philox, a counter-based generator (Salmon et al. 2011, doi:10.1145/2063384.2063405), keyed by BLAKE2b.
    """
    key = hashlib.blake2b(identity.encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little"))).random(count)


def sample_tokens(logits: torch.Tensor, draws: torch.Tensor, temperature: float, top_k: int) -> torch.Tensor:
    """Return one token id per row: the inverse of the cumulative distribution over the top-k tokens at `draws`.

    `logits` are (rows, vocabulary), `draws` (rows,) float64 in [0, 1); the logits are divided by the temperature.
    """
    values, ids = torch.topk(logits.float(), min(top_k, logits.shape[-1]), dim=-1)
    cumulative = torch.softmax(values.double() / temperature, dim=-1).cumsum(dim=-1)
    chosen = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(dim=-1)
    return ids.gather(1, chosen.clamp(max=ids.shape[-1] - 1)[:, None])[:, 0]


class _Row:
    """One completion in progress: its prompt and its random numbers."""

    def __init__(self, prompt: Prompt, language_model: LanguageModel, settings: GenerationSettings) -> None:
        self.ids = encode_chat(language_model, prompt.message)
        self.limit = prompt.token_limit or settings.max_new_tokens
        self.draws = uniforms(prompt.identity, self.limit)


class _Generator:
    """Generates the completions of a batch of rows together; finished rows leave the batch."""

    def __init__(self, language_model: LanguageModel, settings: GenerationSettings, shared: SharedPrefixes) -> None:
        self._language_model = language_model
        self._settings = settings
        self._shared = shared
        self._stops = stop_ids(language_model)

    def generate(self, rows: list[_Row]) -> list[Completion]:
        """Return the completions of the rows, in order."""
        pack = DecodingPack([len(row.ids) for row in rows], max(row.limit for row in rows))
        with part(0.0, _PREFILL_SHARE):
            logits = self._prefill(rows, pack)
        stepper = Stepper(self._language_model.model, pack)
        order = pack.rows
        written: list[list[int]] = [[] for _ in rows]
        finish = ["length"] * len(rows)
        active = set(order)
        while True:
            # A finished row may still be computed; its draws do not matter.
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
            tell_share(1 - (1 - _PREFILL_SHARE) * left)
            order = stepper.keep(active)
            logits = stepper.step([written[row][-1] for row in order])
        return [
            Completion(self._decode(tokens), len(row.ids), len(tokens), end)
            for row, tokens, end in zip(rows, written, finish, strict=True)
        ]

    def _prefill(self, rows: list[_Row], pack: DecodingPack) -> torch.Tensor:
        """Fill a pack with the prompts and return the logits after each, in the pack's order."""
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

        counts = [len(segment.ids) for segment in segments]
        outputs = run_in_batches(range(len(rows)), counts, token_budget(self._language_model.model.device.type), run)
        found = [output for output in outputs if output is not None]
        if len(found) < len(rows):
            raise MemoryError
        return torch.stack([found[row] for row in pack.rows])

    def _ends_line(self, tokens: list[int]) -> bool:
        """Tell whether there is a line break after some text; only the newest token can have added one."""
        newest = self._language_model.tokenizer.decode(tokens[-1:])
        return "\n" in newest and "\n" in self._decode(tokens).lstrip()

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._language_model.tokenizer.decode(tokens, skip_special_tokens=True)
        return text


class Stepper:
    """Computes the steps of one pack: recorded and replayed on a GPU, as they come elsewhere."""

    def __init__(self, model: Any, pack: DecodingPack) -> None:  # noqa: ANN401 - a transformers model
        """Start with nothing recorded."""
        self._model = model
        self._pack = pack
        self._recorded: _Recorded | None = None
        self._can_record = _can_record(model.device)
        self._last_rows: list[int] = []

    def keep(self, rows: set[int]) -> list[int]:
        """Drop the other rows, now or later, and return the rows that are computed, in order."""
        if not self._can_record or len(rows) <= _RECORDED_SHARE * len(self._pack.rows):
            self._pack.keep(rows)
        return self._pack.rows

    def step(self, tokens: list[int]) -> torch.Tensor:
        """Compute one more token of each row, whose newest tokens are given in the order of `keep`.

        Returns:
            The logits that follow, (rows, vocabulary), valid until the next step.
        """
        ids = step_ids(self._model, tokens)
        is_alike = self._pack.rows == self._last_rows
        if not is_alike:
            self._recorded, self._last_rows = None, self._pack.rows
        # The first step with these rows is not recorded: it warms up what recording needs to be ready.
        logits = self._replay(ids) if is_alike and self._can_record else compute_step(self._model, ids, self._pack)
        self._pack.advance()
        return logits

    def _replay(self, ids: torch.Tensor) -> torch.Tensor:
        if self._recorded is not None:
            return self._recorded.replay(ids)
        expected = compute_step(self._model, ids, self._pack)
        self._pack.forget_step()
        try:
            recorded = _Recorded(self._model, self._pack, ids)
            # Writing the same keys and values to the same places twice changes nothing.
            self._can_record = torch.equal(recorded.replay(ids), expected)
        except RuntimeError:  # an operation that cannot be recorded
            self._can_record = False
        if self._can_record:
            self._recorded = recorded
        return expected


def _can_record(device: torch.device) -> bool:
    return device.type == "cuda"


class _Recorded:
    """A step as a CUDA graph: reads tokens from a tensor of its own, positions and caches from the pack."""

    def __init__(self, model: Any, pack: DecodingPack, ids: torch.Tensor) -> None:  # noqa: ANN401
        self._ids = ids.clone()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = compute_step(model, self._ids, pack)

    def replay(self, ids: torch.Tensor) -> torch.Tensor:
        self._ids.copy_(ids)
        self._graph.replay()
        return self._logits
