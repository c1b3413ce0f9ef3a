"""The README is true: its tree names every file, its SQL runs, its answers are those of the first look."""

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tasks import results
from tests.waiting import PATIENCE

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUERIES = re.findall(r"```sql\n(.*?);\n```\n```text\n(.*?)\n```", README, re.DOTALL)


def shown(value: object) -> str:
    """Return a value as the README shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def answer(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Return column names and rows, a line each."""
    found = connection.execute(query)
    header = [column[0] for column in found.description]
    return "\n".join(" | ".join(map(shown, row)) for row in (header, *found.fetchall()))


@pytest.mark.parametrize("folder", ["flows", "tasks", "tasks/priming", "docs"])
def test_the_tree_names_every_file(folder: str) -> None:
    files = [path for path in (ROOT / folder).iterdir() if path.suffix in (".py", ".sql", ".md")]
    tree = README.partition("## How it is made")[2]
    assert [path.name for path in files if path.name not in tree and path.name != "__init__.py"] == []


def test_no_file_of_the_tree_is_gone() -> None:
    tree = README.partition("## How it is made")[2].partition("\n```\n")[2].partition("\n```\n")[0]
    named = re.findall(r"^((?:tasks|flows|docs)/[\w./-]+)", tree, re.MULTILINE)
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert "docs/method.md" in links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_question_is_one_that_the_database_understands(artifacts_folder: Path) -> None:
    """Expected: the columns as shown; there are no rows in a database without runs."""
    results.rebuild_database()
    assert len(QUERIES) == 5
    with results.open_results() as connection:
        for query, text in QUERIES:
            assert answer(connection, query) == text.splitlines()[0]


@pytest.mark.long
def test_the_answers_are_those_of_the_first_look(tmp_path: Path) -> None:
    environment = os.environ | {"SURROGATE_ARTIFACTS": str(tmp_path), "PREFECT_API_URL": ""}
    subprocess.run(
        [sys.executable, "-m", "flows.experiment"], cwd=ROOT, env=environment, check=True, timeout=PATIENCE * 3
    )
    with duckdb.connect(str(tmp_path / "results.duckdb"), read_only=True) as connection:
        for query, text in QUERIES:
            assert answer(connection, query) == text
