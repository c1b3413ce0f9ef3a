"""The verb `sql`: queries the results in SQL, at a small prompt or from a pipe.

In: artifacts/results.duckdb, opened read-only. Out: aligned tables; status 1 if a statement from a pipe failed. Nothing
but the database can be reached: no files, no network, no environment variables, and no setting that would allow them.
DuckDB's own client has no such limits: there a view in a database from somebody else may read files.
"""

import argparse
import contextlib
import io
import re
import shutil
import sqlite3
import sys
import textwrap
from collections.abc import Iterator

import duckdb
from rich.cells import cell_len, set_cell_size

from tasks.pages.texts import visible
from tasks.reading.database import open_runs
from tasks.store import artifacts

_PROMPT, _CONTINUED = "sql> ", "...> "
_PIPE_WIDTH, _PIPE_ROWS = 100_000, 1_000_000
_SHOWN_ROWS, _SHOWN_CHARACTERS = 200, 24
_LIST_WIDTH = 100
_HISTORY_LINES = 1_000
_HELP = """\
A statement ends with ';' and may have many lines. Ctrl-C clears what was typed, Ctrl-D ends.
  .questions   the views that answer questions, and what each says
  .tables      the tables, and what each holds
  .help        this
  .quit        end
Views answer for the newest complete run; all_runs.NAME answers for every run. DESCRIBE NAME; lists the columns of a
view or table. Nothing can be changed here.
"""
_LISTS = {
    ".tables": "SELECT table_name, comment FROM duckdb_tables() WHERE database_name = 'results' ORDER BY table_name",
    ".questions": (
        "SELECT view_name, comment FROM duckdb_views() WHERE database_name = 'results' GROUP BY ALL ORDER BY ALL"
    ),
}


def execute(options: argparse.Namespace) -> int:
    """Ask the results until the user or the pipe ends."""
    with open_runs() as connection:
        return _ask_at_terminal(connection) if sys.stdin.isatty() else _ask_from_pipe(connection)


class Prompt:
    """Collects lines into statements, and writes their results."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Start with nothing typed."""
        self._connection = connection
        self.width: int | None = None
        """Columns of the terminal, to which results are cut and numbers rounded; None: they are not."""
        self.pending = ""
        """The beginning of a statement that has not ended."""
        self.has_failed = False
        """Whether any statement failed."""

    def take(self, line: str) -> bool:
        """Take one line, and return whether to go on."""
        command = line.strip()
        if not self.pending and command.startswith("."):
            return self._obey(command)
        self.pending = f"{self.pending}{line}\n" if self.pending or command else ""
        if sqlite3.complete_statement(self.pending):
            self.finish()
        return True

    def finish(self) -> None:
        """Run what was typed so far, whether it ended or not."""
        text, self.pending = self.pending, ""
        if not text.strip():
            return
        try:
            for statement in self._connection.extract_statements(text):
                self._ask(statement)
        except (duckdb.Error, RuntimeError) as error:
            self.has_failed = True
            sys.stdout.flush()
            sys.stderr.write(f"{one_line(error)}\n")
            sys.stderr.flush()

    def _ask(self, statement: duckdb.Statement) -> None:
        relation = self._connection.sql(statement)
        if relation is None:
            return
        if statement.type == duckdb.StatementType.EXPLAIN:  # a drawing of several lines, not a cell
            sys.stdout.write("\n".join(visible(row[-1].rstrip()) for row in relation.fetchall()) + "\n")
            return
        with contextlib.redirect_stdout(io.StringIO()) as shown:
            if self.width is None:
                relation.show(max_width=_PIPE_WIDTH, max_rows=_PIPE_ROWS, max_col_width=_PIPE_WIDTH)
            else:
                _rounded(relation).show(max_width=self.width, max_rows=_SHOWN_ROWS, max_col_width=_SHOWN_CHARACTERS)
        lines = visible(shown.getvalue().strip("\n")).split("\n")
        sys.stdout.write("\n".join(self._cut(line) for line in lines) + "\n")

    def _cut(self, line: str) -> str:
        """Return a line cut to the width: DuckDB draws no table narrower than 80 columns."""
        if self.width is None or cell_len(line) <= self.width:
            return line
        return f"{set_cell_size(line, self.width - 1)}…"

    def _obey(self, command: str) -> bool:
        if command in (".quit", ".exit"):
            return False
        if command in _LISTS:
            for name, comment in self._connection.execute(_LISTS[command]).fetchall():
                lines = textwrap.wrap(comment or "", min(self.width or _LIST_WIDTH, _LIST_WIDTH) - 4)
                sys.stdout.write("\n".join([name, *(f"    {line}" for line in lines)]) + "\n")
        elif command == ".help":
            sys.stdout.write(_HELP)
        else:
            self.has_failed = True
            sys.stderr.write(f"There is no {command}; .help lists what there is.\n")
        return True


def _rounded(relation: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """Return a result whose floating-point numbers have 6 significant digits."""
    if len(set(relation.columns)) < len(relation.columns):
        return relation  # a name that stands for two columns
    columns = ['"' + name.replace('"', '""') + '"' for name in relation.columns]
    rounded = "CASE WHEN {0} = 0 OR NOT isfinite({0}) THEN {0} ELSE round({0}, 5 - floor(log10(abs({0})))::INTEGER) END"
    shown = [
        f"{rounded.format(column)} AS {column}" if str(kind) in ("DOUBLE", "FLOAT") else column
        for column, kind in zip(columns, relation.types, strict=True)
    ]
    return relation.project(", ".join(shown))


def one_line(error: Exception) -> str:
    """Return what an error says on one line, without the excerpt of the statement."""
    said = re.split(r"\n\s*LINE \d+:", str(error))[0]
    return visible(" ".join(said.split()))


def _ask_at_terminal(connection: duckdb.DuckDBPyConnection) -> int:
    runs = connection.execute("SELECT count(*) FROM run").fetchall()[0][0]
    sys.stdout.write(
        f"{artifacts.ARTIFACTS / 'results.duckdb'}, read-only; runs: {runs}. Statements end with ';'. "
        ".questions, .tables, .help, .quit\n"
    )
    prompt = Prompt(connection)
    with _history():
        while True:
            prompt.width = shutil.get_terminal_size().columns  # it may have changed
            try:
                if not prompt.take(input(_CONTINUED if prompt.pending else _PROMPT)):
                    return 0
            except KeyboardInterrupt:
                prompt.pending = ""
                sys.stdout.write("\n")
            except EOFError:
                sys.stdout.write("\n")
                return 0


def _ask_from_pipe(connection: duckdb.DuckDBPyConnection) -> int:
    prompt = Prompt(connection)
    for line in sys.stdin:
        if not prompt.take(line.rstrip("\n")):
            break
    prompt.finish()
    return int(prompt.has_failed)


@contextlib.contextmanager
def _history() -> Iterator[None]:
    """Let lines be edited and recalled across sessions, where Python has readline."""
    try:
        import readline
    except ImportError:
        yield
        return
    path = artifacts.ARTIFACTS / ".sql_history"
    readline.set_history_length(_HISTORY_LINES)
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(path)
