"""The command line of a flow: its parameters as flags, one clear line for an error of the user's, the exit status.

Status 0: the run is complete. 1: it failed. 2: what was given cannot be used.
"""

import argparse
import inspect
import logging
import os
import sys
import typing
from collections.abc import Sequence
from typing import Any

from prefect import Flow
from prefect.settings import get_current_settings
from pydantic.fields import FieldInfo

from tasks.priming.errors import UsageError
from tasks.priming.settings import resolve_settings


def run_command(flow: Flow[..., Any], arguments: Sequence[str] | None = None) -> int:
    """Run a flow with the flags of a command line, print what it found, and return the exit status.

    Args:
        flow: A flow whose first parameter is `profile` and whose others are settings.
        arguments: The flags; None: those of this process.
    """
    # Read when torch is first imported: two OpenMP threads that spin against each other on a busy machine take many
    # times as long as one that sleeps.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    values = vars(make_parser(flow).parse_args(arguments))
    given = {name: value for name, value in values.items() if value is not None}
    try:
        # Before Prefect starts anything: what can be refused at once leaves no failed run behind.
        settings = resolve_settings(**given)
        from tasks.loading import load_in_background
        from tasks.run import identify_inputs

        inputs = identify_inputs(settings)
        _hide_tracebacks_of_usage_errors()
        if not get_current_settings().api.url:
            # Prefect will start a temporary server, which takes longer than to load the models.
            load_in_background(inputs.language_model, inputs.embedding_model)
        result = flow(**given)
    except UsageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted. Start the same command again: finished chunks are not computed again.\n")
        return 130
    except Exception as error:
        sys.stderr.write(f"The run failed: {type(error).__name__}: {error}\nThe log above says where.\n")
        return 1
    from tasks.summary import print_summary

    print_summary(result["run_id"], result["path"])
    return 0


def make_parser(flow: Flow[..., Any]) -> argparse.ArgumentParser:
    """Return a parser whose flags are the flow's parameters, described as in the settings."""
    parser = argparse.ArgumentParser(
        prog=f"python -m flows.{flow.name}", description=inspect.getdoc(flow.fn), allow_abbrev=False
    )
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
    return parser


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
