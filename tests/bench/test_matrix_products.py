"""The limit is made of exactly the products with the model's weights, counted by hand and by torch's own counter."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tasks.bench.matrix_products import Product, compute_products, record_products, token_count
from tasks.priming.engine.model import LanguageModel

# The tiny model, by hand: 64 wide, two heads of 32, one key head; queries and output 64 x 64 each, keys and values
# 64 x 32 each, three of 64 x 128 in the MLP; two layers. The output layer is 64 x 32,000.
LAYERS = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 128)
OUTPUT = 64 * 32_000


def operations(tokens: int, rows: int) -> int:
    return 2 * (tokens * LAYERS + rows * OUTPUT)


def total(products: list[Product]) -> int:
    return sum(product.operations for product in products)


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_what_a_forward_pass_multiplies_is_recorded(tiny: LanguageModel, mode: type) -> None:
    """The two modes hand torch different operations for the same layer."""
    ids = torch.arange(1, 21)[None]
    with mode():
        products = record_products(tiny.model, lambda: tiny.model(input_ids=ids, use_cache=False, logits_to_keep=3))
    assert len(products) == 2 * 7 + 1
    assert token_count(products) == 20
    assert total(products) == operations(20, 3)


def test_torch_counts_the_same_operations(tiny: LanguageModel) -> None:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        tiny.model(input_ids=torch.arange(1, 21)[None], use_cache=False)
    assert counter.get_flop_counts()["Global"][torch.ops.aten.mm] == operations(20, 20)


def test_a_weight_in_another_number_format_counts_too(tiny_models: dict[str, LanguageModel]) -> None:
    model = tiny_models["bfloat16"].model
    hidden = torch.ones(5, 64)
    with torch.inference_mode():
        products = record_products(model, lambda: [hidden @ model.lm_head.weight.float().T for _ in range(2)])
    assert total(products) == operations(0, 10)
    assert products[0].weight.dtype == torch.float32
    assert products[0].weight is products[1].weight


def test_products_without_a_weight_do_not_count(tiny: LanguageModel) -> None:
    left = torch.ones(4, 10)
    assert record_products(tiny.model, lambda: left @ left.T) == []


def test_computing_them_leaves_the_numeric_path_as_it_was(tiny: LanguageModel) -> None:
    before = torch.get_float32_matmul_precision()
    compute_products([Product(7, tiny.model.lm_head.weight), Product(3, tiny.model.lm_head.weight)], tiny.numeric_path)
    assert torch.get_float32_matmul_precision() == before
    recorded = record_products(
        tiny.model, lambda: compute_products([Product(7, tiny.model.lm_head.weight)], tiny.numeric_path)
    )
    assert total(recorded) == operations(0, 7)
