"""Where things are: the checkout, and the numbers that tests compare with."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
"""The folder of the checkout."""

GOLDEN = ROOT / "tests" / "golden"

WALKTHROUGH = json.loads((GOLDEN / "walkthrough.json").read_text(encoding="utf-8"))
"""What the notebook prints for its example."""
