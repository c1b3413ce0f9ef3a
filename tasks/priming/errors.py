"""Errors that the user can fix, and the refusal of settings that hold secrets."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from pydantic import ValidationError

SECRET = r"(?:hf|api_org)_[A-Za-z0-9]{20,}|://[^\s/@:]*:[^\s/@]+@"
"""Matches an access token of the hub, and a password in an address. Settings are stored with a run, by Prefect too, so
none may hold a secret. The form in the UI checks the same expression in JavaScript."""

_SHOWN_CHARACTERS = 200  # of a refused value


class UsageError(Exception):
    """The input cannot be used; the message says what happened, what is allowed and what to do next.

    Commands print it without a traceback and exit with status 2.
    """


class SetupError(UsageError):
    """The machine or the settings lack something; the message says what to do."""


class SettingsError(UsageError):
    """A setting has a value that is not allowed; the message says what is."""


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return " Did you mean ...?" with the allowed word that is most like a misspelt one; "" if none is like it."""
    likely = get_close_matches(word, [*allowed], n=1)
    return f" Did you mean {likely[0]}?" if likely else ""


def refuse_secrets(values: Mapping[str, object]) -> None:
    """Refuse what looks like an access token or a password, without repeating it."""
    for name, value in values.items():
        if re.search(SECRET, f"{name} {value}"):
            shown = "A setting's name" if re.search(SECRET, name) else f"`{name}`"
            raise SettingsError(
                f"{shown} holds what looks like an access token or a password, which would be stored with the run. "
                "Settings hold names, paths and numbers. Give the token in the environment: export HF_TOKEN=..."
            )


def describe_refusals(error: ValidationError) -> str:
    """Return one line per refused value: the setting, the value, what is allowed and what to do."""
    lines: list[str] = []
    for problem in error.errors():
        name = next((str(part) for part in reversed(problem["loc"]) if isinstance(part, str)), "")
        message = problem["msg"].removeprefix("Value error, ")
        place = next((place for place, part in enumerate(problem["loc"]) if isinstance(part, int)), len(problem["loc"]))
        if within := [str(part) for part in problem["loc"][place + 1 :] if isinstance(part, str)]:  # of a list's item
            item = int(problem["loc"][place]) + 1
            name, message = str(problem["loc"][place - 1]), f"{'.'.join(within)} of number {item}: {message}"
        if problem["type"] == "too_short" and any(line.startswith(f"`{name}`") for line in lines):
            continue  # an empty list whose items were all refused above
        if problem["type"] == "value_error":  # our own validators already name the setting and the value
            lines.append(message)
        else:
            given = repr(problem["input"])
            shown = given if len(given) <= _SHOWN_CHARACTERS else f"{given[:_SHOWN_CHARACTERS]}..."
            allowed = re.findall(r"'([^']+)'", message) if problem["type"] == "literal_error" else []
            advice = did_you_mean(str(problem["input"]), allowed) or " Leave it out to take the profile's value."
            lines.append(f"`{name}`: {message}, got {shown}.{advice}")
    return "\n".join(lines)
