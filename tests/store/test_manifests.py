"""A manifest is whole at every moment, whoever extends it, and a rerun replaces what an earlier attempt recorded."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.priming.errors import UsageError
from tasks.store import artifacts, manifests
from tasks.store.manifests import (
    RunDescription,
    as_observed,
    extend_run,
    fail_run,
    finish_run,
    interrupt_run,
    read_manifest,
    read_manifests,
)
from tasks.store.sealing import with_seal, without_seal
from tests.places import ROOT
from tests.waiting import PATIENCE

DESCRIPTION = RunDescription(run_id="abc", profile="demo", settings={"seed": 42})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path)
    return tmp_path


def reference(name: str) -> dict[str, object]:
    return {"path": f"scoring/{name}.parquet", "sha256": name, "rows": 3, "seconds": 1.5}


def sealed(**changes: object) -> bytes:
    """Return a manifest with its hash."""
    whole = {"format": 1, "run_id": "bad", "profile": "demo", "settings": {}}
    return json.dumps(with_seal(whole | changes)).encode()


def start(flow_run_id: str | None = None) -> manifests.Attempt:
    return manifests.start_run(DESCRIPTION, flow_run_id)


def start_and_die(folder: Path, flow_run_id: str, table: str = "", *chunks: str) -> None:
    """Start an attempt in a process that records chunks and is then killed, as far as it can tell."""
    code = (
        "import os, sys; from tasks.store.manifests import RunDescription, extend_run, start_run\n"
        "run = RunDescription(run_id='abc', profile='demo', settings={'seed': 42})\n"
        "attempt = start_run(run, sys.argv[1])\n"
        "for name in sys.argv[3:]:\n"
        "    reference = {'path': f'scoring/{name}.parquet', 'sha256': name, 'rows': 3}\n"
        "    extend_run(attempt, {sys.argv[2]: {name: reference}})\n"
        "os._exit(9)\n"
    )
    died = subprocess.run(
        [sys.executable, "-c", code, flow_run_id, table, *chunks],
        env={**os.environ, "SURROGATE_ARTIFACTS": str(folder)},
        cwd=ROOT,
        check=False,
    )
    assert died.returncode == 9


def test_a_manifest_is_plain_json_that_says_everything(folder: Path) -> None:
    attempt = start("flow-1")
    extend_run(attempt, {}, {"device": "2 CPU cores", "language_model": {"revision": "f00", "parameter_count": 7}})
    extend_run(attempt, {}, {"stage_seconds": {"sampling": 1.0}})
    extend_run(attempt, {}, {"stage_seconds": {"scoring": 2.0}})
    extend_run(attempt, {}, {"funnel": {"rows": 5, "eligible": 4, "drawn": 3, "rejected": {"no answer": 1}}})
    extend_run(attempt, {"score": {"static/0": reference("a")}})
    finish_run(attempt)

    content = json.loads((folder / "runs" / "abc.json").read_text())
    assert content["format"] == 1
    assert (content["run_id"], content["status"], content["profile"]) == ("abc", "complete", "demo")
    assert content["language_model"] == {"revision": "f00", "parameter_count": 7}
    assert content["stage_seconds"] == {"sampling": 1.0, "scoring": 2.0}
    assert content["funnel"]["rejected"] == {"no answer": 1}
    recorded = content["artifacts"]["score"]["static/0"]
    assert recorded == reference("a") | {"recorded_by": [attempt.attempt_id]}
    (only,) = content["attempts"]
    assert (only["flow_run_id"], only["status"], only["error"]) == ("flow-1", "complete", None)
    assert only["started_at"] <= only["ended_at"]


def test_a_chunk_that_is_recorded_twice_is_there_once() -> None:
    attempt = start()
    extend_run(attempt, {"score": {"static/0": reference("a"), "static/1": reference("b")}})
    extend_run(attempt, {"score": {"static/0": reference("c")}})
    (manifest,) = read_manifests()
    assert {name: chunk.sha256 for name, chunk in manifest.artifacts["score"].items()} == {
        "static/0": "c",
        "static/1": "b",
    }


def test_a_rerun_keeps_what_was_recorded_until_it_completes_without_it(folder: Path) -> None:
    """What an unfinished attempt has made must stay known, or pruning would take it for litter."""
    start_and_die(folder, "flow-1", "score", "a", "b")
    rerun = start()
    assert rerun.died == ("flow-1",)
    (manifest,) = read_manifests()
    assert manifest.status == "running"
    assert [attempt.status for attempt in manifest.attempts] == ["interrupted", "running"]
    assert set(manifest.artifacts["score"]) == {"a", "b"}

    extend_run(rerun, {"score": {"a": reference("a")}})
    finish_run(rerun)
    (manifest,) = read_manifests()
    assert manifest.status == "complete"
    assert set(manifest.artifacts["score"]) == {"a"}


def test_a_run_whose_process_died_is_told_apart_from_one_that_runs(folder: Path) -> None:
    start_and_die(folder, "flow-1")
    (manifest,) = read_manifests()
    assert manifest.status == "running"  # as it was left
    assert as_observed(manifest).status == "interrupted"
    assert [attempt.status for attempt in as_observed(manifest).attempts] == ["interrupted"]
    attempt = start()
    (manifest,) = read_manifests()
    assert as_observed(manifest).status == "running"
    assert [attempt.status for attempt in as_observed(manifest).attempts] == ["interrupted", "running"]
    assert list((folder / "runs" / ".attempts").glob("*")) != []
    finish_run(attempt)
    (manifest,) = read_manifests()
    assert as_observed(manifest) == manifest
    assert list((folder / "runs" / ".attempts").glob("*")) == []  # neither of the dead nor of the ended one


def test_an_attempt_of_a_version_without_locks_counts_as_dead_once_it_left_running_behind(folder: Path) -> None:
    (folder / "runs" / ".attempts" / start().attempt_id).unlink()
    (manifest,) = read_manifests()
    assert as_observed(manifest).status == "interrupted"


def test_a_run_that_was_stopped_says_so_and_keeps_its_artifacts() -> None:
    attempt = start()
    extend_run(attempt, {"sample": {"all": reference("a")}})
    interrupt_run(attempt, "stopped by KeyboardInterrupt")
    (manifest,) = read_manifests()
    assert (manifest.status, manifest.attempts[0].status) == ("interrupted", "interrupted")
    assert manifest.attempts[0].ended_at is not None
    assert manifest.attempts[0].error == "stopped by KeyboardInterrupt"
    assert set(manifest.artifacts["sample"]) == {"all"}
    assert start().died == ()  # Prefect has been told


def test_artifacts_and_facts_are_added_in_one_go(folder: Path) -> None:
    attempt = start()
    tables = {"score": {"a": reference("a"), "b": reference("b")}, "route": {"all": reference("c")}}
    extend_run(attempt, tables, {"stage_seconds": {"score/a": 1.5}, "device": "cpu"})
    (manifest,) = read_manifests()
    assert {table: set(chunks) for table, chunks in manifest.artifacts.items()} == {
        "score": {"a", "b"},
        "route": {"all"},
    }
    assert (manifest.device, manifest.stage_seconds) == ("cpu", {"score/a": 1.5})


def test_of_two_attempts_at_once_neither_drops_what_the_other_recorded_too() -> None:
    first, second = start(), start()
    extend_run(first, {"score": {"a": reference("a")}})
    extend_run(second, {"score": {"a": reference("a")}})
    finish_run(first)
    (manifest,) = read_manifests()
    assert set(manifest.artifacts["score"]) == {"a"}
    assert [attempt.status for attempt in manifest.attempts] == ["complete", "running"]


def test_a_chunk_that_an_attempt_goes_on_from_is_not_replaced_by_another() -> None:
    """A run once ended complete with scores of one attempt and comparisons of the other."""
    first, second = start(), start()
    extend_run(first, {"score": {"static/0": reference("a")}})
    with pytest.raises(UsageError, match=r"Another process computes run abc .* in static/0\. .*start the same command"):
        extend_run(second, {"score": {"static/0": reference("b")}})
    fail_run(second, "as it was told")
    finish_run(first)
    (manifest,) = read_manifests()
    assert manifest.artifacts["score"]["static/0"].sha256 == "a"
    third = start()  # once the first has ended, its chunk may be another
    extend_run(third, {"score": {"static/0": reference("b")}})
    (manifest,) = read_manifests()
    assert manifest.artifacts["score"]["static/0"].sha256 == "b"
    assert manifest.artifacts["score"]["static/0"].recorded_by == (third.attempt_id,)


def test_a_failed_run_says_why_and_keeps_its_artifacts() -> None:
    attempt = start()
    extend_run(attempt, {"sample": {"all": reference("a")}})
    fail_run(attempt, "the disk is full" + "!" * 10_000)
    (manifest,) = read_manifests()
    assert manifest.status == "failed"
    assert set(manifest.artifacts["sample"]) == {"all"}
    error = manifest.attempts[0].error
    assert error is not None
    assert error.startswith("the disk is full")
    assert len(error) == 2000


def test_a_rerun_knows_what_an_earlier_attempt_found_out() -> None:
    funnel = {"rows": 1, "eligible": 1, "drawn": 1, "rejected": {}}
    extend_run(start(), {}, {"numeric_path": "packed", "funnel": funnel})
    start()
    (manifest,) = read_manifests()
    assert manifest.numeric_path == "packed"
    assert manifest.funnel is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"format": 1, "run_id": "bad"',
        b"[]",
        b"\xff\x00",
        sealed(run_id="other"),
        sealed(artifacts={"score": {"a": {}}}),
        sealed().replace(b"demo", b"dem0"),
        b'{"format": 1, "run_id": "bad", "profile": "demo", "settings": {}}',
    ],
    ids=[
        "empty",
        "cut",
        "no object",
        "no text",
        "of another run",
        "no reference",
        "altered",
        "no hash",
    ],
)
def test_a_damaged_manifest_is_skipped_and_named(
    folder: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    start()
    path = folder / "runs" / "bad.json"
    path.write_bytes(sealed())
    assert [manifest.run_id for manifest in read_manifests()] == ["abc", "bad"]
    path.write_bytes(content)
    assert [manifest.run_id for manifest in read_manifests()] == ["abc"]
    assert "bad.json" in caplog.text


@pytest.mark.parametrize("content", [sealed(format=2), sealed(format=2).replace(b"demo", b"dem0")], ids=["", "hash"])
def test_a_manifest_of_a_later_version_is_refused_and_left_as_it_is(
    folder: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    attempt = start()
    path = folder / "runs" / "abc.json"
    path.write_bytes(content)
    for act in (start, lambda: finish_run(attempt), lambda: read_manifest("abc")):
        with pytest.raises(UsageError, match=r"abc\.json is of format 2, which a later version .*reads format 1"):
            act()
    assert len(list((folder / "runs" / ".attempts").iterdir())) == 0
    assert read_manifests() == []  # the other runs are published
    assert "skipped a run" in caplog.text
    assert path.read_bytes() == content


def test_a_run_with_a_damaged_manifest_starts_anew(folder: Path) -> None:
    start()
    (folder / "runs" / "abc.json").write_bytes(b"{")
    start()
    (manifest,) = read_manifests()
    assert len(manifest.attempts) == 1


def test_a_manifest_that_has_gone_is_an_error_that_says_what_to_do(folder: Path) -> None:
    attempt = start()
    (folder / "runs" / "abc.json").unlink()
    with pytest.raises(artifacts.DamagedArtifactError, match="Start the run again"):
        finish_run(attempt)


def test_what_a_later_version_adds_is_kept(folder: Path) -> None:
    attempt = start()
    path = folder / "runs" / "abc.json"
    manifest = without_seal(json.loads(path.read_text())) | {"energy_joules": 5}
    manifest["attempts"][0]["host"] = "elsewhere"
    path.write_text(json.dumps(with_seal(manifest)))
    finish_run(attempt)
    kept = json.loads(path.read_text())
    assert kept["energy_joules"] == 5
    assert kept["attempts"][0]["host"] == "elsewhere"
    assert read_manifest("abc")


def test_mistakes_of_a_caller_are_refused() -> None:
    attempt = start()
    with pytest.raises(ValueError, match="Known facts: chunk_size, data, device"):
        extend_run(attempt, {}, {"divice": "cpu"})
    with pytest.raises(ValueError, match="eligible"):
        extend_run(attempt, {}, {"funnel": {"rows": 5}})
    with pytest.raises(ValueError, match="Tables with artifacts: sample"):
        extend_run(attempt, {"scores": {"a": reference("a")}})
    with pytest.raises(ValueError, match="sha256"):
        extend_run(attempt, {"score": {"a": {"path": "x", "rows": 1}}})
    with pytest.raises(ValueError, match="run_id"):
        RunDescription(run_id="../abc", profile="demo", settings={})
    (manifest,) = read_manifests()
    assert manifest.artifacts == {}


def test_nothing_is_read_where_nothing_ran() -> None:
    assert read_manifests() == []


@pytest.mark.slow
def test_processes_of_one_run_lose_nothing_of_each_other(folder: Path) -> None:
    attempt = start()
    code = (
        "import sys; from tasks.store.manifests import Attempt, extend_run\n"
        "attempt = Attempt(run_id='abc', attempt_id=sys.argv[1])\n"
        "for number in range(20):\n"
        "    reference = {'path': 'x', 'sha256': 'y', 'rows': 1}\n"
        "    extend_run(attempt, {'score': {f'{sys.argv[2]}/{number}': reference}})\n"
    )
    environment = {**os.environ, "SURROGATE_ARTIFACTS": str(folder)}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, attempt.attempt_id, name],
            env=environment,
            cwd=ROOT,
        )
        for name in ("first", "second")
    ]
    assert [child.wait(timeout=PATIENCE) for child in children] == [0, 0]
    finish_run(attempt)
    (manifest,) = read_manifests()
    assert len(manifest.artifacts["score"]) == 40
    assert not list((folder / "runs").glob("*.tmp"))
