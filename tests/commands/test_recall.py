"""A finished run that is asked for again is shown without its flow, and only if nothing at all has changed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.__main__ import main
from tasks import results
from tasks.commands.summary import print_summary
from tasks.loading.data import identify_data
from tasks.loading.model_files import identify_files
from tasks.priming.settings import resolve_settings
from tasks.store import artifacts, manifests, receipts
from tests.published_rows import comparison, record_answers
from tests.tiers import slow

FLOW_RUNS = 77
"""What the command returns here where it would run the flow."""


def begin(run_id: str) -> manifests.Attempt:
    settings = resolve_settings("demo").model_dump(mode="json")
    return manifests.start_run(manifests.RunDescription(run_id=run_id, profile="demo", settings=settings))


def complete(run_id: str) -> None:
    """Complete and publish a run."""
    attempt = begin(run_id)
    manifests.extend_run(attempt, {}, {"chunk_size": 4})  # chunks of another size would be dropped
    record_answers(attempt, comparison=[comparison("generated/routed", "baseline/document")])
    funnel = {"rows": 9, "eligible": 8, "drawn": 8, "rejected": {}}
    manifests.extend_run(attempt, {}, {"funnel": funnel})
    manifests.finish_run(attempt)
    results.rebuild_database()
    artifacts.write_atomically(artifacts.ARTIFACTS / "reports" / f"{run_id}.html", b"the report")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of a complete run, to be copied."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", folder)
        complete("aaaa")
    return folder


class Place:
    """A folder with a small checkout, rows, the files of a model and the artifacts of a run of them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monkeypatch = monkeypatch
        self.artifacts = artifacts.ARTIFACTS
        self.checkout, self.data, self.model = folder / "checkout", folder / "rows.jsonl", folder / "model"
        for path in (self.checkout / "flows/code.py", self.checkout / "tasks/code.py", self.model / "config.json"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
        (self.model / "model.safetensors").write_bytes(bytes(1000))
        self.data.write_text('{"passage": "a", "query": "b", "answer": "c"}\n')
        model = str(self.model)
        self.given = {"data": str(self.data), "language_model": model, "embedding_model": model}
        monkeypatch.setattr(receipts, "ROOT", self.checkout)
        monkeypatch.setattr(artifacts, "_SETTLED_SECONDS", 0.0)
        monkeypatch.setattr("tasks.commands.run.execute", lambda options: FLOW_RUNS)
        assert self.ask() == FLOW_RUNS
        receipts.note_publication(self.artifacts / "results.duckdb")
        self.leave_receipt("aaaa")

    def leave_receipt(self, run_id: str, **changes: int) -> None:
        """Do what the command of a run does at its end."""
        settings = resolve_settings("demo", **self.given, **changes)
        model = {**identify_files(str(self.model), None), "device": "cpu"}
        inputs = {"data": identify_data(settings.data), "language_model": model, "embedding_model": model}
        receipts.leave_receipt(settings, inputs, run_id)

    def report(self, run_id: str = "aaaa") -> Path:
        return self.artifacts / "reports" / f"{run_id}.html"

    def ask(self, *flags: str) -> int:
        """Return the status of the same command in a process of its own."""
        self.monkeypatch.setattr(receipts, "_circumstances", [])
        self.monkeypatch.setattr(artifacts, "_known_hashes", {})
        named = (f"--{name.replace('_', '-')}={value}" for name, value in self.given.items())
        return main(["run", *named, *flags])


@pytest.fixture
def place(published: Path, artifacts_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    shutil.copytree(published, artifacts_folder, dirs_exist_ok=True)
    return Place(tmp_path, monkeypatch)


def alter(path: Path) -> None:
    """Change a byte in the middle, and neither the length nor the time of the last change."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def an(place: Place, pattern: str) -> Path:
    """Return a file of the artifacts."""
    return sorted(place.artifacts.glob(pattern))[0]


def test_a_finished_run_is_shown_as_the_flow_would_show_it(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    database = str(place.artifacts / "results.duckdb")
    print_summary("aaaa", is_full=False, report=str(place.report()), path=database)
    expected = capsys.readouterr()
    assert place.ask() == 0
    assert capsys.readouterr() == expected
    assert place.ask("--full-summary", "--workers=2", "--chunk-size=4") == 0
    assert "Improvements are in percentage points" in " ".join(capsys.readouterr().out.split())


def test_other_runs_that_were_published_since_change_nothing(place: Place) -> None:
    complete("bbbb")
    place.leave_receipt("bbbb", seed=7)
    assert (place.ask(), place.ask("--seed=7"), place.ask("--seed=8")) == (0, 0, FLOW_RUNS)


def test_the_files_of_models_are_not_read_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    file_sha256 = artifacts.file_sha256

    def reading(path: Path) -> str:
        read.append(path)
        return file_sha256(path)

    monkeypatch.setattr(artifacts, "file_sha256", reading)
    assert place.ask() == 0
    assert {path.parent.name for path in read} == {"comparison", "answer", "reports"}


RECEIPTS = f".receipts/{'?' * 32}.json"  # those of runs

CHANGES: dict[str, Callable[[Place], object]] = {
    "a comment in the code": lambda place: (place.checkout / "tasks" / "code.py").write_text("x = 1  # one\n"),
    "a new file of code": lambda place: (place.checkout / "flows" / "views.sql").touch(),
    "which instructions a library uses": lambda place: place.monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2"),
    "a library": lambda place: place.monkeypatch.setattr(receipts, "installed_version", lambda package: "0"),
    "the data": lambda place: alter(place.data),
    "no data": lambda place: place.data.unlink(),
    "the weights": lambda place: alter(place.model / "model.safetensors"),
    "one more file of the model": lambda place: (place.model / "generation_config_2.json").write_text("{}"),
    "no model": lambda place: shutil.rmtree(place.model),
    "the manifest": lambda place: alter(an(place, "runs/aaaa.json")),
    "no manifest": lambda place: an(place, "runs/aaaa.json").unlink(),
    "an artifact": lambda place: alter(an(place, "comparison/*.parquet")),
    "no artifact": lambda place: an(place, "comparison/*.parquet").unlink(),
    "the database": lambda place: alter(an(place, "results.duckdb")),
    "no database": lambda place: an(place, "results.duckdb").unlink(),
    "the report": lambda place: alter(place.report()),
    "no report": lambda place: place.report().unlink(),
    "the receipt": lambda place: alter(an(place, RECEIPTS)),
    "no note of what was published": lambda place: an(place, ".receipts/database.json").unlink(),
}


OFTEN = ("a comment in the code", "the weights", "the data", "an artifact", "the database", "the report")


@pytest.mark.parametrize("change", [*OFTEN, *slow(*(change for change in CHANGES if change not in OFTEN))])
def test_the_flow_runs_where_anything_has_changed(
    place: Place, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.ask() == 0
    capsys.readouterr()
    CHANGES[change](place)
    assert place.ask() == FLOW_RUNS
    assert capsys.readouterr() == ("", "")  # the flow says what is wrong


@pytest.mark.parametrize("flag", ["--verbose", "--dry-run", "--seed=7", "--name=another", "--chunk-size=5"])
def test_the_flow_runs_where_something_else_is_asked_for(place: Place, flag: str) -> None:
    assert place.ask(flag) == FLOW_RUNS


def test_the_flow_runs_while_another_attempt_has_not_completed(place: Place) -> None:
    attempt = begin("aaaa")
    assert place.ask() == FLOW_RUNS
    manifests.fail_run(attempt, "stopped")
    assert place.ask() == FLOW_RUNS


def test_the_flow_runs_where_an_earlier_database_was_put_back(place: Place, tmp_path: Path) -> None:
    """It holds the run too, but as an earlier attempt left it."""
    database, earlier = place.artifacts / "results.duckdb", tmp_path / "earlier.duckdb"
    shutil.copy2(database, earlier)
    complete("aaaa")
    place.leave_receipt("aaaa")
    assert place.ask() == 0
    os.replace(earlier, database)
    assert place.ask() == FLOW_RUNS
    receipts._circumstances[:] = [receipts._observe()]
    receipts.note_publication(database)  # as if it had just been published
    assert place.ask() == FLOW_RUNS


def test_the_flow_runs_where_a_block_of_the_database_is_damaged(place: Place) -> None:
    """What a disk alters by itself leaves the marks of the file as they are: here they are noted again."""
    database = place.artifacts / "results.duckdb"
    content = database.read_bytes()
    database.write_bytes(content[:12_288] + bytes(len(content) - 12_288))  # its headers are left
    receipts.note_publication(database)
    assert place.ask() == FLOW_RUNS


def test_a_database_of_a_deployment_is_not_trusted(place: Place) -> None:
    """Its process may run code that was edited since it started, and has not noted which."""
    receipts._circumstances.clear()
    results.rebuild_database()
    assert place.ask() == FLOW_RUNS


def test_a_run_whose_code_was_edited_meanwhile_leaves_no_receipt(place: Place) -> None:
    an(place, RECEIPTS).unlink()
    assert place.ask() == FLOW_RUNS
    (place.checkout / "tasks" / "code.py").write_text("x = 2\n")
    place.leave_receipt("aaaa")
    assert not [*place.artifacts.glob(RECEIPTS)]
    assert place.ask() == FLOW_RUNS


def test_a_run_that_may_grow_is_shown_at_its_last_look(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    """Its headline is open; of 8 rows that qualify, 8 were drawn, so that there is no further look."""
    assert place.ask("--grow-to=200") == 0
    assert "Run aaaa" in capsys.readouterr().out
