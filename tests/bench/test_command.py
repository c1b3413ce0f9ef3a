"""The command: what it prints, what it refuses, its exit status."""

import json
from typing import Any

import pytest

from flows.__main__ import main
from tasks.bench import measuring
from tasks.bench.records import Bench
from tasks.store import artifacts

pytestmark = pytest.mark.usefixtures("artifacts_folder")


def test_what_was_measured_is_written_and_printed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(device: str, **_: Any) -> Bench:
        return bench

    monkeypatch.setattr(measuring, "measure", measure)
    assert main(["bench"]) == 0
    assert "Written to" in capsys.readouterr().out
    assert "| answers identical: alone |" in (artifacts.ARTIFACTS / "bench.md").read_text(encoding="utf-8")
    newest = (artifacts.ARTIFACTS / "bench.json").read_bytes()
    assert json.loads(newest)["figures"][2]["value"] == 6.04
    assert [path.read_bytes() for path in (artifacts.ARTIFACTS / "bench").iterdir()] == [newest]


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
    found = json.loads((artifacts.ARTIFACTS / "bench.json").read_bytes())
    assert found["is_quick"]
    assert {figure["part"] for figure in found["figures"]} == {"scoring", "generation", "queries", "identity"}
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 120  # the path at the end may be long
