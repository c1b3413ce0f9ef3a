"""Which tests are in which tier."""

from typing import Any

import pytest


def slow(*values: Any) -> list[Any]:
    """Return parameters with which a test is slow, next to others; a tuple is several arguments."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.slow) for value in values
    ]
