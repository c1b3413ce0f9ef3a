"""The database holds what the runs recorded, answers the questions, and is whole whatever happens to a publisher."""

import inspect
import json
import math
import os
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from filelock import FileLock, Timeout

from tasks import results
from tasks.priming.records import Check, Reject, Route, Sample, Surrogate
from tasks.reading.database import Row, rows_of
from tasks.store import artifacts, manifests
from tasks.store.sealing import with_seal, without_seal
from tasks.store.tables import Table
from tests.places import ROOT
from tests.published_rows import comparison, finish, record, record_answers, score, start
from tests.tiers import slow
from tests.waiting import PATIENCE

NLLS = {
    ("first", "baseline", "document"): (2.0, 1.0, 3.0),
    ("first", "static", "factual"): (1.0, 1.0, 1.0),
    ("first", "generated", "target_question"): (3.0, 3.0, 3.0),
    ("second", "baseline", "document"): (0.5,),
    ("second", "static", "factual"): None,
    ("second", "generated", "target_question"): (0.25,),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(artifacts, "ARTIFACTS", tmp_path)
    return tmp_path


COMPARISONS = [
    comparison("static/routed", "baseline/document"),
    comparison("generated/routed", "baseline/document", verdict="no difference shown", answer_low=-1.0),
    comparison(
        "generated/routed",
        "static/routed",
        kind="between_families",
        verdict="worse",
        question="is_generated_better_than_static",
    ),
    comparison("static/factual", "baseline/document", kind="single", question="should_i_prime"),
]
SAMPLES = [
    Sample("first", 0, "It's a {passage} </s>", "why?", "because", "description", "p1"),
    Sample("second", 4, "Another one.", "how many?", "7", None, "p2"),
]
STAGE_SECONDS = {"sample/all": 1.0, "score/static/0000": 2.0, "score/control/random_words/0001": 0.5}
REJECTS = [Reject(2, "no answer", "who?"), Reject(65, "passage length", "")]
ROUTES = [Route(*arm, similarity=0.5, is_routed=True, is_tie=False) for arm in NLLS if arm[1] != "baseline"]
SURROGATES = [
    Surrogate(*arm, "a guess", '"a guess"', 30, 4, "stop", False, False, False) for arm in NLLS if arm[1] != "baseline"
]


def record_all(run_id: str = "abc") -> manifests.Attempt:
    """Record a whole small run, chunk by chunk, as the flow does; it is left running."""
    attempt = start(run_id)
    facts = {
        "language_model": {"parameter_count": 7, "dtype": "float32", "quantization": "none"},
        "stage_seconds": STAGE_SECONDS,
        "funnel": {"rows": 65, "eligible": 2, "drawn": 2, "rejected": {"no answer": 9, "passage length": 54}},
    }
    manifests.extend_run(attempt, {}, facts)
    record(attempt, "sample", SAMPLES)
    record(attempt, "reject", REJECTS)
    record(attempt, "surrogate", SURROGATES)
    record(attempt, "route", ROUTES)
    for sample in ("first", "second"):
        rows = [score(arm, nlls) for arm, nlls in NLLS.items() if arm[0] == sample]
        record(attempt, "score", rows, chunk=sample)
        record(attempt, "run_check", [Check("cache_is_unchanged", 0.0, 0.0, True, f"3 arms of {sample}")], chunk=sample)
    record_answers(attempt, comparison=COMPARISONS)
    return attempt


def complete(run_id: str = "abc") -> None:
    manifests.finish_run(record_all(run_id))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Publish one run once, for the tests that only read."""
    path = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "ARTIFACTS", path)
        complete()
        # 2 samples + 2 rejects + 4 surrogates + 4 routes + 6 scores + 4 comparisons + 4 answers + 2 checks
        assert results.rebuild_database() == {"path": str(path / "results.duckdb"), "runs": 1, "rows": 28}
    return path


@pytest.fixture
def published(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(artifacts, "ARTIFACTS", shared)
    return shared


@contextmanager
def client() -> Iterator[duckdb.DuckDBPyConnection]:
    """Read the database as any client would, in a connection of its own."""
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{artifacts.ARTIFACTS / 'results.duckdb'}' AS published (READ_ONLY)")
        connection.execute("USE published")
        yield connection


def query(statement: str) -> list[tuple[Any, ...]]:
    with client() as connection:
        return connection.execute(statement).fetchall()


def read(view: str, run_id: str) -> list[Row]:
    with results.open_results() as connection:
        return rows_of(connection, f"SELECT * FROM all_runs.{view} WHERE run_id = $run_id", run_id)


def export() -> dict[str, list[str]]:
    """Return every row of every table and view, sorted."""
    with client() as connection:
        found = "SELECT table_schema, table_name FROM information_schema.tables ORDER BY ALL"
        names = [f'{schema}."{name}"' for schema, name in connection.execute(found).fetchall()]
        return {name: sorted(map(repr, connection.execute(f"SELECT * FROM {name}").fetchall())) for name in names}


def start_child(code: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "SURROGATE_ARTIFACTS": str(artifacts.ARTIFACTS)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def points(nll: float, baseline: float) -> Any:
    """Return how much more probable a token is than in the baseline, by the definition."""
    return pytest.approx(100 * (math.exp(-nll) - math.exp(-baseline)))


def test_outcome_has_one_row_per_sample_and_arm(published: Path) -> None:
    rows = query("SELECT sample_id, family, key, nll, nll_notebook, improvement FROM all_runs.outcome ORDER BY ALL")
    assert rows == [  # by hand, from NLLS
        ("first", "baseline", "document", 2.0, 2.0, 0.0),
        ("first", "generated", "target_question", 3.0, 3.0, points(3.0, 2.0)),
        ("first", "static", "factual", 1.0, 1.0, points(1.0, 2.0)),
        ("second", "baseline", "document", 0.5, None, 0.0),
        ("second", "generated", "target_question", 0.25, None, points(0.25, 0.5)),
        ("second", "static", "factual", None, None, None),
    ]
    arms = query(
        "SELECT DISTINCT family, similarity, is_routed, context_token_count FROM all_runs.outcome ORDER BY ALL"
    )
    assert arms == [("baseline", None, None, 107), ("generated", 0.5, True, 107), ("static", 0.5, True, 107)]
    assert query("SELECT token_nlls FROM score WHERE nll = 2") == [([2.0, 1.0, 3.0],)]


def test_outcome_takes_baseline_and_route_of_its_own_run_and_arm(folder: Path) -> None:
    """Expected: by hand; two runs of the same samples, and a family of two keys, of which one is routed to."""
    for run_id, baseline, routed in (("abc", 4.0, "factual"), ("def", 7.0, "problem")):
        nlls = {("baseline", "document"): baseline, ("static", "factual"): 3.0, ("static", "problem"): 1.0}
        routes = [
            Route("first", "static", key, similarity, is_routed=key == routed, is_tie=False)
            for key, similarity in (("factual", 0.25), ("problem", 0.75))
        ]
        finish(run_id, score=[score(("first", *arm), (nll,)) for arm, nll in nlls.items()], route=routes)
    results.rebuild_database()
    columns = "run_id, key, nll, improvement, similarity, is_routed"
    assert query(f"SELECT {columns} FROM all_runs.outcome ORDER BY run_id, key") == [
        ("abc", "document", 4.0, 0.0, None, None),
        ("abc", "factual", 3.0, points(3.0, 4.0), 0.25, True),
        ("abc", "problem", 1.0, points(1.0, 4.0), 0.75, False),
        ("def", "document", 7.0, 0.0, None, None),
        ("def", "factual", 3.0, points(3.0, 7.0), 0.25, False),
        ("def", "problem", 1.0, points(1.0, 7.0), 0.75, True),
    ]


def test_run_summary_counts(published: Path) -> None:
    (summary,) = read("run_summary", "abc")
    expected = {
        "status": "complete",
        "data": "demo",
        "language_model": "owner/model",
        "row_count": 65,
        "eligible_count": 2,
        "rejected_count": 63,
        "drawn_count": 2,
        "sample_count": 2,
        "surrogate_count": 4,
        "score_count": 6,
        "score_missing_count": 1,
        "comparison_count": 4,
        "check_failed_count": 0,
        "attempt_count": 1,
        "seconds": 3.5,
    }
    assert {name: summary[name] for name in expected} == expected
    assert query("SELECT * EXCLUDE run_id FROM reject") == [(2, "no answer", "who?"), (65, "passage length", "")]
    assert json.loads(query("SELECT funnel FROM run")[0][0])["rejected"] == {"no answer": 9, "passage length": 54}
    assert query("SELECT seed, parameter_count, dtype, quantization FROM run") == [(42, 7, "float32", "none")]


def test_the_seconds_of_a_stage_are_told_apart_by_entry_and_chunk(published: Path) -> None:
    assert query("SELECT stage, entry, chunk, seconds FROM stage_time ORDER BY ALL") == [  # from STAGE_SECONDS
        ("sample", "", "all", 1.0),
        ("score", "control/random_words", "0001", 0.5),
        ("score", "static", "0000", 2.0),
    ]


def test_every_table_view_and_column_says_what_it_is(published: Path) -> None:
    for kind in ("table", "view", "column"):
        names = "table_name, column_name" if kind == "column" else f"{kind}_name"
        of_ours = f"FROM duckdb_{kind}s() WHERE NOT internal AND database_name = 'published'"
        assert query(f"SELECT count(*) {of_ours}")[0][0] > 3
        assert query(f"SELECT {names} {of_ours} AND comment IS NULL") == []


FIELD = re.compile(r'^    (\w+): (.+?)( \| None)?(?: = .+?)?\n    """(.+?)"""$', re.MULTILINE | re.DOTALL)
"""An attribute of a record as its source has it: name, type, whether it may be None, docstring."""
SQL_TYPES = {
    "AnswerValue": "VARCHAR",
    "DistractorSource": "VARCHAR",
    "Verdict": "VARCHAR",
    "str": "VARCHAR",
    "int": "BIGINT",
    "float": "DOUBLE",
    "FiniteFloat": "DOUBLE",
    "bool": "BOOLEAN",
    "datetime": "TIMESTAMP",
    "AwareDatetime": "TIMESTAMP",
    "tuple[float, ...]": "FLOAT[]",
    "tuple[str, ...]": "VARCHAR[]",
}


@pytest.mark.parametrize(("name", "table"), results.RUN_TABLES.items(), ids=list(results.RUN_TABLES))
def test_the_catalogue_says_what_the_record_says(published: Path, name: str, table: Table) -> None:
    """Names, types, nullability and comments, read from the text of the record's class and of its base class."""
    expected = [(column, "VARCHAR", False, text) for column, text in table.before.items()]
    for kind in [kind for kind in reversed(table.record.__mro__) if kind.__module__.startswith("tasks.")]:
        for field, annotation, optional, text in FIELD.findall(inspect.getsource(kind)):
            sql_type = "VARCHAR" if annotation.startswith("Literal[") else SQL_TYPES[annotation]
            expected.append((field, sql_type, bool(optional), " ".join(text.split()).replace("None", "NULL")))
    columns = "column_name, data_type, is_nullable, comment"
    found = query(f"SELECT {columns} FROM duckdb_columns() WHERE table_name = '{name}' ORDER BY column_index")
    assert found == expected
    assert len(expected) > 3
    assert str(table.record.__doc__).startswith(
        query(f"SELECT comment FROM duckdb_tables() WHERE table_name = '{name}'")[0][0].replace("NULL", "None")[:80]
    )


def test_rows_have_keys_and_belong_to_rows_of_other_tables(published: Path) -> None:
    keys = dict(
        query("""
        SELECT table_name, array_to_string(constraint_column_names, ', ')
        FROM duckdb_constraints() WHERE constraint_type = 'PRIMARY KEY'
    """)
    )
    assert keys == {
        name: ("run_id, " if "run_id" in table.before else "") + table.key for name, table in results.RUN_TABLES.items()
    }
    parents = query("""
        SELECT table_name, array_to_string(constraint_column_names, ', '), referenced_table
        FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY' ORDER BY ALL
    """)
    belonging = ("distractor", "surrogate", "route", "score", "answer_text")
    of_sample = {(name, "run_id, sample_id", "sample") for name in belonging}
    of_comparison = {(name, "run_id, comparison", "comparison") for name in ("measure", "stratum")}
    of_run = {name for name in results.RUN_TABLES if name != "run"}
    of_run -= {name for name, _, _ in of_sample | of_comparison}
    assert set(parents) == of_sample | of_comparison | {(name, "run_id", "run") for name in of_run}


def test_no_name_is_a_reserved_word(published: Path) -> None:
    ours = "FROM duckdb_columns() WHERE NOT internal AND database_name = 'published'"
    names = f"SELECT column_name {ours} UNION SELECT table_name {ours}"
    reserved = "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category = 'reserved'"
    assert query(f"({names}) INTERSECT ({reserved})") == []
    assert ("select",) in query(reserved)


def test_older_clients_can_read_the_file(published: Path) -> None:
    """DuckDB 1.4 reads storage versions 64 to 67, and says so when it refuses one; 2.0 writes 69 unless told."""
    header = (published / "results.duckdb").read_bytes()[:20]
    magic, version = struct.unpack_from("<4sQ", header, 8)
    assert magic == b"DUCK"
    assert 64 <= version <= 67


@pytest.mark.slow
def test_a_rebuild_gives_the_same_database(folder: Path) -> None:
    complete("abc")
    complete("def")
    results.rebuild_database()
    first = export()
    results.rebuild_database()
    assert export() == first
    (folder / "results.duckdb").unlink()
    results.rebuild_database()
    assert export() == first
    assert [path.name for path in folder.glob("*results*")] == ["results.duckdb"]


def test_a_rerun_replaces_and_does_not_double() -> None:
    complete()
    results.rebuild_database()
    before = export()
    complete()
    results.rebuild_database()
    after = export()
    for table in ("sample", "surrogate", "route", "score", "comparison", "run_check", "reject", "answer"):
        assert after[f'main."{table}"'] == before[f'main."{table}"']
    assert query("SELECT count(*) FROM attempt") == [(2,)]


def test_the_newest_run_comes_first() -> None:
    finish("def", comparison=COMPARISONS)
    finish("abc", comparison=COMPARISONS)
    finish("efg", comparison=COMPARISONS)
    results.rebuild_database()
    assert [run_id for (run_id,) in query("SELECT run_id FROM all_runs.run_summary")] == ["efg", "abc", "def"]
    assert next(run_id for (run_id,) in query("SELECT run_id FROM all_runs.does_priming_help")) == "efg"


@pytest.mark.parametrize("damage", ["altered", *slow("missing")])
def test_a_damaged_artifact_makes_its_run_incomplete_and_no_other(
    folder: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    complete("abc")
    attempt = record_all("def")
    reference = record(attempt, "score", [score(("first", "static", "problem"), (1.0, 2.0))], chunk="problem")
    manifests.finish_run(attempt)
    path = folder / reference["path"]
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-1] + b"\0")

    results.rebuild_database()
    assert query("SELECT run_id, status FROM run ORDER BY ALL") == [("abc", "complete"), ("def", "incomplete")]
    ((run_id, chunk, detail),) = query("SELECT run_id, chunk, detail FROM run_check WHERE NOT passed")
    assert (run_id, chunk) == ("def", "score/problem")
    assert reference["path"] in detail
    assert reference["path"] in caplog.text
    assert query("SELECT run_id, count(*) FROM score GROUP BY ALL ORDER BY ALL") == [("abc", 6), ("def", 6)]
    assert read("does_priming_help", "def") == []

    path.write_bytes(content)
    results.rebuild_database()
    assert query("SELECT status FROM run WHERE run_id = 'def'") == [("complete",)]
    assert query("SELECT count(*) FROM score WHERE run_id = 'def'") == [(7,)]


