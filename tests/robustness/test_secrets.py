"""A token in the environment, in a parameter or in an exception reaches nothing that is stored, shown or logged."""

import importlib
import logging
import re
import sqlite3
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import HfApi, constants
from prefect import Flow, Task, flow, task
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from flows.__main__ import VERBS, main
from flows.experiment import experiment
from tasks.loading import data as rows
from tasks.loading.hub import hub_commit
from tasks.loading.redaction import HIDDEN, without_secrets
from tasks.priming.errors import SetupError, UsageError
from tasks.priming.settings import resolve_settings
from tasks.sampling import draw_samples
from tasks.store.manifests import RunDescription, fail_run, start_run
from tests.places import ROOT
from tests.robustness.canary import PASSWORD, TOKEN, canary_environment, holders
from tests.robustness.conftest import CanaryRun
from tests.robustness.isolation import run_alone
from tests.waiting import PATIENCE


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that has some."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("SOME_SERVICE_PASSWORD", PASSWORD)
    monkeypatch.setenv("CI_TOKEN", "short")


# --- libraries that know the token ---


def test_the_hubs_error_is_told_without_the_token(secrets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import HFValidationError

    def fail(*arguments: Any, **options: Any) -> Any:
        raise HFValidationError(f"Illegal header value b'Bearer {TOKEN}'")

    monkeypatch.setattr(HfApi, "repo_info", fail)
    with pytest.raises(SetupError, match="Illegal header value") as caught:
        hub_commit("owner/name", None, "model")
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_the_data_librarys_error_is_told_without_the_token(secrets: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise ConnectionError(f"GET https://me:{PASSWORD}@hub/x?token={TOKEN}")

    monkeypatch.setattr("datasets.load_dataset", fail)
    identity = {"data": "owner/name", "config": None, "split": "train", "revision": "0" * 40}
    with pytest.raises(SetupError, match="cannot be loaded: GET https://") as caught:
        list(rows.load_rows(identity))
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown
    assert PASSWORD not in shown


# --- parameters ---


@pytest.mark.parametrize("secret", [TOKEN, PASSWORD, "https://me:my-word@host/x"])
@pytest.mark.parametrize("flag", ["--data", "--language-model", "--data-split", "--seed", "--families", "--profile"])
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(
    secrets: None, capsys: pytest.CaptureFixture[str], artifacts_folder: Path, flag: str, secret: str
) -> None:
    assert main(["run", f"{flag}={secret}"]) == 2
    said = capsys.readouterr().err
    assert "holds a token or a password" in said
    assert secret not in said
    assert list(artifacts_folder.iterdir()) == []


def test_every_command_goes_through_the_door() -> None:
    """All but the guardian, which nobody starts by hand, and a simulation that takes no words."""
    blocks = {}
    for path in sorted(path for folder in ("flows", "tasks") for path in (ROOT / folder).rglob("*.py")):
        _, is_command, block = path.read_text(encoding="utf-8").partition('\nif __name__ == "__main__":\n')
        if is_command and path.name not in ("processes.py", "scale.py"):
            blocks[path.stem] = block.split("\n")[-2].strip()
    assert blocks.pop("__main__") == "enter()"
    assert blocks.pop("experiment") == 'enter("run")'
    assert blocks == {name: f'enter("{name}")' for name in ("compare", "doctor", "report", "walkthrough")}


@pytest.mark.parametrize("verb", [*VERBS, "no-such-verb"])
def test_no_command_takes_or_repeats_a_secret(
    secrets: None, capsys: pytest.CaptureFixture[str], artifacts_folder: Path, verb: str
) -> None:
    for words, name in [
        (["--data", TOKEN], "`--data`"),
        ([f"--data={TOKEN}"], "`--data`"),
        ([f"--hf-token={TOKEN}"], "`--hf-token`"),  # there is no such flag
        ([f"--{TOKEN}=1"], "The command line"),
        ([TOKEN], "The command line"),
        (["--seed=1", "https://me:my-word@host/x"], "The command line"),
    ]:
        assert main([verb, *words]) == 2
        output = capsys.readouterr()
        assert output.err.startswith(f"error: {name} holds a token or a password")
        assert "Give the token in the environment: export HF_TOKEN=" in output.err
        assert not any(secret in output.err + output.out for secret in (TOKEN, "my-word"))
    assert list(artifacts_folder.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [{"data": TOKEN}, {"seed": TOKEN}, {"families": (TOKEN,)}, {TOKEN: 1}, {"data": f"https://me:{TOKEN}@hub/x"}],
)
def test_a_token_among_the_settings_is_refused_and_not_repeated(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"access token or a password, .*Give the token in the environment") as caught:
        resolve_settings("demo", **changes)
    assert TOKEN not in str(caught.value)


def test_no_identity_holds_a_token(secrets: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    (tmp_path / "models--owner--name" / "refs").mkdir(parents=True)
    (tmp_path / "models--owner--name" / "refs" / "main").write_text("0" * 40)
    (tmp_path / "models--owner--name" / "snapshots" / ("0" * 40)).mkdir(parents=True)
    assert hub_commit("owner/name", None, "model") == "0" * 40


# --- the canary itself ---


def test_the_canary_is_found_wherever_it_may_be(tmp_path: Path) -> None:
    text = f"before {TOKEN} behind" + " and more" * 5000
    pq.write_table(pa.table({"x": [text] * 3}), tmp_path / "a.parquet", compression="zstd")
    with duckdb.connect(str(tmp_path / "b.duckdb")) as database:
        database.execute("CREATE TABLE t (x VARCHAR)")
        database.executemany("INSERT INTO t VALUES (?)", [[text]] * 3)
    connection = sqlite3.connect(tmp_path / "c.db")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (?)", (text,))
    connection.commit()
    connection.close()
    (tmp_path / "d.log").write_text(text)
    (tmp_path / "e.log").write_text("nothing")
    assert holders(tmp_path) == ["a.parquet", "b.duckdb", "c.db", "d.log"]


# --- Prefect ---


@pytest.fixture(scope="module")
def database() -> Iterator[Path]:
    """The folder of the database of a Prefect server."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=int(PATIENCE)):
        url = get_current_settings().server.database.connection_url
        assert url is not None
        yield Path(url.get_secret_value().partition("///")[2]).parent


def all_tasks_and_flows() -> dict[str, Callable[..., Any]]:
    """Return the function of each of the project's tasks and flows, by where it stands."""
    functions = {}
    for path in sorted(path for folder in ("flows", "tasks") for path in (ROOT / folder).rglob("*.py")):
        if re.search(r"^@(?:task|flow)\b", path.read_text(encoding="utf-8"), re.MULTILINE):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for found in vars(importlib.import_module(name)).values():
                if isinstance(found, Task | Flow):
                    functions[f"{found.fn.__module__}.{found.fn.__name__}"] = found.fn
    return functions


@pytest.mark.parametrize("function", [pytest.param(f, id=name) for name, f in all_tasks_and_flows().items()])
def test_every_task_and_flow_is_guarded(function: Callable[..., Any]) -> None:
    assert function.__code__ is without_secrets()(all_tasks_and_flows).__code__


def test_what_a_library_logs_within_a_stage_is_logged_without_secrets(
    secrets: None, caplog: pytest.LogCaptureFixture
) -> None:
    with without_secrets(), caplog.at_level(logging.INFO):
        logging.getLogger("some.library").info("GET %s?token=%s", f"https://me:{PASSWORD}@hub/x", TOKEN)
        try:
            raise ValueError(f"Bearer {TOKEN}")
        except ValueError:
            logging.getLogger("some.library").exception("failed with %s of %d", "x", 3)
    assert f"GET https://{HIDDEN}@hub/x?token={HIDDEN}" in caplog.text
    assert "failed with x of 3" in caplog.text
    assert f"ValueError: Bearer {HIDDEN}" in caplog.text
    assert TOKEN not in caplog.text


def test_a_manifest_holds_no_secret_of_the_error_that_ended_its_run(secrets: None, artifacts_folder: Path) -> None:
    attempt = start_run(RunDescription(run_id="0" * 16, profile="demo", settings={"seed": 1}))
    fail_run(attempt, f"ValueError: {'x' * 1_990} {TOKEN}")  # cut in the middle of the token
    assert TOKEN[:8] not in (artifacts_folder / "runs" / f"{'0' * 16}.json").read_text()


@pytest.mark.slow
def test_a_run_that_fails_with_a_secret_in_its_exception_leaves_none_with_prefect_or_in_artifacts(
    secrets: None,
    database: Path,
    artifacts_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError(f"Illegal header value b'Bearer {TOKEN}'")

    monkeypatch.setattr("tasks.sampling.draw", fail)
    stored = draw_samples.with_options(result_storage=artifacts_folder / "stages")
    monkeypatch.setattr(sys.modules["flows.experiment"], "draw_samples", stored)
    with caplog.at_level(logging.DEBUG), pytest.raises(ValueError, match=rf"Bearer {re.escape(HIDDEN)}"):
        experiment(sample_count=2, families=("baseline", "static"), workers=1)
    assert [path.name for path in artifacts_folder.glob("runs/*.json")]
    assert holders(artifacts_folder) + holders(database) == []
    assert "Illegal header value" in caplog.text
    assert TOKEN not in caplog.text


def failed_run(storage: Path, *, is_guarded: bool) -> None:
    """Let a task fail with a secret in its exception, as a stage might."""

    def fail() -> None:
        raise ValueError(f"Illegal header value b'Bearer {TOKEN}'")

    body = without_secrets()(fail) if is_guarded else fail
    stage = task(name="stage", persist_result=True, result_serializer="json", result_storage=storage)(body)

    @flow(name="secret")
    def run() -> None:
        stage()

    with pytest.raises(ValueError, match="Illegal header"):
        run()


@pytest.mark.slow
def test_a_failed_stage_leaves_no_secret_with_prefect(
    secrets: None,
    database: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Prefect keeps an exception's text in its database and its log, and here in a file beside the results."""
    with caplog.at_level(logging.DEBUG):
        failed_run(tmp_path / "guarded", is_guarded=True)
        assert holders(tmp_path) + holders(database) == []
        assert TOKEN not in caplog.text
        monkeypatch.setattr(logging, "_logRecordFactory", logging.LogRecord)
        failed_run(tmp_path / "plain", is_guarded=False)  # the danger is a real one
    assert TOKEN in caplog.text
    assert holders(tmp_path)
    assert any(name.endswith((".db", ".db-wal")) for name in holders(database))


@pytest.mark.slow
@pytest.mark.parametrize(
    "parameters",
    [
        {"language_model": TOKEN},
        {"data": f"https://me:{TOKEN}@hub/x"},
        {"language_model": "https://me:my-word@hub/x"},
        {"data_revision": TOKEN},
        {"seed": TOKEN},
        {"families": [TOKEN]},
        {"profile": TOKEN},
    ],
    ids=lambda parameters: next(iter(parameters)),
)
def test_a_token_among_a_deployments_parameters_is_refused_by_the_server(
    database: Path, parameters: dict[str, Any]
) -> None:
    deployment: Any = experiment.to_deployment(name="demo", parameters={"profile": "demo"})
    identifier = deployment.apply()
    with get_client(sync_client=True) as client:
        with pytest.raises(PrefectHTTPStatusError, match="Validation failed for field"):
            client.create_flow_run_from_deployment(identifier, parameters=parameters)
        assert client.create_flow_run_from_deployment(identifier, parameters={"seed": 7}).parameters["seed"] == 7
    with sqlite3.connect(next(database.glob("*.db"))) as connection:
        assert TOKEN not in str(connection.execute("SELECT parameters FROM flow_run").fetchall())


# --- whole runs ---


@pytest.mark.slow
def test_a_run_with_secrets_in_its_environment_leaves_none_anywhere(canary_run: CanaryRun) -> None:
    assert canary_run.finished.status == 0, canary_run.finished.output
    looked_at = [path.name for path in canary_run.folder.rglob("*") if path.is_file()]
    assert {"results.duckdb", "prefect.db"} <= set(looked_at)
    assert any(name.endswith(".parquet") for name in looked_at)
    assert holders(canary_run.folder) == []
    assert TOKEN not in canary_run.finished.output
    assert PASSWORD not in canary_run.finished.output


LEAKS = """
import sys
from tasks.priming import {module}
def fail(*arguments, **options):
    raise ValueError("Illegal header value b'Bearer " + __import__("os").environ["HF_TOKEN"] + "'")
{module}.{function} = fail
from flows.__main__ import main
sys.exit(main(["run", "--sample-count=2", "--families=baseline,static", "--workers=1"]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "function"),
    [("sampling", "draw_samples"), ("scoring", "score_family"), ("routing", "route_queries")],
)
def test_a_run_that_fails_with_a_secret_in_its_exception_leaves_none_anywhere(
    tmp_path: Path, module: str, function: str
) -> None:
    program = LEAKS.format(module=module, function=function)
    found = run_alone(["-c", program], tmp_path, canary_environment(tmp_path), native=False)
    assert found.status == 1, found.output
    assert f"Bearer {HIDDEN}" in found.output
    assert TOKEN not in found.output
    assert holders(tmp_path) == []
