"""The command line: flags are the flow's parameters, and what cannot be used ends with status 2 and one clear line."""

import argparse
import json
import os
import re
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from flows.__main__ import main
from flows.experiment import experiment
from tasks.commands.run import add_parameters, given_parameters, parameters_of_the_experiment
from tasks.loading.hub import ALLOW_DOWNLOAD
from tasks.priming.settings import PROFILES
from tests.places import ROOT
from tests.waiting import PATIENCE


def run_child(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python as a user does, from the checkout, with an artifacts folder of its own."""
    environment = os.environ | {"SURROGATE_ARTIFACTS": str(folder)}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE
    )


# --- flags ---


def flags_of_the_experiment() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False)
    add_parameters(parser, parameters_of_the_experiment())
    return parser


def test_the_flags_are_the_flows_parameters_with_their_types() -> None:
    """They are made from the settings, since importing the flow takes seconds."""
    flags = [action.dest for action in flags_of_the_experiment()._actions]
    assert flags.pop() == "allow_download"  # no parameter: it changes no result
    hints = typing.get_type_hints(experiment.fn, include_extras=True)
    assert sorted([*flags, "return"]) == sorted(hints)
    for name, kind in parameters_of_the_experiment().items():
        assert hints[name] in (kind, kind | None), name


def test_every_flag_is_described_in_the_help() -> None:
    parser = flags_of_the_experiment()
    assert [action.dest for action in parser._actions if not (action.help or "").strip()] == []
    text = parser.format_help()
    flat = " ".join(text.split())
    assert all(profile in flat for profile in PROFILES)
    assert "One of float32, bfloat16, float16. [float32]" in flat  # what --dtype allows, and demo's value
    assert "Samples to draw (count). Allowed: at least 1, at most 1,000,000. [10]" in flat
    assert "Among baseline, static, generated, free, control. [baseline,static,generated,control]" in flat
    assert "Among kept, stripped, hidden, blind, masked. [kept,stripped]" in flat
    assert flat.index("sampling: --sample-count") < flat.index("language model: --language-model")


def test_flags_that_are_not_given_are_left_to_the_profile() -> None:
    options = flags_of_the_experiment().parse_args(["--seed", "7", "--skip-bad-rows"])
    assert given_parameters(options) == {"profile": "demo", "seed": "7", "skip_bad_rows": True}


def test_large_downloads_are_allowed_in_this_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOW_DOWNLOAD, "0")
    options = flags_of_the_experiment().parse_args(["--allow-download"])
    assert given_parameters(options) == {"profile": "demo"}
    assert os.environ[ALLOW_DOWNLOAD] == "1"


@pytest.mark.parametrize("text", ["baseline,static", "baseline, static ", "baseline ,static"])
def test_families_are_separated_by_commas(text: str) -> None:
    assert flags_of_the_experiment().parse_args(["--families", text]).families == ("baseline", "static")


# --- what cannot be used ---


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--profile=nope"], r"Unknown profile 'nope'\. Known profiles: demo, smollm2-msmarco, laptop, .*"),
        (
            ["--sample-count=0"],
            r"`sample_count`: Input should be greater than or equal to 1, got '0'\. Leave it out to take the profile's "
            r"value\.",
        ),
        (["--sample-count=many"], r"`sample_count`: Input should be a valid integer, .*, got 'many'\. Leave it out .*"),
        (["--seed=abc"], r"`seed`: Input should be a valid integer, .*, got 'abc'\. Leave it out .*"),
        (
            ["--families=baseline,nope"],
            r"`families`: Input should be 'baseline', .* 'free' or 'control', got 'nope'\. Leave it out .*",
        ),
        (["--families="], r"`families`: Input should be 'baseline', .* or 'control', got ''\. Leave it out .*"),
        (["--families=static"], r"`families` must name each family once and include baseline, got static\. Use .*"),
        (["--min-words=9", "--max-words=8"], r"`min_words` must not exceed `max_words`, got 9 and 8\. .*"),
        (["--confidence-level=95"], r"`confidence_level`: Input should be less than 1, got '95'\. Leave it out .*"),
        (["--columns=text"], r"`columns` must be NAME=COLUMN, .*, got text\. Use passage=text,query=question\."),
        (["--columns=pasage=a"], r"`columns` must be .*, got pasage=a\. Did you mean passage\? Use .*"),
        (["--data=nope.parquet"], r"There is no file nope\.parquet\. Give the path of a \.parquet, \.jsonl, .*"),
        (["--data=README.md"], r"README\.md is no data file that can be read\. Allowed are a \.parquet, \.jsonl, .*"),
        (["--families=basline"], r"`families`: .*, got 'basline'\. Did you mean baseline\?"),
        (["--treatments=kept,striped"], r"`treatments` must be all, .*, got kept, striped\. Did you mean stripped\?"),
        (["--data=nobody/nothing"], r"The dataset nobody/nothing is not on this machine and the hub cannot .*"),
        (["--data=~no-such-user/x.jsonl"], r"~no-such-user/x\.jsonl cannot be looked up on this machine: .*"),
        (["--language-model=./nope"], r"There is no model folder \./nope\. Give a local folder or the id of a model.*"),
        (["--language-model=tests"], r"The folder tests holds no safetensors weights; pickled weights are never .*"),
        (["--embedding-model=packaged/nope"], r"Unknown packaged model 'packaged/nope'\. Known: packaged/all-Mini.*"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_usage_error_is_one_line_and_status_2(
    flags: list[str],
    message: str,
    artifacts_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["run", *flags]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(f"(prepare: .*\n)*error: {message}\n", output.err), output.err
    assert list(artifacts_folder.iterdir()) == []  # nothing was begun


def test_two_bad_values_are_both_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--sample-count=0", "--top-k=0"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": Input")[0] for line in lines] == ["error: `sample_count`", "`top_k`"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sampel-count=5"], "unrecognized arguments: --sampel-count=5. Did you mean --sample-count?"),
        # No abbreviations: a later flag could make it another.
        (["--sample=5"], "unrecognized arguments: --sample=5. Did you mean --sample-count?"),
        (["5"], "unrecognized arguments: 5."),
        (["--seed"], "argument --seed: expected one argument."),
    ],
)
def test_a_wrong_flag_is_named_and_status_2(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", *flags]) == 2
    assert capsys.readouterr().err == f"error: {message} What is allowed: python -m flows run --help\n"


# --- how a run is shown ---


@pytest.mark.parametrize("flag", ["--verbose", "--dry-run"])
def test_what_changes_no_result_is_no_setting(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", flag, "--sample-count=0"]) == 2
    assert capsys.readouterr().err.startswith("error: `sample_count`: ")
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert flag in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "advice"),
    [([], "Add --verbose to see where."), (["--verbose"], "The log above says where.")],
)
def test_a_failure_is_one_line_that_says_where_to_look(
    flags: list[str], advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no space left\x1b[2J")

    monkeypatch.setattr("tasks.workers.processes.working", fail)
    assert main(["run", *flags]) == 1
    again = "Start the same command again: finished chunks are not computed again."
    said = f"The run failed: OSError: no space left\\x1b[2J\n{advice} {again}\n"
    assert capsys.readouterr().err.endswith(said)


# --- as a user runs it ---


@pytest.mark.slow
def test_a_bad_value_ends_the_process_with_status_2_and_no_traceback(tmp_path: Path) -> None:
    finished = run_child("-m", "flows.experiment", "--profile=demo", "--sample-count=0", folder=tmp_path / "artifacts")
    assert finished.returncode == 2
    assert finished.stdout == ""
    said = "error: `sample_count`: Input should be greater than or equal to 1, got '0'. "
    assert finished.stderr == said + "Leave it out to take the profile's value.\n"
    assert not (tmp_path / "artifacts").exists()


def test_the_help_is_shown_without_importing_a_heavy_library(tmp_path: Path) -> None:
    """Torch, transformers, sentence-transformers, datasets and Prefect take 8 s to import."""
    program = (
        "import json, runpy, sys\n"
        "sys.argv = ['flows', 'run', '--help']\n"
        "try:\n"
        "    runpy.run_module('flows', run_name='__main__')\n"
        "except SystemExit as ended:\n"
        "    heavy = {'torch', 'transformers', 'sentence_transformers', 'datasets', 'sklearn', 'scipy', 'prefect'}\n"
        "    print('\\n' + json.dumps([ended.code, sorted(heavy & sys.modules.keys())]))\n"
    )
    finished = run_child("-c", program, folder=tmp_path / "artifacts")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("usage: python -m flows run ")
    assert json.loads(finished.stdout.splitlines()[-1]) == [0, []]
    assert not (tmp_path / "artifacts").exists()
