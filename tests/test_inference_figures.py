"""The page on inference shows what the simulations give."""

import pytest

from docs.inference_figures import cells
from tests.places import ROOT


@pytest.mark.slow
def test_the_column_of_smollm2_is_what_the_published_runs_give() -> None:
    page = (ROOT / "docs" / "inference.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.split("|")] for line in page.splitlines() if line.startswith("|")]
    place = next(row.index("SmolLM2") for row in rows if "SmolLM2" in row)
    shown = [row[place] for row in rows if len(row) > place and row[place] not in ("SmolLM2", "---", "")]
    assert shown == [*cells("smollm2").values()]
