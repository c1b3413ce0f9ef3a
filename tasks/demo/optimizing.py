"""The steps of the demo model's training: optimizers, and what the processes of one training tell each other.

In: a model whose gradients are computed. Out: the same model, one step further, with the same weights in every process.
Each process computes its part of a step's rows; gradients are averaged, and Muon's matrices are divided among the
processes, which then send each other what they have changed.
"""

import torch
from torch import distributed
from transformers import MistralForCausalLM

from tasks.demo.schedule import Stage

WEIGHT_DECAY = 0.05
ADAM_BETAS = (0.9, 0.98)
MOMENTUM = 0.95
LARGEST_GRADIENT = 1.0


class Stepper:
    """The optimizers of one stage."""

    def __init__(self, model: MistralForCausalLM, stage: Stage, rank: int, process_count: int) -> None:
        """Divide the model's parameters among the optimizers.

        Args:
            model: The model, with the same weights in every process.
            stage: Says which optimizers learn what, and how fast.
            rank: This process, from 0.
            process_count: How many there are; with more than one, torch.distributed must be initialised.
        """
        self._stage = stage
        self._rank = rank
        self._process_count = process_count
        self._parameters = list(model.parameters())
        embeddings = model.model.embed_tokens.weight
        others = [parameter for parameter in self._parameters if parameter is not embeddings]
        self._matrices = [parameter for parameter in others if parameter.ndim == 2 and stage.matrix_rate]
        by_adam = [parameter for parameter in others if parameter.ndim != 2 or not stage.matrix_rate]
        self._adam = torch.optim.AdamW(
            [{"params": by_adam}, {"params": [embeddings]}], betas=ADAM_BETAS, weight_decay=WEIGHT_DECAY
        )
        self._muon: torch.optim.Muon | None = None
        if self._matrices:
            # Updates as large as AdamW's, so that rates mean the same (Liu et al. 2025, arXiv:2502.16982).
            self._muon = torch.optim.Muon(
                self._matrices[rank::process_count],
                weight_decay=WEIGHT_DECAY,
                momentum=MOMENTUM,
                adjust_lr_fn="match_rms_adamw",
            )

    def step(self, step: int) -> None:
        """Change the weights by their gradients, which are averaged over the processes first, and forget these."""
        share = self._stage.rate_share(step)
        others, embeddings = self._adam.param_groups
        others["lr"] = self._stage.peak_rate * share
        embeddings["lr"] = others["lr"] * self._stage.embedding_share(step)
        self._average_gradients()
        torch.nn.utils.clip_grad_norm_(self._parameters, LARGEST_GRADIENT)
        if self._muon is not None and self._stage.matrix_rate is not None:
            self._muon.param_groups[0]["lr"] = self._stage.matrix_rate * share
            self._muon.step()  # type: ignore[no-untyped-call]  # torch gives it no types
        self._adam.step()
        self._share_matrices()
        for parameter in self._parameters:
            parameter.grad = None

    def _average_gradients(self) -> None:
        if self._process_count == 1:
            return
        gradients = [parameter.grad for parameter in self._parameters if parameter.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(flat)
        unflatten_into(flat / self._process_count, gradients)

    @torch.no_grad()
    def _share_matrices(self) -> None:
        if self._process_count == 1 or not self._matrices:
            return
        for owner in range(self._process_count):
            owned = self._matrices[owner :: self._process_count]
            flat = torch.cat([matrix.flatten() for matrix in owned])
            distributed.broadcast(flat, owner)
            if owner != self._rank:
                unflatten_into(flat, owned)


def unflatten_into(flat: torch.Tensor, tensors: list[torch.Tensor] | list[torch.nn.Parameter]) -> None:
    """Copy the values of a flat tensor into tensors, in their order."""
    start = 0
    for tensor in tensors:
        stop = start + tensor.numel()
        tensor.copy_(flat[start:stop].view_as(tensor))
        start = stop
