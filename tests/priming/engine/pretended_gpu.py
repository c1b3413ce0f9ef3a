"""A GPU that is pretended on a CPU: its tensors hold a CPU's data, say cuda:0, and refuse what CUDA refuses.

Mixed devices raise, as does whatever waits for the GPU, or copies to it, while a graph is recorded. Waiting and copies
are counted by the line that asked for them. The varlen kernel and CUDA graphs are stand-ins that follow torch's
documentation: a graph keeps the operations that torch was asked for, and repeats them on the same memory without
running any Python of the project. Speed, and the last bits of a real GPU's sums, cannot be seen here.
"""

import collections
import ctypes
import itertools
import shutil
import subprocess
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

# torch's CPU build has no guard for CUDA devices, without which no tensor of theirs can be indexed.
_GUARD = """
#include <c10/core/impl/DeviceGuardImplInterface.h>
static c10::impl::NoOpDeviceGuardImpl<c10::DeviceType::CUDA> guard;
static auto& place = c10::impl::device_guard_impl_registry[static_cast<size_t>(c10::DeviceType::CUDA)];
static bool done = (place.store(&guard), true);
"""
_VIEWS = {"index", "index_put", "index_put_", "_index_put_impl_"}
_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "is_nonzero", "equal"}


class PretendedGpuError(RuntimeError):
    """What CUDA would have raised."""


