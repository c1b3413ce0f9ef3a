"""Progress is shown about once a second, to the end, and a server that is gone holds nothing up."""

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import Artifact
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.server import progress
from tasks.server.progress import Progress
from tests.waiting import PATIENCE, wait_for

SILENT_SECONDS = 30.0


class Server:
    """Notes what it is asked to show; fails as often as it is told to, and may be silent for long."""

    def __init__(self) -> None:
        self.shown: dict[str, list[Any]] = {}
        self.keys: dict[UUID, str] = {}
        self.failures = 0
        self.answers = threading.Event()
        self.answers.set()

    def _note(self, key: str, data: Any) -> None:
        self.answers.wait(SILENT_SECONDS)
        if self.failures:
            self.failures -= 1
            raise OSError("the server is being restarted")
        self.shown.setdefault(key, []).append(data)

    def create_artifact(self, artifact: ArtifactCreate) -> Artifact:
        assert artifact.key is not None
        self._note(artifact.key, artifact.data)
        created = Artifact(id=uuid4(), key=artifact.key)
        self.keys[created.id] = artifact.key
        return created

    def update_artifact(self, artifact_id: UUID, artifact: ArtifactUpdate) -> None:
        self._note(self.keys[artifact_id], artifact.data)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    found = Server()

    @contextmanager
    def get_client(*_: Any, **__: Any) -> Iterator[Server]:
        yield found

    monkeypatch.setattr(progress, "get_client", get_client)
    return found


def wait_for_update(server: Server, key: str, percent: float) -> None:
    """Wait until a stage is shown to be so far."""
    what = f"{key} at {percent:g} percent"
    wait_for(what, lambda: dict(server.shown), enough=lambda shown: shown.get(key, [])[-1:] == [percent])


def half_scored(shown: Progress) -> None:
    """Have one of two parts finished."""
    shown.add("score contexts", {"a": 1.0, "b": 1.0})
    with shown.running("score contexts") as stage:
        shown.finish(stage, "a")


def test_a_stage_is_shown_about_once_a_second_and_at_its_end(server: Server) -> None:
    shown = Progress()
    start = time.monotonic()
    with shown.shown(str(uuid4())):
        shown.add("write surrogates", {str(number): 1.0 for number in range(300)})
        shown.add("score contexts", dict.fromkeys("abcd", 1.0))
        with shown.running("write surrogates") as stage:
            for part in stage.parts:
                shown.finish(stage, part)
                time.sleep(0.005)
        with shown.running("score contexts") as stage:
            shown.finish(stage, "a")
    wait_for_update(server, "progress-score-contexts", 25.0)
    assert len(server.shown["progress-write-surrogates"]) <= 3 + (time.monotonic() - start)  # of 300
    assert server.shown["progress-write-surrogates"][-1] == 100.0


def test_what_a_server_did_not_take_is_shown_the_next_time(server: Server) -> None:
    server.failures = 1
    shown = Progress()
    with shown.shown(str(uuid4())):
        shown.add("route queries")
        with shown.running("route queries") as stage:
            wait_for("an update that fails", lambda: server.failures, enough=lambda left: left == 0)
            shown.finish(stage, "all")
    wait_for_update(server, "progress-route-queries", 100.0)


def test_a_server_that_is_gone_is_no_error() -> None:
    shown = Progress()
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}), shown.shown(str(uuid4())):
        half_scored(shown)


def test_a_silent_server_holds_nothing_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were its answer waited for, it would come, since the server is not silent for ever."""
    monkeypatch.setattr(progress, "_LAST_WORD_SECONDS", 0.1)
    server.answers.clear()
    shown = Progress()
    with shown.shown(str(uuid4())):
        half_scored(shown)
        assert server.shown == {}
    assert server.shown == {}
    end(server)


def test_an_interrupted_run_waits_for_no_last_word(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_LAST_WORD_SECONDS", 2 * SILENT_SECONDS)
    server.answers.clear()

    def interrupted() -> None:
        shown = Progress()
        with shown.shown(str(uuid4())):
            half_scored(shown)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert server.shown == {}
    end(server)


def end(server: Server) -> None:
    """Let a silent server answer, and wait for the end of who asked."""
    server.answers.set()
    for thread in threading.enumerate():
        if thread.name == "progress":
            thread.join(PATIENCE)


def test_a_chunk_that_is_computed_is_told_of_in_the_ui_and_in_the_log(
    server: Server, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk may take a quarter of an hour, in which nothing moved: now each second, and a line as often as is set."""
    monkeypatch.setattr(progress, "_LOG_SECONDS", 1.0)
    caplog.set_level(logging.INFO)
    shown = Progress()
    with shown.shown(str(uuid4()), logging.getLogger("a run")):
        shown.add("score contexts", {"static/0000": 5.0}, 3_000, "scores")
        with shown.running("score contexts") as stage:
            for share in (0.25, 0.5, 0.75):
                stage.parts["static/0000"].tell(share)
                wait_for_update(server, "progress-score-contexts", 100 * share)
            wait_for(
                "two lines", lambda: [r for r in caplog.records if r.name == "a run"], enough=lambda seen: len(seen) > 1
            )
        lines = [record.getMessage() for record in caplog.records if record.name == "a run"]
    assert all(re.fullmatch(r"Score contexts: [\d,]+ of 3,000 scores, about [\d.]+ s left", line) for line in lines)


def test_time_left_follows_from_the_work_that_was_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By hand: of 100, 40 were remembered, and 12 of a chunk of 30 took 60 s; so 48 are left, at 0.2 a second."""
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    shown = Progress()
    shown.add("score contexts", {"a": 40.0, "b": 30.0, "c": 30.0}, 200, "scores")
    with shown.running("score contexts") as stage:
        shown.finish(stage, "a")
        assert stage.time_left == ""
    assert not shown.is_partly_computed("score contexts")
    now += 500.0  # of another stage
    with shown.running("score contexts") as stage:
        stage.parts["b"].tell(0.0)
        now += 60.0
        stage.parts["b"].tell(0.4)
        stage.parts["b"].tell(0.3)  # a second pass over the chunk takes nothing back
        assert stage.description == "Score contexts: 104 of 200 scores, about 4 min left"
        assert shown.is_partly_computed("score contexts")
        for part in "bc":
            shown.finish(stage, part)
    assert stage.description == "Score contexts: 200 of 200 scores"
    assert not shown.is_partly_computed("score contexts")


def test_outside_a_flow_run_nothing_is_shown(server: Server) -> None:
    shown = Progress()
    with shown.shown(None):
        half_scored(shown)
    assert server.shown == {}
