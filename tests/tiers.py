"""Which tests are in which tier."""

from typing import Any

import pytest


def slow(*values: Any) -> list[Any]:
    """Return parameters of a test with which it is slow, next to those with which it is not."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]
