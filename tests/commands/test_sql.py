"""The SQL prompt: whole statements, results that fit, errors on one line, and nothing but the database within reach."""

import io
import os
import pty
import select
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import duckdb
import pytest

from flows.__main__ import main
from tasks import results
from tasks.commands.sql import Prompt, one_line
from tasks.store import artifacts
from tests.places import ROOT
from tests.published_rows import comparison, finish, score
from tests.waiting import PATIENCE, wait_for

HOSTILE = "a\x1b[31mred\u202ea\nb"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An artifacts folder with a database of one run."""
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("artifacts")
        patch.setattr(artifacts, "ARTIFACTS", path)
        finish(
            "abc",
            score=[score(("s1", "baseline", "document"), (1.0, 2.0))],
            comparison=[comparison("static/routed", "baseline/document", improvement_mean=1 / 3)],
        )
        results.rebuild_database()
        yield path


@pytest.fixture
def prompt(folder: Path) -> Iterator[Prompt]:
    with results.open_results() as connection:
        yield Prompt(connection)


Piped: TypeAlias = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def piped(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Piped:
    """Run the command with statements from a pipe; return its status, output and errors."""

    def run(text: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
        status = main(["sql"])
        return status, *capsys.readouterr()

    return run


def said(capsys: pytest.CaptureFixture[str], prompt: Prompt, *lines: str) -> str:
    for line in lines:
        assert prompt.take(line)
    return capsys.readouterr().out


# --- statements ---


def test_a_statement_may_have_many_lines(prompt: Prompt, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, prompt, "SELECT", "  40 + 2", "AS answer") == ""
    assert prompt.pending == "SELECT\n  40 + 2\nAS answer\n"
    assert "│     42 │" in said(capsys, prompt, ";")
    assert prompt.pending == ""


def test_a_line_may_have_many_statements(prompt: Prompt, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, prompt, "SELECT 1 AS one; SELECT 2 AS two;")
    assert out.index("one") < out.index("two")


@pytest.mark.parametrize("lines", [["SELECT 'a;", "b' AS text;"], ["SELECT 1 AS text -- no end; here", ";"]])
def test_a_semicolon_in_a_text_or_a_comment_ends_nothing(
    lines: list[str], prompt: Prompt, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, prompt, lines[0]) == ""
    assert "text" in said(capsys, prompt, lines[1])


# --- results ---


def test_a_result_is_cut_to_the_width_and_its_numbers_are_rounded(
    prompt: Prompt, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt.width = 60
    out = said(capsys, prompt, "SELECT improvement_mean AS mean, repeat('x', 500) AS long FROM comparison;")
    assert max(map(len, out.splitlines())) <= 60
    assert "0.333333 │" in out  # by hand: 6 digits of 1/3
    assert "xxx" in out
    prompt.width = 100
    assert "-3.33333e-10 │" in said(capsys, prompt, "SELECT -1e-9 / 3 AS tiny;")


def test_rounding_keeps_zero_infinity_missing_values_names_and_order(
    prompt: Prompt, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt.width = 80
    out = said(
        capsys,
        prompt,
        """SELECT 1.5::DOUBLE AS "a ""b", 1 AS n UNION ALL SELECT 0, 2 UNION ALL SELECT 'inf'::DOUBLE, 3"""
        " UNION ALL SELECT NULL, 4 UNION ALL SELECT 1234567.8, 5 ORDER BY n DESC;",
    )
    rows = [line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")]
    assert rows == ['a "b', "double", "1234570.0", "NULL", "inf", "0.0", "1.5"]


def test_two_columns_of_one_name_are_shown(prompt: Prompt, capsys: pytest.CaptureFixture[str]) -> None:
    prompt.width = 80
    out = said(capsys, prompt, "SELECT 1.5::DOUBLE AS a, 2.5::DOUBLE AS a;")
    assert "1.5" in out
    assert "2.5" in out


def test_hostile_text_steers_no_terminal(prompt: Prompt, capsys: pytest.CaptureFixture[str]) -> None:
    for width in (80, None):
        prompt.width = width
        out = said(capsys, prompt, f"SELECT '{HOSTILE}' AS text;")
        assert not set(out) & {"\x1b", "\u202e"}
        assert "[31mred[U+202E]a" in out


def test_a_plan_is_drawn_on_several_lines(prompt: Prompt, capsys: pytest.CaptureFixture[str]) -> None:
    out = said(capsys, prompt, "EXPLAIN SELECT count(*) FROM score;")
    assert len(out.splitlines()) > 2
    assert "\\n" not in out


# --- commands ---


def test_the_questions_are_listed_with_what_they_say(prompt: Prompt, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, prompt, ".questions").splitlines()
    names = [line for line in lines if not line.startswith(" ")]
    assert names[0] == "compare_runs"
    assert {"does_priming_help", "should_i_prime", "outcome"} <= set(names)
    assert len(set(names)) == len(names)
    assert lines[lines.index("does_priming_help") + 1].startswith("    Does a routed surrogate beat no surrogate?")


def test_the_tables_are_listed_with_what_they_hold(prompt: Prompt, capsys: pytest.CaptureFixture[str]) -> None:
    lines = said(capsys, prompt, ".tables").splitlines()
    names = [line for line in lines if not line.startswith(" ")]
    assert {"run", "sample", "score", "comparison", "run_check"} <= set(names)
    assert not set(names) & {"outcome", "does_priming_help"}
    assert lines[lines.index("sample") + 1].startswith("    One query with its gold answer")


def test_help_and_the_end(prompt: Prompt, capsys: pytest.CaptureFixture[str]) -> None:
    assert all(command in said(capsys, prompt, ".help") for command in (".questions", ".tables", ".help", ".quit"))
    assert not prompt.take(".quit")
    assert not prompt.take(" .exit ")
    assert prompt.take(".nope")
    assert capsys.readouterr().err == "There is no .nope; .help lists what there is.\n"


# --- errors, and what is out of reach ---


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELECT nope FROM run;", 'Binder Error: Referenced column "nope" not found in FROM clause!'),
        ("SELEC 1;", 'Parser Error: syntax error at or near "SELEC"'),
        ("DELETE FROM run;", "read-only mode"),
        ("CREATE TABLE t (i INT);", "read-only mode"),
        ("COPY run TO '/tmp/out.csv';", "file system operations are disabled by configuration"),
        ("SELECT * FROM read_csv('/etc/hosts');", "file system operations are disabled by configuration"),
        ("SELECT * FROM '/etc/hosts';", "/etc/hosts"),
        ("ATTACH '/tmp/other.duckdb';", "file system operations are disabled by configuration"),
        ("SET enable_external_access = true;", "the configuration has been locked"),
        ("INSTALL httpfs;", "file system operations are disabled by configuration"),
        ("SELECT 1 / 'x';", "Could not convert string 'x'"),
    ],
)
def test_an_error_is_one_line_and_the_next_statement_is_asked(
    statement: str, message: str, prompt: Prompt, capsys: pytest.CaptureFixture[str]
) -> None:
    prompt.take(statement)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert message in shown.err
    assert prompt.has_failed
    assert "│     2 │" in said(capsys, prompt, "SELECT 1 + 1 AS two;")


def test_the_excerpt_of_the_statement_is_left_out() -> None:
    error = duckdb.Error("Parser Error: unterminated\nstring \x1b[2J\n\nLINE 1: select 'a\n               ^")
    assert one_line(error) == "Parser Error: unterminated string ␛[2J"


# --- as a user runs it ---


def test_statements_come_from_a_pipe_and_are_not_cut(folder: Path, tmp_path: Path) -> None:
    """DuckDB's own client, where there is one, is not asked: it runs the shell's commands and reads files."""
    client = tmp_path / "duckdb"
    client.write_text('#!/bin/sh\necho "client: $@"\ncat\n')
    client.chmod(client.stat().st_mode | stat.S_IXUSR)
    finished = subprocess.run(
        [sys.executable, "-m", "flows", "sql"],
        cwd=ROOT,
        env=os.environ | {"SURROGATE_ARTIFACTS": str(folder), "PATH": f"{tmp_path}:/usr/bin:/bin"},
        input="SELECT repeat('x', 300) AS long;\nSELECT improvement_mean FROM comparison",
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert "x" * 300 in finished.stdout
    assert "0.3333333333333333" in finished.stdout
    assert "sql>" not in finished.stdout
    assert "client:" not in finished.stdout


def test_a_failed_statement_of_a_pipe_is_told_by_the_status(piped: Piped) -> None:
    status, out, error = piped("SELECT nope;\n.shell id\nSELECT 42 AS answer;\n.quit\nSELECT 43;\n")
    assert status == 1
    assert error.startswith("Binder Error: ")
    assert error.splitlines()[1:] == ["There is no .shell id; .help lists what there is."]
    assert "42" in out
    assert "43" not in out


def test_without_a_database_it_says_how_to_make_one(
    piped: Piped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path)
    made = "error: No run is published yet. To make one: python -m flows run --profile demo\n"
    assert piped("SELECT 1;") == (2, "", made)
    (tmp_path / "results.duckdb").write_bytes(b"no database" * 1000)
    status, _, error = piped("SELECT 1;")
    assert status == 2
    assert "cannot be read" in error
    assert error.count("\n") == 1


def test_a_view_of_somebody_elses_database_reads_no_file(
    piped: Piped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path)
    (tmp_path / "private.txt").write_text("private")
    with duckdb.connect(str(tmp_path / "results.duckdb")) as connection:
        connection.execute("CREATE SCHEMA latest; CREATE SCHEMA all_runs; CREATE TABLE run (run_id VARCHAR)")
        connection.execute(f"CREATE VIEW findings AS SELECT content FROM read_text('{tmp_path / 'private.txt'}')")
    status, out, error = piped("SELECT * FROM findings;\n")
    assert (status, out) == (1, "")
    assert "disabled" in error


def test_at_a_terminal_ctrl_c_clears_the_line_and_ctrl_d_ends(folder: Path) -> None:
    terminal, inner = pty.openpty()
    # The child takes the terminal for its own, so that Ctrl-C reaches it.
    start = (
        "import fcntl, runpy, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); sys.argv[1:] = ['sql']; "
        "runpy.run_module('flows', "
    )
    child = subprocess.Popen(
        [sys.executable, "-c", f"{start}run_name='__main__')"],
        cwd=ROOT,
        env=os.environ | {"SURROGATE_ARTIFACTS": str(folder), "PATH": "/usr/bin:/bin", "TERM": "dumb"},
        stdin=inner,
        stdout=inner,
        stderr=inner,
        start_new_session=True,
    )
    os.close(inner)
    try:
        assert "read-only; runs: 1." in _wait_for(terminal, "sql> ")
        os.write(terminal, b"SELECT 1 AS\n")
        _wait_for(terminal, "...> ")
        _wait_for(terminal, "sql> ", press=b"\x03")
        os.write(terminal, b"SELECT 6 * 7 AS answer;\n")
        assert "│     42 │" in _wait_for(terminal, "sql> ", after="┘")
        os.write(terminal, b"\x1b[A\n")  # the line before, once more
        assert "│     42 │" in _wait_for(terminal, "sql> ", after="┘")
        os.write(terminal, b"\x04")
        assert child.wait(timeout=PATIENCE) == 0
    finally:
        child.kill()
        child.wait()
        os.close(terminal)
    assert "SELECT 6 * 7 AS answer;" in (folder / ".sql_history").read_text(encoding="utf-8")


def _wait_for(terminal: int, text: str, after: str = "", press: bytes = b"") -> str:
    """Return what a terminal shows, up to a text that comes after another one; press keys until it does.

    Python takes no notice of a Ctrl-C that comes between the prompt and the wait for a line: one presses it again.
    """
    parts = [""]
    next_press = time.monotonic()

    def look() -> str:
        nonlocal next_press
        if select.select([terminal], [], [], 0)[0]:
            parts.append(os.read(terminal, 65536).decode(errors="replace"))
        elif press and time.monotonic() >= next_press:
            os.write(terminal, press)
            next_press = time.monotonic() + 5
        return "".join(parts)

    what = f"{text!r} on the terminal"
    return wait_for(what, look, enough=lambda shown: after in shown and text in shown[shown.find(after) :])
