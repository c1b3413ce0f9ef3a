"""prefect.yaml and the examples of docs/operations.md: no key that Prefect would pass over in silence."""

import inspect
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from prefect.cli.deploy._models import DeploymentConfig, PrefectYamlModel, RawScheduleConfig, WorkPoolConfig
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ParameterTypeError, SignatureMismatchError
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.hashing import file_hash
from pydantic import BaseModel

from tasks.priming.settings import PROFILES, resolve_settings
from tests.places import ROOT

FILE: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: dict[str, dict[str, Any]] = {deployment["name"]: deployment for deployment in FILE["deployments"]}
EXPERIMENTS = [name for name, entry in DEPLOYMENTS.items() if entry["entrypoint"] == "flows/experiment.py:experiment"]
OTHERS = sorted(set(DEPLOYMENTS) - set(EXPERIMENTS))
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
EXAMPLES: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", OPERATIONS, re.DOTALL)
]


def known_keys(model: type[BaseModel]) -> set[str]:
    """Return the keys that Prefect itself reads (it ignores all others without a word)."""
    return {field.alias or name for name, field in model.model_fields.items()}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Load an entry point as a worker does, and leave the import path as it was."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    modules = set(sys.modules)

    def load_flow(entrypoint: str) -> Flow[..., Any]:
        # Without this, a flow file whose imports fail is silently replaced by a stand-in.
        return load_flow_from_entrypoint(entrypoint, use_placeholder_flow=False)

    yield load_flow
    for name in {"experiment", "doctor", "walkthrough", "compare"} - modules:
        sys.modules.pop(name, None)


def test_there_is_one_deployment_per_profile() -> None:
    assert list(PROFILES) == EXPERIMENTS
    assert len(DEPLOYMENTS) == len(FILE["deployments"])  # no name twice
    assert list(PROFILES) == ["demo", "smollm2-msmarco", "laptop", "mistral-7b", "mistral-7b-bf16"]


def test_the_file_has_keys_that_prefect_knows_and_no_others() -> None:
    # "definitions" holds the YAML anchors, as Prefect's own templates have it
    assert set(FILE) - {"definitions"} <= known_keys(PrefectYamlModel)
    PrefectYamlModel.model_validate(FILE)


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_has_keys_that_prefect_knows_and_no_others(name: str) -> None:
    assert set(DEPLOYMENTS[name]) <= known_keys(DeploymentConfig)
    assert set(DEPLOYMENTS[name]["work_pool"]) <= known_keys(WorkPoolConfig)
    assert {"entrypoint", "parameters", "description", "work_pool"} <= set(DEPLOYMENTS[name])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_deployment_names_its_profile_and_nothing_else(name: str) -> None:
    assert DEPLOYMENTS[name]["parameters"] == {"profile": name}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_deployments_entry_point_is_the_flow_and_its_parameters_are_valid(name: str, load: Any) -> None:
    flow = load(DEPLOYMENTS[name]["entrypoint"])
    assert flow.name == "experiment"
    assert flow.validate_parameters(DEPLOYMENTS[name]["parameters"])["profile"] == name
    assert resolve_settings(name) == PROFILES[name]  # type: ignore[index]  # a name read from the file
    assert flow.version == file_hash(str(ROOT / "flows" / "experiment.py"))
    assert inspect.unwrap(flow.fn).__code__.co_filename == str(ROOT / "flows" / "experiment.py")


@pytest.mark.parametrize("name", OTHERS)
def test_another_deployments_entry_point_is_a_flow_and_its_parameters_are_valid(name: str, load: Any) -> None:
    flow = load(DEPLOYMENTS[name]["entrypoint"])
    assert isinstance(flow, Flow)
    flow.validate_parameters(DEPLOYMENTS[name]["parameters"])


@pytest.mark.parametrize(
    "parameters",
    [{"profile": "nope"}, {"sample_count": 0}, {"seed": "abc"}, {"families": ["nope"]}, {"confidence_level": 95}],
    ids=str,
)
def test_a_bad_parameter_is_refused_before_a_run_exists(parameters: dict[str, Any], load: Any) -> None:
    flow = load(DEPLOYMENTS["demo"]["entrypoint"])
    with pytest.raises(ParameterTypeError, match=f"invalid parameters:\\n - {next(iter(parameters))}"):
        flow.validate_parameters(parameters)


def test_a_parameter_that_does_not_exist_is_refused(load: Any) -> None:
    with pytest.raises(SignatureMismatchError, match=r"provided with parameters \['sample_cout'\]"):
        load(DEPLOYMENTS["demo"]["entrypoint"]).validate_parameters({"sample_cout": 5})


def test_no_deployment_limits_concurrency() -> None:
    """A restarted server loses the limit's lease and crashes a healthy run."""
    assert not any("concurrency_limit" in deployment for deployment in DEPLOYMENTS.values())


def test_the_working_folder_is_left_to_prefect() -> None:
    """`prefect deploy` writes the absolute path; `directory: .` crashed."""
    assert "pull" not in FILE
    assert not any("pull" in deployment for deployment in DEPLOYMENTS.values())


# --- the examples of docs/operations.md ---


@pytest.mark.parametrize("example", [example for example in EXAMPLES if "trigger" in example], ids=lambda e: e["name"])
def test_prefect_understands_the_whole_of_an_automation(example: dict[str, Any]) -> None:
    """Prefect refuses a wrong value, and passes over a key that it does not know."""
    understood = AutomationCore.model_validate(example).model_dump()
    assert set(example) <= set(understood)
    for given, found in zip(example["actions"], understood["actions"], strict=True):
        assert set(given) <= set(found)
    assert set(example["trigger"]) <= set(understood["trigger"])


def test_prefect_understands_the_schedule_and_the_flow_its_parameters(load: Any) -> None:
    (example,) = (example for example in EXAMPLES if "schedules" in example)
    deployment = {**DEPLOYMENTS["demo"], **example}
    (schedule,) = [*(DeploymentConfig.model_validate(deployment).schedules or [])]
    assert isinstance(schedule, RawScheduleConfig)  # which refuses keys that it does not know
    load(deployment["entrypoint"]).validate_parameters(deployment["parameters"] | schedule.parameters)
