"""Progress of a run: one bar per stage in a terminal, one line per stage in a file, no messages of others."""

import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from prefect.logging.configuration import DEFAULT_LOGGING_SETTINGS_PATH, load_logging_config
from prefect.logging.handlers import PrefectConsoleHandler

from tasks.commands import terminal
from tasks.commands.terminal import stages_shown
from tasks.server.progress import Progress


def two_stages() -> None:
    """Go through what a run goes through, the stages in turn."""
    progress = Progress()
    progress.add("draw samples", {"a": 1.0, "b": 1.0})
    progress.add("score contexts", dict.fromkeys("abcd", 1.0))
    progress.add("publish results")
    for name, parts in (("draw samples", "ab"), ("score contexts", "ab"), ("score contexts", "cd")):
        with progress.running(name) as stage:
            for part in parts:
                progress.finish(stage, part)
    with progress.running("publish results") as stage:
        progress.finish(stage, "all")


def a_failing_stage() -> None:
    progress = Progress()
    progress.add("score contexts", dict.fromkeys("abcd", 1.0))
    with progress.running("score contexts") as stage:
        progress.finish(stage, "a")
        raise IndexError


@contextmanager
def a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Have standard error be a real terminal of 80 columns; yields the end that a person looks at."""
    screen, keyboard = os.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with os.fdopen(keyboard, "w") as error:
        monkeypatch.setattr(sys, "stderr", error)
        yield screen
    os.close(screen)


def on_screen(screen: int) -> list[str]:
    """Return the lines that were written, one for each time that they were drawn."""
    os.set_blocking(screen, False)
    parts = []
    with suppress(BlockingIOError):  # one read gives no more than the terminal's buffer
        while part := os.read(screen, 1_000_000):
            parts.append(part)
    drawn = b"".join(parts).decode()
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).replace("\r", "\n").splitlines()
    return [line for line in lines if line.strip()]


# --- stages ---


def test_a_log_names_each_step_and_stage_as_it_begins_and_the_stage_as_it_ends(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with stages_shown(is_verbose=False) as step:
        step("load the libraries")
        two_stages()
    output = capsys.readouterr()
    assert output.out == ""
    assert [line.partition(",")[0] for line in output.err.splitlines()] == [
        "prepare: load the libraries",
        *("draw samples: 0 of 2", "draw samples: 2 of 2"),
        *("score contexts: 0 of 4", "score contexts: 4 of 4"),
        *("publish results: 0 of 1", "publish results: 1 of 1"),
    ]


def test_a_long_stage_says_now_and_then_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with stages_shown(is_verbose=False):
        progress = Progress()
        progress.add("score contexts", {"first": 60.0, "second": 20.0}, 800, "scores")
        with progress.running("score contexts") as stage:
            for seconds in range(1, 61):
                now += 1.0
                stage.parts["first"].tell(seconds / 60)
                progress.tell(stage)  # as the thread does that shows a run
            progress.finish(stage, "first")
            now += 20.0
            progress.finish(stage, "second")
    lines = capsys.readouterr().err.splitlines()
    # by hand: 10 scores a second, a line every 10 s, also while no chunk has ended
    assert lines == [
        "score contexts: 0 of 800 scores",
        "score contexts: 100 of 800 scores, about 1 min left",
        "score contexts: 200 of 800 scores, about 1 min left",
        "score contexts: 300 of 800 scores, about 50 s left",
        "score contexts: 400 of 800 scores, about 40 s left",
        "score contexts: 500 of 800 scores, about 30 s left",
        "score contexts: 600 of 800 scores, about 20 s left",
        "score contexts: 800 of 800 scores, 1 min",
    ]


def test_a_terminal_shows_a_bar_a_stage_with_its_count(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_terminal(monkeypatch) as screen:
        with stages_shown(is_verbose=False) as step:
            step("load the libraries")
            two_stages()
        lines = on_screen(screen)
    assert any("prepare: load the libraries" in line for line in lines)
    last = [line.split() for line in lines[-4:]]
    assert [line[1] for line in last] == ["prepare", "draw", "score", "publish"]
    assert [line[0] for line in last] == ["✓"] * 4
    assert [" ".join(line).partition(" of ")[2][:1] for line in last] == ["", "2", "4", "1"]
    assert max(map(len, lines)) <= 80


def test_a_stage_that_failed_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    with a_terminal(monkeypatch) as screen:
        with pytest.raises(IndexError), stages_shown(is_verbose=False):
            a_failing_stage()
        last = on_screen(screen)[-1]
    assert "score contexts" in last
    assert "1 of 4" in last


def test_a_verbose_run_shows_no_stages(capsys: pytest.CaptureFixture[str]) -> None:
    with stages_shown(is_verbose=True):
        two_stages()
    assert capsys.readouterr().err == ""


# --- noise ---


def test_warnings_of_a_stage_are_shown_and_the_rest_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("prefect.task_runs")
    with stages_shown(is_verbose=False):
        logger.info("Finished in state Completed()")
        logger.error("Encountered exception during execution:")
        logging.getLogger("prefect").info("Starting temporary server on http://127.0.0.1:8000")
        logger.warning("200 samples were asked for, 40 of %s qualify", "my\x1b[2Jdata")
        warnings.warn("a library will change", FutureWarning, stacklevel=1)
    # what would steer the terminal is spelled out
    assert capsys.readouterr().err == "warning: 200 samples were asked for, 40 of my\\x1b[2Jdata qualify\n"


def test_other_processes_are_told_to_be_quiet_for_the_time_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_DISABLE_PROGRESS_BARS", raising=False)
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "debug")  # somebody wants to see it
    with stages_shown(is_verbose=False):
        inside = {name: os.environ[name] for name in terminal._QUIET_ENVIRONMENT}
    assert inside["HF_HUB_DISABLE_PROGRESS_BARS"] == "1"
    assert inside["TRANSFORMERS_VERBOSITY"] == "debug"
    assert "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ


def test_what_prefect_logs_to_the_terminal_is_not_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the root logger's handlers as Prefect makes them, and one of somebody else."""
    theirs, other = PrefectConsoleHandler(stream=sys.stderr), logging.StreamHandler(sys.stderr)
    (theirs.name,) = load_logging_config(DEFAULT_LOGGING_SETTINGS_PATH)["root"]["handlers"]
    monkeypatch.setattr(logging.getLogger(), "handlers", [theirs, other])
    logging.getLogger("prefect").error("before")
    with stages_shown(is_verbose=False):
        logging.getLogger("prefect").error("within")
    logging.getLogger("prefect").error("its last word")
    assert capsys.readouterr().err.split("\n") == ["before", "before", "within", "its last word", ""]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_remark_is_a_line_of_its_own(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    remark = "preliminary, 8 of 16 samples, not a result: [red]"
    if is_terminal:
        with a_terminal(monkeypatch) as screen:
            with stages_shown(is_verbose=False):
                Progress().tell(remark)
            lines = on_screen(screen)
    else:
        with stages_shown(is_verbose=False):
            Progress().tell(remark)
        lines = capsys.readouterr().err.splitlines()
    assert remark in lines
