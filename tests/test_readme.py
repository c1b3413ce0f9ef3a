"""README and docs are true: links lead somewhere, the map names every folder, the SQL runs and answers as shown."""

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tasks import results
from tests.places import ROOT
from tests.waiting import PATIENCE

README, QUESTIONS = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/questions.md"))
QUERIES = re.findall(r"```sql\n(.*?);\n```\n```text\n(.*?)\n```", README + QUESTIONS, re.DOTALL)


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


def test_the_map_names_every_folder_and_no_other() -> None:
    tree = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split("```\n")[1]
    named = set(re.findall(r"^([\w/]+)/(?=[, ])", tree, re.MULTILINE))
    folders = [path.parent for top in ("flows", "tasks") for path in (ROOT / top).rglob("*.py")]
    assert named == {str(folder.relative_to(ROOT)) for folder in folders} | {"tasks/example", "tests"}


def test_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)", README)
    assert "docs/method.md" in links
    assert [link for link in links if not link.startswith("https:") and not (ROOT / link).exists()] == []


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
        connection.execute("SET search_path = 'latest,main'")
        for query, text in QUERIES:
            assert answer(connection, query) == text
