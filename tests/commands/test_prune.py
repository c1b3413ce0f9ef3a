"""Pruning removes what no manifest names, and nothing that any run, finished or not, still needs."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.__main__ import main
from tasks.commands.prune import find_litter, remove_litter
from tasks.priming.errors import UsageError
from tasks.store import manifests
from tasks.store.artifacts import ROOT
from tasks.store.caching import SealedJSONSerializer
from tasks.store.manifests import RunDescription, extend_run, finish_run, interrupt_run


@dataclass(frozen=True)
class Row:
    """One row of an artifact."""

    text: str


@pytest.fixture
def folder(artifacts_folder: Path) -> Path:
    return artifacts_folder


def artifact(stage: str, text: str) -> dict[str, Any]:
    from tasks.store.artifacts import write_rows

    return write_rows([Row(text)], Row, stage)


def record(folder: Path, name: str, reference: object) -> Path:
    """Write what Prefect keeps of a finished stage, under a name as long as a key."""
    path = folder / "stages" / name
    path = path.with_name(path.name.ljust(32, "0"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"metadata": {}, "result": SealedJSONSerializer().dumps(reference).decode()}))
    return path


def plant(path: Path, age: float = 4000.0) -> None:
    """Write a file that was last touched so many seconds ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("what somebody needs")
    os.utime(path, (time.time() - age,) * 2)


def start(run_id: str = "abc") -> manifests.Attempt:
    return manifests.start_run(RunDescription(run_id=run_id, profile="demo", settings={"seed": 42}))


def names(litter: list[Any], folder: Path) -> set[str]:
    return {str(part.path.relative_to(folder)) for part in litter}


def test_what_no_manifest_names_is_listed_and_then_removed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    attempt = start()
    kept, orphan = artifact("scoring/static", "kept"), artifact("scoring/static", "orphan")
    extend_run(attempt, {"score": {"static/0": kept}})
    finish_run(attempt)
    kept_record, orphan_record = record(folder, "scoring/a", kept), record(folder, "scoring/b/c", orphan)
    litter = {orphan["path"], str(orphan_record.relative_to(folder))}

    assert main(["prune"]) == 0
    assert names(find_litter(), folder) == litter
    listed = capsys.readouterr().out
    assert "no run names it" in listed
    assert "2 files" in listed
    assert (folder / orphan["path"]).exists()

    assert main(["prune", "--remove"]) == 0
    assert "were removed" in capsys.readouterr().out
    assert (folder / kept["path"]).exists()
    assert kept_record.exists()
    assert not (folder / orphan["path"]).exists()
    assert not orphan_record.parent.exists()  # a folder that it emptied goes too
    assert main(["prune"]) == 0
    assert "nothing to remove" in capsys.readouterr().out


def test_a_run_that_was_interrupted_keeps_what_it_has(folder: Path) -> None:
    attempt = start()
    made = artifact("surrogates/static", "made")
    extend_run(attempt, {"surrogate": {"static/0": made}})
    interrupt_run(attempt, "stopped")
    record(folder, "surrogates/a", made)
    assert remove_litter() == []


def test_a_file_that_is_named_only_within_a_reference_is_kept(folder: Path) -> None:
    """The donors of a draw are no table of their own: only the reference of the samples leads to them."""
    attempt = start()
    donors = artifact("sampling", "donor")
    samples = artifact("sampling", "sample") | {"donor_chunks": [donors | {"start": 0, "stop": 1}]}
    extend_run(attempt, {"sample": {"all": samples}})
    finish_run(attempt)
    record(folder, "sampling/a", samples)
    assert find_litter() == []


def test_a_forgotten_run_leaves_what_another_shares(folder: Path) -> None:
    shared, own = artifact("scoring/static", "shared"), artifact("scoring/static", "own")
    for run_id, references in (("abc", {"a": shared, "b": own}), ("def", {"a": shared})):
        attempt = start(run_id)
        extend_run(attempt, {"score": references})
        finish_run(attempt)
        receipt = folder / ".receipts" / f"{run_id:0<32}.json"
        receipt.parent.mkdir(exist_ok=True)
        receipt.write_text(json.dumps({"run_id": run_id}))
    assert find_litter() == []
    (folder / "runs" / "abc.json").unlink()
    assert names(remove_litter(), folder) == {own["path"], f".receipts/{'abc':0<32}.json"}


