"""Worker processes on one machine, each with the language model loaded once.

Within `working(...)`, `with_language_model` passes its work to one of them; outside, it computes in this process, with
the same numbers. Each process is bound before torch is imported: to a GPU of its own, or to its share of the cores with
as many threads. Two processes of one thread are faster than one of two threads, which wait for each other at every
operation.
"""

import ctypes
import itertools
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import wait
from threading import Thread
from typing import Any, TypeVar, cast

import psutil
from prefect import Task
from prefect.futures import PrefectConcurrentFuture
from prefect.futures import wait as prefect_wait

from tasks.loading.data import Identity, SetupError
from tasks.server.progress import Part
from tasks.store.code import package_digest

Result = TypeVar("Result")

_LOOK_SECONDS = 0.5  # interval between two looks at a worker's progress


@dataclass(frozen=True, slots=True)
class _Pool:
    """The workers of this process."""

    executor: Executor
    count: int
    states: "Sequence[float]" = ()
    """Per worker, the number of its newest call plus the fraction of it that is done, written as one number."""
    call_numbers: Iterator[int] = field(default_factory=partial(itertools.count, 1))


_MOST_PROCESSES = 64
"""Limit on a CPU unless more are requested: one process distributes all work and could not keep more busy."""

_pools: list[_Pool] = []  # the workers of this process, while there are any

_part: ContextVar[Part | None] = ContextVar("part", default=None)
"""Receives the progress of the call that this thread makes."""

_own_state: "list[tuple[ctypes.Array[ctypes.c_double], int]]" = []  # in a worker, where it reports its progress

_NEARLY_DONE = 0.999999  # reported for a finished call: the next integer belongs to the next call


@contextmanager
def working(count: int | None, language_model: Identity, ray_address: str | None = None) -> Iterator[bool]:
    """Make `with_language_model` compute in worker processes within the context, or in this process if one suffices.

    A nested context uses the processes of the outer one. They start one by one as work arrives; see start_workers.
    Yields whether this process computes.

    Args:
        count: Number of processes; more than there are GPUs share them. None: as many as suit the machine.
        language_model: The model that each loads when it starts.
        ray_address: The cluster that they run on; None: this machine.

    Raises:
        SetupError: There is no such cluster.
    """
    if _pools:
        yield False
    elif ray_address is not None:
        from tasks.workers.ray import RayExecutor

        cluster = RayExecutor(ray_address, count, language_model)
        with _pooled(_Pool(cluster, cluster.count)):
            yield False
    elif (number := count or sensible_count(language_model)) == 1:
        yield True
    else:
        context = multiprocessing.get_context("spawn")  # a fork would share this process's threads and GPU context
        states = context.Array("d", number, lock=False)
        numbers = context.Queue()
        for own in range(number):
            numbers.put(own)
        start = (numbers, states, _gpu_count(language_model), language_model)
        executor = ProcessPoolExecutor(number, mp_context=context, initializer=_start, initargs=start)
        with _pooled(_Pool(executor, number, states)):
            yield False


@contextmanager
def _pooled(pool: _Pool) -> Iterator[None]:
    _pools.append(pool)
    try:
        yield
    finally:
        _pools.pop()
        pool.executor.shutdown(wait=False, cancel_futures=True)
        # Calls that are still being computed are not needed any more.
        for process in multiprocessing.active_children():
            process.terminate()


def start_workers() -> None:
    """Make all workers start and load the model now, e.g. while a server starts."""
    for pool in _pools:
        for _ in range(pool.count):
            pool.executor.submit(os.getpid)


def with_language_model(
    function: Callable[..., Result],
    language_model: Identity,
    /,
    **arguments: Any,  # noqa: ANN401 - the function's own
) -> tuple[Result, float]:
    """Return function(language_model=<the loaded model>, **arguments) and its seconds, loading excluded.

    The function must be of module level, so that another process finds it.

    Raises:
        concurrent.futures.process.BrokenProcessPool: A worker was killed.
    """
    code = package_digest()
    part = _part.get()
    if not _pools:
        return _compute(function, language_model, arguments, code, part.tell if part else None)
    pool = _pools[-1]
    number = next(pool.call_numbers)
    call = pool.executor.submit(_compute_there, number, function, language_model, arguments, code)
    while part and not wait_for([call], _LOOK_SECONDS).done:
        for state in pool.states:
            if int(state) == number:
                part.tell(state - number)
    return call.result()


