"""A run is named by its id, the beginning of it, or as the latest; anything else is one clear error."""

from pathlib import Path

import pytest

from tasks.priming.errors import UsageError
from tasks.reading.runs import find_run
from tests.report.conftest import Published


@pytest.mark.parametrize(
    ("text", "run_id"), [("abc123", "abc123"), ("abc", "abc123"), ("f", "fff000"), ("latest", "fff000")]
)
def test_an_id_its_unique_beginning_or_latest_names_a_run(published: Published, text: str, run_id: str) -> None:
    assert find_run(text) == run_id  # fff000 was started last


def test_an_unknown_run_is_refused_with_the_runs_there_are(published: Published) -> None:
    with pytest.raises(UsageError, match="There is no run 'zzz'") as refused:
        find_run("zzz")
    for known in ("abc123 (demo, complete, 24 samples)", "abd456 (demo, failed)", "fff000", "python -m"):
        assert known in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_beginning_of_several_runs_is_refused_with_these_alone(published: Published) -> None:
    with pytest.raises(UsageError, match="'ab' is the beginning of 2 runs") as refused:
        find_run("ab")
    assert "abc123" in str(refused.value)
    assert "abd456" in str(refused.value)
    assert "fff000" not in str(refused.value)


def test_no_text_names_no_run(published: Published) -> None:
    with pytest.raises(UsageError, match="There is no run ''"):
        find_run("")


def test_without_a_database_the_error_says_how_to_make_one(artifacts_folder: Path) -> None:
    with pytest.raises(UsageError, match=r"No run is published yet.*python -m flows run"):
        find_run("latest")


def test_a_file_that_is_no_database_is_refused(artifacts_folder: Path) -> None:
    (artifacts_folder / "results.duckdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(UsageError, match="cannot be read"):
        find_run("latest")
