"""The command line of a flow: its parameters as flags, and what it prints when the run is complete.

Status 0: the run is complete. 1: it failed. 2: what was given cannot be used.
"""

import argparse
import inspect
import logging
import os
import typing
from collections.abc import Sequence
from typing import Any

from prefect import Flow
from prefect.settings import get_current_settings
from pydantic.fields import FieldInfo

from tasks.commands.guard import guarded
from tasks.commands.terminal import quietly, stages_shown
from tasks.loading.hub import ALLOW_DOWNLOAD
from tasks.loading.redaction import printable, redacted
from tasks.priming.errors import UsageError
from tasks.priming.settings import EVERYTHING, resolve_settings
from tasks.server.standalone import require_server


@guarded(
    "The run",
    again="Start the same command again: finished chunks are not computed again.",
    kept="The run is complete, and what it found is in its report and in the database.",
)
def run_command(flow: Flow[..., Any], arguments: Sequence[str] | None = None) -> int:
    """Run a flow with the flags of a command line, print what it found, and return the exit status.

    Args:
        flow: A flow whose first parameter is `profile` and whose others are settings.
        arguments: The flags; None: those of this process.
    """
    values = vars(_command_parser(flow).parse_args(arguments))
    is_verbose, is_dry, is_full = (values.pop(name) for name in ("verbose", "dry_run", "full"))
    given = (EVERYTHING if is_full else {}) | {name: value for name, value in values.items() if value is not None}
    # Before Prefect starts anything: what can be refused at once leaves no failed run behind.
    settings = resolve_settings(**given)
    require_server()
    if is_dry:
        from tasks.commands.dry_run import print_dry_run

        with quietly():
            print_dry_run(settings, given.get("workers"))
        return 0
    from tasks.loading.models import load_in_background
    from tasks.run import identify_inputs, is_complete
    from tasks.workers.processes import start_workers, working

    inputs = identify_inputs(settings)
    _hide_tracebacks_of_usage_errors()
    model = inputs.language_model
    count, address = given.get("workers"), given.get("ray_address")
    with stages_shown(is_verbose=is_verbose), working(int(count) if count else None, model, address) as here:
        # A run that is complete has everything remembered; any other will need models.
        if not is_complete(settings, inputs):
            start_workers()
            if not get_current_settings().api.url:
                # Prefect will start a temporary server, which takes longer than to load the models.
                load_in_background(model if here else None, inputs.embedding_model)
        result = flow(**given)
    from tasks.commands.summary import print_summary

    print_summary(**{name: result[name] for name in ("run_id", "report", "path")})
    return 0


def _command_parser(flow: Flow[..., Any]) -> argparse.ArgumentParser:
    """Return the flow's parser with what changes no result."""
    parser = make_parser(flow)
    parser.add_argument("--verbose", action="store_true", help="Show everything that is logged, and tracebacks.")
    parser.add_argument(
        "--full", action="store_true", help="Run all families and controls, also those that the profile leaves out."
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Compute nothing: say what becomes of the data's rows, show three contexts, estimate the cost.",
    )
    return parser


def make_parser(flow: Flow[..., Any]) -> argparse.ArgumentParser:
    """Return a parser whose flags are the flow's parameters, described as in the settings."""
    parser = _Parser(prog=f"python -m flows.{flow.name}", description=inspect.getdoc(flow.fn), allow_abbrev=False)
    hints = typing.get_type_hints(flow.fn, include_extras=True)
    for name, parameter in inspect.signature(flow.fn).parameters.items():
        kind, field = _unwrap(hints[name])
        options: dict[str, Any] = {"help": (field.description or "").replace("%", "%%") if field else None}
        if name == "profile":
            options |= {"default": parameter.default, "help": f"{', '.join(typing.get_args(kind))}"}
        elif typing.get_origin(kind) is typing.Literal:
            options["help"] = f"{options['help']} ({', '.join(typing.get_args(kind))})"
        elif typing.get_origin(kind) is tuple:
            options["type"] = lambda text: tuple(part.strip() for part in text.split(","))
            options["help"] = f"{options['help']} Separated by commas."
        # Values stay text: the settings convert and refuse them, with one message for every way to give them.
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="VALUE", **options)
    parser.add_argument(
        "--allow-download",
        action=_AllowDownload,
        nargs=0,
        default=argparse.SUPPRESS,
        help="Fetch a model of more than a gigabyte that is not on this machine.",
    )
    return parser


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> typing.NoReturn:
        """Refuse a command line without repeating a secret in it."""
        super().error(printable(redacted(message)))


class _AllowDownload(argparse.Action):
    """Allows large downloads in this process: no setting, since it changes no result."""

    def __call__(self, *arguments: object, **options: object) -> None:
        """Note it where the models are loaded."""
        os.environ[ALLOW_DOWNLOAD] = "1"


def _unwrap(hint: Any) -> tuple[Any, FieldInfo | None]:  # noqa: ANN401 - any annotation
    """Return the bare type of X, X | None or Annotated[X, Field(...)], and the Field."""
    for part in (hint, *typing.get_args(hint)):
        if typing.get_origin(part) is typing.Annotated:
            kind, *extras = typing.get_args(part)
            described = [extra for extra in extras if isinstance(extra, FieldInfo) and extra.description]
            return kind, described[-1] if described else None
    return hint, None


class _NoUsageTraceback(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Leave the message of a usage error and take away its traceback: it is not about this code."""
        if record.exc_info and isinstance(record.exc_info[1], UsageError):
            record.exc_info = None
        return True


def _hide_tracebacks_of_usage_errors() -> None:
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_NoUsageTraceback())
