"""Short texts from a language model, many prompts at once, each as if it were alone: sampled, or the likeliest tokens.

A sampled row's random numbers come from a counter-based generator keyed by its identity, its tokens from the inverse
cumulative distribution; every row's forward passes come from the packed layout. So a text does not depend on what else
is generated, in what order or in which batch.

A step of a model with many layers is some thousand short operations, whose launch takes a GPU's host longer than the
GPU needs to compute them. On a GPU a step is therefore recorded as a CUDA graph and replayed while the rows stay the
same; the first replay is compared with the computed step, and recording is given up if they differ.
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch

from tasks.priming.engine.batches import (
    GPU_KEPT_ROWS,
    GPU_STEP_ROWS,
    is_out_of_memory,
    on_device,
    pass_share,
    run_in_batches,
    token_budget,
)
from tasks.priming.engine.decoding import DecodingPack, buffer_length
from tasks.priming.engine.forward import compute_step, forward_packed, step_ids
from tasks.priming.engine.kv_cache import SharedPrefixes, caches_of, common_prefix
from tasks.priming.engine.model import LanguageModel, encode_chat, stop_ids
from tasks.priming.engine.nll import Request, context_segments, continuation_segments, group_requests
from tasks.priming.engine.numeric_path import numeric_path
from tasks.priming.engine.segments import KeyRange, KVCache, Parent, Segment, visible_key_ranges
from tasks.priming.errors import UsageError
from tasks.priming.settings import GenerationSettings
from tasks.priming.statistics.run_data import ModelFacts
from tasks.priming.watching import part, tell_share

# The fraction of a completion's time spent on its prompt, as reported to progress bars.
_PREFILL_SHARE = 0.6
# Tokens whose keys and values are in memory at once, room for completions included.
_HELD_TOKENS = 32_768
_GPU_HELD_TOKENS = 131_072
# On a CPU at most so many bytes, but at least so many tokens: a step of few rows reads all weights for little.
_HELD_BYTES = 800_000_000
_LEAST_HELD_TOKENS = 8192
# Part of a GPU's free memory that is used; the rest is for what a layer computes in between, and for fragments.
_FREE_SHARE = 0.8
# Bytes of a logit in a step, in the model's format, and in 32 and 64 bits while tokens are sampled.
_STEP_LOGIT_BYTES = 24
_TIE = 2.0**-40
"""Subtracted once per id, from logits in 64 bits: for no vocabulary as much as the least distance of two in 16 bits."""
# Answers that share a computed context: each has a buffer of its own, and they are in memory together.
_MOST_SHARING = 20


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
    prompt_token_count: int  # tokens of the whole prompt: BOS, chat template or context, and shared prefixes included
    token_count: int  # tokens generated, the final one included
    finish: str  # stop: the model ended the text or the line; length: the token limit was reached


def generate_completions(
    prompts: Sequence[Prompt], language_model: LanguageModel, settings: GenerationSettings
) -> list[Completion]:
    """Return the line of text that the model samples for each prompt.

    Raises:
        UsageError: A prompt and its completion do not fit into the model's window.
        MemoryError: A single prompt does not fit into memory.
    """
    chats = [encode_chat(language_model, prompt.message) for prompt in prompts]
    longest = max(map(len, chats), default=0) + settings.max_new_tokens
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
        shared = SharedPrefixes(language_model.model, prefixes)
        limits = [prompt.token_limit or settings.max_new_tokens for prompt in prompts]
        groups = [
            [_Row((shared.segment(ids),), limit, uniforms(prompt.identity, limit))]
            for prompt, ids, limit in zip(prompts, chats, limits, strict=True)
        ]
        completions = _generate(groups, language_model, partial(_sample, settings=settings))
    found = [completion for (completion,) in completions if completion is not None]
    if len(found) < len(prompts):
        raise MemoryError("A single generation prompt does not fit into memory; use a smaller model or `max_words`.")
    return found


def answer_requests(
    requests: Sequence[Request],
    language_model: LanguageModel,
    token_limit: int,
    *,
    prefixes: Iterable[tuple[int, ...]] = (),
) -> list[Completion | None]:
    """Return the line that the model writes after each context and query, taking the likeliest token each time.

    Answers and distractors of the requests do not matter. None where a request does not fit into memory by itself.

    Args:
        requests: The contexts and queries; with `token_limit` more tokens, each fits into the model's window.
        language_model: The model that answers.
        token_limit: Maximum number of new tokens.
        prefixes: Token ids that many contexts begin with, each computed once.
    """
    bare = [replace(request, answer=(), distractors=()) for request in requests]
    found: list[Completion | None] = [None] * len(requests)
    with numeric_path(language_model.numeric_path):
        shared = SharedPrefixes(language_model.model, prefixes)
        alike = group_requests(bare, token_budget(language_model.model.device.type))
        members = [
            numbers[start : start + _MOST_SHARING]
            for numbers in alike
            for start in range(0, len(numbers), _MOST_SHARING)
        ]
        groups = []
        for numbers in members:
            context = context_segments(bare[numbers[0]], shared)
            queries = [continuation_segments(bare[number], context[-1]) for number in numbers]
            groups.append([_Row((*context, *query), token_limit) for query in queries])
        completions = _generate(groups, language_model, _likeliest)
    for numbers, group in zip(members, completions, strict=True):
        for number, completion in zip(numbers, group, strict=True):
            found[number] = completion
    return found


def held_tokens(facts: ModelFacts, device_type: str, free_bytes: float = math.inf) -> int:
    """Return how many tokens' keys and values are in memory at once, unless a single row needs more.

    Args:
        facts: The model's.
        device_type: cpu or cuda.
        free_bytes: What a GPU has for the keys and values of unfinished texts and of prompts that are being read.
    """
    if device_type == "cpu":
        return min(_HELD_TOKENS, max(_LEAST_HELD_TOKENS, _HELD_BYTES // facts.cache_bytes_per_token))
    return int(min(_GPU_HELD_TOKENS, max(0.0, free_bytes / facts.cache_bytes_per_token - token_budget(device_type))))


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
    ranked = logits.float()
    if logits.is_cuda:
        # Of equals the lower id first: torch.topk on a GPU promises no order, and logits in 16 bits are often equal.
        ranked = ranked.double() - torch.arange(logits.shape[-1], device=logits.device) * _TIE
    values, ids = torch.topk(ranked, min(top_k, logits.shape[-1]), dim=-1)
    cumulative = torch.softmax(values.double() / temperature, dim=-1).cumsum(dim=-1)
    chosen = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(dim=-1)
    return ids.gather(1, chosen.clamp(max=ids.shape[-1] - 1)[:, None])[:, 0]


@dataclass(frozen=True, slots=True, eq=False)
class _Row:
    """A text that is generated after a prompt."""

    segments: tuple[Segment, ...]  # what is computed of its prompt, some of it for other rows as well; the end is last
    limit: int  # maximum number of new tokens
    draws: Sequence[float] | np.ndarray[Any, np.dtype[np.float64]] = ()  # one per token, where it is sampled

    @property
    def prompt_token_count(self) -> int:
        """Tokens of the whole prompt: the position of the first new token."""
        return self.segments[-1].token_count


Choose: TypeAlias = Callable[[torch.Tensor, list[tuple[_Row, int]]], torch.Tensor]
"""(logits of shape (rows, vocabulary), each row and how many tokens it has) -> the next token of each row."""


def _sample(logits: torch.Tensor, places: list[tuple[_Row, int]], settings: GenerationSettings) -> torch.Tensor:
    # A finished row may still be computed; its draws do not matter.
    draws = np.array([row.draws[min(count, row.limit - 1)] for row, count in places])
    return sample_tokens(logits, on_device(draws, logits.device, torch.float64), settings.temperature, settings.top_k)


def _likeliest(logits: torch.Tensor, places: list[tuple[_Row, int]]) -> torch.Tensor:
    return logits.argmax(dim=-1)  # the first of equals


def _generate(
    groups: Sequence[list[_Row]], language_model: LanguageModel, choose: Choose
) -> list[list[Completion | None]]:
    """Return the completions of groups of rows that share what precedes them; None where memory does not suffice."""
    device = language_model.model.device
    counts = [sum(buffer_length(row.prompt_token_count, row.limit) for row in group) for group in groups]
    held = held_tokens(language_model.facts, device.type, _free_bytes(language_model.model))
    if device.type == "cuda":  # no more rows than a step has
        counts = [
            max(count, -(-len(group) * held // GPU_STEP_ROWS)) for count, group in zip(counts, groups, strict=True)
        ]
    outputs = run_in_batches(groups, counts, held, _Generator(language_model, choose).generate)
    missing: list[Completion | None] = [None]
    return [[*(output or missing * len(group))] for group, output in zip(groups, outputs, strict=True)]


class _Generator:
    """Generates the completions of a batch of rows together; finished rows leave the batch."""

    def __init__(self, language_model: LanguageModel, choose: Choose) -> None:
        self._language_model = language_model
        self._choose = choose
        self._stops = stop_ids(language_model)

    def generate(self, groups: list[list[_Row]]) -> list[list[Completion]]:
        """Return the completions of each group's rows, in order."""
        rows = [row for group in groups for row in group]
        pack = DecodingPack([row.prompt_token_count for row in rows], max(row.limit for row in rows))
        with part(0.0, _PREFILL_SHARE):
            logits = self._prefill(groups, pack)
        stepper = Stepper(self._language_model.model, pack)
        order = pack.rows
        written: list[list[int]] = [[] for _ in rows]
        finish = ["length"] * len(rows)
        active = set(order)
        while True:
            tokens = self._choose(logits, [(rows[row], len(written[row])) for row in order])
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
        completions = iter(
            Completion(self._decode(tokens), row.prompt_token_count, len(tokens), end)
            for row, tokens, end in zip(rows, written, finish, strict=True)
        )
        return [[next(completions) for _ in group] for group in groups]

    def _prefill(self, groups: list[list[_Row]], pack: DecodingPack) -> torch.Tensor:
        """Fill a pack with the prompts and return the logits after each, in the pack's order."""
        places = {row: place for place, row in enumerate(row for group in groups for row in group)}

        def run(batch: list[list[_Row]]) -> list[list[torch.Tensor]]:
            segments, rows = _segments(batch), [row for group in batch for row in group]
            stops = itertools.accumulate(len(segment.ids) for segment in segments)
            last = {segment: stop - 1 for segment, stop in zip(segments, stops, strict=True)}
            output = forward_packed(
                self._language_model.model, segments, keep=[last[row.segments[-1]] for row in rows], keeps_keys=True
            )
            assert output.logits is not None
            caches: dict[Parent, KVCache] = dict(zip(segments, caches_of(output, segments), strict=True))
            prompts = {}
            for row in rows:
                end = row.segments[-1]
                own = KeyRange(caches[end], 0, end.own_count, end.token_count - end.own_count)
                seen = [replace(part, owner=caches.get(part.owner, part.owner)) for part in visible_key_ranges(end)]
                prompts[places[row]] = [*seen, own]
            pack.fill(prompts)
            logits = iter(output.logits)
            return [[next(logits) for _ in group] for group in batch]

        device = self._language_model.model.device.type
        counts = [
            pass_share(sum(len(segment.ids) for segment in _segments([group])), len(group), device) for group in groups
        ]
        outputs = run_in_batches(groups, counts, token_budget(device), run)
        found = [logits for output in outputs if output is not None for logits in output]
        if len(found) < len(places):
            raise MemoryError
        return torch.stack([found[row] for row in pack.rows])

    def _ends_line(self, tokens: list[int]) -> bool:
        """Tell whether there is a line break after some text; only the newest token can have added one."""
        newest = self._language_model.tokenizer.decode(tokens[-1:])
        return "\n" in newest and "\n" in self._decode(tokens).lstrip()

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._language_model.tokenizer.decode(tokens, skip_special_tokens=True)
        return text


