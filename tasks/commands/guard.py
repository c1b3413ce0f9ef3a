"""The one hook around every command: it takes and shows no secrets, and makes an error one clear line and a status.

Statuses: 0 done; 1 failed, or what was printed could not be written; 2 what was given cannot be used; 130 interrupted.
tasks/__init__.py applies the same rules to errors that no command catches, such as one while Prefect is imported.
"""

import errno
import io
import os
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any


def guarded(
    work: Callable[[], int],
    words: Sequence[str],
    *,
    subject: str | None = None,
    again: str = "Start the same command again.",
    kept: str | None = None,
) -> int:
    """Do the work of a command and return its exit status, also if something goes wrong.

    Args:
        work: Returns the status.
        words: The command line; one with a secret in it is refused before any work.
        subject: What fails, e.g. "The run", where the command has the flag --verbose. Without it, an error that neither
            the user nor the machine caused is shown with its traceback.
        again: The advice after an interruption or a failure.
        kept: Where the results are stored besides the output; the command then succeeds even if its output is lost.
    """
    from tasks.loading.redaction import redact_logs
    from tasks.server.processes import is_interrupted

    redact_logs()
    output, _ = _forgiving("stdout", "replace"), _forgiving("stderr", "backslashreplace")
    # Read when torch is first imported: two OpenMP threads that spin against each other on a busy machine take many
    # times as long as one that sleeps.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        _refuse_secrets(words)
        return _with_output(output, work(), kept)
    except (Exception, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) or is_interrupted():
            sys.stderr.write(f"Interrupted. {again}\n")
            return 130
        if subject is None or _advice(error):
            return _say(error)
        where = "The log above says where." if "--verbose" in words else "Add --verbose to see where."
        sys.stderr.write(f"{subject} failed: {_shown(error)}\n{where} {again}\n")
        return 1


def prepare_process() -> None:
    """Show uncaught errors, of any thread, by the same rules, and replace closed standard streams."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # It gets the number of the closed stream, which the next opened file would have got, and it is inherited
            # as standard streams are: a server that is started needs one too.
            stream = open(os.devnull, mode, encoding="utf-8", errors="replace")  # noqa: SIM115 - never closed
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
    sys.excepthook = _show_uncaught
    threading.excepthook = _show_uncaught_in_thread


class _Forgiving(io.FileIO):
    """A standard stream that goes on when it cannot write, and keeps the first reason."""

    refusal: OSError | None = None

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - any buffer
        """Write the data, or drop them."""
        if self.refusal is None:
            try:
                return super().write(data)
            except OSError as error:
                self.refusal = error
        return len(memoryview(data).cast("B"))


def _forgiving(name: str, errors: str) -> _Forgiving | None:
    """Make a standard stream forgiving, also of characters that its encoding lacks.

    Returns:
        The raw stream, which keeps the reason; None if the stream is not the process's own, as in a test.
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
    """Flush the output and return the command's status, or 1 if the output was lost."""
    sys.stdout.flush()
    # Whoever closes a pipe has read enough.
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


def _show_uncaught_in_thread(failed: threading.ExceptHookArgs) -> None:
    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        sys.stderr.write(_traceback(failed.exc_value))


def _say(error: Exception) -> int:
    """Write what an error means to the user, and return the exit status."""
    if advice := _advice(error):
        sys.stdout.flush()  # what was printed before it
        sys.stderr.write(f"error: {advice}\n")
        return 2
    if not isinstance(error, OSError):  # a fault of this project: its place matters
        sys.stderr.write(_traceback(error))
    sys.stderr.write(f"The command failed: {_shown(error)}\n")
    return 1


def _advice(error: Exception) -> str | None:
    """Return what the user can do about an error; None if there is nothing."""
    from tasks.priming.errors import UsageError

    said = str(error) if isinstance(error, UsageError) else _about_the_environment(error)
    return _harmless(said) if said else None


def _about_the_environment(error: Exception) -> str | None:
    """Return what is wrong with the environment of this process, if that is why a library could not be imported."""
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
    return _harmless(f"{type(error).__name__}: {error}")


def _traceback(error: BaseException) -> str:
    return _harmless("".join(traceback.format_exception(error)))


def _harmless(text: str) -> str:
    """Return text without secrets and control characters."""
    from tasks.loading.redaction import printable, redacted

    return printable(redacted(text))


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
