"""Worker processes compute what this process would, load the model once each, and end with it."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.loading.data import Identity, SetupError
from tasks.loading.model_files import parameter_count
from tasks.loading.models import identify_language_model, load_language_model
from tasks.priming.engine.model import LanguageModel
from tasks.priming.engine.nll import Request, score_requests
from tasks.priming.settings import SettingsError, resolve_settings
from tasks.priming.watching import part as told_part
from tasks.priming.watching import tell_share
from tasks.server.progress import Part
from tasks.workers import processes as workers
from tasks.workers.processes import in_order, sensible_count, with_language_model, working
from tests.tiny_models import tiny_folder, tiny_settings
from tests.waiting import PATIENCE, wait_for

ITEMS = [Request(tuple(range(5, 40 + n)), (50, 51, 52), (60, 61 + n)) for n in range(6)]


def score(*, language_model: LanguageModel, meeting: Path, count: int) -> tuple[int, int, int, list[Any]]:
    """Once so many processes have come to a meeting, return the process, its threads, its loads of a model, scores."""
    import torch

    from tasks.loading import models as loading

    (meeting / str(os.getpid())).touch()
    wait_for(f"{count} processes at a time", lambda: list(meeting.iterdir()), enough=lambda seen: len(seen) == count)
    loads = loading._language_model.cache_info().misses
    return os.getpid(), torch.get_num_threads(), loads, score_requests(ITEMS, language_model)


def fail(*, language_model: LanguageModel) -> None:
    raise SettingsError("as asked")


def pause(*, language_model: LanguageModel, seconds: float) -> None:
    """Be halfway for a while."""
    with told_part(0.0, 1.0):
        tell_share(0.5)
        time.sleep(seconds)


def call_watched(identity: Identity, part: Part) -> None:
    with workers._telling(part):
        with_language_model(pause, identity, seconds=4.0)


@pytest.fixture(scope="module")
def identity() -> Identity:
    return identify_language_model(tiny_settings())


@pytest.mark.slow  # test_experiment.py starts two workers of a run
def test_two_processes_load_a_model_each_give_the_same_bits_and_tell_how_far_they_are(
    identity: Identity, tmp_path: Path
) -> None:
    with working(2, identity), ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(with_language_model, score, identity, meeting=tmp_path, count=2) for _ in range(4)]
        found = [call.result()[0] for call in calls]
        with pytest.raises(SettingsError, match="as asked"):  # an error in a worker is the caller's
            with_language_model(fail, identity)
        first, second, third = parts = [Part(1.0) for _ in range(3)]
        watched = [threads.submit(call_watched, identity, part) for part in (first, second)]
        wait_for("two calls halfway", lambda: (first.share, second.share), enough=lambda seen: seen == (0.5, 0.5))
        watched.append(threads.submit(call_watched, identity, third))  # for which there is no worker yet
        assert not third.is_computed
        wait_for("a third call halfway", lambda: third.share, enough=lambda seen: seen == 0.5)
        for each in watched:
            each.result()
    assert all(part.share < 1.0 for part in parts)  # until its result is stored
    processes = {process for process, *_ in found}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {loads for _, _, loads, _ in found} == {1}
    assert {threads for _, threads, _, _ in found} == {max(1, len(os.sched_getaffinity(0)) // 2)}
    here = score_requests(ITEMS, load_language_model(identity))
    assert all(scores == here for *_, scores in found)
    wait_for("the end of the workers", multiprocessing.active_children, enough=lambda seen: not seen)


def test_a_worker_that_has_read_other_code_computes_nothing(identity: Identity) -> None:
    """It starts, and reads tasks/priming/, seconds after the process that knows the keys."""
    with pytest.raises(SetupError, match=r"code in tasks/priming/ was edited while .* Start the same command again"):
        workers._compute(score, identity, {}, "the digest of other code")


def test_how_far_this_process_is_can_be_seen_while_it_computes(identity: Identity) -> None:
    with working(1, identity), ThreadPoolExecutor(1) as threads:
        call = threads.submit(call_watched, identity, part := Part(1.0))
        wait_for("a call halfway", lambda: part.share, enough=lambda seen: seen == 0.5)
        call.result()


def test_a_long_call_keeps_no_other_from_being_begun() -> None:
    """Results come in order all the same, and at most one call waits besides those that two workers compute."""
    calls: list[Future[int]] = []
    unfinished: list[int] = []
    may_end = Event()

    def compute(number: int) -> int:
        if number == 0:
            assert may_end.wait(PATIENCE)
        return number

    def submit(number: int) -> SimpleNamespace:
        calls.append(call := threads.submit(compute, number))
        unfinished.append(sum(not each.done() for each in calls))
        return SimpleNamespace(wrapped_future=call, result=call.result)

    task: Any = SimpleNamespace(submit=submit)
    with ThreadPoolExecutor(3) as threads, workers._pooled(workers._Pool(threads, 2)), ThreadPoolExecutor(1) as flow:
        found = flow.submit(lambda: list(in_order(task, [({"number": n}, Part(1.0)) for n in range(9)])))
        wait_for("the begin of all calls", lambda: len(calls), enough=lambda count: count == 9)
        may_end.set()
        assert found.result() == list(range(9))
    assert max(unfinished) <= 3


def test_one_worker_is_this_process(identity: Identity, tmp_path: Path) -> None:
    with working(1, identity):
        (process, *_), seconds = with_language_model(score, identity, meeting=tmp_path, count=1)
    assert process == os.getpid()
    assert seconds > 0


def test_a_model_of_unknown_size_is_loaded_once(identity: Identity) -> None:
    assert sensible_count({**identity, "language_model": "some/model"}) == 1
    assert sensible_count(identity) == len(os.sched_getaffinity(0))


def test_workers_are_as_many_as_fit_into_memory(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """There was once one per core whatever each needed."""
    parameters = parameter_count(identity["language_model"])
    assert parameters
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(1000)))
    for fitting, expected in ((0.5, 1), (3.5, 3), (5000.0, 64)):
        # 4 bytes a parameter in float32, and 2 GB of activations and libraries
        available = fitting * (4 * parameters + 2e9)
        monkeypatch.setattr("psutil.virtual_memory", lambda available=available: SimpleNamespace(available=available))
        assert sensible_count(identity) == expected


@pytest.mark.parametrize(
    ("visible", "gpus", "expected"),
    [
        (None, 2, ["0", "1", "0", "1"]),
        ("", 2, ["0", "1", "0", "1"]),
        ("3,5", 2, ["3", "5", "3", "5"]),
        ("GPU-a,GPU-b,-1", 2, ["GPU-a", "GPU-b", "GPU-a", "GPU-b"]),
        ("7", 1, ["7", "7", "7", "7"]),
    ],
)
def test_each_worker_is_bound_to_a_gpu_that_is_there(
    visible: str | None, gpus: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the variable unset the first worker had no GPU; those beyond the last GPU had one that does not exist."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [workers.gpu_of(number, gpus) for number in range(4)] == expected


def test_the_first_worker_of_a_machine_with_two_gpus_has_one(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    monkeypatch.setattr(workers, "_end_with_parent", lambda: None)
    monkeypatch.setattr(workers, "_own_state", [])
    monkeypatch.setattr(
        workers, "prepare", lambda threads, _: seen.append((os.environ["CUDA_VISIBLE_DEVICES"], threads))
    )
    numbers = multiprocessing.get_context("spawn").Queue()
    numbers.put(0)
    workers._start(numbers, (ctypes.c_double * 2)(), 2, identity)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")  # set by the worker, not by this test
    assert seen == [("0", 1)]  # GPU, threads


def test_how_a_run_is_computed_is_checked_and_no_part_of_the_settings() -> None:
    assert resolve_settings("demo", workers="2", chunk_size=7) == resolve_settings("demo")
    with pytest.raises(SettingsError, match="`chunk_size` must be a whole number from 1 to 10,000"):
        resolve_settings("demo", chunk_size=0)
    with pytest.raises(SettingsError, match="`workers` must be a whole number from 1 to 64"):
        resolve_settings("demo", workers="none")
    with pytest.raises(SettingsError, match="`workers` must be a whole number from 1 to 64"):
        resolve_settings("demo", workers=0)


PARENT = """
import os, signal, sys
import named
from tasks.loading.models import identify_language_model
from tasks.priming.settings import LanguageModelSettings
from tasks.workers.processes import with_language_model, working

if __name__ == "__main__":
    settings = LanguageModelSettings(language_model=sys.argv[1], dtype="float32", device="cpu")
    identity = identify_language_model(settings)
    with working(2, identity):
        print(with_language_model(named.process, identity)[0], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """A pool's processes wait for work for ever once nobody can send any."""
    (tmp_path / "named.py").write_text("import os\n\ndef process(*, language_model):\n    return os.getpid()\n")
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    command = [sys.executable, str(tmp_path / "parent.py"), str(tiny_folder())]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    worker = Path(f"/proc/{int(killed.stdout)}")
    wait_for(f"the end of {worker}", worker.exists, enough=lambda is_there: not is_there)
