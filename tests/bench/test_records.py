"""A benchmark is kept under its content's hash, and the newest is read back; a file that is none is refused."""

import json

import pytest

from tasks.bench.records import Bench, read_newest, write_bench
from tasks.priming.errors import UsageError
from tasks.store import artifacts

pytestmark = pytest.mark.usefixtures("artifacts_folder")


def test_every_benchmark_is_kept_and_the_newest_is_known(bench: Bench) -> None:
    later = bench.model_copy(update={"seconds": 91.0})
    paths = {write_bench(each) for each in (bench, later, bench)}
    assert {path.stem for path in paths} == {bench.bench_id, later.bench_id}
    assert {Bench.model_validate_json(path.read_bytes()).seconds for path in paths} == {90.0, 91.0}
    assert read_newest() == bench


@pytest.mark.parametrize(
    "content", ["", "{", "[1, 2]", '{"name": "of another project"}', '{"format": 2}', "[" * 100_000]
)
def test_a_foreign_file_is_refused(content: str) -> None:
    (artifacts.ARTIFACTS / "bench.json").write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"bench\.json holds no benchmark .* make bench"):
        read_newest()


def test_a_value_that_is_no_number_is_refused_by_its_place(bench: Bench) -> None:
    write_bench(bench)
    content = json.loads((artifacts.ARTIFACTS / "bench.json").read_bytes())
    content["figures"][0]["value"] = float("nan")
    (artifacts.ARTIFACTS / "bench.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(UsageError, match=r"figures\.0\.value"):
        read_newest()


def test_a_later_version_may_have_more_to_say(bench: Bench) -> None:
    write_bench(bench)
    path = artifacts.ARTIFACTS / "bench.json"
    content = json.loads(path.read_bytes())
    content["moon"] = "full"
    content["figures"][0]["colour"] = "blue"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_newest() == bench


def test_without_a_benchmark_there_is_no_newest() -> None:
    with pytest.raises(UsageError, match=r"bench\.json holds no benchmark .* make bench"):
        read_newest()
