"""A hundred thousand samples through every stage but the models: what a run takes grows as its samples do."""

import dataclasses
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from prefect.logging.loggers import disable_run_logger
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped] # it ships no type information

from tasks.priming.records import Route, Sample, Score
from tasks.priming.sampling import choose_donors, content_hash
from tasks.priming.settings import StatisticsSettings
from tasks.priming.statistics.run_data import ModelFacts
from tasks.statistics import compute_statistic
from tasks.store.artifacts import write_rows
from tests import run_rows
from tests.places import ROOT
from tests.robustness.load_run import CHUNK_SIZE

FEW, MANY = 25_000, 100_000
"""Both above the number of passages up to which intervals are bootstrapped, at a constant cost a comparison."""

MOST_BYTES = 2_000_000_000
MOST_SECONDS = 60
GROWTH = 1.4
"""How much more than its share a larger run may take: sorting, and a machine that others use."""

CHUNK_FILES = 9 + 12
"""Of a chunk: nine entries of the families are written for, twelve are scored."""

OTHER_FILES = 15
"""Samples, donors, distractors; routes, checks, eight statistics; the database and the report; see also LOCKS."""


def run(count: int, folder: Path) -> dict[str, Any]:
    """Run so many samples in a process of their own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PREFECT_HOME": str(folder / "prefect")}
    command = [sys.executable, "-m", "tests.robustness.load_run", str(count), str(folder / "artifacts")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, Any]]:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of a stage's memory is read from Linux")
    return {count: run(count, tmp_path_factory.mktemp(str(count))) for count in (FEW, MANY)}


@pytest.mark.slow
def test_a_small_load_is_published(tmp_path: Path) -> None:
    """What the other tests here run for long still runs."""
    assert run(200, tmp_path)["rows"] > 50 * 200


@pytest.mark.long
@pytest.mark.parametrize("count", [FEW, MANY])
def test_every_row_is_published(runs: dict[int, dict[str, Any]], count: int) -> None:
    """Expected: a sample, two distractors, 17 surrogates, 10 routes and 20 scores each, and what is computed of all."""
    assert 50 * count < runs[count]["rows"] < 50 * count + 1000
    assert runs[count]["report"]


@pytest.mark.long
def test_no_stage_takes_two_gigabytes(runs: dict[int, dict[str, Any]]) -> None:
    peaks = {name: stage["peak_bytes"] for name, stage in runs[MANY]["stages"].items()}
    assert max(peaks.values()) < MOST_BYTES, peaks


@pytest.mark.long
@pytest.mark.parametrize("stage", ["publish_results", "report_results"])
def test_the_database_and_the_report_take_a_minute_at_most(runs: dict[int, dict[str, Any]], stage: str) -> None:
    assert runs[MANY]["stages"][stage]["seconds"] < MOST_SECONDS


@pytest.mark.long
def test_time_grows_as_the_samples_do(runs: dict[int, dict[str, Any]]) -> None:
    """By the processor's time: that of the clock depends on who else computes."""
    slower = {
        name: (stage["processor_seconds"], runs[FEW]["stages"][name]["processor_seconds"])
        for name, stage in runs[MANY]["stages"].items()
        if stage["processor_seconds"] > GROWTH * MANY / FEW * max(runs[FEW]["stages"][name]["processor_seconds"], 1.0)
    }
    assert not slower


@pytest.mark.long
def test_files_grow_as_the_chunks_do(runs: dict[int, dict[str, Any]]) -> None:
    files = {count: found["stages"]["report_results"]["files"] for count, found in runs.items()}
    assert files[MANY] - files[FEW] == CHUNK_FILES * (MANY - FEW) // CHUNK_SIZE
    assert files[FEW] - CHUNK_FILES * FEW // CHUNK_SIZE < 2 * OTHER_FILES


# --- one stage alone ---


def rows(passages: list[str]) -> list[Sample]:
    return [run_rows.sample(f"{number:05}", passage) for number, passage in enumerate(passages)]


@pytest.mark.parametrize("seed", range(20))
def test_a_donor_is_the_next_row_on_the_ring_about_another_passage(seed: int) -> None:
    """Expected: a walk along the ring, row by row."""
    generator = random.Random(seed)
    eligible = rows([generator.choice("aaab") for _ in range(generator.randint(2, 30))] + ["a", "b"])
    ring = sorted(eligible, key=lambda row: content_hash(str(seed), "donor", row.sample_id))
    for sample, donor in zip(eligible, choose_donors(eligible, eligible, seed), strict=True):
        place = ring.index(sample)
        walk = (ring[(place + step) % len(ring)] for step in range(1, len(ring)))
        assert donor == next(row for row in walk if row.passage_id != sample.passage_id)


def test_donors_are_found_fast_where_nearly_all_rows_are_about_one_passage() -> None:
    """A walk from each row took 200 million steps."""
    eligible = rows(["a"] * 20_000 + ["b"])
    start = time.process_time()
    donors = choose_donors(eligible, eligible, 1)
    assert time.process_time() - start < 3
    assert {donor.passage_id for donor in donors[:-1]} == {"b"}
    assert donors[-1].passage_id == "a"


@pytest.mark.slow
@pytest.mark.usefixtures("artifacts_folder")
def test_no_number_of_threads_changes_a_bit_of_a_statistic() -> None:
    """Sums of more than 10,000 values are shared among threads, and then rounded in other places."""
    samples = rows([f"passage {number}" for number in range(12_000)])
    generator = random.Random(1)
    arms = ("baseline/document", "static/factual", "static/problem")
    scores = [run_rows.score(s.sample_id, arm, generator.expovariate(1.0)) for s in samples for arm in arms]
    routes = [
        Route(sample.sample_id, "static", key, 0.5, is_routed=key == "factual", is_tie=False)
        for sample in samples
        for key in ("factual", "problem")
    ]
    settings = StatisticsSettings()
    references: dict[str, Any] = {
        "samples": [write_rows(samples, Sample, "sampling")],
        "surrogates": [],
        "routes": [write_rows(routes, Route, "routing")],
        "scores": [write_rows(scores, Score, "scoring")],
        "distractors": [],
        "answer_texts": [],
    }
    facts = dataclasses.asdict(ModelFacts(1_000, 100, 4, 128, 2_048, is_batch_invariant=True))
    found = set()
    with disable_run_logger():
        for threads in (1, 2, 4):
            with threadpool_limits(threads, user_api="blas"):
                rows_of = compute_statistic.fn("comparison", **references, model=facts, settings=settings, seed=1)
                found.add(rows_of["sha256"])
    assert len(found) == 1
