"""Batches by token count, halved when memory runs out.

What is computed for an item does not depend on its batch, so batches are chosen for speed and memory alone.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from tasks.priming.watching import part

GPU_ROWS, GPU_KEPT_ROWS, GPU_STEP_ROWS = 4096, 1536, 256
"""Rows of every pass on a GPU, rows of it whose logits are kept, and rows of every step of generation.

cuBLAS chooses how to sum by the shape of a product (NVIDIA/TransformerEngine#2986), bitsandbytes by its number of rows:
with one shape for all, a row's numbers do not depend on how many others there are.
"""

Item = TypeVar("Item")
Result = TypeVar("Result")


def token_budget(device_type: str) -> int:
    """Return how many tokens one pass takes: as many as fit a CPU's caches or keep a GPU busy."""
    # On CPUs larger packs leave the second-level cache (+12 to +48 % time from 8,192 tokens on).
    return GPU_ROWS if device_type == "cuda" else 2048


def pass_share(token_count: int, kept_count: int, device_type: str) -> int:
    """Return how many tokens of a pass an item counts for: on a GPU also by the rows whose logits are kept."""
    if device_type != "cuda":
        return token_count
    return max(token_count, -(-kept_count * GPU_ROWS // GPU_KEPT_ROWS))


def on_device(
    values: "Sequence[int] | Sequence[Sequence[int]] | np.ndarray[Any, Any]",
    device: torch.device,
    dtype: torch.dtype = torch.long,
) -> torch.Tensor:
    """Return numbers as a tensor on a device; the host does not wait for the copy to a GPU."""
    tensor = torch.as_tensor(values, dtype=dtype)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def split_by_tokens(counts: Sequence[int], budget: int) -> list[list[int]]:
    """Return batches of item numbers, longest items first, each of at most `budget` tokens or of one item."""
    batches: list[list[int]] = []
    used = budget + 1
    for number in sorted(range(len(counts)), key=lambda i: (-counts[i], i)):
        if used + counts[number] > budget:
            batches.append([])
            used = 0
        batches[-1].append(number)
        used += counts[number]
    return batches


def run_in_batches(
    items: Sequence[Item], counts: Sequence[int], budget: int, run: Callable[[list[Item]], list[Result]]
) -> list[Result | None]:
    """Apply `run` to batches of items; a batch that does not fit into memory is halved, down to one item.

    Args:
        items: What to compute.
        counts: Token count of each item.
        budget: Maximum number of tokens in a batch.
        run: Computes a batch and returns one result per item.

    Returns:
        One result per item; None for an item that does not fit into memory by itself.
    """
    results: list[Result | None] = [None] * len(items)
    waiting = split_by_tokens(counts, budget)[::-1]
    total, done = max(1, sum(counts)), 0
    most = math.inf  # half of what did not fit
    while waiting:
        batch = waiting.pop()
        size = sum(counts[number] for number in batch)
        middle = len(batch) // 2
        if size > most and middle:
            waiting += [batch[middle:], batch[:middle]]
            continue
        try:
            with part(done / total, (done + size) / total):
                outputs = run([items[number] for number in batch])
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            outputs = None
        # Outside the handler: the error holds the frames, hence the tensors, of the pass that failed.
        if outputs is None:
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if middle:
                most = size / 2
                waiting.append(batch)
                continue
        else:
            for number, output in zip(batch, outputs, strict=True):
                results[number] = output
        done += size
    return results


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means too little memory: Python's, torch's or a CUDA library's."""
    texts = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in texts)
