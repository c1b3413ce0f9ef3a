"""What all commands share: nothing secret is taken or shown, and whatever goes wrong is said in one clear line.

In: the `main` of a command. Out: its exit status. 0: done. 1: it failed, or what it printed could not be written.
2: what was given cannot be used. 130: it was interrupted.
What no command catches, such as an error while Prefect is imported, is shown by the same rules; tasks/__init__.py asks
for that. Nobody has to read what is printed, and no encoding has to know all its characters: a command goes on.
"""

import errno
import functools
import inspect
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, ParamSpec

Parameters = ParamSpec("Parameters")
Main = Callable[Parameters, int]


def guarded(
    subject: str | None = None, *, again: str = "Start the same command again.", kept: str | None = None
) -> Callable[[Main[Parameters]], Main[Parameters]]:
    """Return a decorator for the `main` of a command: errors become one line and an exit status.

    Args:
        subject: What fails, e.g. "The run", in a command that has the flag --verbose; None: the command has no such
            flag, and an error that is neither the user's nor the machine's is shown with its traceback.
        again: What is said after an interruption or a failure.
        kept: Where what is printed stands as well, so that the command succeeded even if nobody could write that down.
    """

    def decorate(main: Main[Parameters]) -> Main[Parameters]:
        @functools.wraps(main)
        def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> int:
            from tasks.loading.redaction import redact_logs
            from tasks.server.processes import is_interrupted

            given = inspect.signature(main).bind(*args, **kwargs).arguments.get("arguments")
            words = sys.argv[1:] if given is None else list(given)
            redact_logs()
            output, _ = _forgiving("stdout", "replace"), _forgiving("stderr", "backslashreplace")
            # Read when torch is first imported: two OpenMP threads that spin against each other on a busy machine take
            # many times as long as one that sleeps.
            os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
            try:
                _refuse_secrets(words)
                return _with_output(output, main(*args, **kwargs), kept)
            except (Exception, KeyboardInterrupt) as error:
                if isinstance(error, KeyboardInterrupt) or is_interrupted():
                    sys.stderr.write(f"Interrupted. {again}\n")
                    return 130
                if subject is None or _advice(error):
                    return _say(error)
                where = "The log above says where." if "--verbose" in words else "Add --verbose to see where."
                sys.stderr.write(f"{subject} failed: {_shown(error)}\n{where} {again}\n")
                return 1

        return run

    return decorate


def prepare_process() -> None:
    """Have errors that nobody catches, in any thread, shown by the same rules; replace closed standard streams."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It gets the number of the closed one, which the next file that is opened would have, and is handed on as
            # standard streams are: a server that is started needs one too.
            stream = open(os.devnull, mode, encoding="utf-8", errors="replace")  # noqa: SIM115 - never closed
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
    sys.excepthook = _show_uncaught
    threading.excepthook = lambda failed: _show_uncaught_in_thread(failed.exc_value)


class _Forgiving(io.FileIO):
    """A standard stream that goes on when what is written cannot be, and keeps the first reason."""

    refusal: OSError | None = None

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        """Write, or pass over."""
        if self.refusal is None:
            try:
                return super().write(data)
            except OSError as error:
                self.refusal = error
        return len(memoryview(data).cast("B"))


def _forgiving(name: str, errors: str) -> _Forgiving | None:
    """Have a standard stream of this process forgive, and replace characters that its encoding lacks.

    Returns:
        What keeps the reason; None where the stream is not the process's own, as in a test.
    """
    stream = getattr(sys, name)
    if stream is not getattr(sys, f"__{name}__") or not isinstance(stream, io.TextIOWrapper):
        return None
    stream.flush()
    raw = _Forgiving(stream.fileno(), "w", closefd=False)
    text = io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=errors,
        # Unbuffered (python -u) means that each line is there at once, not that each byte is.
        line_buffering=stream.line_buffering or stream.write_through,
        write_through=stream.write_through,
    )
    setattr(sys, name, text)
    return raw


def _with_output(output: _Forgiving | None, status: int, kept: str | None) -> int:
    """Return the status of a command, now that all that it printed is written or lost."""
    sys.stdout.flush()
    # Who closes a pipe has read enough.
    if output is None or output.refusal is None or output.refusal.errno == errno.EPIPE:
        return status
    advice = kept or "Send it elsewhere and start the same command again."
    sys.stderr.write(f"warning: what was printed could not be written: {output.refusal.strerror}. {advice}\n")
    return status if kept else status or 1


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
    from tasks.loading.redaction import printable, redacted
    from tasks.priming.errors import UsageError

    said = str(error) if isinstance(error, UsageError) else _about_the_environment(error)
    return printable(redacted(said)) if said else None


def _about_the_environment(error: Exception) -> str | None:
    """Return what is wrong with the environment of this process where that is why a library could not be imported."""
    if str(error) == "Could not determine home directory.":
        return (
            f"This process has no home folder: HOME is not set, and the system knows no user {os.getuid()}. Prefect "
            "and the libraries of models keep files there. Name a folder that may be written: export HOME=/some/folder"
        )
    if type(error).__name__ == "ValidationError" and str(getattr(error, "title", "")).endswith("Settings"):
        # Of pydantic, for Prefect's settings. What only follows from another problem says nothing.
        found = [part for part in error.errors() if part["type"] != "default_factory_not_called"]  # type: ignore[attr-defined]
        name = ".".join(str(part) for part in found[0]["loc"])
        return (
            f"Prefect's setting `{name}` ({error.title}): {found[0]['msg']}, got {found[0]['input']!r}. "  # type: ignore[attr-defined]
            "Correct or remove it where it is set, in the environment (env | grep ^PREFECT), in prefect.toml or in a "
            "profile (~/.prefect/profiles.toml)."
        )
    if isinstance(error, PermissionError) and error.filename:
        return (
            f"{error.filename} cannot be used: {error.strerror}. This user must be able to read and write it. Ask its "
            "owner, or work in a folder of your own: export SURROGATE_ARTIFACTS=/some/folder"
        )
    return None


def _shown(error: BaseException) -> str:
    from tasks.loading.redaction import printable, redacted

    return printable(redacted(f"{type(error).__name__}: {error}"))


def _traceback(error: BaseException) -> str:
    from tasks.loading.redaction import printable, redacted

    return printable(redacted("".join(traceback.format_exception(error))))


def _refuse_secrets(words: Sequence[str]) -> None:
    """Refuse a command line that holds what the environment keeps secret, without repeating it."""
    from tasks.loading.redaction import redacted
    from tasks.priming.errors import UsageError

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
