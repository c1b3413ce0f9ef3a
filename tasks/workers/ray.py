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
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any

from tasks.loading.data import Identity, SetupError
from tasks.priming.settings import LanguageModelSettings
from tasks.store.artifacts import ROOT

LOCAL = "local"  # instead of an address: a temporary cluster on this machine

_LEFT_OUT = [".git", ".venv", ".prefect", "artifacts/", "docs/", "tests/"]
"""Left out of the project's folder when it is sent to the cluster."""

_CONNECTION_SECONDS = 20.0  # time for a host to answer; Ray itself would try for minutes

_RESTARTS = 3
"""How often Ray starts a worker again whose process or machine has died, elsewhere if there is room."""

_RETRIES = 2
"""How often a call is repeated whose worker died: it computes the same again and changes nothing outside."""


class RayExecutor(Executor):
    """Passes each call to an idle worker, and waits for one if there is none."""

    def __init__(self, address: str, count: int | None, language_model: Identity) -> None:
        """Connect, and start workers that load the model.

        Args:
            address: HOST:PORT of a cluster's head; "auto": the one that this machine belongs to; or LOCAL.
            count: Number of workers; None: one per GPU of the cluster, or one per core if it has none.
            language_model: The identity of the model, from `identify_on_cluster`.

        Raises:
            SetupError: Ray is not installed, or there is no such cluster.
        """
        ray = _connected(address)
        resources = ray.cluster_resources()
        self.count = count or int(resources.get("GPU", 0)) or int(resources.get("CPU", 1))  # number of workers
        options = _share(ray) | {"max_restarts": _RESTARTS, "max_task_retries": _RETRIES}
        remote = ray.remote(_Worker).options(**options)
        self._ray = ray
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._alive = self.count
        self._counting = threading.Lock()
        for _ in range(self.count):
            self._idle.put(remote.remote(language_model))

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401
        """Return the future result of function(*args, **kwargs), computed by a worker.

        Raises:
            SetupError: No worker is left.
        """
        worker = self._idle.get()
        if worker is None:
            self._idle.put(None)  # for whoever waits next
            raise SetupError(
                f"All {self.count} workers on the Ray cluster have died and were started {_RESTARTS} times again: for "
                "want of memory, or since their machines left. What was finished is kept. See `ray status`, and start "
                "the same command again."
            )
        future: Future[Any] = worker.call.remote(function, args, kwargs).future()
        future.add_done_callback(lambda done: self._take_back(worker, done))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers and leave the cluster; unfinished calls are lost."""
        self._ray.shutdown()

    def _take_back(self, worker: Any, done: Future[Any]) -> None:  # noqa: ANN401 - Ray's handle
        """Let a worker wait for its next call, unless it has died for good: it would fail every call at once."""
        if not done.cancelled() and isinstance(done.exception(), self._ray.exceptions.ActorDiedError):
            with self._counting:
                self._alive -= 1
                if self._alive:
                    return
            worker = None  # wakes those who wait for one
        self._idle.put(worker)


def identify_on_cluster(address: str, settings: LanguageModelSettings) -> Identity:
    """Return what determines a model's numbers on the machines of a cluster; this one need not have a GPU.

    Raises:
        SetupError: As in RayExecutor and identify_language_model.
    """
    ray = _connected(address)
    # The process ends after the call, and leaves its GPU to a worker.
    found: Identity = ray.get(ray.remote(max_calls=1)(_identify).options(**_share(ray)).remote(settings))
    return found


def _identify(settings: LanguageModelSettings) -> Identity:
    from tasks.loading.models import identify_language_model

    return identify_language_model(settings)


def _share(ray: Any) -> dict[str, Any]:  # noqa: ANN401 - the module
    """Return what a worker takes of the cluster: a GPU if there are any, and a core."""
    return {"num_gpus": 1 if ray.cluster_resources().get("GPU", 0) else 0, "num_cpus": 1}


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

        names = language_model.keys() & LanguageModelSettings.model_fields.keys()
        settings = {name: language_model[name] for name in names}
        if "revision" in language_model:
            settings["language_model_revision"] = language_model["revision"]
        found = _identify(LanguageModelSettings(**settings))
        self._others = {name for name in found.keys() | language_model if found.get(name) != language_model.get(name)}
        self._host = socket.gethostname()
        if not self._others:
            prepare(1, language_model)

    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:  # noqa: ANN401
        if self._others:
            raise SetupError(
                f"The machine {self._host} of the Ray cluster would give other numbers: it differs in "
                f"{', '.join(sorted(self._others))} from the one on which the run was identified. All must have the "
                "same kind of processor or GPU, the same packages and the same model. Leave the machine out of the "
                "cluster, and start the same command again."
            )
        return function(*args, **kwargs)
