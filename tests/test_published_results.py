"""What docs/results.md says is recomputable: bundles are verified, tables asked again, figures found in the tables."""

import argparse
import re
from pathlib import Path

import duckdb
import pytest

from tasks.commands.verify import execute
from tests.places import ROOT
from tests.test_readme import SHOWN, answer

PAGE = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
TABLES = SHOWN.findall(PAGE)
BUNDLES = sorted((ROOT / "docs" / "results").iterdir())

FIGURE = re.compile(r"[+-]\d+\.\d+")
"""A number with a sign and decimals."""


@pytest.mark.parametrize(("query", "table"), TABLES)
def test_a_table_is_what_its_query_gives(query: str, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with duckdb.connect() as connection:
        assert answer(connection, query) == table


def test_each_figure_in_a_sentence_stands_in_a_table() -> None:
    prose, tables = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL), "\n".join(table for _, table in TABLES)
    assert FIGURE.findall(prose)
    assert set(FIGURE.findall(prose)) <= set(FIGURE.findall(tables))


@pytest.mark.slow  # test_export.py verifies the golden one
@pytest.mark.parametrize("bundle", BUNDLES, ids=[bundle.name for bundle in BUNDLES])
def test_a_bundle_is_what_its_scores_give(bundle: Path) -> None:
    assert execute(argparse.Namespace(folder=bundle)) == 0


def test_the_bundles_are_small() -> None:
    assert sum(path.stat().st_size for bundle in BUNDLES for path in bundle.iterdir()) < 5_000_000
