"""What a command prints when a run is complete: what it comes to, the comparisons by question, where the rest is.

In: a published run. Out: a page of 80 columns on standard output. No number is computed here.
"""

import json
import math
import shlex
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from tasks.loading.redaction import printable
from tasks.pages.terminal import print_blocks
from tasks.priming.records import LEAST_CLUSTERS
from tasks.priming.settings import EVERYTHING, PROFILES, flat_settings
from tasks.reading.answers import brief_blocks, headline_of, summary_blocks
from tasks.reading.database import QUERIES, rows_of
from tasks.results import open_results

_GROWTH = 10
"""How many times as many samples are suggested where something is undecided: intervals a third as wide."""

_GROWTH_OF_LOOKS = 1.5
"""How many times as many samples the next look has, of a run that grows by itself."""

_MAY_BE_DECIDED = ("undecided", "could_not_show")
"""Headlines that more samples alone may settle."""

_OPEN = (*_MAY_BE_DECIDED, "controls_missing")
"""Answers that more samples or controls may settle."""

_RUN = """
    SELECT run_summary.*, run.settings FROM all_runs.run_summary JOIN run USING (run_id) WHERE run_id = $run_id"""


def larger_draw(run_id: str, most: int) -> int | None:
    """Return how many samples to draw for the next look at a run whose headline is open; None to stop here.

    Args:
        run_id: The run.
        most: Samples to draw at most.
    """
    with open_results() as connection:
        (run,) = rows_of(connection, _RUN, run_id)
        headline, _ = headline_of(run, rows_of(connection, QUERIES["what_did_it_find"], run_id))
    drawn, most = int(run["drawn_count"]), min(most, int(run["eligible_count"]))
    if headline not in _MAY_BE_DECIDED or drawn >= most:
        return None
    return min(most, max(math.ceil(_GROWTH_OF_LOOKS * drawn), 2 * LEAST_CLUSTERS))


def print_summary(run_id: str, *, is_full: bool, report: str | None, path: str) -> None:
    """Print what a run found.

    Args:
        run_id: The run.
        is_full: Print all answers in place of the chief ones, which fit a screen of 24 lines.
        report: Where its report is; None if none was written.
        path: Where the database is.
    """
    with open_results() as connection:
        (run,) = rows_of(connection, _RUN, run_id)
        answers = rows_of(connection, QUERIES["what_did_it_find"], run_id)
    print_blocks((summary_blocks if is_full else brief_blocks)(run, answers))
    # Commands and paths are not wrapped, so that they can be copied.
    if any(row["answer"] in _OPEN for row in answers):
        sys.stdout.write(f"More:    {_continuation(run)}\n")
    sys.stdout.write(f"Report:  {report or 'not written; make it by python -m flows report ' + run_id}\n")
    sys.stdout.write(f"Results: {path}\nIn SQL:  make sql\n")


def _continuation(run: Mapping[str, Any]) -> str:
    """Say what may decide what is undecided: a larger draw of the same data, or, where it is exhausted, other data."""
    drawn, eligible = run["drawn_count"], run["eligible_count"]
    if drawn >= eligible:
        return (
            f"All {eligible:,} rows that qualify were drawn: what is undecided needs other data, best your own, by "
            "--data FILE (docs/own_data.md)."
        )
    larger = min(eligible, max(_GROWTH * drawn, 2 * LEAST_CLUSTERS))
    return printable(f"python -m flows run {' '.join(_flags(run))} --sample-count {larger}")


def _flags(run: Mapping[str, Any]) -> Iterator[str]:
    """Yield the flags by which a run's settings differ from its profile's, the number of samples left out."""
    profile, settings = str(run["profile"]), flat_settings(json.loads(run["settings"]))
    yield f"--profile {profile}"
    standard = flat_settings(PROFILES[profile].model_dump(mode="json")) if profile in PROFILES else {}
    full = json.loads(json.dumps(EVERYTHING))
    if all(settings.get(name) == value for name, value in full.items()):
        yield "--full"
        standard |= full
    for name, value in settings.items():
        if name != "sample_count" and value is not None and value != standard.get(name):
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            # The run keeps the texts of a file, not its path.
            yield f"--{name.replace('_', '-')} {'FILE' if name == 'arms' else shlex.quote(text)}"
