"""Plain batching: right-padded batches of whole sequences, one ordinary forward pass a batch.

In: a model and items. Out: the NLL of every answer token. What a careful user of transformers would write: sequences of
like length together, no mask (a causal model's tokens do not see what stands behind them), the output layer on the rows
that predict an answer token only. It uses the numeric path of the project's own method, so that what is left between
the two is padding, attention and what is computed twice.
"""

from collections.abc import Sequence
from typing import Any

import torch

from tasks.priming.engine.batches import token_budget
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, token_nlls
from tasks.priming.engine.numeric_path import numeric_path


def padded_token_nlls(items: Sequence[Request], language_model: LanguageModel) -> list[tuple[float, ...]]:
    """Return the NLL in nats of each answer token of each item."""
    model = language_model.model
    nlls: dict[int, tuple[float, ...]] = {}
    with torch.inference_mode(), numeric_path(language_model.numeric_path):
        for batch in batches_by_padded_size(items, token_budget(model.device.type)):
            found = iter(_batch_nlls(model, [items[number] for number in batch]))
            nlls |= {number: tuple(next(found) for _ in items[number].answer) for number in batch}
    return [nlls[number] for number in range(len(items))]


def batches_by_padded_size(items: Sequence[Request], budget: int) -> list[list[int]]:
    """Return batches of item numbers, longest first; rows times the longest row do not exceed the budget."""
    lengths = [len(item.context) + len(item.continuation) for item in items]
    batches: list[list[int]] = []
    for number in sorted(range(len(items)), key=lambda i: -lengths[i]):
        if not batches or lengths[batches[-1][0]] * (len(batches[-1]) + 1) > budget:
            batches.append([])
        batches[-1].append(number)
    return batches


def _batch_nlls(model: Any, items: Sequence[Request]) -> list[float]:  # noqa: ANN401 - any transformers decoder
    """Return the NLLs of all answer tokens of a batch, item by item."""
    sequences = [[*item.context, *item.continuation] for item in items]
    longest = max(map(len, sequences))
    ids = torch.zeros(len(items), longest, dtype=torch.long)
    places: list[tuple[int, int]] = []
    for row, (item, sequence) in enumerate(zip(items, sequences, strict=True)):
        ids[row, : len(sequence)] = torch.tensor(sequence)
        places += [(row, place) for place in range(len(sequence) - len(item.answer), len(sequence))]
    rows, columns = torch.tensor(places, device=model.device).T
    hidden = model.base_model(input_ids=ids.to(model.device), use_cache=False).last_hidden_state
    logits = model.get_output_embeddings()(hidden[rows, columns])
    return token_nlls(logits, [token for item in items for token in item.answer])
