"""Pruning removes what no manifest names, and nothing that any run, finished or not, still needs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks import manifests
from tasks.manifests import RunDescription, finish_run, interrupt_run, record_artifacts
from tasks.priming.errors import UsageError
from tasks.pruning import find_litter, main, remove_litter
from tasks.sealing import SealedJSONSerializer


@dataclass(frozen=True)
class Row:
    """One row of an artifact."""

    text: str


@pytest.fixture
def folder(artifacts_folder: Path) -> Path:
    return artifacts_folder


def artifact(stage: str, text: str) -> dict[str, Any]:
    from tasks.artifacts import write_rows

    return write_rows([Row(text)], Row, stage)


def record(folder: Path, name: str, reference: object) -> Path:
    """Write what Prefect keeps of a finished stage."""
    path = folder / "stages" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"metadata": {}, "result": SealedJSONSerializer().dumps(reference).decode()}))
    return path


def start(run_id: str = "abc") -> manifests.Attempt:
    return manifests.start_run(RunDescription(run_id=run_id, profile="demo", settings={"seed": 42}))


def names(litter: list[Any], folder: Path) -> set[str]:
    return {str(part.path.relative_to(folder)) for part in litter}


def test_what_no_manifest_names_is_listed_and_then_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempt = start()
    kept, orphan = artifact("scoring/static", "kept"), artifact("scoring/static", "orphan")
    record_artifacts(attempt, "score", {"static/0": kept})
    finish_run(attempt)
    kept_record, orphan_record = record(folder, "scoring/a", kept), record(folder, "scoring/b/c", orphan)
    litter = {orphan["path"], "stages/scoring/b/c"}

    assert main([]) == 0
    assert names(find_litter(), folder) == litter
    listed = capsys.readouterr().out
    assert "no run names it" in listed
    assert "2 files" in listed
    assert (folder / orphan["path"]).exists()

    assert main(["--remove"]) == 0
    assert "were removed" in capsys.readouterr().out
    assert (folder / kept["path"]).exists()
    assert kept_record.exists()
    assert not (folder / orphan["path"]).exists()
    assert not orphan_record.parent.exists()  # a folder that it emptied goes too
    assert main([]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_a_run_that_was_interrupted_keeps_what_it_has(folder: Path) -> None:
    attempt = start()
    made = artifact("surrogates/static", "made")
    record_artifacts(attempt, "surrogate", {"static/0": made})
    interrupt_run(attempt, "stopped")
    record(folder, "surrogates/a", made)
    assert remove_litter() == []


def test_a_file_that_is_named_only_within_a_reference_is_kept(folder: Path) -> None:
    """The donors of a draw are no table of their own: only the reference of the samples leads to them."""
    attempt = start()
    donors = artifact("sampling", "donor")
    samples = artifact("sampling", "sample") | {"donor_chunks": [donors | {"start": 0, "stop": 1}]}
    record_artifacts(attempt, "sample", {"all": samples})
    finish_run(attempt)
    record(folder, "sampling/a", samples)
    assert find_litter() == []


def test_a_forgotten_run_leaves_what_another_shares(folder: Path) -> None:
    shared, own = artifact("scoring/static", "shared"), artifact("scoring/static", "own")
    for run_id, references in (("abc", {"a": shared, "b": own}), ("def", {"a": shared})):
        attempt = start(run_id)
        record_artifacts(attempt, "score", references)
        finish_run(attempt)
    assert find_litter() == []
    (folder / "runs" / "abc.json").unlink()
    assert names(remove_litter(), folder) == {own["path"]}


def test_what_killed_processes_left_half_written_and_failed_tasks_remembered_is_litter(folder: Path) -> None:
    for path in ("scoring/.x.parquet.abc.tmp", "runs/.abc.json.def.tmp", "runs/.attempts/0123456789ab"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    record(folder, "0123456789abcdef0123456789abcdef", {"__exc_type__": "RuntimeError", "message": "failed"})
    (folder / "stages" / "cut").write_text("{")
    assert names(remove_litter(), folder) == {
        "scoring/.x.parquet.abc.tmp",
        "runs/.abc.json.def.tmp",
        "runs/.attempts/0123456789ab",
        "stages/0123456789abcdef0123456789abcdef",
        "stages/cut",
    }


def test_the_database_and_reports_are_left_alone(folder: Path) -> None:
    for path in ("results.duckdb", "reports/abc.html", "README.md"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    assert remove_litter() == []
    assert (folder / "reports" / "abc.html").exists()


def test_nothing_is_removed_while_a_run_is_in_progress(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may have found a remembered file that it has not recorded yet."""
    attempt = start()
    orphan = artifact("scoring/static", "orphan")
    assert names(find_litter(), folder) == {orphan["path"]}
    with pytest.raises(UsageError, match="Run abc is in progress"):
        remove_litter()
    assert main(["--remove"]) == 2
    assert capsys.readouterr().err.startswith("error: Run abc is in progress")
    assert (folder / orphan["path"]).exists()
    finish_run(attempt)
    assert names(remove_litter(), folder) == {orphan["path"]}


def test_nothing_is_removed_when_a_manifest_is_damaged(folder: Path) -> None:
    orphan = artifact("scoring/static", "orphan")
    (folder / "runs").mkdir()
    (folder / "runs" / "abc.json").write_text("{")
    with pytest.raises(UsageError, match=r"abc\.json is damaged.*Nothing was removed"):
        remove_litter()
    assert (folder / orphan["path"]).exists()
