"""Workers of a Ray cluster compute what this process would, and load the model once each.

The cluster is this machine with two GPUs that exist in Ray's books only: enough to see how workers are placed.
"""

import contextlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.loading.data import SetupError
from tasks.loading.models import identify_language_model, load_language_model
from tasks.priming.engine.nll import score_requests
from tasks.workers import ray as ray_workers
from tasks.workers.processes import working
from tests.operations.runs import differences, export
from tests.places import ROOT
from tests.tiny_models import tiny_settings
from tests.waiting import PATIENCE
from tests.workers.test_processes import ITEMS

needs_ray = pytest.mark.skipif(
    not any((Path(folder) / "ray").is_dir() for folder in sys.path), reason="Ray comes with the extra `ray`"
)

CALLS = 12

_SCORE = f"""
import json, sys, time
import ray
from concurrent.futures import ThreadPoolExecutor
from tasks.workers import ray as ray_workers
from tasks.loading.models import identify_language_model
from tasks.priming.engine.nll import Request, score_requests
from tasks.priming.settings import LanguageModelSettings
from tasks.workers.processes import with_language_model, working

def score(*, language_model, items):
    import os
    from tasks.loading import models as loading
    time.sleep(0.2)
    found = score_requests([Request(*map(tuple, item)) for item in items], language_model)
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"], loading._language_model.cache_info().misses, found

if __name__ == "__main__":
    ray.init(
        num_cpus=4, num_gpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False,
        runtime_env={{"working_dir": ".", "excludes": [".git", ".venv", ".prefect", "artifacts/", "docs/"]}},
    )
    identity = identify_language_model(tiny_settings())
    items = json.loads(sys.argv[1])
    with working(None, identity, "auto"), ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(with_language_model, score, identity, items=items) for _ in range({CALLS})]
        print(json.dumps([call.result()[0] for call in calls]))
"""


_FALL = """
import os, signal, sys
from pathlib import Path
import ray
from tasks.loading.data import SetupError
from tasks.priming.settings import LanguageModelSettings
from tasks.workers import ray as ray_workers
from tasks.workers.processes import with_language_model, working

def fall(*, language_model, folder, times):
    fallen = len(list(folder.iterdir()))
    if fallen < times:
        (folder / str(fallen)).touch()
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    ray_workers._RESTARTS = ray_workers._RETRIES = 1
    ray.init(
        num_cpus=4, num_gpus=2, include_dashboard=False, _node_ip_address="127.0.0.1", log_to_driver=False,
        runtime_env={"working_dir": ".", "excludes": [".git", ".venv", ".prefect", "artifacts/", "docs/"]},
    )
    settings = LanguageModelSettings(language_model=sys.argv[1], dtype="float32", device="cpu")
    identity = ray_workers.identify_on_cluster("auto", settings)
    with working(None, identity, "auto"):
        for number, times in enumerate((1, 9, 0, 9, 0)):
            folder = Path(sys.argv[2]) / str(number)
            folder.mkdir()
            try:
                with_language_model(fall, identity, folder=folder, times=times)
                print("computed", flush=True)
            except (ray.exceptions.ActorDiedError, SetupError) as error:
                print(type(error).__name__, flush=True)
"""


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}


@needs_ray
@pytest.mark.long
def test_two_workers_with_a_gpu_each_load_the_model_once_and_give_the_same_bits() -> None:
    items = json.dumps([(item.context, item.query, item.answer) for item in ITEMS])
    command = [sys.executable, "-c", _SCORE, items]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert len(found) == CALLS
    assert len({process for process, *_ in found}) == 2
    assert {gpu for _, gpu, *_ in found} == {"0", "1"}
    assert {loads for _, _, loads, _ in found} == {1}  # two loads for twelve calls
    identity = identify_language_model(tiny_settings())
    here = [list(nlls or ()) for nlls in score_requests(ITEMS, load_language_model(identity))]
    assert all(scores == here for *_, scores in found)


