"""The flow end to end, with a tiny model on the example corpus, a real Prefect server and a real database."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId

from tasks.priming.engine.numeric_path import choose_numeric_path, is_batch_invariant
from tasks.statistics import statistics_by_table
from tests.operations.runs import model_flag
from tests.places import ROOT
from tests.waiting import PATIENCE, wait_for

SAMPLES, CHUNK = 8, 4
CHUNKS = SAMPLES // CHUNK
FIRST = ("--name=the first",)
WITH_CONTROLS = ("--full", "--families=baseline,static,generated,control")
EXPORT = {  # what a run found, without clock values: must not depend on how the run went
    "sample": "SELECT * FROM sample ORDER BY ALL",
    "surrogate": "SELECT * FROM surrogate ORDER BY ALL",
    "route": "SELECT * FROM route ORDER BY ALL",
    "score": "SELECT * FROM score ORDER BY ALL",
    "distractor": "SELECT * FROM distractor ORDER BY ALL",
    "answer_text": "SELECT * FROM answer_text ORDER BY ALL",
} | {table: f"SELECT * FROM {table} ORDER BY ALL" for table in sorted(statistics_by_table())}


@pytest.fixture(scope="module")
def first_run(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifacts folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("artifacts")
    finished = run(folder, server, *FIRST)
    assert finished.returncode == 0
    said_by(folder).write_text(finished.stdout, encoding="utf-8")
    return folder


def said_by(folder: Path) -> Path:
    """Return where it is kept what the undisturbed run printed."""
    return folder.with_suffix(".txt")


@pytest.fixture
def copied(first_run: Path, tmp_path: Path) -> Path:
    """A copy of the undisturbed run's artifacts, to be disturbed."""
    return Path(shutil.copytree(first_run, tmp_path / "artifacts"))


@pytest.fixture(scope="module")
def controls_run(first_run: Path, server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The undisturbed run's artifacts after the same with controls."""
    folder = Path(shutil.copytree(first_run, tmp_path_factory.mktemp("controls") / "artifacts"))
    assert run(folder, server, *WITH_CONTROLS).returncode == 0
    return folder


def command(*flags: str) -> list[str]:
    sizes = [f"--sample-count={SAMPLES}", f"--chunk-size={CHUNK}", "--bootstrap-resamples=200"]
    # Without the controls: an arm more or less makes no difference to what is remembered.
    families = "--families=baseline,static,generated"
    # Two workers would load libraries and models twice more, for every one of these short runs.
    fixed = ("--profile=demo", "--treatments=all", "--answers=main", model_flag(), "--workers=1", families, "--seed=7")
    return [sys.executable, "-m", "flows.experiment", *fixed, *sizes, *flags]


def environment(folder: Path, server: str) -> dict[str, str]:
    return os.environ | {"SURROGATE_ARTIFACTS": str(folder), "PREFECT_API_URL": server}


def run(folder: Path, server: str, *flags: str, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        command(*flags),
        cwd=root,
        env=environment(folder, server),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    sys.stdout.write(finished.stdout + finished.stderr)  # shown by pytest when the test fails
    return finished


def export(folder: Path) -> dict[str, list[tuple[Any, ...]]]:
    with duckdb.connect(str(folder / "results.duckdb"), read_only=True) as connection:
        return {table: connection.execute(query).fetchall() for table, query in EXPORT.items()}


def newest_states(folder: Path) -> Counter[tuple[str, str]]:
    """Return how often each task of the newest attempt ended in which state, read from the server."""
    manifests = [json.loads(path.read_text()) for path in (folder / "runs").glob("*.json")]
    attempt = max((a for m in manifests for a in m["attempts"]), key=lambda a: str(a["started_at"]))
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[attempt["flow_run_id"]]))
    with get_client(sync_client=True) as client:
        return wait_for(  # the server takes in the states of task runs a moment later
            "the last state of every task",
            lambda: Counter(
                (run.name.split(" ")[0], run.state_name or "")
                for run in client.read_task_runs(flow_run_filter=wanted, limit=200)
            ),
            enough=lambda states: states["report", "Completed"] and "Running" not in {state for _, state in states},
        )


def test_the_ui_shows_a_run_by_its_name_settings_and_tags_and_what_it_found(first_run: Path, server: str) -> None:
    (manifest,) = (json.loads(path.read_text()) for path in (first_run / "runs").glob("*.json"))
    assert manifest["name"] == "the first"
    with get_client(sync_client=True) as client:
        shown = client.read_flow_run(manifest["attempts"][0]["flow_run_id"])
    assert shown.name.startswith(f"the first: demo, {SAMPLES} samples, ")
    assert shown.name.endswith(
        ", seed 7, families baseline,static,generated, treatments all, answers main, bootstrap resamples 200"
    )
    assert {"demo", "example"} < set(shown.tags)
    with duckdb.connect(str(first_run / "results.duckdb"), read_only=True) as connection:
        headline = connection.execute("SELECT sentence FROM answer WHERE position = 0").fetchall()
    assert shown.state
    assert [(shown.state.message,)] == headline


