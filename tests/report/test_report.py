"""The command and the flow that write the report of an earlier run."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.flows import Flow, load_flow_from_entrypoint

from flows.__main__ import main
from flows.report import report
from tests.places import ROOT
from tests.report.conftest import Published


def test_the_command_writes_a_report_and_says_where(published: Published, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "abc"]) == 0
    path = published.folder / "reports" / "abc123.html"
    assert capsys.readouterr().out == f"{path}\n"
    assert path.is_file()


def test_the_latest_run_is_reported_where_none_is_named(
    published: Published, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report"]) == 0
    assert capsys.readouterr().out.endswith("fff000.html\n")


def test_the_output_may_be_named(published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "fff000", "--output", str(tmp_path / "deep" / "own.html")]) == 0
    assert (tmp_path / "deep" / "own.html").is_file()


@pytest.mark.slow
def test_plots_are_written_where_asked(
    published: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Expected: a PNG (its first eight bytes) for every path that is printed after the report's."""
    assert main(["report", "abc", "--plots", str(tmp_path / "plots")]) == 0
    written = [Path(line) for line in capsys.readouterr().out.splitlines()[1:]]
    assert sorted(written) == sorted((tmp_path / "plots").iterdir())
    assert len(written) > 3
    assert all(path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n") for path in written)


def test_a_notebooks_backend_is_no_obstacle(tmp_path: Path) -> None:
    """Jupyter sets the variable for every process that it starts, whether or not the backend is installed there."""
    program = "from tasks.report.drawing import Figure; import sys; Figure().savefig(sys.argv[1])"
    environment = os.environ | {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    command = [sys.executable, "-c", program, str(tmp_path / "plot.svg")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert (tmp_path / "plot.svg").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["zzz"], "error: There is no run 'zzz'. Runs, newest first: fff000"),
        (["abc123", "--output", "."], "error: . is a folder. Give --output a file in it"),
        (["abc123", "--output", "/proc/none/own.html"], "error: The report cannot be written"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_status_2(
    published: Published, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["report", *arguments]) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(said)
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""


@pytest.fixture
def untouched_modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave the import path and the loaded modules as they were: a worker's loader changes both."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield
    for name in {"report"} - before:
        sys.modules.pop(name, None)


def test_the_flow_can_be_loaded_as_a_worker_does(untouched_modules: None) -> None:
    flow: Flow[..., Any] = load_flow_from_entrypoint("flows/report.py:report", use_placeholder_flow=False)
    assert flow.name == "report"
    assert list(flow.parameters.properties) == ["run"]


def test_the_flow_writes_the_report(published: Published) -> None:
    """Its function, without a server."""
    assert report.fn(run="fff") == str(published.folder / "reports" / "fff000.html")
