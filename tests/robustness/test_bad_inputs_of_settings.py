"""Bad settings and names, and models that bring code: rows 18 to 23 and 28 of docs/robustness.md."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RevisionNotFoundError
from huggingface_hub.hf_api import ModelInfo
from prefect._internal.result_records import ResultRecord, ResultRecordMetadata
from prefect.serializers import PickleSerializer

from flows.__main__ import main
from tasks.loading.hub import ALLOW_DOWNLOAD
from tasks.loading.models import identify_language_model, load_language_model
from tasks.priming.arms.arms import ARM_GROUPS
from tasks.priming.arms.contexts import ContextRule
from tasks.priming.errors import SetupError, UsageError
from tasks.priming.prompts import SURROGATE_TEMPLATE, fill
from tasks.priming.settings import resolve_settings
from tasks.store import caching
from tasks.store.caching import StageCache
from tests.places import ROOT
from tests.published_rows import start
from tests.robustness.cases import case, edit_json, row
from tests.tiny_models import tiny_settings

# --- settings and names: 18, 19, 20, 21 ---


@pytest.mark.parametrize(
    "template",
    [
        row(18, template, template)
        for template in (
            "{document} {other}",
            "{document.__class__}",
            "{document[0]}",
            "{document:>99999999}",
            "{document!r}",
            "no field",
        )
    ],
)
def test_a_template_of_more_or_less_than_its_fields_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"plain fields only are allowed|lacks the field"):
        fill(template, document="D")


@case(18, "the project's own templates")
def test_every_template_is_good_without_any_model() -> None:
    for family in ARM_GROUPS.values():
        text = family.contexts.context("the document", "a guess" if family.contexts.has_surrogate else None)
        assert ("the document" in text) == bool(family.contexts.template)  # no_passage has nothing before the query
    with pytest.raises(ValueError, match="plain fields only"):
        ContextRule(family="f", arm_keys=("k",), template=SURROGATE_TEMPLATE + "{x}").context("D", "S")


BAD_VALUES = [
    ("--sample-count=-1", "`sample_count`: Input should be greater than or equal to 1, got '-1'"),
    ("--seed=abc", "`seed`: Input should be a valid integer, .* got 'abc'"),
    ("--top-k=0", "`top_k`: Input should be greater than or equal to 1, got '0'"),
    ("--confidence-level=2", "`confidence_level`: Input should be less than 1, got '2'"),
    ("--equivalence-margin=0", "`equivalence_margin`: Input should be greater than 0, got '0'"),
    ("--equivalence-margin=nan", "`equivalence_margin`: .* got 'nan'"),
]


@pytest.mark.parametrize(("flag", "said"), [row(19, flag, flag, said) for flag, said in BAD_VALUES])
def test_a_bad_value_ends_with_status_2_and_what_is_allowed(
    artifacts_folder: Path, capsys: pytest.CaptureFixture[str], flag: str, said: str
) -> None:
    assert main(["run", flag]) == 2
    assert re.fullmatch(rf"error: {said}\. Leave it out to take the profile's value\.\n", capsys.readouterr().err)
    assert list(artifacts_folder.iterdir()) == []


@case(19, "an unknown setting")
def test_an_unknown_setting_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--sampel-count=5"]) == 2
    assert "unrecognized arguments: --sampel-count=5" in capsys.readouterr().err
    with pytest.raises(
        UsageError, match=r"Unknown setting 'sampel_count'\. Known settings: answers, answers_margin, arms"
    ):
        resolve_settings("demo", sampel_count=5)


NAMES = ["../../x", "/etc", "/", "a\0b", "x" * 300, "x" * 5000, 'a"; DROP TABLE run', "~nobody-here", "\x1b[2J", "a//b"]


@pytest.mark.parametrize("flag", ["--data", "--language-model", "--embedding-model"])
@pytest.mark.parametrize("name", [row(20, repr(name[:20]), name) for name in NAMES])
def test_a_name_of_nothing_ends_with_status_2_and_names_no_path(
    artifacts_folder: Path, capsys: pytest.CaptureFixture[str], flag: str, name: str
) -> None:
    assert main(["run", f"{flag}={name}"]) == 2
    said = capsys.readouterr().err
    steps, found, error = f"\n{said}".rpartition("\nerror: ")
    assert found
    assert all(step.startswith("prepare: ") for step in steps.splitlines()[1:])
    assert all(character.isprintable() for character in error.rstrip("\n"))
    assert len(error) < 1500
    assert list(artifacts_folder.iterdir()) == []


@pytest.mark.parametrize("run_id", [row(20, f"run id {name!r}", name) for name in ("../x", "/etc/x", "a\0", "x" * 101)])
def test_a_run_that_is_named_like_a_path_cannot_be_recorded(artifacts_folder: Path, run_id: str) -> None:
    with pytest.raises(ValueError, match="run_id"):
        start(run_id)
    assert list(artifacts_folder.rglob("*.json")) == []


def identify(**changes: Any) -> dict[str, Any]:
    return identify_language_model(tiny_settings(**changes))


@case(21, "a model that is not here, without network")
def test_a_model_that_is_nowhere_is_one_line_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(SetupError, match=r"not on this machine and the hub cannot .*--profile demo") as caught:
        identify(language_model="mistralai/Mistral-7B-Instruct-v0.2")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA GPU")
@case(21, "a GPU that is not there")
def test_a_missing_gpu_is_one_line_with_what_to_do_and_auto_takes_the_processor() -> None:
    with pytest.raises(SetupError, match=r"need a CUDA GPU; none was found\. Use device=cpu, or .*--profile demo"):
        identify(device="cuda", quantization="nf4")
    assert identify(device="auto", quantization="nf4")["device"] == "cpu"  # where four-bit weights work, slowly


class Hub:
    """What the hub would answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], ModelInfo]) -> None:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv(ALLOW_DOWNLOAD, raising=False)
        monkeypatch.setattr(HfApi, "repo_info", lambda *_, **__: answer())
        monkeypatch.setattr(HfApi, "model_info", lambda *_, **__: answer())


