"""Files that are in the way, markup and SQL: rows 24, 25, 26, 29 and 30 of docs/robustness.md."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from tasks import results
from tasks.priming.records import Check
from tasks.store import artifacts
from tasks.store.artifacts import UnwrittenError, write_rows
from tasks.store.sealing import with_seal, without_seal
from tests.published_rows import finish, record, start
from tests.robustness.cases import case, row, sample


@pytest.mark.slow
@case(29, "markup in a passage")
def test_markup_in_a_passage_is_text_in_the_report(artifacts_folder: Path) -> None:
    from tasks.reading.database import read_run
    from tasks.report.page import render_report
    from tests.report.conftest import Words, publish_run

    markup = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    publish_run("abc", Words(*[markup] * 9))
    results.rebuild_database()
    page = render_report(read_run("abc"))
    assert "alert(2)" in page
    assert markup not in page
    assert "<img src=x" not in page
    assert len(re.findall("<script", page)) == 1  # its own


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts of one published run of one sample."""
    folder = tmp_path_factory.mktemp("artifacts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", folder)
        finish("abc", sample=[sample()])
        results.rebuild_database()
    return folder


@pytest.fixture
def published_run(original: Path, artifacts_folder: Path) -> Path:
    """A database with that run, to be spoiled."""
    shutil.copytree(original, artifacts_folder, dirs_exist_ok=True)
    return artifacts_folder / "results.duckdb"


ATTACKS = [
    "SELECT 1; DROP TABLE run",
    "DROP TABLE run",
    "DELETE FROM sample",
    "UPDATE run SET status = 'complete'",
    "CREATE TABLE t AS SELECT 1",
    "COPY sample TO 'stolen.csv'",
    "ATTACH 'other.duckdb'",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_text('/etc/passwd')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "EXPORT DATABASE 'stolen'",
]


@pytest.mark.parametrize("statement", [row(30, statement, statement) for statement in ATTACKS])
def test_sql_can_change_nothing_and_reach_nothing_else(
    published_run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, statement: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = published_run.read_bytes()
    with results.open_results() as connection, pytest.raises(duckdb.Error):
        connection.execute(statement).fetchall()
    assert published_run.read_bytes() == before
    assert not list(tmp_path.glob("stolen*")) + list(tmp_path.glob("other*"))


# --- database and disk: 24, 25, 26 ---


@pytest.mark.parametrize("mode", [row(24, mode, mode) for mode in ("reads", "writes")])
def test_a_database_that_somebody_has_open_neither_waits_nor_makes_wait(published_run: Path, mode: str) -> None:
    program = (
        f"import duckdb, sys; c = duckdb.connect({str(published_run)!r}, read_only={mode == 'reads'});"
        "print(c.execute('SELECT count(*) FROM sample').fetchone()[0], flush=True); sys.stdin.read();"
        "print(c.execute('SELECT count(*) FROM sample').fetchone()[0])"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"1\n"
        record(start("abd"), "sample", [sample(query="another")])
        assert results.rebuild_database()["runs"] == 2
        with results.open_results() as connection:
            assert connection.execute("SELECT count(*) FROM sample").fetchall() == [(2,)]
        assert other.communicate(b"\n")[0] == b"1\n"  # it still reads what it opened
    assert other.returncode == 0


OTHER_FILES = {
    "garbage": b"no database" * 100,
    "empty": b"",
    "SQLite": b"SQLite format 3\0" + bytes(84),
    "a later storage": b"\0" * 8 + b"DUCK" + (999).to_bytes(8, "little") + bytes(4076),
}


@pytest.mark.slow
@pytest.mark.parametrize("content", [row(25, name, content) for name, content in OTHER_FILES.items()])
def test_a_database_of_another_kind_is_made_anew_from_parquet(published_run: Path, content: bytes) -> None:
    published_run.write_bytes(content)
    assert results.rebuild_database()["runs"] == 1
    with results.open_results() as connection:
        assert connection.execute("SELECT run_id, sample_id FROM sample").fetchall() == [("abc", sample().sample_id)]


@case(25, "a manifest of a later version")
def test_a_manifest_of_a_later_version_is_left_out_by_name(
    published_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = published_run.parent / "runs" / "abc.json"
    path.write_text(json.dumps(with_seal(without_seal(json.loads(path.read_text())) | {"format": 2})))
    assert results.rebuild_database()["runs"] == 0
    assert re.search(r"abc\.json is of format 2, which a later version .* It was left as it is", caplog.text)


@pytest.mark.parametrize(
    "place", [row(26, "a folder that cannot be made", "checks/x"), row(26, "no permission", "/proc")]
)
def test_what_cannot_be_written_is_named_and_leaves_nothing(
    artifacts_folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (artifacts_folder / "checks").write_text("a file in the folder's place")
    monkeypatch.setattr(artifacts, "ARTIFACTS", artifacts_folder / place)  # "/proc" stands for itself
    rows = [Check("name", 1.0, None, True, "detail")]
    with pytest.raises(UnwrittenError, match=r"parquet could not be written: .*Free disk space or make"):
        write_rows(rows, Check, "stage")
    assert [path.name for path in artifacts_folder.iterdir()] == ["checks"]