def _segments(groups: Sequence[list[_Row]]) -> list[Segment]:
    """Return the segments of all rows, each once."""
    return [*dict.fromkeys(segment for group in groups for row in group for segment in row.segments)]


class Stepper:
    """Computes the steps of one pack: recorded and replayed on a GPU, as they come elsewhere."""

    def __init__(self, model: Any, pack: DecodingPack) -> None:  # noqa: ANN401 - a transformers model
        """Start with nothing recorded."""
        self._model = model
        self._pack = pack
        self._recorded: _Recorded | None = None
        self._is_gpu = self._can_record = model.device.type == "cuda"
        self._is_warm = False

    def keep(self, rows: set[int]) -> list[int]:
        """Drop the other rows, and return the rows that are computed, in order.

        On a GPU all rows stay: a step has as many rows in any case, and other ones would need a new recording.
        """
        if not self._is_gpu:
            self._pack.keep(rows)
        return self._pack.rows

    def step(self, tokens: list[int]) -> torch.Tensor:
        """Compute one more token of each row, whose newest tokens are given in the order of `keep`.

        Returns:
            The logits that follow, (rows, vocabulary), valid until the next step.
        """
        ids = step_ids(self._model, tokens)
        # The first step is not recorded: it warms up what recording needs to be ready.
        can_replay = self._is_warm and self._can_record
        logits = self._replay(ids) if can_replay else compute_step(self._model, ids, self._pack)
        self._is_warm = True
        self._pack.advance()
        return logits

    def _replay(self, ids: torch.Tensor) -> torch.Tensor:
        if self._recorded is not None:
            return self._recorded.replay(ids)
        expected = compute_step(self._model, ids, self._pack)
        self._pack.forget_step()
        stream = torch.cuda.current_stream()
        try:
            recorded = _Recorded(self._model, self._pack, ids)
            # Writing the same keys and values to the same places twice changes nothing.
            self._can_record = torch.equal(recorded.replay(ids), expected)
        except RuntimeError as error:  # an operation that cannot be recorded
            torch.cuda.set_stream(stream)  # a recording that fails at its end leaves its own in place
            if is_out_of_memory(error):
                raise
            self._can_record = False
        if self._can_record:
            self._recorded = recorded
        return expected


def _free_bytes(model: Any) -> float:  # noqa: ANN401 - a transformers model
    """Return the memory of a model's GPU for keys and values, that of logits taken off; infinite on a CPU."""
    if model.device.type != "cuda":
        return math.inf
    kept = torch.cuda.memory_reserved(model.device) - torch.cuda.memory_allocated(model.device)
    free = _FREE_SHARE * (torch.cuda.mem_get_info(model.device)[0] + kept)
    per_token = GPU_KEPT_ROWS * model.dtype.itemsize + GPU_STEP_ROWS * _STEP_LOGIT_BYTES
    return float(free - model.config.get_text_config().vocab_size * per_token)


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
