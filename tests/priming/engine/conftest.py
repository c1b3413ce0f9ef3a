"""The pretended GPU."""

from tests.priming.engine.pretended_gpu import _guard, gpu

__all__ = ["_guard", "gpu"]
