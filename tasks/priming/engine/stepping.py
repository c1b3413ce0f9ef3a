"""One step of writing after another: on a GPU recorded once and repeated, elsewhere computed as it comes.

In: a pack and the newest token of each of its rows. Out: the logits that follow. A step of a model of many layers is
some thousand short operations, whose launching takes a GPU's host longer than the GPU needs for them; a captured graph
launches all of them at once, as long as the rows stay the same. What a graph gives is compared with the step computed
without it when it is first used, and given up if it differs. Not yet run on a GPU.
"""

from typing import Any

import torch

from tasks.priming.engine.decoding import DecodingPack
from tasks.priming.engine.forward import compute_step, step_ids

# On a GPU finished rows stay until no more than this share of the rows is left: each change is recorded anew, and a
# row more or less takes a step of one token a row no time.
_RECORDED_SHARE = 0.5


class Stepper:
    """Computes the steps of one pack."""

    def __init__(self, model: Any, pack: DecodingPack) -> None:  # noqa: ANN401 - a transformers model
        """Begin with nothing recorded."""
        self._model = model
        self._pack = pack
        self._recorded: _Recorded | None = None
        self._can_record = _can_record(model.device)
        self._last_rows: list[int] = []

    def keep(self, rows: set[int]) -> list[int]:
        """Leave out rows that are not among these, sooner or later, and return those that are computed, in order."""
        if not self._can_record or len(rows) <= _RECORDED_SHARE * len(self._pack.rows):
            self._pack.keep(rows)
        return self._pack.rows

    def step(self, tokens: list[int]) -> torch.Tensor:
        """Compute one more token of each row and return the logits that follow: (rows, vocabulary).

        They hold until the next step.

        Args:
            tokens: The newest token of each row, in the order of `keep`.

        Raises:
            UnsupportedModelError: As in packing.forward_packed.
        """
        ids = step_ids(self._model, tokens)
        is_alike = self._pack.rows == self._last_rows
        if not is_alike:
            self._recorded, self._last_rows = None, self._pack.rows
        # The first step with these rows is computed as it comes, which also warms up what a recording must find ready.
        logits = self._repeat(ids) if is_alike and self._can_record else compute_step(self._model, ids, self._pack)
        self._pack.advance()
        return logits

    def _repeat(self, ids: torch.Tensor) -> torch.Tensor:
        if self._recorded is not None:
            return self._recorded.repeat(ids)
        expected = compute_step(self._model, ids, self._pack)
        self._pack.forget_step()
        try:
            recorded = _Recorded(self._model, self._pack, ids)
            # To write the same keys and values to the same places twice changes nothing.
            self._can_record = torch.equal(recorded.repeat(ids), expected)
        except RuntimeError:  # an operation that cannot be recorded
            self._can_record = False
        if self._can_record:
            self._recorded = recorded
        return expected


def _can_record(device: torch.device) -> bool:
    return device.type == "cuda"


class _Recorded:
    """A step as a CUDA graph: reads its tokens from one tensor, positions and caches from the pack's."""

    def __init__(self, model: Any, pack: DecodingPack, ids: torch.Tensor) -> None:  # noqa: ANN401
        self._ids = ids.clone()
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._logits = compute_step(model, self._ids, pack)

    def repeat(self, ids: torch.Tensor) -> torch.Tensor:
        self._ids.copy_(ids)
        self._graph.replay()
        return self._logits
