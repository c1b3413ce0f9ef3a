"""The key of a stage depends on what changes its result, and a stored record that cannot be trusted is dropped."""

import hashlib
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from prefect import Task
from prefect._internal.result_records import ResultRecord, ResultRecordMetadata
from prefect.cache_policies import CachePolicy
from prefect.serializers import PickleSerializer, Serializer
from prefect.utilities.callables import get_call_parameters

import tasks.scoring
import tasks.statistics
from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.records import Check
from tasks.priming.settings import GenerationSettings, StatisticsSettings
from tasks.store import caching
from tasks.store.artifacts import Reference, chunks_of, write_rows
from tasks.store.caching import SealedJSONSerializer, StageCache, stage_options

COMPUTATION = "tasks.priming.statistics.comparisons:compare_conditions"


def key(stage: str = "statistics", computation: str = COMPUTATION, **inputs: Any) -> str:
    return compute(StageCache(stage=stage, computation=computation), inputs)


def compute(policy: StageCache, inputs: dict[str, Any]) -> str:
    return policy.compute_key(cast(Any, None), inputs, {})  # the policy reads the inputs alone


def reference(sha256: str = "a", **parts: object) -> Reference:
    return {"path": f"scoring/{sha256}.parquet", "sha256": sha256, "rows": 3, **parts}


# --- the key ---


def test_the_key_is_the_stages_folder_and_a_hash() -> None:
    folder, _, digest = key("statistics", seed=1).partition("/")
    assert folder == "statistics"
    assert len(digest) == 32
    assert set(digest) <= set("0123456789abcdef")


def test_equal_inputs_have_an_equal_key_in_any_order() -> None:
    assert key(seed=1, count=2) == key(count=2, seed=1)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ({"seed": 1}, {"seed": 2}),
        ({"seed": 1}, {"sead": 1}),
        ({"seed": 1}, {"seed": 1, "other": None}),
        ({"seed": 1}, {"seed": "1"}),
        ({"seed": None}, {"seed": 0}),
        ({"scores": [reference("a"), reference("b")]}, {"scores": [reference("b"), reference("a")]}),
        ({"scores": [reference("a")]}, {"scores": [reference("a"), reference("a")]}),
        ({"settings": StatisticsSettings()}, {"settings": StatisticsSettings(bootstrap_resamples=100)}),
        ({"settings": StatisticsSettings()}, {"settings": GenerationSettings()}),
        ({"contexts": ARM_GROUPS["static"].contexts}, {"contexts": ARM_GROUPS["generated"].contexts}),
        ({"model": {"sha256": "a"}}, {"model": {"sha256": "b"}}),
        ({"model": {"versions": {"torch": "2.13"}}}, {"model": {"versions": {"torch": "2.14"}}}),
    ],
)
def test_another_argument_has_another_key(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert key(**left) != key(**right)


def test_another_stage_or_computation_has_another_key() -> None:
    """Keys of inputs alone collide across tasks, and one stage served another's result."""
    keys = {key(), key(stage="routing"), key(computation="tasks.priming.sampling:draw_samples")}
    assert len({k.split("/")[1] for k in keys}) == 2  # the folder tells stages apart, the hash tells code apart
    assert len(keys) == 3


def test_a_reference_counts_as_its_content_alone() -> None:
    same = [
        reference("a"),
        reference("a", path="elsewhere/a.parquet", rows=4),
        reference("a", seconds=1.5, funnel={"rows": 5}),
    ]
    assert len({key(scores=[part]) for part in same}) == 1
    assert key(scores=[reference("a")]) != key(scores=[reference("b")])


def test_a_chunk_counts_as_its_samples_ids_in_whatever_file() -> None:
    short = chunks_of(reference("a"), ["x", "y", "z"], 2)
    long = chunks_of(reference("b"), ["x", "y", "w", "z"], 2)
    assert key(samples=short[0]) == key(samples=long[0])
    assert key(samples=short[1]) != key(samples=long[1])
    assert key(samples=short[0]) != key(samples=reference("a"))


def test_the_key_holds_the_folder_that_the_inputs_tell() -> None:
    policy = StageCache(stage="scoring", computation=COMPUTATION, folder=lambda inputs: str(inputs["family"]))
    assert compute(policy, {"family": "static"}).startswith("scoring/static/")
    assert compute(policy, {"family": "static"}).count("/") == 2


def test_the_computation_may_depend_on_the_inputs() -> None:
    policy = StageCache(stage="surrogates", computation=lambda inputs: ARM_GROUPS[inputs["family"]].writer)
    by_name = StageCache(stage="surrogates", computation="tasks.priming.arms.writing:write_static")
    assert compute(policy, {"family": "static"}) == compute(by_name, {"family": "static"})


def test_an_argument_that_json_cannot_say_is_an_error_and_no_key() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        key(model=object())


def test_stages_persist_json_in_the_folder_that_the_policy_watches() -> None:
    options = stage_options("scoring", COMPUTATION)
    assert options["persist_result"] is True
    assert options["result_serializer"] == SealedJSONSerializer()
    assert options["result_storage"] == caching.STAGE_RESULTS
    assert isinstance(options["cache_policy"], CachePolicy)


# --- records that may stay ---


@pytest.fixture
def intact(artifacts_folder: Path) -> Reference:
    rows = [Check(f"check {number}", 0.5, None, True, "detail") for number in range(3)]
    return write_rows(rows, Check, "checks")


def stored(result: object, serializer: "Serializer[Any] | None" = None) -> bytes:
    """Return a record as Prefect writes it."""
    described = ResultRecordMetadata(storage_key="key", serializer=serializer or SealedJSONSerializer())
    return ResultRecord(metadata=described, result=result).serialize()


def edited(record: bytes, change: Callable[[str], str]) -> bytes:
    """Return a record whose content was changed by somebody who knows how to seal it."""
    outer = json.loads(record)
    text = change(json.loads(outer["result"])["json"])
    outer["result"] = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "json": text})
    return json.dumps(outer).encode()