@needs_ray
@pytest.mark.long
def test_a_run_on_a_cluster_finds_what_a_run_without_one_finds(tmp_path: Path) -> None:
    flags = ["--sample-count=6", "--chunk-size=3", "--bootstrap-resamples=100", "--families=baseline,static,generated"]
    found = {}
    for name, placement in (("here", ["--workers=1"]), ("ray", ["--ray-address=local", "--workers=2"])):
        ran = subprocess.run(
            [sys.executable, "-m", "flows.experiment", *flags, *placement],
            cwd=ROOT,
            env=environment() | {"SURROGATE_ARTIFACTS": str(tmp_path / name), "PREFECT_API_URL": ""},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        found[name] = export(tmp_path / name, tmp_path / f"{name}.csv")
    assert differences(found["ray"], found["here"]) == []


@needs_ray
@pytest.mark.long
def test_a_worker_that_is_killed_is_restarted_and_one_that_stays_dead_gets_no_call(tmp_path: Path) -> None:
    """Expected: one restart each. The first call is repeated; the second ends its worker, the fourth the other one."""
    command = [sys.executable, "-c", _FALL, tiny_settings().language_model, str(tmp_path)]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ran.returncode == 0, ran.stderr
    said = [line for line in ran.stdout.splitlines() if " " not in line]
    assert said == ["computed", "ActorDiedError", "computed", "ActorDiedError", "SetupError"]


# --- without Ray ---


class _Died(Exception):
    """As Ray's error."""


class _Actor:
    """Stands for an actor that is not started again: a process, which ends with `end`."""

    def __init__(self) -> None:
        self.process = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        self.call = SimpleNamespace(remote=self._begin)

    def _begin(self, function: Any, args: Any, kwargs: Any) -> Any:
        found: Future[Any] = Future()

        def pass_on(done: Future[Any]) -> None:
            if isinstance(done.exception(), BrokenProcessPool):
                found.set_exception(_Died())
            else:
                found.set_result(done.result())

        self.process.submit(function, *args, **kwargs).add_done_callback(pass_on)
        return SimpleNamespace(future=lambda: found)


def test_a_dead_worker_never_waits_for_a_call_and_without_any_the_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was once the first to be idle again, and failed every call that was left."""
    made: list[_Actor] = []
    started = SimpleNamespace(remote=lambda identity: made.append(_Actor()) or made[-1])  # type: ignore[func-returns-value]
    cluster = SimpleNamespace(
        cluster_resources=lambda: {"CPU": 2.0},
        remote=lambda kind: SimpleNamespace(options=lambda **options: started),
        exceptions=SimpleNamespace(ActorDiedError=_Died),
    )
    monkeypatch.setattr(ray_workers, "_connected", lambda address: cluster)
    executor = ray_workers.RayExecutor("auto", None, {})
    try:
        with pytest.raises(_Died):
            executor.submit(os._exit, 1).result()
        assert len({executor.submit(os.getpid).result() for _ in range(4)}) == 1
        with pytest.raises(_Died):
            executor.submit(os._exit, 1).result()
        for _ in range(2):
            with pytest.raises(SetupError, match="All 2 workers on the Ray cluster have died"):
                executor.submit(os.getpid)
    finally:
        for actor in made:
            actor.process.shutdown()


def test_a_worker_on_which_numbers_would_differ_computes_nothing() -> None:
    identity = identify_language_model(tiny_settings())
    with pytest.raises(SetupError, match=r"differs in instruction_set from the one on which the run was identified"):
        ray_workers._Worker(identity | {"instruction_set": "another"}).call(os.getpid, (), {})
    assert ray_workers._Worker(identity).call(os.getpid, (), {}) == os.getpid()


def test_without_ray_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    identity = identify_language_model(tiny_settings())
    with pytest.raises(SetupError, match=r"Ray is not installed.*pip install"), working(None, identity, "auto"):
        pass


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "127.0.0.1:99999"])
def test_an_address_at_which_nobody_is_is_told_at_once(address: str) -> None:
    identity = identify_language_model(tiny_settings())
    message = rf"There is no Ray cluster at '{address}': .*Start one: ray start"
    with pytest.raises(SetupError, match=message), working(None, identity, address):
        pass


def test_a_host_that_does_not_answer_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full queue of connections that nobody takes: the system lets any further one wait, as a dead host does."""
    monkeypatch.setattr(ray_workers, "_CONNECTION_SECONDS", 0.5)
    identity = identify_language_model(tiny_settings())
    with socket.socket() as silent, contextlib.ExitStack() as waiting:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _ in range(3):
            caller = waiting.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(silent.getsockname())
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(SetupError, match="timed out"), working(None, identity, address):
            pass