COMPUTED_AT_FIRST = Counter(
    # one task for all samples, and per chunk: 2 families are written, 1 is routed, 3 are scored and asked
    {
        ("draw", "Completed"): 1,
        ("write", "Completed"): 2 * CHUNKS,
        ("route", "Completed"): CHUNKS,
        ("score", "Completed"): 3 * CHUNKS,
        ("answer", "Completed"): 3 * CHUNKS,
        ("check", "Completed"): 1,
        ("compute", "Completed"): len(statistics_by_table()),
        ("publish", "Completed"): 1,
        ("report", "Completed"): 1,
    }
)


def with_cached(*completed: str) -> Counter[tuple[str, str]]:
    """Return the states of a rerun in which only the named tasks are computed."""
    expected: Counter[tuple[str, str]] = Counter()
    for (task, _), count in COMPUTED_AT_FIRST.items():
        state = "Completed" if task in (*completed, "publish", "report") else "Cached"
        expected[task, state] += count
    return expected


def test_a_run_gives_a_row_per_sample_and_arm_and_answers_both_questions(first_run: Path) -> None:
    with duckdb.connect(str(first_run / "results.duckdb"), read_only=True) as connection:
        arms = "SELECT count(*), count(DISTINCT sample_id), count(DISTINCT (family, key)) FROM all_runs.outcome"
        assert connection.execute(f"{arms} WHERE treatment = 'kept'").fetchone() == (SAMPLES * 11, SAMPLES, 11)
        # all texts stripped, and the target question hidden from the query, from the passage, and from both
        treated = "SELECT count(*), count(DISTINCT condition) FROM all_runs.outcome WHERE status = 'ok'"
        assert connection.execute(treated).fetchone() == (SAMPLES * 24, 24)
        plain = "SELECT bool_and(cached_token_count < context_token_count) FROM score WHERE treatment = 'stripped'"
        assert connection.execute(plain).fetchone() == (True,)
        routed = """
            SELECT family, count(*) FROM all_runs.outcome WHERE is_routed AND treatment = 'kept'
            GROUP BY family ORDER BY family"""
        assert connection.execute(routed).fetchall() == [("generated", SAMPLES), ("static", SAMPLES)]
        helps = "SELECT subject, n, sentence FROM latest.does_priming_help ORDER BY subject"
        subjects = ("generated", "generated+stripped", "static", "static+stripped")
        said = "undecided: the bare document was not run"
        assert connection.execute(helps).fetchall() == [(subject, SAMPLES, said) for subject in subjects]
        better = "SELECT DISTINCT n, answer FROM latest.is_generated_better_than_static"
        assert connection.execute(better).fetchall() == [(SAMPLES, "undecided")]
        asked = "SELECT count(*), count(DISTINCT sample_id) FROM answer_text WHERE status = 'ok' AND"
        for treatment in ("kept", "stripped"):
            written = f"{asked} treatment = '{treatment}' AND"
            assert connection.execute(f"{written} key = 'quantitative'").fetchone() == (SAMPLES, SAMPLES)
            assert connection.execute(f"{written} is_routed").fetchone() == (2 * SAMPLES, SAMPLES)
        assert connection.execute(f"{asked} family = 'baseline'").fetchone() == (SAMPLES, SAMPLES)
        assert connection.execute(f"{asked} treatment = 'masked' AND key = 'target_question'").fetchone() == (
            SAMPLES,
            SAMPLES,
        )
        checks = "SELECT name, passed FROM run_check ORDER BY name"
        assert len(connection.execute(checks).fetchall()) == 16  # 5 of scoring, 11 of the outcomes
        assert connection.execute("SELECT count(*) FROM run_check WHERE passed = FALSE").fetchone() == (0,)


def test_the_first_run_computes_everything(first_run: Path, server: str) -> None:
    assert newest_states(first_run) == COMPUTED_AT_FIRST