def survives(record: bytes) -> bool:
    """Store a record under the key that a stage is about to look up; tell whether it is still there after that."""
    path = caching.STAGE_RESULTS / key(seed=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(record)
    assert caching.STAGE_RESULTS / key(seed=1) == path
    assert not path.is_file() or path.read_bytes() == record
    return path.is_file()


def test_an_intact_record_stays_and_prefect_reads_it(intact: Reference) -> None:
    record = stored(intact | {"seconds": 1.5})
    assert survives(record)
    assert ResultRecord.deserialize(record).result == intact | {"seconds": 1.5}


def test_a_record_with_funnel_and_chunks_stays(intact: Reference) -> None:
    chunks = chunks_of(intact, ["a", "b", "c"], 2)
    funnel = {"rows": 3, "rejected": {"selected passage outside 50-200 words": 1}}
    assert survives(stored(intact | {"chunks": chunks, "funnel": funnel}))


# --- records that are dropped ---


def test_a_record_of_a_deleted_file_is_dropped(artifacts_folder: Path, intact: Reference) -> None:
    (artifacts_folder / intact["path"]).unlink()
    assert not survives(stored(intact))


def test_a_record_of_an_altered_file_is_dropped(artifacts_folder: Path, intact: Reference) -> None:
    path = artifacts_folder / intact["path"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert not survives(stored(intact))


@pytest.mark.parametrize(
    "change",
    [
        {"path": "checks/another.parquet"},
        {"path": "../outside.parquet"},
        {"path": "/etc/hostname"},
        {"path": "checks/\0"},
        {"path": 5},
        {"path": None},
        {"sha256": "0" * 64},
        {"sha256": None},
    ],
    ids=str,
)
def test_a_record_with_an_edited_reference_is_dropped(
    artifacts_folder: Path, intact: Reference, change: dict[str, object]
) -> None:
    outside = artifacts_folder.parent / "outside.parquet"
    outside.write_bytes((artifacts_folder / intact["path"]).read_bytes())
    assert not survives(stored(intact | change))


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record[: len(record) // 2],
        lambda record: b"",
        lambda record: b"\x93\xff\x00garbage" * 20,
        lambda record: b"{}",
        lambda record: b"[1]",
        lambda record: b'"text"',
        lambda record: b"null",
        lambda record: b"[" * 100_000,
        lambda record: edited(record, lambda text: text.replace('{"path', '{{"path')),
        lambda record: json.dumps(json.loads(record) | {"result": 5}).encode(),
        lambda record: json.dumps(json.loads(record) | {"result": json.loads(record)["result"][:20]}).encode(),
        lambda record: record.replace(b"rows", b"sows"),
    ],
    ids=[
        "cut",
        "empty",
        "garbage",
        "{}",
        "[1]",
        "text",
        "null",
        "deep",
        "bad result",
        "number",
        "result cut",
        "a letter",
    ],
)
def test_a_damaged_record_is_dropped(intact: Reference, damage: Callable[[bytes], bytes]) -> None:
    """Truncated, empty and random records are misses for Prefect too; they must stay so here."""
    record = damage(stored(intact))
    assert record != stored(intact)
    assert not survives(record)


@pytest.mark.parametrize("result", [None, "text", 5, [1], {}, {"path": "a"}])
def test_a_record_of_anything_but_a_reference_is_dropped(artifacts_folder: Path, result: object) -> None:
    assert not survives(stored(result))


# --- records that would run code ---


class _Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


def pickled(intact: Reference, path: Path) -> bytes:
    return stored(_Touch(path), serializer=PickleSerializer())


def pickled_in_the_older_form(intact: Reference, path: Path) -> bytes:
    """What stands beside the metadata replaces what stands in them when Prefect reads the record."""
    record = json.loads(stored(intact))
    record["serializer"] = PickleSerializer().model_dump(mode="json")
    record["data"] = PickleSerializer().dumps(_Touch(path)).decode()
    return json.dumps(record).encode()


def decoded_by_a_command(intact: Reference, path: Path) -> bytes:
    """A JSON serialiser hands every object of the result to the function that the record names: touch <keys>."""
    record = json.loads(stored({"touch": 1, str(path): 2} | intact))
    record["metadata"]["serializer"]["object_decoder"] = "subprocess.call"
    return json.dumps(record).encode()


@pytest.mark.parametrize("attack", [pickled, pickled_in_the_older_form, decoded_by_a_command])
def test_a_record_that_would_run_code_is_dropped_unread(
    intact: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: Callable[[Reference, Path], bytes]
) -> None:
    """Prefect obeys the serialiser that a record names, and looking for a record already reads it.

    The older form and the named decoder once passed: only the type in the metadata was compared.
    """
    monkeypatch.chdir(tmp_path)
    proof = tmp_path / "proof"
    ResultRecord.deserialize(attack(intact, proof))  # what Prefect would do: the attack is a real one
    assert proof.exists()
    proof.unlink()
    assert not survives(attack(intact, proof))
    assert not proof.exists()


@pytest.mark.parametrize("name", ["__class__", "__exc_type__"])
@pytest.mark.parametrize("is_escaped", [False, True], ids=["plain", "escaped"])
def test_a_record_that_would_import_a_module_is_dropped(
    intact: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_escaped: bool
) -> None:
    """The name spelled with JSON escapes once passed."""
    proof = tmp_path / "proof"
    (tmp_path / "planted_module.py").write_text(f"open({str(proof)!r}, 'w').close()\nPlanted = dict\n")
    monkeypatch.syspath_prepend(tmp_path)
    record = stored(intact | {"extra": {name: "planted_module.Planted", "data": {}, "message": ""}})
    if is_escaped:
        record = edited(record, lambda text: text.replace("_", "\\u005f"))
    assert (name.encode() in record) is not is_escaped
    assert not survives(record)
    assert not proof.exists()


@pytest.mark.parametrize(
    ("stage", "name"),
    [(tasks.scoring.check_scoring, "checked_count"), (tasks.statistics.compute_statistic, "blas_threads")],
)
def test_what_changes_a_stages_numbers_is_among_its_arguments(
    stage: Task[..., Any], name: str, artifacts_folder: Path
) -> None:
    """These two once stood beside the stage, where no key saw them."""
    policy = stage.cache_policy
    assert isinstance(policy, StageCache)
    given = dict.fromkeys(inspect.signature(stage.fn).parameters, "cost") | {name: 1, "families": []}
    given = {parameter: given[parameter] for parameter in inspect.signature(stage.fn).parameters}
    inputs = get_call_parameters(stage.fn, (), given)  # as Prefect's engine does
    assert compute(policy, inputs) != compute(policy, inputs | {name: 2})