def in_order(task: Task[..., Any], calls: Iterable[tuple[Mapping[str, Any], Part]]) -> Iterator[Any]:
    """Yield a task's results call by call; with workers, a call is submitted as soon as a worker may take it.

    A long call keeps no later one from being submitted. A failed call raises its error here after the submitted calls
    have ended, so that their results are cached. A call is its arguments and the part that receives its progress.
    """
    if not _pools:
        for arguments, part in calls:
            with _telling(part):
                result = task(**arguments)
            yield result
        return
    begun: deque[PrefectConcurrentFuture[Any]] = deque()
    most = _pools[-1].count
    try:
        for arguments, part in calls:
            with _telling(part):  # the thread that runs the task inherits this context
                begun.append(cast("PrefectConcurrentFuture[Any]", task.submit(**arguments)))
            # One more than there are workers, so that none waits between two calls.
            while len(unfinished := [call.wrapped_future for call in begun if not call.wrapped_future.done()]) > most:
                wait_for(unfinished, return_when=FIRST_COMPLETED)
            while begun and begun[0].wrapped_future.done():
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        prefect_wait(list(begun))


def worker_count() -> int:
    """Return how many calls of with_language_model are computed concurrently."""
    return _pools[-1].count if _pools else 1


def sensible_count(language_model: Identity) -> int:
    """Return how many processes suit a model on this machine: one per GPU, or one per core if memory allows."""
    from tasks.loading.model_files import WORKING_BYTES, parameter_count, weight_bytes

    if language_model["device"] == "cuda":
        return max(1, _gpu_count(language_model))
    parameters = parameter_count(language_model["language_model"])
    if parameters is None:  # of unknown size: it may not fit into memory twice
        return 1
    quantization = language_model.get("held_quantization", "none")
    weights = weight_bytes(parameters, language_model["dtype"], quantization)
    fitting = psutil.virtual_memory().available / (WORKING_BYTES + weights)
    return max(1, min(len(os.sched_getaffinity(0)), int(fitting), _MOST_PROCESSES))


def _gpu_count(language_model: Identity) -> int:
    """Return the number of GPUs for a model; 0 if it is computed on the CPU."""
    import torch

    return torch.cuda.device_count() if language_model["device"] == "cuda" else 0


@contextmanager
def _telling(part: Part) -> Iterator[None]:
    token = _part.set(part)
    try:
        yield
    finally:
        _part.reset(token)


def _compute(
    function: Callable[..., Result],
    language_model: Identity,
    arguments: dict[str, Any],
    code: str,
    tell: Callable[[float], None] | None = None,
) -> tuple[Result, float]:
    from tasks.loading.models import load_language_model
    from tasks.priming.watching import watched

    if package_digest() != code:
        raise SetupError(
            "The code in tasks/priming/ was edited while this run started, so that its processes would compute "
            "different things. Nothing was computed with the other version. Start the same command again."
        )

    model = load_language_model(language_model)
    start = time.perf_counter()
    with watched(tell or (lambda share: None)):
        result = function(language_model=model, **arguments)
    return result, time.perf_counter() - start


def _compute_there(
    call: int, function: Callable[..., Result], language_model: Identity, arguments: dict[str, Any], code: str
) -> tuple[Result, float]:
    """Compute in a worker and report progress in its state, which workers of a Ray cluster do not have."""

    def tell(share: float) -> None:
        for states, number in _own_state:
            states[number] = call + min(share, _NEARLY_DONE)

    return _compute(function, language_model, arguments, code, tell)


def _start(
    numbers: "multiprocessing.Queue[int]",
    states: "ctypes.Array[ctypes.c_double]",
    gpu_count: int,
    language_model: Identity,
) -> None:
    """Bind this worker to its GPU or cores, before torch is imported, and load the model."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends its workers
    number = numbers.get()
    _own_state.append((states, number))
    Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    if gpu_count:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu_of(number, gpu_count)
    prepare(1 if gpu_count else max(1, len(os.sched_getaffinity(0)) // len(states)), language_model)


def gpu_of(number: int, gpu_count: int) -> str:
    """Return the name of a worker's GPU; more workers than GPUs share them."""
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    visible = named or [str(place) for place in range(gpu_count)]
    return visible[number % min(gpu_count, len(visible))]


def prepare(threads: int, language_model: Identity) -> None:
    """Set the number of threads of a process that is bound to its GPU or cores, and load the model."""
    import torch

    from tasks.loading.models import load_language_model

    torch.set_num_threads(threads)
    with suppress(SetupError):  # raised again by the first call
        load_language_model(language_model)


def _end_with_parent() -> None:
    """End this process when its parent has ended for any reason: it would wait for work forever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "only workers wait for their parent"
    wait([parent.sentinel])
    os._exit(1)
