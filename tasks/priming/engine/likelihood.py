"""Negative log-likelihoods of tokens, from the logits that predict them.

In: logits, and which token of which row is asked for. Out: NLLs in nats.
"""

from collections.abc import Sequence

import torch

# Rows of logits that are normalised at a time, in float32: 8 MB of a vocabulary of 32,000, within a CPU's cache.
_ELEMENTS_AT_ONCE = 2_000_000


def token_nlls(logits: torch.Tensor, targets: Sequence[int], rows: Sequence[int] | None = None) -> list[float]:
    """Return -log softmax(logits[row])[target] per target, in float32 whatever the logits are.

    A loss taken in bfloat16 is off by 0.02 to 0.05 nats, as large as the effects that are measured.

    Args:
        logits: (rows, vocabulary).
        targets: Token ids.
        rows: The row that predicts each target; None: the first row the first one, and so on.
    """
    wanted_rows = torch.tensor(range(len(targets)) if rows is None else rows, dtype=torch.long, device=logits.device)
    wanted = torch.tensor(targets, dtype=torch.long, device=logits.device)
    nlls = torch.empty(len(targets), dtype=torch.float32, device=logits.device)
    step = max(1, _ELEMENTS_AT_ONCE // logits.shape[-1])
    for start in range(0, len(logits), step):
        here = (wanted_rows >= start) & (wanted_rows < start + step)
        normalised = torch.log_softmax(logits[start : start + step].float(), dim=-1)
        nlls[here] = -normalised[wanted_rows[here] - start, wanted[here]]
    return nlls.tolist()