def test_what_killed_processes_left_half_written_and_failed_tasks_remembered_is_litter(folder: Path) -> None:
    half_written = {
        "scoring/static/.x.parquet.0123456789abcdef.tmp",
        "runs/.abc.json.0123456789abcdef.tmp",
        ".x.json.0123456789abcdef.tmp",
    }
    for path in half_written | {"runs/.attempts/0123456789ab"}:
        plant(folder / path)
    failed = record(folder, "0123456789abcdef", {"__exc_type__": "RuntimeError", "message": "failed"})
    cut = record(folder, "fedcba", {})
    cut.write_text("{")
    records = {f"stages/{failed.name}", f"stages/{cut.name}"}
    assert names(remove_litter(), folder) == {*half_written, *records, "runs/.attempts/0123456789ab"}


def test_a_file_that_is_being_written_is_left_alone(folder: Path) -> None:
    """By a command that is no run, such as one that writes a report."""
    plant(folder / "reports" / ".abc.html.0123456789abcdef.tmp", age=0)
    assert find_litter() == []


def test_what_this_project_did_not_write_is_left_alone(folder: Path) -> None:
    foreign = {
        "statistics/census.parquet",
        f"statistics/{'0123456789abcdef' * 2}.parquet",  # named like an artifact, by another's hash
        "stages/theatre/plan.docx",
        f"stages/{'0123456789abcdef' * 2}.txt",
        "runs/.attempts/README",
        "proj/.thesis.tmp",
        "proj/.thesis.0123456789abcdef.tmp",
        ".thesis.tmp",
        "results.duckdb",
        "reports/abc.html",
    }
    for path in foreign:
        plant(folder / path)
    for path in (".x.json.0123456789abcdef.tmp", "scoring/.y.0123456789abcdef.tmp", "stages/empty"):
        (folder / path).mkdir(parents=True)  # folders, whatever their names look like
    assert main(["prune", "--remove"]) == 0
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == {*foreign, "runs/.lock"}
    assert (folder / "stages" / "empty").is_dir()


def test_names_are_shown_as_they_are_and_obeyed_by_nobody(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plant(folder / "scoring" / "a[/oops]\x1b[2J" / ".x.0123456789abcdef.tmp")
    assert main(["prune"]) == 0
    assert "scoring/a[/oops]\\x1b[2J/.x.0123456789abcdef.tmp" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "expected"), [("", ROOT / "artifacts"), ("sub", ROOT / "sub"), ("/x/y", Path("/x/y"))]
)
def test_the_folder_is_never_whatever_folder_one_happens_to_be_in(given: str, expected: Path) -> None:
    program = "import os; from tasks.store import artifacts; os.chdir('/'); print(artifacts.ARTIFACTS)"
    environment = os.environ | {"SURROGATE_ARTIFACTS": given}
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert said.stdout.strip() == str(expected)


def test_a_manifest_of_an_odd_name_steers_no_terminal(
    folder: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "runs").mkdir()
    (folder / "runs" / "a\x1b[2J.json").write_text("{")
    assert main(["prune"]) == 2
    said = capsys.readouterr()
    assert "a\\x1b[2J.json" in said.err
    assert "a\\x1b[2J.json" in caplog.text
    assert "\x1b" not in said.err + said.out + caplog.text


def test_files_that_vanish_meanwhile_stop_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run elsewhere ends, and takes its own files away, between the look at a folder and at its files."""
    plant(folder / "runs" / ".attempts" / "0123456789ab")
    gone = folder / "runs" / ".abc.json.0123456789abcdef.tmp"
    paths = Path.glob

    def glob(self: Path, pattern: str) -> list[Path]:
        return [*paths(self, pattern), *([gone] if self == gone.parent and pattern == "*" else [])]

    monkeypatch.setattr(Path, "glob", glob)
    assert names(find_litter(), folder) == {"runs/.attempts/0123456789ab"}


def test_nothing_is_removed_while_a_run_is_in_progress(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It may have found a remembered file that it has not recorded yet."""
    attempt = start()
    orphan = artifact("scoring/static", "orphan")
    assert names(find_litter(), folder) == {orphan["path"]}
    with pytest.raises(UsageError, match="Run abc is in progress"):
        remove_litter()
    assert main(["prune", "--remove"]) == 2
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
