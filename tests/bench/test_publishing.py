"""What the benchmark writes is what publishing reads; files that are none are skipped."""

import json
import logging

import duckdb
import pytest

from tasks import results
from tasks.bench.records import Bench, read_benches, read_newest, write_bench
from tasks.priming.errors import UsageError
from tasks.store import artifacts

pytestmark = pytest.mark.usefixtures("artifacts_folder")


def query(statement: str) -> list[tuple[object, ...]]:
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{artifacts.ARTIFACTS / 'results.duckdb'}' AS published (READ_ONLY)")
        connection.execute("USE published")
        return connection.execute(statement).fetchall()


def test_figures_become_rows(bench: Bench) -> None:
    path = write_bench(bench)
    results.rebuild_database()
    assert query("SELECT count(*), min(bench_id), min(device) FROM bench") == [(9, path.stem, "cpu")]
    ratio = "SELECT value, low, high, unit FROM bench WHERE method = 'ours' AND unit = 'x'"
    assert query(ratio) == [(6.04, 5.5, 6.5, "x")]
    assert query("SELECT DISTINCT measured_at::TEXT FROM bench") == [("2026-11-25 04:30:00",)]
    assert query("SELECT machine->>'processor' FROM bench LIMIT 1") == [("A Processor",)]
    assert query("SELECT workload FROM bench WHERE quantity = 'seconds'") == [
        ("12 samples in 11 contexts, 24,000 tokens",)
    ]


def test_every_benchmark_is_kept_and_the_newest_is_known(bench: Bench) -> None:
    later = bench.model_copy(update={"seconds": 91.0})
    paths = {write_bench(each) for each in (bench, later, bench)}
    assert len(paths) == 2  # named by content
    results.rebuild_database()
    assert query("SELECT count(DISTINCT bench_id) FROM bench") == [(2,)]
    assert read_newest() == bench


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[1, 2]",
        '{"name": "of another project"}',
        '{"format": 2}',
        "[" * 100_000,
    ],
)
def test_foreign_files_are_skipped_with_a_warning(bench: Bench, content: str, caplog: pytest.LogCaptureFixture) -> None:
    path = write_bench(bench)
    (path.parent / "foreign.json").write_text(content, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        results.rebuild_database()
    assert query("SELECT count(*) FROM bench") == [(9,)]
    assert "foreign.json, which is no benchmark" in caplog.text


def test_values_that_no_table_holds_are_skipped(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    path = write_bench(bench)
    content = json.loads(path.read_bytes())
    content["figures"].append(content["figures"][0])
    (path.parent / "twice.json").write_text(json.dumps(content), encoding="utf-8")
    content["figures"][0]["value"] = float("nan")
    (path.parent / "no_number.json").write_text(json.dumps(content), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        results.rebuild_database()
    assert query("SELECT DISTINCT bench_id FROM bench") == [(path.stem,)]
    assert "skipped benchmark twice, whose rows were refused" in caplog.text
    assert "no_number.json, which is no benchmark: figures.0.value" in caplog.text


def test_a_later_version_may_have_more_to_say(bench: Bench) -> None:
    path = write_bench(bench)
    content = json.loads(path.read_bytes())
    content["moon"] = "full"
    content["figures"][0]["colour"] = "blue"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_benches() == {path.stem: bench}


def test_without_a_benchmark_there_is_an_empty_table_and_no_newest() -> None:
    results.rebuild_database()
    assert query("SELECT count(*) FROM bench") == [(0,)]
    with pytest.raises(UsageError, match=r"bench\.json holds no benchmark .* make bench"):
        read_newest()
