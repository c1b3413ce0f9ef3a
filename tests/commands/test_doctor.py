"""The doctor says what this machine has, what is broken, and what each profile needs and lacks."""

import hashlib
import importlib
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tasks.commands import doctor
from tasks.commands.doctor import Finding, examine, print_findings
from tasks.loading.model_files import needed_bytes
from tasks.loading.needs import profile_findings
from tasks.priming.settings import PROFILES
from tasks.results import rebuild_database
from tasks.store.manifests import RunDescription, extend_run, finish_run, start_run


@pytest.fixture(autouse=True)
def folder(artifacts_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Artifacts of its own, and no hub."""

    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return artifacts_folder


def found(section: str, name: str) -> Finding:
    (finding,) = (f for f in examine() if (f.section, f.name) == (section, name))
    return finding


def publish(folder: Path, run_id: str = "abc") -> Path:
    """Complete a run with one artifact, and return its file."""
    from tasks.priming.records import Check
    from tasks.store.artifacts import write_rows

    attempt = start_run(RunDescription(run_id=run_id, profile="demo", settings={"seed": 42}))
    row = Check(name="a", value=None, limit_value=None, passed=None, detail="")
    reference: dict[str, Any] = write_rows([row], Check, "checks")
    extend_run(attempt, {"run_check": {"scoring": reference}})
    finish_run(attempt)
    rebuild_database()
    return folder / str(reference["path"])


def test_a_sound_machine_without_runs_has_nothing_broken(capsys: pytest.CaptureFixture[str]) -> None:
    findings = examine()
    assert [finding for finding in findings if finding.state == "broken"] == []
    assert {finding.section for finding in findings} == {
        "versions",
        "prefect",
        "machine",
        "hub",
        "artifacts",
        "profiles",
    }
    assert print_findings(findings) == 0
    shown = capsys.readouterr().out
    assert all(profile in shown for profile in PROFILES)
    assert "none yet" in shown


def test_versions_that_were_not_tested_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_tested_versions", lambda: {"duckdb": "0.0.1", "no-such-package": "1"})
    finding = found("versions", "not as tested")
    assert finding.state == "lacks"
    assert "(tested: 0.0.1)" in finding.value
    assert "no-such-package" not in finding.value


def test_a_fastapi_that_prefect_does_not_fit_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    imported = importlib.import_module

    def import_module(name: str) -> Any:
        if name == "prefect.server.api.concurrency_limits_v2":
            raise TypeError("Body() got an unexpected keyword argument 'min_items'")
        return imported(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    finding = found("prefect", "server")
    assert finding.state == "broken"
    assert "unexpected keyword argument 'min_items'" in finding.value
    assert "pip install -c constraints.txt" in finding.value
    assert print_findings([finding]) == 1
    assert "BROKEN" in capsys.readouterr().out


def test_what_a_finding_quotes_is_obeyed_by_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([doctor.Finding("artifacts", "run \x1b[2J[/oops]", "damaged: \x1b]0;title\x07[red]")])
    shown = capsys.readouterr().out
    assert "run ␛[2J[/oops]" in shown
    assert "damaged: ␛]0;title␇[red]" in shown
    assert "\x1b" not in shown


@pytest.mark.slow
def test_an_altered_artifact_is_named_with_its_run(folder: Path) -> None:
    path = publish(folder)
    assert not [f for f in examine() if f.state == "broken"]
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    finding = found("artifacts", "run abc")
    assert finding.state == "broken"
    assert str(path.relative_to(folder)) in finding.value


def test_a_lost_database_is_broken_and_what_no_run_needs_is_counted(folder: Path) -> None:
    publish(folder)
    assert found("artifacts", "database").value == "1 runs"
    (folder / "scoring").mkdir()
    (folder / "scoring" / f"{hashlib.sha256(b'12345').hexdigest()[:32]}.parquet").write_bytes(b"12345")
    assert found("artifacts", "not needed").value.startswith("1 files, 5 bytes")
    (folder / "results.duckdb").unlink()
    assert found("artifacts", "database").state == "broken"


def test_a_hub_that_is_not_reached_is_said_and_lacks_no_more_than_that() -> None:
    finding = found("hub", "https://huggingface.co")
    assert finding.state == "lacks"
    assert "no network" in finding.value


def test_each_profile_needs_its_weights_and_room_to_work() -> None:
    """Worked out by hand: 7.24 billion weights of 2 bytes, or 0.6 of NF4 with its scales, and 2 GB beside them."""
    assert needed_bytes(PROFILES["mistral-7b-bf16"].language_model) == pytest.approx(16.48e9)
    assert needed_bytes(PROFILES["mistral-7b"].language_model) == pytest.approx(6.344e9)
    assert needed_bytes(PROFILES["laptop"].language_model) == pytest.approx(3.448e9)


def test_what_a_profile_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    findings = {finding.profile: finding for finding in profile_findings()}
    assert findings["demo"].lacks == []
    lacks = findings["mistral-7b"].lacks
    assert lacks[0] == "a CUDA GPU"
    assert "of a CUDA GPU" in findings["mistral-7b"].need
    # nothing of it is on this machine, and the hub is not reached
    assert [reason for reason in lacks if "mistralai/Mistral-7B-Instruct-v0.2" in reason] != []


def test_a_small_memory_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    import psutil
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    memory = psutil.virtual_memory()._replace(available=1_000_000_000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    findings = {finding.profile: finding for finding in profile_findings()}
    assert findings["demo"].lacks == ["memory (1.0 GB are available)"]