@pytest.mark.parametrize(
    ("table", "rows", "reason"),
    [
        ("sample", [SAMPLES[0], SAMPLES[0]], "PRIMARY KEY"),
        *slow(
            ("score", [replace(score(("first", "static", "problem"), (1.0,)), nll=float("nan"))], "CHECK"),
            ("comparison", [replace(COMPARISONS[0], comparison="x", p_value=float("nan"))], "CHECK"),
        ),
    ],
)
def test_rows_that_break_a_rule_make_their_run_incomplete(table: str, rows: list[object], reason: str) -> None:
    complete("abc")
    attempt = record_all("def")
    record(attempt, table, rows, chunk="wrong")
    manifests.finish_run(attempt)
    results.rebuild_database()
    (run_id, chunk, detail), *others = query("SELECT run_id, chunk, detail FROM run_check WHERE NOT passed")
    assert (run_id, chunk) == ("def", table)
    assert reason in detail
    assert [chunk for _, chunk, _ in others] == (["surrogate", "route", "score"] if table == "sample" else [])
    assert query(f"SELECT DISTINCT run_id FROM {table}") == [("abc",)]


def test_a_reference_that_counts_other_rows_is_damaged() -> None:
    attempt = record_all()
    reference = artifacts.write_rows(SAMPLES, Sample, "sample")
    manifests.extend_run(attempt, {"sample": {"all": reference | {"rows": 5}}})
    manifests.finish_run(attempt)
    results.rebuild_database()
    assert "has 2 rows, but 5" in query("SELECT detail FROM run_check WHERE NOT passed")[0][0]


