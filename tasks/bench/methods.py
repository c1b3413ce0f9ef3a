"""The names of the methods that are compared, in the order in which tables show them."""

NOTEBOOK = "notebook"
SAME_LENGTHS = "notebook, same length"
COPYING = "notebook, deep copies"
LOOP = "Python loop"
LM_EVAL = "lm-eval"
PADDED = "padded"
OURS = "ours"
PRODUCTS = "products"
UNSHARED_PRODUCTS = "products unshared"

LIMITS = (PRODUCTS, UNSHARED_PRODUCTS)
"""Not methods but what no method can undercut."""


def lm_eval_name(batch_size: int) -> str:
    """Return the name of lm-eval with a batch size."""
    return f"{LM_EVAL} {batch_size}"
