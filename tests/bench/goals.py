"""The newest benchmark compared with the goals of docs/performance.md: `python -m tests.bench.goals`.

Status 0: all are met. 1: one is missed. What was not measured is not compared.
"""

import re
import sys
from collections.abc import Iterator

from tasks.bench.records import Bench, read_newest
from tests.places import ROOT

_ROW = re.compile(r"\| (\w+) \| ([\w.-]+) \| (\w+) \| ([^|]+) \| ([<>]=) ([\d.e+-]+) \|")


def read_goals() -> list[tuple[str, str, str, str, str, float]]:
    """Return part, model (or any), number format, quantity, <= or >=, and value of each goal of the page."""
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    return [(*found.groups()[:5], float(found[6])) for found in _ROW.finditer(page)]  # type: ignore[misc]


def compare(bench: Bench) -> Iterator[tuple[str, bool]]:
    """Yield what was compared in words, and whether the goal is met; all answers and lines should be identical."""
    ours = {(f.part, f.model, f.dtype, f.quantity): f.value for f in bench.figures if f.method == "ours"}
    for part, model, dtype, quantity, sign, goal in read_goals():
        for key, value in ours.items():
            if key in ((part, model, dtype, quantity), (part, key[1], dtype, quantity) if model == "any" else ()):
                is_met = value >= goal if sign == ">=" else value <= goal
                yield f"{', '.join(key)}: {value:.3g}, {sign} {goal:g}", is_met
    for (part, model, dtype, quantity), value in ours.items():
        what, _, way = quantity.partition(" identical: ")
        if way:
            everything = ours[part, model, dtype, f"{what} compared"]
            yield f"{part}, {model}, {dtype}, {quantity}: {value:.0f} of {everything:.0f}", value == everything


def main() -> int:
    """Print every comparison."""
    found = list(compare(read_newest()))
    sys.stdout.writelines(f"{'met   ' if is_met else 'missed'} {text}\n" for text, is_met in found)
    return int(not all(is_met for _, is_met in found))


if __name__ == "__main__":
    sys.exit(main())
