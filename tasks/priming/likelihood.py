"""Negative log-likelihoods of tokens, from the logits that predict them.

In: logits, or a cache and the logits of its last token. Out: NLLs in nats, one a token.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from tasks.priming.kv_cache import KVCache
from tasks.priming.packing import Segment, forward_packed

# float32 logits of this many elements at a time: 256 MB.
_LOGITS_AT_ONCE = 64_000_000


def token_nlls(logits: torch.Tensor, targets: Sequence[int]) -> list[float]:
    """Return -log softmax(logits)[target] per row, in float32 whatever the logits are.

    A loss taken in bfloat16 is off by 0.02 to 0.05 nats, as large as the effects that are measured.
    """
    nlls: list[float] = []
    rows = max(1, _LOGITS_AT_ONCE // logits.shape[-1])
    for start in range(0, len(targets), rows):
        piece = logits[start : start + rows].float()
        wanted = torch.tensor(targets[start : start + rows], device=piece.device)
        nlls += torch.nn.functional.cross_entropy(piece, wanted, reduction="none").tolist()
    return nlls


def alternative_nlls(
    model: Any,  # noqa: ANN401 - any transformers decoder
    caches: Sequence[KVCache],
    last_logits: torch.Tensor,
    alternatives: Sequence[Sequence[tuple[int, ...]]],
) -> list[tuple[float, ...]]:
    """Return the token NLLs of alternative continuations of each cache, one alternative after the other.

    Of an alternative all tokens but the last are computed, so one of a single token costs nothing; the caches stay as
    they are and are computed no second time.

    Args:
        model: A transformers causal language model.
        caches: What the alternatives continue.
        last_logits: (caches, vocabulary): what each cache's last token predicts.
        alternatives: For each cache token ids, at least one in each.
    """
    flat = [(row, cache, ids) for row, cache in enumerate(caches) for ids in alternatives[row]]
    firsts = iter(token_nlls(last_logits[[row for row, _, _ in flat]], [ids[0] for _, _, ids in flat]))
    segments = [Segment(ids[:-1], cache) for _, cache, ids in flat if len(ids) > 1]
    targets = [token for _, _, ids in flat for token in ids[1:]]
    rests: Iterator[float] = iter(())
    if segments:
        logits = forward_packed(model, segments, keep=range(len(targets))).logits
        assert logits is not None
        rests = iter(token_nlls(logits, targets))
    return [
        tuple(nll for ids in own for nll in (next(firsts), *(next(rests) for _ in ids[1:]))) for own in alternatives
    ]
