"""The verb `runs`: lists the runs, newest first, with their models, data and headlines.

In: the manifests of all runs, and the database for the headlines of complete ones. Out: some lines of 80 columns each.
"""

import argparse
import sys
import textwrap
from collections.abc import Iterator

from tasks.pages.terminal import WIDTH
from tasks.pages.texts import on_one_line
from tasks.priming.errors import UsageError
from tasks.reading.answers import headline_of
from tasks.reading.database import QUERIES, read_run
from tasks.store.manifests import Manifest, as_observed, read_manifests

_SHOWN_RUNS = 20
_HEADLINE = {name: QUERIES[name] for name in ("run_summary", "what_did_it_find")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many."""
    parser.add_argument("--all", action="store_true", help=f"List all runs, not only the newest {_SHOWN_RUNS}.")


def execute(options: argparse.Namespace) -> int:
    """Print the list."""
    known = [manifest for manifest in read_manifests() if manifest.attempts]
    manifests = sorted(known, key=lambda manifest: manifest.attempts[-1].started_at, reverse=True)
    shown = manifests if options.all else manifests[:_SHOWN_RUNS]
    for manifest in map(as_observed, shown):
        sys.stdout.write("".join(f"{line}\n" for line in _describe(manifest)))
    if not manifests:
        sys.stdout.write("No run yet. To make one: python -m flows run\n")
    if more := len(manifests) - len(shown):
        sys.stdout.write(f"... and {more:,} older ones: python -m flows runs --all\n")
    return 0


def _describe(manifest: Manifest) -> Iterator[str]:
    """Yield the lines of one run."""
    samples = f", {manifest.funnel.drawn:,} samples" if manifest.funnel else ""
    yield f"{manifest.run_id}  {manifest.attempts[-1].started_at:%Y-%m-%d %H:%M}  {manifest.status}{samples}"
    model, data = (manifest.settings.get(part, {}).get(part) for part in ("language_model", "data"))
    called = f'"{manifest.name}", ' if manifest.name else ""
    for text in (f"{called}{manifest.profile}: {model} on {data}", _outcome(manifest)):
        yield from textwrap.wrap(on_one_line(text), WIDTH, initial_indent="    ", subsequent_indent="    ")


def _outcome(manifest: Manifest) -> str:
    """Return the headline of a complete run that is published, and the last error of a failed one."""
    if manifest.status != "complete":
        return (manifest.attempts[-1].error or "").partition("\n")[0]
    try:
        tables = read_run(manifest.run_id, _HEADLINE, with_nlls=False).tables
    except UsageError:  # not published, or by another version
        return ""
    return headline_of(tables["run_summary"][0], tables["what_did_it_find"])[1]
