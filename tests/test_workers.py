"""Worker processes compute what this process would, load the model once each, and end with it."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tasks import workers
from tasks.loading import identify_language_model, load_language_model
from tasks.priming.items import Item, score_items
from tasks.priming.language_model import LanguageModel
from tasks.priming.settings import LanguageModelSettings, SettingsError, resolve_settings
from tasks.priming.watching import part as told_part
from tasks.priming.watching import tell_share
from tasks.progress import Part
from tasks.rows import Identity
from tasks.workers import sensible_count, with_language_model, working
from tests.tiny_models import tiny_mistral

ITEMS = [Item(tuple(range(5, 40 + n)), (50, 51, 52), (60, 61 + n)) for n in range(6)]


def score(*, language_model: LanguageModel, wait: float = 0.0) -> tuple[int, int, int, list[Any]]:
    """Return the process, its threads, how often it loaded a model, and scores."""
    import torch

    from tasks import loading

    time.sleep(wait)
    loads = loading._language_model.cache_info().misses
    return os.getpid(), torch.get_num_threads(), loads, score_items(ITEMS, language_model)


def fail(*, language_model: LanguageModel) -> None:
    raise SettingsError("as asked")


@pytest.fixture(scope="module")
def identity() -> Identity:
    return identify_language_model(LanguageModelSettings(language_model="embedded/demo", device="cpu"))


@pytest.fixture(scope="module")
def tiny_identity(mistral_tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Identity:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    shutil.copytree(mistral_tokenizer_folder, folder)
    tiny_mistral(vocab_size=32_000).save_pretrained(folder)
    return identify_language_model(LanguageModelSettings(language_model=str(folder), dtype="float32", device="cpu"))


def ended(condition: Callable[[], bool]) -> bool:
    """Tell whether a condition comes true within twenty seconds."""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_two_processes_load_a_model_each_and_give_the_same_bits(identity: Identity) -> None:
    with working(2, identity), ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(with_language_model, score, identity, wait=0.5) for _ in range(4)]
        found = [call.result()[0] for call in calls]
        with pytest.raises(SettingsError, match="as asked"):  # an error in a worker is the caller's
            with_language_model(fail, identity)
    processes = {process for process, *_ in found}
    assert len(processes) == 2
    assert os.getpid() not in processes
    assert {loads for _, _, loads, _ in found} == {1}
    assert {threads for _, threads, _, _ in found} == {max(1, len(os.sched_getaffinity(0)) // 2)}
    here = score_items(ITEMS, load_language_model(identity))
    assert all(scores == here for *_, scores in found)
    assert ended(lambda: not multiprocessing.active_children())


def pause(*, language_model: LanguageModel, seconds: float) -> None:
    """Be halfway for a while."""
    with told_part(0.0, 1.0):
        tell_share(0.5)
        time.sleep(seconds)


def call_watched(identity: Identity, part: Part) -> None:
    with workers._telling(part):
        with_language_model(pause, identity, seconds=4.0)


def test_how_far_a_worker_is_can_be_seen_while_it_computes(tiny_identity: Identity) -> None:
    with working(2, tiny_identity), ThreadPoolExecutor(3) as threads:
        for start in [threads.submit(with_language_model, pause, tiny_identity, seconds=1.0) for _ in range(2)]:
            start.result()  # both have started, however long that takes
        first, second, third = parts = [Part(1.0) for _ in range(3)]
        calls = [threads.submit(call_watched, tiny_identity, part) for part in (first, second)]
        assert ended(lambda: first.share == second.share == 0.5)
        calls.append(threads.submit(call_watched, tiny_identity, third))  # for which there is no worker yet
        assert third.computed_since is None
        assert ended(lambda: third.share == 0.5)
        for call in calls:
            call.result()
    assert all(part.share < 1.0 for part in parts)  # until its result is stored


def test_how_far_this_process_is_can_be_seen_while_it_computes(tiny_identity: Identity) -> None:
    with working(1, tiny_identity), ThreadPoolExecutor(1) as threads:
        call = threads.submit(call_watched, tiny_identity, part := Part(1.0))
        assert ended(lambda: part.share == 0.5)
        call.result()


def test_one_worker_is_this_process(identity: Identity) -> None:
    with working(1, identity):
        (process, *_), seconds = with_language_model(score, identity)
    assert process == os.getpid()
    assert seconds > 0


def test_a_model_of_unknown_size_is_loaded_once(identity: Identity) -> None:
    assert sensible_count({**identity, "language_model": "some/model"}) == 1
    assert sensible_count(identity) == len(os.sched_getaffinity(0))


def test_how_a_run_is_computed_is_checked_and_no_part_of_the_settings() -> None:
    assert resolve_settings("demo", workers="2", chunk_size=7) == resolve_settings("demo")
    with pytest.raises(SettingsError, match="`chunk_size` must be a whole number from 1 to 10,000"):
        resolve_settings("demo", chunk_size=0)
    with pytest.raises(SettingsError, match="`workers` must be a whole number from 1 to 64"):
        resolve_settings("demo", workers="none")
    with pytest.raises(SettingsError, match="`workers` must be a whole number from 1 to 64"):
        resolve_settings("demo", workers=0)


PARENT = """
import os, signal
import named
from tasks.loading import identify_language_model
from tasks.priming.settings import LanguageModelSettings
from tasks.workers import with_language_model, working

if __name__ == "__main__":
    identity = identify_language_model(LanguageModelSettings(language_model="embedded/demo", device="cpu"))
    with working(2, identity):
        print(with_language_model(named.process, identity)[0], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """A pool's processes wait for work for ever once nobody can send any."""
    (tmp_path / "named.py").write_text("import os\n\ndef process(*, language_model):\n    return os.getpid()\n")
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"}
    command = [sys.executable, str(tmp_path / "parent.py")]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    worker = Path(f"/proc/{int(killed.stdout)}")
    assert ended(lambda: not worker.exists())
