"""Why a setting is refused, said so that it can be mended; and secrets, which no setting may hold.

In: values that a user gave, or what pydantic found wrong with them. Out: a SettingsError.
"""

import re
from collections.abc import Mapping

from pydantic import ValidationError

from tasks.priming.errors import UsageError

SECRET = r"(?:hf|api_org)_[A-Za-z0-9]{20,}|://[^\s/@:]*:[^\s/@]+@"
"""What an access token of the hub looks like, and a password in an address. A run keeps its settings, and so does
Prefect: none may hold one. JavaScript, in which the form is checked, reads the same expression."""

_SHOWN_CHARACTERS = 200
"""Of a refused value."""


class SettingsError(UsageError):
    """A value that the user gave is not allowed; the message says what is."""


def refuse_secrets(values: Mapping[str, object]) -> None:
    """Refuse what looks like an access token or a password, without repeating it.

    Raises:
        SettingsError: A name or a value holds one.
    """
    for name, value in values.items():
        if re.search(SECRET, f"{name} {value}"):
            shown = "A setting's name" if re.search(SECRET, name) else f"`{name}`"
            raise SettingsError(
                f"{shown} holds what looks like an access token or a password, which would be stored with the run. "
                "Settings hold names, paths and numbers. Give the token in the environment: export HF_TOKEN=..."
            )


def describe_refusals(error: ValidationError) -> str:
    """Return one line per refused value: which setting, what was given, what is allowed, what to do."""
    lines: list[str] = []
    for problem in error.errors():
        name = next((str(part) for part in reversed(problem["loc"]) if isinstance(part, str)), "")
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "too_short" and any(line.startswith(f"`{name}`") for line in lines):
            continue  # a list of which no item is left: they were all refused above
        if problem["type"] == "value_error":  # our own validators already name the setting and the value
            lines.append(message)
        else:
            given = repr(problem["input"])
            shown = given if len(given) <= _SHOWN_CHARACTERS else f"{given[:_SHOWN_CHARACTERS]}..."
            lines.append(f"`{name}`: {message}, got {shown}. Leave it out to take the profile's value.")
    return "\n".join(lines)
