"""The door: every verb is in one table, none is slow to ask about, and refusals say what is allowed."""

import importlib
import json
import shutil
import subprocess
import sys

import pytest

from flows.__main__ import VERBS, main
from tests.places import ROOT
from tests.waiting import PATIENCE


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_does_something_and_has_a_help(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(importlib.import_module(VERBS[verb].module).execute)
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: python -m flows {verb} ")
    assert ("--verbose" in said) == (VERBS[verb].subject is not None)


def test_without_a_verb_all_verbs_and_a_quick_start_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    said = capsys.readouterr().out
    assert all(f"    {verb}" in said for verb in VERBS)
    assert "quick start:\n  python -m flows run  " in said
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "argument VERB: invalid choice: 'nope' (choose from 'run', "),
        (["runn"], "argument VERB: invalid choice: 'runn'. Did you mean run? What is allowed: python -m flows --help"),
        (["run", "--seeed=1"], "unrecognized arguments: --seeed=1. Did you mean --seed? What is allowed: "),
        (["--nope"], "unrecognized arguments: --nope. What is allowed: python -m flows --help"),
        (["report", "--nope"], "unrecognized arguments: --nope. What is allowed: python -m flows report --help"),
        (["reference"], "the following arguments are required: RUN. What is allowed: python -m flows reference --help"),
        (["sql", "\x1b[2J"], "unrecognized arguments: \\x1b[2J. What is allowed: "),
    ],
)
def test_a_wrong_word_is_one_line_and_status_2(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    shown = capsys.readouterr()
    assert shown.err.startswith(f"error: {said}")
    assert shown.err.count("\n") == 1
    assert shown.out == ""


def test_no_library_is_imported_before_the_verb_is_known() -> None:
    program = (
        "import json, runpy, sys\n"
        "before = set(sys.modules)\n"
        "try:\n"
        "    runpy.run_module('flows', run_name='__main__')\n"
        "except SystemExit as ended:\n"
        "    new = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)\n"
        "    print('\\n' + json.dumps([ended.code, sorted(new)]))\n"
    )
    command = [sys.executable, "-c", program]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    status, imported = json.loads(finished.stdout.splitlines()[-1])
    assert status == 0
    assert not set(imported) & {"prefect", "duckdb", "torch", "numpy", "rich"}


@pytest.mark.slow
def test_the_older_names_are_the_same_commands() -> None:
    command = [sys.executable, "-m", "flows.report", "--nope"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1].startswith("error: unrecognized arguments: --nope. What is allowed: ")


def test_make_alone_lists_its_targets() -> None:
    if not shutil.which("make"):
        pytest.skip("needs make")
    said = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = [line.split()[1] for line in said.splitlines() if line.startswith("make ")]
    assert {"run", "bench", "ui", "prune", "doctor", "sql", "test"} <= set(targets)