def test_the_same_command_again_prints_the_same_and_imports_nothing_heavy(first_run: Path) -> None:
    """It took 13 to 27 s, of a server, a flow and models that had nothing to do."""
    program = (
        "import json, runpy, sys\n"
        "try:\n"
        "    runpy.run_module('flows', run_name='__main__')\n"
        "except SystemExit as ended:\n"
        "    heavy = {'torch', 'transformers', 'prefect', 'scipy', 'matplotlib', 'sentence_transformers'}\n"
        "    print(json.dumps([ended.code, sorted(heavy & sys.modules.keys())]), file=sys.stderr)\n"
    )
    again = subprocess.run(
        [sys.executable, "-c", program, "run", *command(*FIRST)[3:]],
        cwd=ROOT,
        env=environment(first_run, ""),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert again.stderr == "[0, []]\n"
    assert again.stdout == said_by(first_run).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_rerun_finds_every_stage_cached_and_the_same_results(copied: Path, first_run: Path, server: str) -> None:
    assert run(copied, server).returncode == 0
    assert newest_states(copied) == with_cached()
    assert export(copied) == export(first_run)


@pytest.mark.slow
def test_two_workers_find_what_one_finds(first_run: Path, server: str, tmp_path: Path) -> None:
    assert run(tmp_path, server, "--workers=2").returncode == 0
    assert export(tmp_path) == export(first_run)


@pytest.mark.slow
def test_a_deleted_scores_file_and_an_altered_surrogates_file_recompute_their_chunks_alone(
    copied: Path, first_run: Path, server: str
) -> None:
    next((copied / "scoring" / "static").glob("*.parquet")).unlink()
    altered = next((copied / "surrogates" / "generated").glob("*.parquet"))
    content = bytearray(altered.read_bytes())
    content[len(content) // 2] ^= 1
    altered.write_bytes(bytes(content))
    assert run(copied, server).returncode == 0
    states = newest_states(copied)
    assert (states["write", "Completed"], states["write", "Cached"]) == (1, 2 * CHUNKS - 1)
    # the surrogates come out the same, so that the contexts made of them need not be scored again
    assert (states["score", "Completed"], states["score", "Cached"]) == (1, 3 * CHUNKS - 1)
    assert (states["compute", "Cached"], states["route", "Cached"]) == (len(statistics_by_table()), CHUNKS)
    assert export(copied) == export(first_run)


@pytest.mark.slow
def test_another_count_of_resamples_recomputes_the_statistics_alone(copied: Path, server: str) -> None:
    assert run(copied, server, "--bootstrap-resamples=300").returncode == 0
    assert newest_states(copied) == with_cached("compute")


@pytest.mark.slow
def test_controls_are_computed_alone_and_every_question_is_answered(controls_run: Path, server: str) -> None:
    """Expected: nine controls in each chunk, six of them with surrogates; all else is remembered."""
    states = newest_states(controls_run)
    assert (states["score", "Cached"], states["score", "Completed"]) == (3 * CHUNKS, 9 * CHUNKS)
    assert (states["write", "Cached"], states["write", "Completed"]) == (2 * CHUNKS, 6 * CHUNKS)
    with duckdb.connect(str(controls_run / "results.duckdb"), read_only=True) as connection:
        controlled = "SELECT run_id FROM score WHERE key = 'repeated_baseline' AND status = 'ok'"
        assert len(connection.execute(controlled).fetchall()) == SAMPLES
        [run_id] = set(connection.execute(controlled).fetchall())
        noise = "SELECT improvement_mean, tie_count FROM comparison WHERE arm = 'control/repeated_baseline'"
        if is_batch_invariant(choose_numeric_path("cpu", "float32")):
            assert connection.execute(noise).fetchall() == [(0.0, SAMPLES)]
        questions = (
            "SELECT count(*), count(DISTINCT subject), count(improvement_mean) FROM all_runs.does_the_content_matter"
        )
        assert connection.execute(questions).fetchone() == (12, 12, 12)
        routing = "SELECT count(*), count(DISTINCT subject), count(improvement_mean) FROM all_runs.does_routing_help"
        assert connection.execute(f"{routing} WHERE run_id = ?", run_id).fetchone() == (8, 8, 8)
        for view in ("does_priming_help", "is_generated_better_than_static", "is_generation_worth_its_compute"):
            answers = connection.execute(
                f"SELECT DISTINCT answer FROM all_runs.{view} WHERE run_id = ?", run_id
            ).fetchall()
            assert answers
            assert ("controls_missing",) not in answers
        for view in ("who_gains", "what_does_it_cost"):  # what other measures say needs more passages
            found = connection.execute(
                f"SELECT count(*), count(improvement_mean) FROM all_runs.{view} WHERE run_id = ?", run_id
            )
            rows, measured = found.fetchall()[0]
            assert rows == measured > 0
        failed = connection.execute("SELECT * FROM run_check WHERE run_id = ? AND NOT passed", run_id)
        assert failed.fetchall() == []


@pytest.mark.long
def test_a_new_control_is_one_function_and_one_entry_and_leaves_all_other_stages_cached(
    controls_run: Path, server: str, tmp_path: Path
) -> None:
    """Expected: a tenth control is written and scored in each chunk; only what looks at all arms is made anew."""
    folder = shutil.copytree(controls_run, tmp_path / "artifacts")
    for name in ("flows", "tasks"):
        shutil.copytree(ROOT / name, tmp_path / name)
    arms = tmp_path / "tasks" / "priming" / "arms"
    function = """

def write_first_words(samples: Sequence[Sample], writing: Writing) -> list[Surrogate]:
    return _controls("first_words", samples, lambda number, sample: " ".join(sample.passage.split()[:5]))
"""
    controls, families = arms / "controls.py", arms / "arms.py"
    controls.write_text(controls.read_text() + function)
    entry = '_control("actual_query", write_actual_query),'
    edited = families.read_text().replace(entry, f'{entry} _control("first_words", write_first_words),')
    edited = edited.replace("    write_actual_query,\n", "    write_actual_query,\n    write_first_words,\n")
    families.write_text(edited)
    assert run(folder, server, *WITH_CONTROLS, root=tmp_path).returncode == 0
    states = newest_states(folder)
    assert (states["write", "Cached"], states["write", "Completed"]) == (8 * CHUNKS, CHUNKS)
    assert (states["score", "Cached"], states["score", "Completed"]) == (12 * CHUNKS, CHUNKS)
    assert (states["draw", "Cached"], states["route", "Cached"]) == (1, CHUNKS)
    assert states["compute", "Completed"] == len(statistics_by_table())
    with duckdb.connect(str(folder / "results.duckdb"), read_only=True) as connection:
        by_treatment = "SELECT treatment, count(*) FROM score WHERE key = 'first_words' AND status = 'ok' GROUP BY ALL"
        assert sorted(connection.execute(by_treatment).fetchall()) == [("kept", SAMPLES), ("stripped", SAMPLES)]


@pytest.mark.long
def test_own_texts_are_computed_alone_and_the_printed_file_changes_nothing(
    copied: Path, first_run: Path, server: str, tmp_path: Path
) -> None:
    """Expected: the chunks of each new text; with the built-in texts as a file the same run, all of it remembered."""
    printed, own = tmp_path / "printed.yaml", tmp_path / "own.yaml"
    shown = subprocess.run([sys.executable, "-m", "flows", "arms"], cwd=ROOT, capture_output=True, check=True)
    printed.write_bytes(shown.stdout)
    assert run(copied, server, f"--arms={printed}").returncode == 0
    assert newest_states(copied) == with_cached()
    assert export(copied) == export(first_run)
    lines = ["families:", "  mine:", '    template: "{text}: {passage}"', "    routed: false", "    texts:"]
    for count, text in enumerate(("      one: A text", "      two: Another text"), 1):
        lines.append(text)
        own.write_text("\n".join(lines), encoding="utf-8")
        assert run(copied, server, f"--arms={own}").returncode == 0
        states = newest_states(copied)
        assert (states["write", "Cached"], states["write", "Completed"]) == ((1 + count) * CHUNKS, CHUNKS)
        assert (states["score", "Cached"], states["score", "Completed"]) == ((2 + count) * CHUNKS, CHUNKS)
        assert (states["draw", "Cached"], states["route", "Cached"]) == (1, CHUNKS)
    with duckdb.connect(str(copied / "results.duckdb"), read_only=True) as connection:
        scored = "SELECT key, count(*) FROM score WHERE family = 'mine' AND status = 'ok' GROUP BY key ORDER BY key"
        assert connection.execute(scored).fetchall() == [("one", 2 * SAMPLES), ("two", SAMPLES)]  # one is in two runs


@pytest.mark.slow
def test_an_undecided_run_draws_more_and_looks_again(copied: Path, server: str) -> None:
    """Expected: four samples, of which no answer is given, and then those of the first run, which are cached."""
    finished = run(copied, server, "--sample-count=4", f"--grow-to={SAMPLES}")
    assert finished.returncode == 0
    assert f": {SAMPLES} samples of" in " ".join(finished.stdout.split())  # what is shown is the last look
    with duckdb.connect(str(copied / "results.duckdb"), read_only=True) as connection:
        drawn = connection.execute(
            "SELECT drawn_count FROM all_runs.run_summary WHERE status = 'complete' ORDER BY ALL"
        )
        assert drawn.fetchall() == [(4,), (SAMPLES,)]


@pytest.mark.slow  # test_bad_inputs.py asks the stage alone
def test_a_run_without_rows_that_qualify_fails_with_the_funnel(server: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"passage": "Too short.", "query": "why", "answer": "So."}) + "\n")
    finished = run(tmp_path / "artifacts", server, f"--data={rows}")
    assert finished.returncode == 2
    assert "of 1 rows, 1 selected passage outside 50-200 words" in finished.stderr
    assert "Traceback" not in finished.stderr
    manifest = json.loads(next((tmp_path / "artifacts" / "runs").glob("*.json")).read_text())
    assert manifest["status"] == "failed"
