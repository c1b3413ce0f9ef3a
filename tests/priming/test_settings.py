"""Settings: profiles hold the published values, and a value that is not allowed is refused with what is."""

import inspect
import typing
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from flows.experiment import experiment
from tasks.priming.settings import (
    PLACEMENT,
    PROFILES,
    DataSettings,
    ExperimentSettings,
    ProfileName,
    SettingsError,
    resolve_settings,
)


def flat_settings() -> dict[str, Any]:
    """Return every setting that is a value and no group of settings, with its full annotation."""
    found: dict[str, Any] = {}
    waiting: list[type[BaseModel]] = [ExperimentSettings]
    while waiting:
        model = waiting.pop()
        for name, annotation in typing.get_type_hints(model, include_extras=True).items():
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                waiting.append(annotation)
            elif name in model.model_fields:
                assert name not in found, f"two settings are named {name}"
                found[name] = annotation
    return found


def test_there_is_a_profile_per_published_and_local_way_to_run() -> None:
    assert list(PROFILES) == ["demo", "smollm2-msmarco", "laptop", "mistral-7b", "mistral-7b-bf16"]
    assert set(PROFILES) == set(typing.get_args(ProfileName))


@pytest.mark.parametrize("profile", ["mistral-7b", "mistral-7b-bf16"])
def test_the_paper_profiles_are_the_published_run(profile: str) -> None:
    settings = resolve_settings(profile)
    assert settings.language_model.language_model == "mistralai/Mistral-7B-Instruct-v0.2"  # walkthrough, cell 3
    assert settings.embedding.embedding_model == "sentence-transformers/all-MiniLM-L6-v2"  # as published
    assert settings.sampling.model_dump() == {
        "sample_count": 2500,  # as published
        "min_words": 50,  # as published
        "max_words": 300,  # as published
        "draw": "notebook",
        "distractor_count": 2,  # ours: the published run has none
        "skip_bad_rows": False,
    }
    assert settings.seed == 42  # as published
    assert settings.generation.model_dump() == {
        "temperature": 0.3,  # walkthrough, cell 9
        "top_k": 50,  # the default of transformers 5.0, which cell 9 leaves
        "max_new_tokens": 45,  # walkthrough, cell 9
    }
    # walkthrough, cells 7, 8 and 12; and the controls, which it lacks
    assert settings.families == ("baseline", "static", "generated", "control")
    assert settings.controls == ("all",)
    assert settings.statistics.bootstrap_resamples == 10_000
    assert settings.data.data == "msmarco-v1.1"
    assert settings.language_model.device == "cuda"


def test_the_two_paper_profiles_differ_in_the_weights_number_format_alone() -> None:
    nf4, bf16 = (resolve_settings(name).language_model for name in ("mistral-7b", "mistral-7b-bf16"))
    assert (nf4.quantization, nf4.dtype) == ("nf4", "float16")  # as published: NF4 double quant, fp16 compute
    assert (bf16.quantization, bf16.dtype) == ("none", "bfloat16")
    rest = resolve_settings("mistral-7b").model_dump() | {"language_model": None}
    assert rest == resolve_settings("mistral-7b-bf16").model_dump() | {"language_model": None}


def test_the_demo_needs_neither_network_nor_gpu() -> None:
    settings = resolve_settings("demo")
    assert settings.language_model.device == "cpu"
    assert settings.data.data == "example"
    assert settings.language_model.language_model == "packaged/smollm2-135m-instruct"
    assert settings.embedding.embedding_model == "packaged/all-MiniLM-L6-v2"
    assert settings.sampling.draw == "nested"  # the default of demo and laptop
    assert settings.controls == ("bare_document", "random_words", "actual_query", "answer_given", "no_passage")
    assert resolve_settings("laptop").sampling.draw == "nested"


def test_the_walkthroughs_own_word_bounds_are_the_default() -> None:
    sampling = ExperimentSettings().sampling
    assert (sampling.min_words, sampling.max_words) == (50, 200)  # walkthrough 50-200


def test_values_replace_the_profiles_own_and_none_leaves_it() -> None:
    changed = resolve_settings("demo", sample_count=7, temperature=1.5, families=("baseline",), seed=None)
    assert changed.sampling.sample_count == 7
    assert changed.generation.temperature == 1.5
    assert changed.families == ("baseline",)
    assert changed.seed == PROFILES["demo"].seed
    assert PROFILES["demo"].sampling.sample_count == 10  # the profile itself is as before
    assert resolve_settings("demo") == PROFILES["demo"]


