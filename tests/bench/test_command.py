"""The command: what it prints, what it refuses, its exit status."""

from typing import Any

import pytest

from flows.__main__ import main
from tasks.bench import measuring
from tasks.bench.records import Bench, read_newest, write_bench

pytestmark = pytest.mark.usefixtures("artifacts_folder")


def test_the_newest_is_printed_as_markdown(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    write_bench(bench)
    assert main(["bench", "--table"]) == 0
    assert "| answers identical: alone |" in capsys.readouterr().out


def test_without_a_result_there_is_nothing_to_print(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--table"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_what_was_measured_is_written_and_printed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(device: str, **_: Any) -> Bench:
        return bench

    monkeypatch.setattr(measuring, "measure", measure)
    assert main(["bench"]) == 0
    assert "Written to" in capsys.readouterr().out
    assert read_newest() == bench


def test_a_gpu_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["bench", "--device", "cuda"]) == 2
    assert "make bench DEVICE=cpu" in capsys.readouterr().err


def test_an_unknown_number_format_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--dtype", "float8"]) == 2
    assert "float32, bfloat16, float16" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # lm-eval's, where it is installed
def test_the_quick_run_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--quick"]) == 0
    found = read_newest()
    assert found.is_quick
    parts = {"scoring", "generation", "queries", "embedding", "identity"}
    assert {figure.part for figure in found.figures} == parts
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120  # the path at the end may be long
