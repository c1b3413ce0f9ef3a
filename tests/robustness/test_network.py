"""Nothing is asked of any network: not by a run, not by a library that it loads."""

import sys
from pathlib import Path

import pytest
from bitsandbytes.functional import has_avx512bf16

from tests.robustness.conftest import CanaryRun
from tests.robustness.isolation import HOOK, Finished, has_own_network, run_alone
from tests.tiny_models import tiny_folder

# Whatever a run loads or looks up, without a server: libraries, both models, four-bit weights, the hub.
LOADS_EVERYTHING = """
import sys, datasets, duckdb, matplotlib, prefect, statsmodels.api
from tasks.loading.models import identify_embedding_model, identify_language_model
from tasks.loading.models import load_embedding_model, load_language_model
from tasks.priming.errors import SetupError
from tasks.priming.settings import DataSettings, LanguageModelSettings, resolve_settings
from tasks.loading.data import identify_data
settings = resolve_settings("demo")
load_embedding_model(identify_embedding_model(settings.embedding))
for changes in ({}, {"language_model": sys.argv[1], "quantization": "nf4"}):
    load_language_model(identify_language_model(settings.language_model.model_copy(update=changes)))
for look_up in (lambda: identify_data(DataSettings()), lambda: identify_language_model(LanguageModelSettings())):
    try:
        look_up()
    except SetupError as error:
        print(error)
print("loaded")
"""

PHONES = """
import socket
for name in ("huggingface.co", "192.0.2.1"):
    try:
        socket.create_connection((name, 443), timeout=5)
    except OSError as error:
        print(error)
"""
NATIVE = """
import ctypes
ctypes.CDLL(None).getaddrinfo(b"huggingface.co", b"443", None, ctypes.byref(ctypes.c_void_p()))
"""
OFFLINE = {"HF_HUB_OFFLINE": "1"}


def show(finished: Finished) -> None:
    native = "not counted here" if finished.unrouted is None else finished.unrouted
    sys.stdout.write(f"connection attempts: {len(finished.attempts)}, by the kernel's count: {native}\n")


def test_attempts_would_be_seen(tmp_path: Path) -> None:
    found = run_alone(["-c", PHONES], tmp_path, {}, native=False)
    assert [line.split()[1:] for line in found.attempts] == [
        ["socket.getaddrinfo", "huggingface.co"],
        ["socket.getaddrinfo", "192.0.2.1"],
    ]
    assert found.output.count("this test has no network") == 2


@pytest.mark.skipif(not has_own_network(), reason="needs a system that gives a process a network of its own")
def test_attempts_of_native_code_would_be_seen(tmp_path: Path) -> None:
    found = run_alone(["-c", NATIVE], tmp_path, {})
    assert found.attempts == []  # Python's hook does not see them
    assert found.unrouted is not None
    assert found.unrouted > 0


def false_kernels(folder: Path) -> tuple[dict[str, str], Path]:
    """Return the environment of somebody who has installed `kernels`, and the file that tells that it was used."""
    (folder / "kernels").mkdir()
    proof = folder / "used"
    (folder / "kernels" / "__init__.py").write_text(
        f"def get_kernel(*names, **options):\n    open({str(proof)!r}, 'w')\n    raise ImportError\n"
    )
    return OFFLINE | {"PYTHONPATH": f"{HOOK}:{folder}"}, proof


@pytest.mark.slow
def test_loading_everything_asks_nothing_of_the_network_and_fetches_no_code(tmp_path: Path) -> None:
    """The package `kernels`, where it is installed, has bitsandbytes fetch and run a library from the hub."""
    environment, used = false_kernels(tmp_path)
    found = run_alone(["-c", LOADS_EVERYTHING, str(tiny_folder())], tmp_path, environment)
    show(found)
    assert found.output.splitlines()[-1] == "loaded", found.output
    assert found.output.count("is not on this machine and the hub cannot be reached") == 2
    assert found.attempts == []
    assert not found.unrouted
    assert not used.exists()


@pytest.mark.slow
@pytest.mark.skipif(not has_avx512bf16(), reason="bitsandbytes does so on processors with AVX-512 BF16 alone")
def test_the_library_would_fetch_code_if_it_were_let(tmp_path: Path) -> None:
    environment, used = false_kernels(tmp_path)
    run_alone(["-c", "import bitsandbytes"], tmp_path, environment, native=False)
    assert used.exists()


@pytest.mark.slow
def test_a_run_asks_nothing_of_the_network(canary_run: CanaryRun) -> None:
    """On a terminal, where Prefect would send what it calls telemetry, and with a new PREFECT_HOME."""
    show(canary_run.finished)
    assert canary_run.finished.status == 0, canary_run.finished.output
    assert canary_run.finished.attempts == []
    assert not canary_run.finished.unrouted
