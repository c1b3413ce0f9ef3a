"""What several tests of operations share: a server, and a run that nothing disturbed."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from tests.operations.runs import Attempt, export
from tests.waiting import PATIENCE


@dataclass(frozen=True)
class Undisturbed:
    """A run from its first to its last task in one go."""

    folder: Path
    """Its artifacts."""
    tables: dict[str, bytes]
    """What it found."""
    attempt: Attempt
    """Its log."""


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """A Prefect server on a temporary database, for the whole session."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=int(PATIENCE)):
        yield str(get_current_settings().api.url)


@pytest.fixture(scope="session")
def undisturbed(server: str, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """The run that all disturbed ones are compared with."""
    folder = tmp_path_factory.mktemp("undisturbed")
    attempt = Attempt(folder / "artifacts", server).complete()
    return Undisturbed(folder / "artifacts", export(folder / "artifacts", folder / "csv"), attempt)
