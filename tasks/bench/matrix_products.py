"""The limit: the bare products of tokens with the model's weights, nothing else.

In: a computation. Out: its products in order, and an arm that computes them again with arbitrary
numbers. No method that multiplies with these weights can be faster than these products; attention, normalisation, the
softmax and everything else come on top.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from tasks.bench.timing import Arm, Name
from tasks.priming.engine.numeric_path import numeric_path

# How torch names what multiplies matrices: the same layer has several names, depending on its input's memory layout.
_LAYERS = {"linear", "_linear_pointwise"}
_PRODUCTS = {*_LAYERS, "matmul", "mm", "addmm", "bmm"}


@dataclass(frozen=True, slots=True)
class Product:
    """Rows of tokens times one weight."""

    rows: int  # tokens, or rows that the output layer predicts from
    weight: torch.Tensor  # (output width, input width)

    @property
    def operations(self) -> int:
        """Additions and multiplications: 2 * rows * input width * output width."""
        return 2 * self.rows * self.weight.numel()


def record_products(model: Any, compute: Callable[[], object]) -> list[Product]:  # noqa: ANN401 - any torch module
    """Run a computation and return every product with one of the model's weights, in order.

    Recorded is what torch computes: padding of a batch is included, and tokens that were computed once for many count
    once.
    """
    recorder = _Recorder(model)
    with recorder:
        compute()
    return recorder.products


def token_count(products: Sequence[Product]) -> int:
    """Return how many tokens pass through the model's layers: the rows of its first weight."""
    first = products[0].weight
    return sum(product.rows for product in products if product.weight is first)


def compute_products(products: Sequence[Product], path: str) -> None:
    """Compute products with arbitrary numbers, on a numeric path, with the weights that they were recorded with."""
    inputs: dict[tuple[int, torch.dtype], torch.Tensor] = {}
    outputs: dict[tuple[int, torch.dtype], torch.Tensor] = {}
    with torch.inference_mode(), numeric_path(path):
        for store, axis in ((inputs, 1), (outputs, 0)):
            for product in products:
                key = (product.weight.shape[axis], product.weight.dtype)
                if key not in store or len(store[key]) < product.rows:
                    store[key] = torch.ones(product.rows, key[0], dtype=key[1], device=product.weight.device)
        for product in products:
            width_out, width_in = product.weight.shape
            left = inputs[width_in, product.weight.dtype][: product.rows]
            # Into existing memory: allocating it is no part of the limit.
            torch.mm(left, product.weight.T, out=outputs[width_out, product.weight.dtype][: product.rows])


def product_arm(name: Name, work: int, products: Sequence[Product], path: str) -> Arm:
    """Return the arm that computes products; a layer or two warm it up, the whole would take as long as a round."""
    return Arm(name, work, partial(compute_products, path=path), products, products[:16])


class _Recorder(TorchDispatchMode):
    """Sees every operation that torch is asked for."""

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types here
        self.products: list[Product] = []
        self._weights = {p.data_ptr(): p.detach() for p in model.parameters() if p.ndim == 2}
        self._shapes = {tuple(weight.shape) for weight in self._weights.values()}
        self._copies: dict[tuple[tuple[int, ...], torch.dtype], torch.Tensor] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """Compute the operation, and keep it if it is a product with a weight."""
        name = function.overloadpacket.__name__
        if name in _PRODUCTS:
            left, right = args[:2] if name != "addmm" else args[1:3]
            # Layers hold their weights transposed. A product of three axes may have the weight as its only matrix.
            weight = right if name in _LAYERS or right.ndim < 2 else right.transpose(-1, -2)
            if weight.ndim == 2 or weight.shape[0] == 1:
                self._keep(left, weight.reshape(weight.shape[-2:]) if weight.ndim > 1 else weight)
        return function(*args, **(kwargs or {}))

    def _keep(self, left: torch.Tensor, weight: torch.Tensor) -> None:
        known = self._weights.get(weight.data_ptr())
        if known is None and tuple(weight.shape) in self._shapes:
            # A weight in another number format: one copy stands for all.
            known = self._copies.setdefault((tuple(weight.shape), weight.dtype), weight)
        if known is not None:
            self.products.append(Product(left.numel() // left.shape[-1], known))