def test_a_damaged_manifest_costs_its_own_run_alone(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    finish("abc", sample=SAMPLES)
    finish("def", sample=SAMPLES)
    finish("ghi", sample=SAMPLES)
    (folder / "runs" / "abc.json").write_bytes(b"{")
    path = folder / "runs" / "ghi.json"
    manifest = without_seal(json.loads(path.read_text()))
    manifest["settings"]["sampling"]["sample_count"] = "many"
    path.write_text(json.dumps(with_seal(manifest)))
    assert results.rebuild_database()["runs"] == 1
    assert query("SELECT run_id FROM run") == [("def",)]
    assert query("SELECT DISTINCT run_id FROM sample") == [("def",)]
    assert "abc.json" in caplog.text
    assert "skipped run ghi" in caplog.text


@pytest.mark.slow
def test_two_processes_publish_at_once(folder: Path) -> None:
    complete()
    code = "from tasks import results\nfor _ in range(2): results.rebuild_database()"
    with start_child(code) as first, start_child(code) as second:
        assert (first.wait(timeout=PATIENCE), second.wait(timeout=PATIENCE)) == (0, 0)
    assert query("SELECT count(*) FROM score") == [(6,)]
    assert [path.name for path in folder.glob("*results*")] == ["results.duckdb"]


@pytest.mark.slow
def test_a_reader_keeps_the_old_database_and_stops_nobody(folder: Path) -> None:
    complete("abc")
    results.rebuild_database()
    with duckdb.connect(str(folder / "results.duckdb"), read_only=True) as reader:
        complete("def")
        results.rebuild_database()
        assert reader.execute("SELECT run_id FROM run").fetchall() == [("abc",)]
        # the same process reads the new one, although it has the old one open under the same name
        assert len(read("run_summary", "def")) == 1


@pytest.mark.slow
def test_a_session_that_writes_into_an_earlier_database_stops_nobody(folder: Path) -> None:
    results.rebuild_database()
    program = (
        "import sys, duckdb\n"
        "user = duckdb.connect(sys.argv[1])\n"
        "print(flush=True), input()\n"  # meanwhile another database is published
        "user.execute('CREATE TABLE mine AS SELECT 1')\n"
        "print(flush=True), input()\n"
    )
    command = [sys.executable, "-c", program, str(folder / "results.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdin
        assert user.stdout
        user.stdout.readline()
        complete()
        results.rebuild_database()
        user.stdin.write("\n")
        user.stdin.flush()
        user.stdout.readline()
        assert (folder / "results.duckdb.wal").exists()
        assert [row["run_id"] for row in read("run_summary", "abc")] == ["abc"]
        user.kill()


@pytest.mark.slow
def test_a_log_left_beside_the_database_is_not_replayed_into_the_next(folder: Path) -> None:
    results.rebuild_database()
    log = folder / "results.duckdb.wal"
    writer = duckdb.connect(str(folder / "results.duckdb"))
    writer.execute("SET wal_autocheckpoint = '1GB'")
    writer.execute("CREATE TABLE mine AS SELECT 1")
    content = log.read_bytes()
    writer.close()
    log.write_bytes(content)
    complete()
    results.rebuild_database()
    assert not log.exists()
    assert query("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'mine'") == [(0,)]


@pytest.mark.slow
def test_a_publisher_that_is_killed_leaves_the_old_database_and_no_lock(folder: Path) -> None:
    complete("abc")
    results.rebuild_database()
    before = export()
    complete("def")
    child = start_child(
        "import time\nfrom tasks import results\n"
        "load = results._load_run\n"
        "def stop(connection, manifest, looks_before):\n"
        "    load(connection, manifest, looks_before)\n"
        "    print('half done', flush=True)\n"
        "    time.sleep(1000)\n"
        "results._load_run = stop\n"
        "results.rebuild_database()\n"
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "half done\n"
    with pytest.raises(Timeout), FileLock(folder / ".publish.lock", timeout=0):
        pass
    child.send_signal(signal.SIGKILL)
    assert child.wait(timeout=PATIENCE) == -signal.SIGKILL
    child.stdout.close()
    assert (folder / ".results.duckdb.new").exists()

    assert export() == before
    with FileLock(folder / ".publish.lock", timeout=0):
        pass
    results.rebuild_database()
    assert [path.name for path in folder.glob("*results*")] == ["results.duckdb"]
    assert query("SELECT count(*) FROM run") == [(2,)]


def test_a_publisher_that_fails_leaves_the_old_database(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complete()
    results.rebuild_database()
    before = export()
    with monkeypatch.context() as patch:
        patch.setattr(results, "_load_everything", lambda connection: connection.execute("CREATE NONSENSE"))
        with pytest.raises(duckdb.ParserException):
            results.rebuild_database()
    assert export() == before
    assert not (folder / ".results.duckdb.new").exists()
    results.rebuild_database()  # nothing of the failure stays attached
    assert export() == before


def test_a_folder_with_a_quote_in_its_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "ARTIFACTS", folder / "it's here")
    complete()
    results.rebuild_database()
    assert len(read("does_priming_help", "abc")) == 2


# --- looks at a growing run ---


def test_a_run_knows_the_looks_before_it(folder: Path) -> None:
    """Expected: by eye; a look is a complete run that differs in the number of samples alone."""
    for run_id, count, seed in (("first", 200, 1), ("other", 200, 2), ("second", 400, 1), ("third", 800, 1)):
        settings = {"seed": seed, "sampling": {"sample_count": count, "draw": "nested"}}
        attempt = manifests.start_run(manifests.RunDescription(run_id=run_id, profile="demo", settings=settings))
        if run_id != "second":
            manifests.finish_run(attempt)
    results.rebuild_database()
    assert query("SELECT run_id, look, looks_before FROM run ORDER BY run_id") == [
        ("first", 1, None),
        ("other", 1, None),
        ("second", 2, "200"),
        ("third", 2, "200"),  # the second has not ended
    ]
