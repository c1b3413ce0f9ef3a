"""The number of samples in a chunk: such that a crash loses about two minutes of a worker's computing.

In: the language model's identity, earlier runs, the model's speed here. Chunk boundaries change no number and are no
part of a run's identity. But results are cached chunk by chunk, so the size of an earlier run is kept: a rerun, and a
larger run, find what it computed.
"""

import time

from tasks.loading.data import Identity
from tasks.priming.engine.model import LanguageModel
from tasks.store.manifests import Manifest, read_manifest, read_manifests
from tasks.workers.processes import with_language_model, worker_count

_CHUNK_SECONDS = 120.0
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # few, so that a slightly different speed leads to the same one

_TOKENS_PER_SAMPLE = 1100
"""In the largest family: five contexts with query, answer and distractors, with passages as in MS MARCO."""

_CONTEXT_TOKENS = 160
_LEAST_SECONDS = 0.5
_SHORTEST_SECONDS = 1e-3  # the resolution of a clock
_MOST_CONTEXTS = 256


def choose_chunk_size(run_id: str, language_model: Identity, sample_count: int) -> int:
    """Return the chunk size of this run or else of another one with the model, or one that fits the model's speed here.

    Samples that do not fill a chunk for each worker are divided among the workers.
    """
    own = read_manifest(run_id)
    if own and own.chunk_size:
        return own.chunk_size
    alike = [manifest for manifest in read_manifests() if _is_of(manifest, language_model)]
    if alike:
        newest = max(alike, key=lambda manifest: manifest.attempts[-1].started_at)
        assert newest.chunk_size
        return newest.chunk_size
    pace, _ = with_language_model(tokens_per_second, language_model)
    return min(size_at(pace), -(-sample_count // worker_count()))


def size_at(tokens_per_second: float) -> int:
    """Return the size nearest to the number of samples that a worker computes in two minutes."""
    wanted = _CHUNK_SECONDS * tokens_per_second / _TOKENS_PER_SAMPLE
    return min(_SIZES, key=lambda size: max(size / wanted, wanted / size))


def tokens_per_second(*, language_model: LanguageModel) -> float:
    """Return how many tokens per second the model scores in this process, measured for about half a second.

    On a CPU in core seconds, so that other load on the machine does not count.
    """
    import torch

    from tasks.priming.engine.nll import Request, score_requests

    is_cpu = language_model.model.device.type == "cpu"
    clock, threads = (time.process_time, torch.get_num_threads()) if is_cpu else (time.perf_counter, 1)

    vocabulary = language_model.model.config.get_text_config().vocab_size
    length = min(_CONTEXT_TOKENS, language_model.window - 3)

    def seconds(count: int) -> float:
        contexts = [tuple((7 * n + place) % vocabulary for place in range(length)) for n in range(count)]
        start = clock()
        score_requests([Request(context, (1,), (1,)) for context in contexts], language_model)
        return max((clock() - start) / threads, _SHORTEST_SECONDS)

    seconds(1)  # the first pass reads the weights
    count = 1
    while (passed := seconds(count)) < _LEAST_SECONDS and count < _MOST_CONTEXTS:
        count *= 4
    return count * length / passed


def _is_of(manifest: Manifest, language_model: Identity) -> bool:
    known = manifest.language_model
    return bool(manifest.chunk_size and manifest.attempts) and known | language_model == known
