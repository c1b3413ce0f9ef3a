"""The form of a flow asks for values, says what is allowed, and leaves what is left empty to the profile."""

import inspect
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools.validation import ValidationError, validate

from flows.experiment import experiment

SCHEMA: dict[str, Any] = parameter_schema(experiment).model_dump()


def test_every_field_has_a_title_a_description_and_one_type() -> None:
    fields = SCHEMA["properties"]
    assert list(fields) == list(inspect.signature(experiment.fn).parameters)
    for name, field in fields.items():
        assert field["title"] == name  # what `-p` takes
        assert field["description"], name
        assert isinstance(field["type"], str), name
        assert "anyOf" not in field, name


def test_limits_and_choices_are_there_for_the_form_and_in_words() -> None:
    fields = SCHEMA["properties"]
    assert (fields["sample_count"]["minimum"], fields["sample_count"]["maximum"]) == (1, 1_000_000)
    assert fields["sample_count"]["description"].endswith("Allowed: at least 1, at most 1,000,000.")
    assert fields["confidence_level"]["description"].endswith("Allowed: above 0, below 1.")
    assert fields["dtype"]["enum"] == ["float32", "bfloat16", "float16"]
    assert fields["families"]["items"]["enum"] == ["baseline", "static", "generated", "free", "control"]
    assert "<" not in "".join(field["description"] for field in fields.values())


def test_what_is_left_empty_is_allowed_and_what_is_out_of_limits_is_not() -> None:
    """The form itself refused its own defaults while they were written down as null."""
    assert not any("default" in field for name, field in SCHEMA["properties"].items() if name != "profile")
    assert SCHEMA["required"] == []
    validate({"profile": "demo"}, SCHEMA, raise_on_error=True)
    validate({"profile": "demo", "sample_count": None}, SCHEMA, raise_on_error=True)
    with pytest.raises(ValidationError, match="sample_count"):
        validate({"profile": "demo", "sample_count": 0}, SCHEMA, raise_on_error=True)
    with pytest.raises(ValidationError, match="draw"):
        validate({"profile": "demo", "draw": "sorted"}, SCHEMA, raise_on_error=True)


def test_the_flow_itself_is_called_as_before() -> None:
    assert experiment.validate_parameters({"sample_count": "5"})["sample_count"] == 5
    assert experiment.validate_parameters({})["seed"] is None
