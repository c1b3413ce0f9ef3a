"""The one door: `python -m flows VERB ...`.

In: a verb and its flags. Out: status 0 (done), 1 (failed), 2 (what was given cannot be used) or 130 (interrupted).
A verb is one entry of VERBS. Its module, which is imported only for that verb, has `execute(options)`, which returns
the status; `add_arguments(parser)` if the verb takes arguments; and, if it can sometimes answer without its flow,
`recall(options)`, which returns the status or None.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import NoReturn

from tasks.commands.guard import guarded
from tasks.priming.errors import UsageError, did_you_mean


@dataclass(frozen=True, slots=True)
class Verb:
    """What the door knows of a verb; the last three are what `guarded` says."""

    module: str
    """Does it."""
    help: str
    """One line."""
    subject: str | None = None
    """What fails, if the verb runs a flow: it then needs a Prefect server and has the flag --verbose."""
    again: str = "Start the same command again."
    """The advice after an interruption or a failure."""
    kept: str | None = None
    """Where the results are stored besides the output."""


VERBS = {
    "run": Verb(
        "tasks.commands.run",
        "Measure whether priming helps, and print what was found.",
        subject="The run",
        again="Start the same command again: finished chunks are not computed again.",
        kept="The run is complete, and what it found is in its report and in the database.",
    ),
    "walkthrough": Verb(
        "tasks.commands.walkthrough", "Follow one sample from its passage to its scores.", subject="The walkthrough"
    ),
    "report": Verb("tasks.commands.report", "Write the report of a run as one HTML file."),
    "compare": Verb("tasks.commands.compare", "Compare complete runs: settings, answers, paired differences."),
    "runs": Verb("tasks.commands.runs", "List the runs, newest first."),
    "reference": Verb("tasks.commands.reference", "Compare a complete run with the published table."),
    "sql": Verb("tasks.commands.sql", "Query the results in SQL, at a prompt or from a pipe."),
    "ui": Verb("tasks.server.ui", "Start a Prefect server and a worker, to start and watch runs in a browser."),
    "doctor": Verb("tasks.commands.doctor", "Examine this machine, and what each profile lacks here."),
    "export": Verb("tasks.commands.export", "Write a run as a folder that can be passed on and published."),
    "verify": Verb("tasks.commands.verify", "Recompute the statistics of an exported run from its scores."),
    "prune": Verb("tasks.commands.prune", "List or remove the files that no run needs."),
    "arms": Verb("tasks.commands.arms", "Print the built-in texts as a file, to change and give back to run --arms."),
    "bench": Verb(
        "tasks.commands.bench",
        "Measure the speed compared with other methods, as ratios.",
        again="Nothing was written. A shorter run: python -m flows bench --quick",
    ),
}

_QUICK_START = """\
quick start:
  python -m flows run                             a first look, a few minutes
  python -m flows run --data my.jsonl --dry-run   check your own data and model
  python -m flows runs                            what was run so far
  python -m flows report latest                   the report of the newest run
  python -m flows VERB --help                     the flags of a verb
"""


def main(words: Sequence[str], stack: ExitStack | None = None) -> int:
    """Run a command line and return its exit status.

    Args:
        words: The verb and its flags.
        stack: Ends with the process, whose server and signals a flow then takes care of; None: the caller does.
    """
    verb = VERBS.get(words[0] if words else "", Verb("", ""))
    return guarded(partial(_perform, words, stack), words, subject=verb.subject, again=verb.again, kept=verb.kept)


def enter(*words: str) -> NoReturn:
    """Run these words, followed by the arguments of this process, and end the process with the status."""
    with ExitStack() as stack:
        sys.exit(main((*words, *sys.argv[1:]), stack))


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Refuse a command line as everything else that cannot be used is refused."""
        # "unrecognized arguments: --sampel-count=5 ..." or "...: invalid choice: 'runn' (choose from ...)"
        wrong = re.search(r"unrecognized arguments: ([^\s=]+)|invalid choice: '(\w+)'", message)
        known = {*re.findall(r"--[a-z-]+", self.format_help()), *VERBS}
        meant = did_you_mean(wrong[1] or wrong[2], known) if wrong else ""
        shown = message.partition(" (choose")[0] if meant else message
        raise UsageError(f"{shown}.{meant} What is allowed: {self.prog} --help")


def _perform(words: Sequence[str], stack: ExitStack | None) -> int:
    parser = _Parser(
        prog="python -m flows",
        description="Measure whether priming a document's KV cache helps a language model answer.",
        epilog=_QUICK_START,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(title="verbs", metavar="VERB")
    parsers = {
        name: verbs.add_parser(
            name,
            prog=f"python -m flows {name}",
            usage=f"python -m flows {name} [FLAGS]" if verb.subject else None,
            help=verb.help,
            description=verb.help,
            allow_abbrev=False,
        )
        for name, verb in VERBS.items()
    }
    if not words or words[0] not in VERBS:
        parser.parse_args(words)
        parser.print_help()
        return 0
    verb = VERBS[words[0]]
    module = import_module(verb.module)
    if verb.subject:
        parsers[words[0]].add_argument("--verbose", action="store_true", help="Show the whole log, and tracebacks.")
    if hasattr(module, "add_arguments"):
        module.add_arguments(parsers[words[0]])
    options = parsers[words[0]].parse_args(words[1:])
    if hasattr(module, "recall") and (status := module.recall(options)) is not None:
        return int(status)
    if verb.subject and stack:
        from tasks.server.standalone import standalone

        stack.enter_context(standalone())
    return int(module.execute(options))


if __name__ == "__main__":
    enter()
