"""Faults of disks and processes: what was altered is found, what was acknowledged is whole, a full disk loses nothing.

The numbers in the tests' ids are those of the table of faults in docs/robustness.md; its other rows name tests that
stand beside what they are about.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect._internal.result_records import ResultRecord, ResultRecordMetadata

from tasks.priming.records import Check
from tasks.store import artifacts, caching, manifests
from tasks.store.artifacts import Reference, is_intact, read_rows, write_rows
from tasks.store.caching import SealedJSONSerializer
from tasks.store.manifests import RunDescription, finish_run, read_manifest, start_run
from tests.operations.runs import Attempt, differences, export
from tests.places import ROOT

POSITIONS = 20
KILLS = 40


@pytest.fixture
def reference(artifacts_folder: Path) -> Reference:
    rows = [Check(f"check {number}", number / 7, None, True, "detail " * 20) for number in range(50)]
    return write_rows(rows, Check, "checks")


def flipped(content: bytes, seed: int) -> Iterator[bytes]:
    """Yield the content with one bit turned over, at different places."""
    source = random.Random(seed)
    for position in source.sample(range(len(content)), POSITIONS):
        changed = bytearray(content)
        changed[position] ^= 1 << source.randrange(8)
        yield bytes(changed)


def altered_values(content: str, seed: int) -> Iterator[str]:
    """Yield a JSON text with one of its digits changed: it stays JSON, and says something else."""
    digits = [place for place, letter in enumerate(content) if letter.isdigit()]
    source = random.Random(seed)
    for place in source.sample(digits, min(POSITIONS, len(digits))):
        yield f"{content[:place]}{(int(content[place]) + 1) % 10}{content[place + 1 :]}"


@pytest.mark.parametrize((), [pytest.param(id="fault04-rows")])
def test_every_flipped_bit_of_an_artifact_is_found(artifacts_folder: Path, reference: Reference) -> None:
    path = artifacts_folder / reference["path"]
    content = path.read_bytes()
    for damaged in flipped(content, 1):
        path.write_bytes(damaged)
        assert not is_intact(reference)
        with pytest.raises(artifacts.DamagedArtifactError, match=r"missing or altered\. Start the run again"):
            read_rows(reference, Check)
    path.write_bytes(content)
    assert len(read_rows(reference, Check)) == 50


@pytest.mark.parametrize((), [pytest.param(id="fault04-records")])
@pytest.mark.parametrize("change", [flipped, altered_values], ids=["bits", "fault06-values"])
def test_no_altered_record_of_a_stage_is_believed(reference: Reference, change: object) -> None:
    """A record in which only what Prefect says of itself was altered (a version, say) may stay: it says the same."""
    described = ResultRecordMetadata(storage_key="key", serializer=SealedJSONSerializer())
    remembered = reference | {"seconds": 1.25, "funnel": {"rows": 123, "rejected": {"no_answer": 7}}}
    content = ResultRecord(metadata=described, result=remembered).serialize()
    path = caching.STAGE_RESULTS / "key"
    path.parent.mkdir(parents=True, exist_ok=True)
    damages = flipped(content, 2) if change is flipped else (t.encode() for t in altered_values(content.decode(), 2))
    dropped = 0
    for damaged in damages:
        path.write_bytes(damaged)
        caching._drop_untrusted_record(path)
        if path.exists():
            assert ResultRecord.deserialize(damaged).result == remembered
        else:
            dropped += 1
    assert dropped > POSITIONS / 2
    path.write_bytes(content)
    caching._drop_untrusted_record(path)
    assert path.exists()


@pytest.mark.parametrize((), [pytest.param(id="fault04-manifests")])
@pytest.mark.parametrize("change", [flipped, altered_values], ids=["bits", "fault06-values"])
def test_every_altered_manifest_is_found(reference: Reference, change: object) -> None:
    attempt = start_run(RunDescription(run_id="abc", profile="demo", settings={"seed": 42}))
    manifests.extend_run(attempt, {"run_check": {"all": reference}})
    finish_run(attempt)
    path = artifacts.ARTIFACTS / "runs" / "abc.json"
    content = path.read_bytes()
    damages = flipped(content, 3) if change is flipped else (t.encode() for t in altered_values(content.decode(), 3))
    for damaged in damages:
        path.write_bytes(damaged)
        assert read_manifest("abc") is None
    path.write_bytes(content)
    assert read_manifest("abc") is not None


_WRITER = """
import sys
from tasks.store.artifacts import write_rows
from tasks.priming.records import Check
for number in range(100_000):
    rows = [Check(f"{sys.argv[1]} {number} {row}", 0.5, None, True, "x" * 500) for row in range(200)]
    reference = write_rows(rows, Check, "checks")
    print(reference["path"], reference["sha256"], flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize((), [pytest.param(id="fault03-rows")])
def test_a_writer_that_is_killed_leaves_what_it_acknowledged_and_nothing_torn(artifacts_folder: Path) -> None:
    source = random.Random(3)
    acknowledged = 0
    for number in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(number)],
            env=os.environ | {"SURROGATE_ARTIFACTS": str(artifacts_folder)},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            lines = [writer.stdout.readline()]  # from here on it writes
            time.sleep(source.uniform(0, 0.3))
            writer.send_signal(signal.SIGKILL)
            lines += writer.stdout.readlines()
        for line in lines:
            name, _, sha256 = line.strip().partition(" ")
            assert is_intact({"path": name, "sha256": sha256})
            acknowledged += 1
    assert acknowledged > KILLS
    for path in (artifacts_folder / "checks").glob("*.parquet"):
        assert artifacts.file_sha256(path).startswith(path.stem)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 kB, which only root may make."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs the right to mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def grow(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize((), [pytest.param(id="fault07-every place")])
def test_a_disk_that_fills_up_stops_the_run_wherever_it_is_and_room_lets_it_go_on(
    small_disk: Path, tmp_path: Path
) -> None:
    """The disk grows little by little, so that the run stops at one place after the other, and then completes."""
    undisturbed = tmp_path / "undisturbed"
    Attempt(undisturbed, None).complete()
    stops = []
    for kilobytes in (300, 420, 480, 560, 700, 1_000, 2_000, 4_000, 16_000, 64_000):
        grow(small_disk, f"{kilobytes}k")
        attempt = Attempt(small_disk / "artifacts", None)
        status = attempt.end()
        if status == 0 and (small_disk / "artifacts" / "results.duckdb").is_file():
            break
        assert "No space left on device" in attempt.log
        stops.append(kilobytes)
        for path in (small_disk / "artifacts").rglob("*.json"):
            json.loads(path.read_bytes())  # nothing is half written under its name
    sys.stdout.write(f"stopped by a disk of {stops} kB\n")
    assert len(stops) >= 2
    found, expected = export(small_disk / "artifacts", tmp_path / "a"), export(undisturbed, tmp_path / "b")
    assert differences(found, expected) == []
