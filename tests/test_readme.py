"""README and docs are true: links lead somewhere, the map names every folder, SQL and recipes answer as shown."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tasks import results
from tests.places import GOLDEN, ROOT
from tests.waiting import PATIENCE

README, QUESTIONS = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/questions.md"))
SHOWN = re.compile(r"```sql\n(.*?);\n```\n```text\n(.*?)\n```", re.DOTALL)
"""A query on a page, and the table that it shows."""

QUERIES = SHOWN.findall(README + QUESTIONS)
RECIPES = dict(zip(("pandas", "polars"), re.findall(r"```python\n(.*?)```", QUESTIONS, re.DOTALL), strict=True))


CODE = [path for folder in ("flows", "tasks", "tests", "docs") for path in (ROOT / folder).rglob("*.py")]


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


LINK = re.compile(r"\]\(([^)#]+)")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_what_a_page_links_to_and_the_modules_that_it_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = LINK.findall(text)
    assert [link for link in links if not link.startswith("https:") and not (page.parent / link).exists()] == []
    assert page.name != "README.md" or "docs/method.md" in links
    modules = re.findall(r"`((?:\w+/)*\w+\.py)`", text)
    assert [name for name in modules if not any(path.match(name) for path in CODE)] == []


@pytest.fixture(scope="module")
def five_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database of the first look, three earlier runs with its rows, and a later one that failed."""
    folder = tmp_path_factory.mktemp("five")

    def load(connection: duckdb.DuckDBPyConnection) -> int:
        rows = {name: pq.read_table(GOLDEN / "bundle" / f"{name}.parquet") for name in results.RUN_TABLES}
        for day, status in ((0, "complete"), (-1, "complete"), (-2, "complete"), (-3, "complete"), (1, "failed")):
            for name, table in rows.items():
                of_run = (
                    f", '{status}' AS status, started_at + INTERVAL ({day}) DAY AS started_at" if name == "run" else ""
                )
                connection.register("given", table)
                connection.execute(f"INSERT INTO {name} SELECT * REPLACE ('{day}' AS run_id{of_run}) FROM given")
        return sum(table.num_rows for table in rows.values())

    (folder / "artifacts").mkdir()
    assert results.build_database(folder / "artifacts" / "results.duckdb", load)["runs"] == 5
    return folder


@pytest.mark.parametrize(("query", "text"), QUERIES)
def test_a_question_is_answered_as_shown_by_the_newest_complete_run_of_five(
    query: str, text: str, five_runs: Path
) -> None:
    """Expected: what is shown, from all_runs once for each complete run."""
    with duckdb.connect(str(five_runs / "artifacts" / "results.duckdb"), read_only=True) as connection:
        connection.execute("SET search_path = 'latest,main'")
        header, *rows = text.splitlines()
        assert answer(connection, query).splitlines() == [header, *(rows * 4 if "all_runs" in query else rows)]


def test_there_are_ten_questions() -> None:
    assert len(re.findall("^## .*\\?$", QUESTIONS, re.MULTILINE)) == len(QUERIES) - README.count("```sql") == 10


@pytest.mark.parametrize("library", RECIPES)
def test_a_recipe_reads_the_database(
    library: str, five_runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(library)
    monkeypatch.chdir(five_runs)
    exec(RECIPES[library], {})
    assert "baseline/document" in capsys.readouterr().out


@pytest.mark.skipif(not shutil.which("duckdb"), reason="needs duckdb-cli")
def test_duckdbs_own_client_reads_the_database(five_runs: Path) -> None:
    (command,) = re.findall(r"```bash\n(.*?)\n```", QUESTIONS)
    found = subprocess.run(["bash", "-c", command], cwd=five_runs, capture_output=True, text=True, check=True)
    assert "generated+stripped" in found.stdout


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