@case(21, "a revision that is not there")
def test_a_missing_revision_is_one_line_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer() -> ModelInfo:
        response: Any = httpx.Response(404, request=httpx.Request("GET", "https://hub/api/models/owner/name"))
        raise RevisionNotFoundError("404 Client Error. Revision Not Found", response=response)

    Hub(monkeypatch, answer)
    said = r"The hub knows no model 'owner/name' at v9: 404 .*Check the name and the revision .*or give a local path"
    with pytest.raises(SetupError, match=said):
        identify(language_model="owner/name", language_model_revision="v9")


@case(21, "seven gigabytes that nobody asked for")
def test_a_large_download_is_refused_until_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, artifacts_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"model-1.safetensors": 5e9, "model-2.safetensors": 2e9, "consolidated.safetensors": 7e9, "a.bin": 7e9}
    answer: Any = ModelInfo
    siblings = [{"rfilename": name, "size": int(size)} for name, size in files.items()]
    Hub(monkeypatch, lambda: answer(id="owner/large", sha="0" * 40, siblings=siblings))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert main(["run", "--language-model=owner/large"]) == 2
    # 5 + 2, the others are never fetched
    assert "owner/large is not on this machine, and 7.0 GB would be downloaded" in capsys.readouterr().err
    monkeypatch.setenv(ALLOW_DOWNLOAD, "1")
    assert identify(language_model="owner/large")["revision"] == "0" * 40


# --- code and secrets: 22, 23, 28, 29, 30 ---


@case(22, "code that comes with a model")
def test_code_that_comes_with_a_model_is_never_run(model_folder: Path, tmp_path: Path) -> None:
    (model_folder / "evil.py").write_text(f"open({str(tmp_path / 'proof')!r}, 'w')\nclass Evil: pass\n")
    classes = dict.fromkeys(("AutoConfig", "AutoModelForCausalLM", "AutoTokenizer"), "evil.Evil")
    edit_json(model_folder / "config.json", auto_map=classes)
    edit_json(model_folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    model = load_language_model(identify(language_model=str(model_folder))).model
    assert type(model).__module__.startswith("transformers.models.")
    assert not (tmp_path / "proof").exists()


@case(23, "pickled weights")
def test_pickled_weights_are_refused(model_folder: Path) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    with pytest.raises(SetupError, match=r"holds no safetensors weights; pickled weights are never read\. Give the"):
        identify(language_model=str(model_folder))


class _Touch:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@case(23, "a pickled result")
def test_a_pickled_result_is_dropped_unread(artifacts_folder: Path, tmp_path: Path) -> None:
    metadata = ResultRecordMetadata(storage_key="key", serializer=PickleSerializer())
    policy = StageCache(stage="statistics", computation="tasks.priming.statistics.comparisons:compare_conditions")
    key = policy.compute_key(None, {"seed": 1}, {})  # type: ignore[arg-type]  # the inputs alone are read
    path = caching.STAGE_RESULTS / key
    path.parent.mkdir(parents=True)
    path.write_bytes(ResultRecord(metadata=metadata, result=_Touch(tmp_path / "proof")).serialize())
    assert policy.compute_key(None, {"seed": 1}, {}) == key  # type: ignore[arg-type]
    assert not path.exists()
    assert not (tmp_path / "proof").exists()


@case(23, "no module unpickles")
def test_no_module_of_the_project_unpickles() -> None:
    found = [
        str(path)
        for folder in ("flows", "tasks")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(
            r"\b(cloud|d)?pickle\.(load|Unpickler)|\btorch\.load\(|allow_pickle=True|joblib\.load", path.read_text()
        )
    ]
    assert found == []


TOKEN = "hf_" + "Canary" * 6


@pytest.mark.parametrize("name", [row(28, name, name) for name in ("data", "language_model", "data_revision", "seed")])
def test_a_token_among_the_settings_is_refused_and_not_repeated(
    artifacts_folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["run", f"--{name.replace('_', '-')}=x{TOKEN}"]) == 2
    said = capsys.readouterr().err
    assert f"`--{name.replace('_', '-')}` holds a token or a password" in said
    assert "Give the token in the environment: export HF_TOKEN=" in said
    assert TOKEN not in said
    assert list(artifacts_folder.iterdir()) == []