def test_text_from_a_command_line_means_the_same_as_numbers() -> None:
    given = {"sample_count": "7", "temperature": "0.5", "confidence_level": "0.9"}
    assert resolve_settings("demo", **given) == resolve_settings(
        "demo", sample_count=7, temperature=0.5, confidence_level=0.9
    )


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [
        ("sample_count", 0, "greater than or equal to 1, got 0"),
        ("sample_count", -1, "greater than or equal to 1, got -1"),
        ("sample_count", 1_000_001, "less than or equal to 1000000, got 1000001"),
        ("sample_count", "many", "valid integer, .* got 'many'"),
        ("sample_count", 2.5, "valid integer, .* got 2.5"),
        ("seed", "abc", "valid integer, .* got 'abc'"),
        ("seed", -1, "greater than or equal to 0, got -1"),
        ("seed", 2**32, "less than 4294967296, got 4294967296"),
        ("max_new_tokens", 0, "greater than or equal to 1, got 0"),
        ("min_words", 0, "greater than or equal to 1, got 0"),
        ("max_words", 100_001, "less than or equal to 100000, got 100001"),
        ("temperature", 0, "greater than 0, got 0"),
        ("temperature", float("nan"), "less than or equal to 10, got nan"),
        ("temperature", float("inf"), "less than or equal to 10, got inf"),
        ("top_k", 0, "greater than or equal to 1, got 0"),
        ("max_new_tokens", 1001, "less than or equal to 1000, got 1001"),
        ("confidence_level", 95, "less than 1, got 95"),
        ("confidence_level", 0, "greater than 0, got 0"),
        ("confidence_level", float("nan"), "less than 1, got nan"),
        ("bootstrap_resamples", 99, "greater than or equal to 100, got 99"),
        ("draw", "random", "'notebook' or 'nested', got 'random'"),
        ("dtype", "fp32", "'float32', 'bfloat16' or 'float16', got 'fp32'"),
        ("quantization", "int8", "'none' or 'nf4', got 'int8'"),
        ("device", "tpu", "'auto', 'cpu' or 'cuda', got 'tpu'"),
        ("data", "", "at least 1 character, got ''"),
        ("data_split", "", "at least 1 character, got ''"),
        ("language_model", "x" * 1001, "at most 1000 characters, got 'x"),
        ("embedding_model", 5, "valid string, got 5"),
        ("families", ("baseline", "nope"), "'baseline', 'static', 'generated', 'free' or 'control', got 'nope'"),
        ("families", ("static",), "each family once and include baseline, got static. Use baseline,static,gen"),
        ("families", ("baseline", "static", "static"), "each family once .* got baseline, static, static"),
        (
            "families",
            ("baseline", "control"),
            "include generated with control, .* got baseline, control. Use baseline,",
        ),
        ("families", (), "at least 1 item"),
        ("families", "baseline", "valid tuple, got 'baseline'"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_the_value_and_what_is_allowed(
    setting: str, value: object, allowed: str
) -> None:
    with pytest.raises(SettingsError, match=f"^`{setting}`.*{allowed}"):
        resolve_settings("demo", **{setting: value})


def test_word_bounds_that_exclude_every_passage_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"`min_words` must not exceed `max_words`, got 201 and 200. The notebook"):
        resolve_settings("demo", min_words=201)


def test_every_bad_value_has_its_own_line() -> None:
    with pytest.raises(SettingsError) as caught:
        resolve_settings("demo", sample_count=0, temperature=11)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == ["`sample_count`", "`temperature`"]


def test_families_that_are_all_unknown_are_named_and_nothing_else() -> None:
    """A second line once complained of an empty list, which nobody had given."""
    with pytest.raises(SettingsError) as caught:
        resolve_settings("demo", families=("nope", "nada"))
    shown = [line.split(", got ")[1].split(".")[0] for line in str(caught.value).splitlines()]
    assert shown == ["'nope'", "'nada'"]


def test_a_refusal_says_what_to_do_and_shows_a_long_value_briefly() -> None:
    with pytest.raises(SettingsError, match=r"\.\.\.\. Leave it out to take the profile's value\.$") as caught:
        resolve_settings("demo", data="x" * 100_000)
    assert len(str(caught.value)) < 400


def test_a_bad_value_within_a_list_is_refused_with_the_settings_name() -> None:
    with pytest.raises(SettingsError, match=r"^`arms`: family of number 1: Field required, got \{\}"):
        resolve_settings("demo", arms=[{}])


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match=r"Unknown profile 'nope'. Known profiles: demo, smollm2-msmarco, lapt"):
        resolve_settings("nope")


@pytest.mark.parametrize("name", ["sample_cout", "sampling", "language_model_", "__class__"])
def test_an_unknown_setting_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(
        SettingsError, match=f"Unknown setting '{name}'. Known settings: answers, answers_margin, arms, bootstrap"
    ):
        resolve_settings("demo", **{name: 5})


def test_settings_are_frozen_and_know_no_extra_fields() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PROFILES["demo"].seed = 1  # what is forbidden is what is tested
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        DataSettings.model_validate({"dta": "demo"})


def test_the_flows_parameters_are_profile_and_every_setting() -> None:
    parameters = list(inspect.signature(experiment.fn).parameters)
    assert parameters[0] == "profile"
    assert sorted(parameters[1:]) == sorted([*flat_settings(), *PLACEMENT])


def test_the_flows_parameters_have_the_settings_limits_and_default_to_the_profiles_value() -> None:
    hints = typing.get_type_hints(experiment.fn, include_extras=True)
    assert {name: hints[name] for name in flat_settings()} == {
        name: annotation | None for name, annotation in flat_settings().items()
    }
    defaults = {name: parameter.default for name, parameter in inspect.signature(experiment.fn).parameters.items()}
    assert defaults == {"profile": "demo"} | dict.fromkeys(PLACEMENT) | dict.fromkeys(flat_settings())


def test_every_setting_is_described_for_the_form_in_the_user_interface() -> None:
    properties = experiment.parameters.properties
    undescribed = [name for name in flat_settings() if not _description(properties[name])]
    assert undescribed == []


def _description(schema: dict[str, Any]) -> str:
    options = [schema, *schema.get("anyOf", [])]
    return next((str(option["description"]) for option in options if "description" in option), "")


def test_a_free_text_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(
        SettingsError, match=r"must be all, or names among extract, .*, got nonsense\. Use extract,one_word"
    ):
        resolve_settings("demo", free_texts=["nonsense"])
    assert resolve_settings("demo", free_texts=("echo",)).free_texts == ("echo",)


def test_a_control_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(SettingsError, match=r"must be all, or names among bare_document, .*, got nonsense\. Use bare"):
        resolve_settings("demo", controls=["nonsense"])
    assert resolve_settings("demo", controls=("all",)).controls == ("all",)
