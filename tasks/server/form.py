"""The form in which the UI asks for a flow's parameters.

In: a flow whose settings are optional, X | None. Out: the same flow, whose form asks for X, with its description,
choices and limits in words; an empty field leaves the setting to the profile. Prefect's own form of X | None shows
none of that until its reader chooses between X and nothing.
"""

import inspect
import re
import typing
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

from pydantic import Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema

if TYPE_CHECKING:  # the help of a command takes `described` from here, and importing Prefect takes a second
    from prefect import Flow

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

_LEADING = "What is run. Settings below that are left empty take this profile's values."
_LIMITS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}


class _Shown:
    """Annotates a parameter in the signature from which Prefect makes the form."""

    def __init__(self, description: str = "") -> None:
        self._description = description

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Return the schema of an optional value as that of the value, with its limits in words."""
        value, description = described(handler(schema))
        # The form would treat a placeholder such as <name> as a tag and show nothing.
        words = re.sub(r"<(\w+)>", lambda found: found[1].upper(), self._description or description)
        return {**value, "description": words}


def described(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """Return the JSON schema of X from that of X | None, and its description with its limits in words."""
    (value,) = (choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null")
    limits = [f"{words} {value[name]:,}" for name, words in _LIMITS.items() if name in value]
    allowed = [f"Allowed: {', '.join(limits)}."] if limits else []
    return value, " ".join([value.get("description", ""), *allowed]).strip()


def with_form(flow: "Flow[Parameters, Result]") -> "Flow[Parameters, Result]":
    """Return a flow, whose first parameter is `profile`, with a form that describes each setting and its limits."""
    hints = typing.get_type_hints(flow.fn, include_extras=True)
    signature = inspect.signature(flow.fn)
    shown = []
    for name, parameter in signature.parameters.items():
        if parameter.default is None:
            # The form would refuse null as a written default.
            hint: Any = Annotated[hints[name], _Shown(), Field(default_factory=lambda: None)]
            shown.append(parameter.replace(annotation=hint, default=Field()))
        else:
            hint = Annotated[hints[name], _Shown(_LEADING)]
            shown.append(parameter.replace(annotation=hint))
    # Prefect makes the form from the flow's signature and calls the function with the function's own.
    vars(flow)["__signature__"] = signature.replace(parameters=shown)
    return flow
