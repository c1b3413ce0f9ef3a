"""Workers on a Ray cluster, each with the language model loaded once.

In: a cluster's address and a number of workers. Out: an executor for tasks/workers/processes.py. A worker is a Ray
actor, which keeps its model for its lifetime (tasks on GPUs would end their process after each call by default).
Prefect's tasks and the artifacts stay in the process that runs the flow, so the cluster's machines need neither
Prefect's server nor a shared folder. They need Python and packages of the same versions, and the model: on the hub, or
in a folder of the same path.
"""

import logging
import os
import socket
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

from tasks.loading.data import Identity, SetupError
from tasks.store.artifacts import ROOT

LOCAL = "local"  # instead of an address: a temporary cluster on this machine

_LEFT_OUT = [".git", ".venv", ".prefect", "artifacts/", "docs/", "tests/"]
"""Left out of the project's folder when it is sent to the cluster."""

_CONNECTION_SECONDS = 20.0  # time for a host to answer; Ray itself would try for minutes


class RayExecutor(Executor):
    """Passes each call to an idle worker, and waits for one if there is none."""

    def __init__(self, address: str, count: int | None, language_model: Identity) -> None:
        """Connect, and start workers that load the model.

        Args:
            address: HOST:PORT of a cluster's head; "auto": the one that this machine belongs to; or LOCAL.
            count: Number of workers; None: one per GPU of the cluster, or one per core if it has none.
            language_model: The identity of the model.

        Raises:
            SetupError: Ray is not installed, or there is no such cluster.
        """
        ray = _connected(address)
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self.count = count or gpus or int(resources.get("CPU", 1))  # number of workers
        remote = ray.remote(_Worker).options(num_gpus=1 if gpus else 0, num_cpus=1)
        self._ray = ray
        self._workers = [remote.remote(language_model) for _ in range(self.count)]
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401
        """Return the future result of function(*args, **kwargs), computed by a worker."""
        worker = self._idle.get()
        future: Future[Any] = worker.call.remote(function, args, kwargs).future()
        future.add_done_callback(lambda _: self._idle.put(worker))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers and leave the cluster; unfinished calls are lost."""
        self._ray.shutdown()


def _connected(address: str) -> Any:  # noqa: ANN401 - the module
    """Return ray, connected to a cluster; an existing connection is kept."""
    _require_answer(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise SetupError(
            "Ray is not installed, which `ray_address` asks for. Install it: pip install -c constraints.txt .[ray]"
        ) from None
    if ray.is_initialized():
        return ray
    environment = {"working_dir": str(ROOT), "excludes": _LEFT_OUT}
    options: dict[str, Any] = {"runtime_env": environment, "log_to_driver": False, "logging_level": logging.ERROR}
    if address == LOCAL:
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    else:
        options["address"] = address
    try:
        ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _missing(address, error) from None
    return ray


def _require_answer(address: str) -> None:
    """Refuse an address where nothing answers."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (colon and port.isdecimal()):  # one of Ray's keywords, or an address that Ray refuses
        return
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECTION_SECONDS):
            pass
    except (OSError, OverflowError) as error:  # no such host, no answer, no such port
        raise _missing(address, error) from None


def _missing(address: str, error: Exception) -> SetupError:
    return SetupError(
        f"There is no Ray cluster at {address!r}: {error}. Start one: ray start --head --port 6379. Or compute on this "
        "machine: leave `ray_address` out."
    )


class _Worker:
    """A process of the cluster, bound by Ray to its GPU or core."""

    def __init__(self, language_model: Identity) -> None:
        from tasks.workers.processes import prepare

        prepare(1, language_model)

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        return function(*args, **kwargs)
