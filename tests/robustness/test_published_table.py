"""docs/robustness.md says which test shows each row: the tests are there, and none of the rows is without."""

import ast
import re
from pathlib import Path

import pytest

from tests.places import ROOT

TESTS = ROOT / "tests"
FAULTS = 33
INPUTS = 30


def rows(section: str) -> dict[int, str]:
    """Return the last cell of each row of a section's table, by number."""
    page = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return {int(number): tests for number, tests in re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", text, re.MULTILINE)}


def functions(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def numbers_of_cases(path: Path) -> set[int]:
    """Return the rows of which a file has cases: the first arguments of its calls of `row` and `case`."""
    calls = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]
    names = [node for node in calls if isinstance(node.func, ast.Name) and node.func.id in ("row", "case")]
    first = [node.args[0].value for node in names if isinstance(node.args[0], ast.Constant)]
    return {number for number in first if isinstance(number, int)}


def test_every_bad_input_is_published_with_the_file_that_tests_it() -> None:
    published = rows("Bad inputs")
    assert sorted(published) == list(range(1, INPUTS + 1))
    for number, cell in published.items():
        (name,) = re.findall(r"`(test_\w+)`", cell)
        assert number in numbers_of_cases(TESTS / "robustness" / f"{name}.py"), f"row {number} is not tested in {name}"


def test_every_fault_is_published_with_tests_that_exist() -> None:
    published = rows("Faults")
    assert sorted(published) == list(range(1, FAULTS + 1))
    files = list(TESTS.rglob("test_*.py"))
    known = {path.name for path in files}.union(*map(functions, files))
    for number, cell in published.items():
        named = re.findall(r"`(test_[\w.]+)`", cell)
        assert named, f"fault {number} names no test"
        assert set(named) <= known, f"fault {number} names tests that are not there"


@pytest.mark.parametrize("section", ["Bad inputs", "Faults"])
def test_no_row_is_longer_than_its_table(section: str) -> None:
    """A bar within a cell would end it, and the row would seem to name no test."""
    page = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    text = page.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    assert {line.count("|") for line in text.splitlines() if line.startswith("|")} == {5}
