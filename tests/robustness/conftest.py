"""What the tests of bad input share: a small model, copies of it to be spoiled, and samples."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tasks.loading.models import identify_language_model, load_language_model
from tasks.priming.engine.model import LanguageModel
from tests.robustness.canary import canary_environment
from tests.robustness.cases import PASSAGE, plain, write_lines
from tests.robustness.invented import MARKS
from tests.robustness.isolation import Finished, run_alone
from tests.tiny_models import tiny_folder, tiny_settings


@pytest.fixture(scope="session")
def tiny_model() -> LanguageModel:
    """A small language model, loaded as a run loads it."""
    return load_language_model(identify_language_model(tiny_settings()))


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A copy of a model's folder, to be spoiled."""
    return Path(shutil.copytree(tiny_folder(), tmp_path / "model"))


@dataclass(frozen=True)
class CanaryRun:
    """A small run over hostile rows, with a secret in its environment and without a network."""

    folder: Path
    """Holds artifacts/, home/ (Prefect's) and what was noted down."""
    finished: Finished
    """How it ended."""


@pytest.fixture(scope="session")
def canary_run(tmp_path_factory: pytest.TempPathFactory) -> CanaryRun:
    """The experiment as a user starts it, on rows that hold everything that could do harm."""
    folder = tmp_path_factory.mktemp("canary")
    rows = [plain(passage=f"{mark} {PASSAGE}", query=f"{mark} {number}") for number, mark in enumerate(MARKS)]
    data = write_lines(folder / "rows.jsonl", *rows)
    flags = [
        f"--data={data}",
        f"--language-model={tiny_folder()}",
        "--full",
        "--min-words=1",
        f"--sample-count={len(MARKS)}",
        "--bootstrap-resamples=100",
    ]
    return CanaryRun(folder, run_alone(["-m", "flows.experiment", *flags], folder, canary_environment(folder)))
