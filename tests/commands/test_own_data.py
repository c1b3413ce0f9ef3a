"""A newcomer's first run: a file of passage, query, answer and a folder with a model, as docs/own_data.md tells."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.places import ROOT
from tests.tiny_models import tiny_folder
from tests.waiting import PATIENCE

SENTENCE = (
    "The ferry to island number {0} leaves at {1} o'clock from pier {2} and takes about {3} minutes on calm days. "
)


@pytest.mark.long
def test_own_data_and_model_work_the_first_time_without_noise(tmp_path: Path) -> None:
    passages = ["".join(SENTENCE.format(i, 6 + i + j, j, 20 + i) for j in range(4)) for i in range(8)]
    rows = [
        {"passage": passage, "query": f"ferry to island {i} when", "answer": f"At {6 + i} o'clock.", "my_note": i}
        for i, passage in enumerate(passages)
    ]
    (tmp_path / "my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    shutil.copytree(tiny_folder(), tmp_path / "model")
    names = ("PREFECT_API_URL", "DO_NOT_TRACK", "PREFECT_SERVER_ANALYTICS_ENABLED")
    kept = {name: value for name, value in os.environ.items() if name not in names}
    own = {"SURROGATE_ARTIFACTS": str(tmp_path / "artifacts"), "PREFECT_HOME": str(tmp_path / "prefect")}
    finished = subprocess.run(
        [
            *(sys.executable, "-m", "flows.experiment", "--full"),
            "--workers=2",  # several processes may each make noise
            *(f"--data={tmp_path / 'my.jsonl'}", f"--language-model={tmp_path / 'model'}"),
        ],
        cwd=ROOT,
        env=kept | own,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    sys.stdout.write(finished.stdout + finished.stderr)  # shown by pytest when the test fails
    assert finished.returncode == 0
    # All that is said besides the results; how often a stage says how far it is depends on the machine.
    ends = [line for line in finished.stderr.splitlines() if not line.endswith((" so far", " left"))]
    said = [re.sub(r"[\d.]+ (ms|s|min)$", "SECONDS", line) for line in ends]
    stages = {
        "draw samples": "1",
        "write surrogates": "48 lines",
        "route queries": "2",
        "score contexts": "392 scores",
        "answer queries": "16",
        "check scoring": "1",
        "compute statistics": "11",
        "publish results": "1",
    }
    begun = [f"{name}: 0 of {count}" for name, count in stages.items()]
    ended = [f"{name}: {count.split()[0]} of {count}, SECONDS" for name, count in stages.items()]
    assert said[:4] == [
        "prepare: load the libraries",
        "prepare: identify the data and the models",
        "prepare: start worker processes",
        "prepare: start a temporary server, load the models",
    ]
    draw, *others = zip(begun, ended, strict=True)
    warning = "warning: 10 samples were asked for, 8 qualify"
    assert said[4:] == [draw[0], warning, draw[1], *(line for stage in others for line in stage)]
    lines = finished.stdout.splitlines()
    (report,) = (line.partition(":")[2].strip() for line in lines if line.startswith("Report: "))
    assert Path(report).is_relative_to(tmp_path)
    assert Path(report).stat().st_size > 100_000
    assert all(cell_len(line) <= 80 or line.startswith(("Report: ", "Results: ")) for line in lines)
    assert any("routed vs baseline" in line for line in lines)
