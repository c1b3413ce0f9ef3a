"""A run that is killed, stopped or doubled finds what one that nothing disturbed finds, byte for byte."""

import json
import shutil
import signal
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from tasks.server import standalone
from tasks.store import artifacts
from tasks.store.manifests import as_observed, read_manifests
from tests.operations.conftest import Undisturbed
from tests.operations.kills import STAGES, Kill, Moment, draw_moments, kill_at, kill_table, remembered, settle
from tests.operations.runs import FLAGS, Attempt, differences, export, finished
from tests.waiting import wait_for_ends

pytestmark = pytest.mark.slow  # whole runs


def kill_series(
    moments: Sequence[Moment], folder: Path, undisturbed: Undisturbed, server: str, *flags: str
) -> list[Kill]:
    """Kill a run at each of the moments, let it complete, compare, and return the kills."""
    kills = []
    earlier: list[tuple[Kill, Attempt]] = []
    for moment in moments:
        kill, attempt = kill_at(moment, folder / "artifacts", server, *flags)
        for past, killed in earlier[-1:]:
            settle(past, killed, attempt)
        earlier.append((kill, attempt))
        kills.append(kill)
    last = Attempt(folder / "artifacts", server).complete()
    settle(*earlier[-1], last)
    sys.stdout.write(kill_table(kills) + "\n")
    assert [kill.recomputed for kill in kills] == [[]] * len(kills)
    found = export(folder / "artifacts", folder / "csv")
    assert differences(found, undisturbed.tables) == []
    assert remembered(last).keys() == remembered(undisturbed.attempt).keys()
    return kills


def newest_flow_runs(count: int) -> list[FlowRun]:
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(limit=200)
    return sorted(runs, key=lambda run: str(run.created))[-count:]


def test_three_kills_lose_at_most_the_chunk_in_flight(undisturbed: Undisturbed, server: str, tmp_path: Path) -> None:
    moments = draw_moments(undisturbed.attempt, ("write", "score", "compute"), 11)
    kills = kill_series(moments, tmp_path, undisturbed, server)
    assert len(kills) == 3
    assert 0 < kills[0].before < kills[1].before < kills[2].before
    # Prefect would show the killed ones as running for ever; the next attempt has said that they died.
    states = [run.state_name for run in newest_flow_runs(4)]
    assert states == ["Crashed", "Crashed", "Crashed", "Completed"]


def test_kills_in_every_stage_lose_nothing_that_was_finished(
    undisturbed: Undisturbed, server: str, tmp_path: Path
) -> None:
    moments = draw_moments(undisturbed.attempt, STAGES, 2)
    assert len(kill_series(moments, tmp_path, undisturbed, server, "--workers=2")) == 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_ends_within_five_seconds_and_says_so(
    number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("PREFECT_HOME", str(home))
    attempt = Attempt(tmp_path / "artifacts", None)
    attempt.wait_for_finished(4)
    assert standalone._END_SECONDS < 5  # after which it ends whatever it waits for; test_processes.py shows that
    attempt.kill(number)
    assert attempt.process.returncode in (130, 128 + number), attempt.log
    assert "Start the same command again" in attempt.log
    assert "Crash detected!" not in attempt.log
    if attempt.process.returncode == 130:  # else it had no time to tell Prefect
        with closing(sqlite3.connect(home / "prefect.db")) as database:
            assert database.execute("SELECT state_name FROM flow_run").fetchall() == [("Cancelled",)], attempt.log
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path / "artifacts")
    (manifest,) = read_manifests()
    # On a busy machine its time may be over before it has written so itself.
    assert as_observed(manifest).status == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_run_that_was_stopped_goes_on(
    number: signal.Signals, undisturbed: Undisturbed, server: str, tmp_path: Path
) -> None:
    attempt = Attempt(tmp_path / "artifacts", server)
    attempt.wait_for_finished(9)
    attempt.kill(number)
    last = Attempt(tmp_path / "artifacts", server).complete()
    assert {remembered(last)[name] for name in remembered(attempt)} == {"Cached"}
    assert differences(export(tmp_path / "artifacts", tmp_path / "csv"), undisturbed.tables) == []


def test_a_killed_run_is_told_apart_from_one_that_runs_and_takes_its_temporary_server_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path / "artifacts")
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "home"))
    attempt = Attempt(tmp_path / "artifacts", None)
    attempt.wait_for_finished(2)
    (manifest,) = read_manifests()
    assert as_observed(manifest) == manifest
    assert manifest.status == "running"
    children = psutil.Process(attempt.process.pid).children(recursive=True)
    commands = [" ".join(child.cmdline()) for child in children]
    assert any("prefect.server.api.server:create_app" in command for command in commands)
    assert sum("tasks.server.processes" in command for command in commands) == 1  # the guardian
    attempt.kill()
    (manifest,) = read_manifests()
    assert manifest.status == "running"  # it cannot say so itself
    assert as_observed(manifest).status == "interrupted"
    assert [record.status for record in as_observed(manifest).attempts] == ["interrupted"]
    wait_for_ends(children)


def test_runs_at_once_with_the_same_and_with_other_settings_all_arrive(
    undisturbed: Undisturbed, server: str, tmp_path: Path
) -> None:
    folder = tmp_path / "artifacts"
    others = ("--sample-count=3", "--families=baseline,static", "--bootstrap-resamples=100", "--seed=7", "--workers=1")
    attempts = [Attempt(folder, server), Attempt(folder, server), Attempt(folder, server, others)]
    for attempt in attempts:
        attempt.complete()
    found = export(folder, tmp_path / "csv")
    assert len(found["run"].splitlines()) == 1 + 2
    # 6 samples in 21 conditions, and 3 in 11: no row lost, none doubled
    assert len(found["score"].splitlines()) == 1 + 126 + 33
    for table, rows in undisturbed.tables.items():
        assert set(rows.splitlines()) <= set(found[table].splitlines()), table
    statuses = [
        record["status"]
        for path in (folder / "runs").glob("*.json")
        for record in json.loads(path.read_text())["attempts"]
    ]
    assert statuses == ["complete"] * 3
    assert left_behind(folder) == []


def left_behind(folder: Path) -> list[str]:
    """Return half-written files, logs of the database, and locks of attempts that have ended."""
    names = ("*.tmp", "*.wal", "*.new")
    return [str(path) for name in names for path in folder.rglob(name)] + [
        str(path) for path in (folder / "runs" / ".attempts").glob("*")
    ]


def test_a_grown_run_computes_only_what_is_new(undisturbed: Undisturbed, server: str, tmp_path: Path) -> None:
    """Expected: of nested draws the smaller is part of the larger, so 2 of its chunks of each family are remembered."""
    folder = Path(shutil.copytree(undisturbed.folder, tmp_path / "artifacts"))
    larger = (*FLAGS, "--sample-count=9")
    states = finished(Attempt(folder, server, larger).complete().lines)
    scored = [state for name, state in states.items() if name.startswith("score ")]
    written = [state for name, state in states.items() if name.startswith("write ")]
    assert (scored.count("Cached"), scored.count("Completed")) == (3 * 2, 3 * 1)
    assert (written.count("Cached"), written.count("Completed")) == (2 * 2, 2 * 1)
