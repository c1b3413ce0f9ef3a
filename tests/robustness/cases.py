"""What the tests of the thirty bad inputs share: their numbering, and rows to spoil.

In: numbers of rows of docs/robustness.md. Out: test ids that begin with them.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.loading.data import identify_data, load_rows
from tasks.priming.records import Sample
from tasks.priming.sampling import draw_samples, read_row
from tasks.priming.settings import DataSettings, SamplingSettings

PASSAGE = "The mill at Sample was built in 1675 and ground rye until the river was moved."  # 15 words


def row(number: int, name: str, *values: object) -> Any:
    """Return a case of a row of the published table."""
    return pytest.param(*values, id=f"row{number:02}-{name}")


def case(number: int, name: str) -> pytest.MarkDecorator:
    """Mark a test that is a case of a row by itself."""
    return pytest.mark.parametrize((), [row(number, name)])


def plain(**changes: object) -> dict[str, Any]:
    return {"passage": PASSAGE, "query": "when was the mill built", "answer": "In 1675."} | changes


def passages(texts: list[str], marks: list[int], **changes: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "query": "q",
        "answers": ["In 1675."],
        "passages": {"passage_text": texts, "is_selected": marks},
    }
    return row | changes


def read(row: dict[str, Any]) -> Sample | str:
    return read_row(row, 1, 1, 50)


def sample(**changes: object) -> Sample:
    found = read(plain(**changes))
    assert isinstance(found, Sample), found
    return found


def draw(rows: Any, count: int = 10) -> Any:
    return draw_samples(rows, SamplingSettings(sample_count=count, min_words=1, max_words=50), 42)


def rows_of(path: Path) -> list[Any]:
    settings = DataSettings(data=str(path))
    return list(load_rows(identify_data(settings)))


def write_lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def edit_json(path: Path, **changes: object) -> None:
    """Replace values of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")
