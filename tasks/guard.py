"""What all commands share: nothing secret is taken or shown, and whatever goes wrong is said in one clear line.

In: the `main` of a command. Out: its exit status. 0: done. 1: it failed, or what it printed could not be written.
2: what was given cannot be used. 130: it was interrupted.
What no command catches, such as an error while Prefect is imported, is shown by the same rules; tasks/__init__.py asks
for that.
"""

import functools
import inspect
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import ParamSpec

Parameters = ParamSpec("Parameters")
Main = Callable[Parameters, int]


def guarded(
    subject: str | None = None, *, again: str = "Start the same command again."
) -> Callable[[Main[Parameters]], Main[Parameters]]:
    """Return a decorator for the `main` of a command: errors become one line and an exit status.

    Args:
        subject: What fails, e.g. "The run", in a command that has the flag --verbose; None: the command has no such
            flag, and an error that is neither the user's nor the machine's is shown with its traceback.
        again: What is said after an interruption or a failure.
    """

    def decorate(main: Main[Parameters]) -> Main[Parameters]:
        @functools.wraps(main)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> int:
            from tasks.redaction import redact_logs

            given = inspect.signature(main).bind(*args, **kwargs).arguments.get("arguments")
            words = sys.argv[1:] if given is None else list(given)
            redact_logs()
            # Read when torch is first imported: two OpenMP threads that spin against each other on a busy machine take
            # many times as long as one that sleeps.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            try:
                _refuse_secrets(words)
                return main(*args, **kwargs)
            except KeyboardInterrupt:
                sys.stderr.write(f"Interrupted. {again}\n")
                return 130
            except Exception as error:
                if subject is None or _advice(error):
                    return _say(error)
                where = "The log above says where." if "--verbose" in words else "Add --verbose to see where."
                sys.stderr.write(f"{subject} failed: {_shown(error)}\n{where} {again}\n")
                return 1

        return run

    return decorate


def watch_uncaught() -> None:
    """Have errors that nobody catches, in any thread of this process, shown by the same rules."""
    sys.excepthook = _show_uncaught
    threading.excepthook = lambda failed: _show_uncaught_in_thread(failed.exc_value)


def _show_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, Exception):  # Ctrl-C
        sys.__excepthook__(kind, error, trace)
        return
    sys.exit(_say(error))  # the interpreter takes the status from here


def _show_uncaught_in_thread(error: BaseException | None) -> None:
    if error is not None and not isinstance(error, SystemExit):
        sys.stderr.write(_traceback(error))


def _say(error: Exception) -> int:
    """Write what an error means to the user, and return the exit status."""
    if advice := _advice(error):
        sys.stdout.flush()  # what was printed before it
        sys.stderr.write(f"error: {advice}\n")
        return 2
    if not isinstance(error, OSError):  # then it is a fault of this project, and its place matters
        sys.stderr.write(_traceback(error))
    sys.stderr.write(f"The command failed: {_shown(error)}\n")
    return 1


def _advice(error: Exception) -> str | None:
    """Return what the user can do about an error; None where it is not the user's to mend."""
    from tasks.priming.errors import UsageError
    from tasks.redaction import printable, redacted

    return printable(redacted(str(error))) if isinstance(error, UsageError) else None


def _shown(error: BaseException) -> str:
    from tasks.redaction import printable, redacted

    return printable(redacted(f"{type(error).__name__}: {error}"))


def _traceback(error: BaseException) -> str:
    from tasks.redaction import printable, redacted

    return printable(redacted("".join(traceback.format_exception(error))))


def _refuse_secrets(words: Sequence[str]) -> None:
    """Refuse a command line that holds what the environment keeps secret, without repeating it."""
    from tasks.priming.errors import UsageError
    from tasks.redaction import redacted

    flag = ""
    for word in words:
        name, _, value = word.partition("=") if word.startswith("-") else (flag, "", word)
        flag = name if word.startswith("-") and not value else ""
        if redacted(word) == word:
            continue
        shown = f"`{name}`" if name and redacted(name) == name else "The command line"
        raise UsageError(
            f"{shown} holds a token or a password, which would be shown or stored. Flags hold names, paths and "
            "numbers. Give the token in the environment: export HF_TOKEN=..."
        )