@dataclass
class PretendedGpu:
    """What was asked of the pretended GPU."""

    waits: collections.Counter[str] = field(default_factory=collections.Counter)  # by operation and line
    graphs: "list[Graph]" = field(default_factory=list)  # in the order in which they were made
    rows: collections.Counter[int] = field(default_factory=collections.Counter)  # rows of products, how often
    kernel_calls: int = 0  # of the varlen kernel
    is_recording: bool = False
    free_bytes: int = 80_000_000_000

    def wait(self, name: str) -> None:
        """Note that the host waits."""
        if self.is_recording:
            raise PretendedGpuError(f"CUDA error: operation not permitted when stream is capturing: {name}")
        frames = (f for f in reversed(traceback.extract_stack()) if "/tasks/" in f.filename)
        self.waits[next((f"{name} {Path(f.filename).name}:{f.name}" for f in frames), name)] += 1

    def place(self, model: Any) -> Any:
        """Move a model to the GPU."""
        for module in model.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None:
                    module._parameters[name] = torch.nn.Parameter(_Tensor(parameter.data), requires_grad=False)
            for name, buffer in module._buffers.items():
                module._buffers[name] = None if buffer is None else _Tensor(buffer)
        return model

    def dispatch(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Compute one operation on the data, as far as CUDA would."""
        name, leaves = function._schema.name.split("::")[-1], tree_leaves((args, kwargs))
        own = [leaf for leaf in leaves if isinstance(leaf, _Tensor)]
        foreign = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and not isinstance(leaf, _Tensor)]
        device = kwargs.get("device")
        target = None if device is None else torch.device(device).type
        if name == "_to_copy" and target and (target == "cuda") != bool(own):
            if self.is_recording or not kwargs.get("non_blocking"):
                self.wait(f"copy to {target}")
            copy = function(*tree_map(_inner, args), **kwargs | {"device": "cpu", "non_blocking": False})
            return _Tensor(copy) if target == "cuda" else copy
        if own and (
            name in _WAITING or (name in _VIEWS and any(i is not None and i.dtype == torch.bool for i in args[1]))
        ):
            self.wait(name)
        if own and any(tensor.dim() for tensor in foreign):
            raise PretendedGpuError(f"Expected all tensors to be on the same device: {function}")
        if not own and target != "cuda":
            return function(*args, **kwargs)
        if target == "cuda":
            kwargs = kwargs | {"device": torch.device("cpu")}
        if name in ("mm", "addmm", "linear"):
            self.rows[args[1 if name == "addmm" else 0].shape[-2]] += 1
        if name == "_varlen_attn":
            self.kernel_calls += 1
            found = documented_varlen(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        else:
            found = function(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        known = {id(tensor.data_on_cpu): tensor for tensor in own}  # what is written in place stays the same tensor
        return tree_map(lambda x: known.get(id(x), _Tensor(x)) if isinstance(x, torch.Tensor) else x, found)


_gpu = PretendedGpu()


def _inner(value: Any) -> Any:
    return value.data_on_cpu if isinstance(value, _Tensor) else value


class _Tensor(torch.Tensor):
    """Data of a CPU that says cuda:0."""

    data_on_cpu: Any

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> Any:
        wrapper: Any = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            layout=inner.layout,
            device=torch.device("cuda:0"),
            requires_grad=False,
        )
        wrapper.data_on_cpu = inner
        return wrapper

    def tolist(self) -> Any:
        _gpu.wait("tolist")
        return self.data_on_cpu.tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch gives its base class no signature
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _gpu.dispatch(func, args, kwargs or {})


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch has no types here
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _gpu.dispatch(func, args, kwargs or {})


def documented_varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    row_ends: torch.Tensor,
    key_ends: torch.Tensor,
    most_rows: int,
    most_keys: int,
    is_causal: bool = False,
    scale: float | None = None,
    window: Any = None,
    enable_gqa: bool = False,
    used_keys: None = None,
    block_table: None = None,
    num_splits: int | None = None,
) -> Any:
    """Attend sequence by sequence; rows are the last ones of their sequence, which sees `window[0]` keys back."""
    assert query.dtype in (torch.float16, torch.bfloat16)
    assert query.dtype == key.dtype == value.dtype
    assert row_ends.dtype == key_ends.dtype == torch.int32
    assert query.stride(-1) == key.stride(-1) == value.stride(-1) == 1
    rows, keys = row_ends.tolist(), key_ends.tolist()
    assert (rows[-1], keys[-1]) == (len(query), len(key))
    row_counts, key_counts = ([b - a for a, b in itertools.pairwise(ends)] for ends in (rows, keys))
    assert (max(row_counts), max(key_counts), num_splits) == (most_rows, most_keys, 1)
    assert min(row_counts) > 0
    found = torch.empty_like(query)
    for row, key_start, row_count, key_count in zip(rows, keys, row_counts, key_counts, strict=False):
        q = query[row : row + row_count].transpose(0, 1).float()
        k, v = (each[key_start : key_start + key_count].transpose(0, 1).float() for each in (key, value))
        mask = torch.ones(row_count, key_count, dtype=torch.bool).tril(key_count - row_count)
        if window[0] >= 0:
            mask = mask.triu(key_count - row_count - window[0])
        attended = torch.nn.functional.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=mask, scale=scale, enable_gqa=enable_gqa
        )
        found[row : row + row_count] = attended[0].transpose(0, 1).to(query.dtype)
    return found, torch.empty(0), torch.zeros(2, dtype=torch.uint64)


class Graph:
    """Operations on fixed memory."""

    def __init__(self) -> None:
        self.operations: list[tuple[Any, Any, Any, list[Any]]] = []
        self.replays = 0
        _gpu.graphs.append(self)

    def replay(self) -> None:
        self.replays += 1
        for function, args, kwargs, written in self.operations:
            for old, new in zip(written, tree_leaves(function(*args, **kwargs)), strict=True):
                if isinstance(old, _Tensor) and old.data_on_cpu.data_ptr() != new.data_on_cpu.data_ptr():
                    old.data_on_cpu.copy_(new.data_on_cpu)


class _Recorder(TorchDispatchMode):
    def __init__(self, graph: Graph) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch has no types here
        self.graph = graph

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        self.graph.operations.append((func, args, kwargs or {}, tree_leaves(found)))
        return found


@contextmanager
def recording(graph: Graph) -> Iterator[None]:
    """Record a graph."""
    _gpu.is_recording = True
    try:
        with _Recorder(graph):
            yield
    finally:
        _gpu.is_recording = False


@pytest.fixture(scope="session")
def _guard(tmp_path_factory: pytest.TempPathFactory) -> None:
    compiler = shutil.which("c++") or shutil.which("g++")
    if compiler is None or torch.version.cuda:
        pytest.skip("a GPU is pretended with torch's CPU build and a C++ compiler")
    folder = tmp_path_factory.mktemp("guard")
    (folder / "guard.cpp").write_text(_GUARD, encoding="utf-8")
    torch_folder = Path(torch.__file__).parent
    options = ["-std=c++20", "-shared", "-fPIC", f"-I{torch_folder / 'include'}", f"-L{torch_folder / 'lib'}", "-lc10"]
    subprocess.run([compiler, "guard.cpp", "-o", "guard.so", *options], cwd=folder, check=True)
    ctypes.CDLL(str(folder / "guard.so"))


@pytest.fixture
def gpu(_guard: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[PretendedGpu]:
    """A pretended GPU, of the kind of an H100, with nothing on it."""
    _gpu.__init__()  # type: ignore[misc]
    answers: dict[str, Callable[..., Any]] = {
        "_lazy_init": lambda: None,
        "get_device_capability": lambda device=None: (9, 0),
        "mem_get_info": lambda device=None: (_gpu.free_bytes, 80_000_000_000),
        "memory_reserved": lambda device=None: 0,
        "memory_allocated": lambda device=None: 0,
        "current_stream": lambda device=None: "main",
        "set_stream": lambda stream: None,
        "CUDAGraph": Graph,
        "graph": recording,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch, "inference_mode", torch.no_grad)  # tensors of other classes cannot be such
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    is_lifted = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        with _Mode():  # type: ignore[no-untyped-call]
            yield _gpu
    finally:
        torch._C._set_only_lift_cpu_tensors(is_lifted)
