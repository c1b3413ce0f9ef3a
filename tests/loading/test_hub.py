"""What a name on the hub means, also without it; and nothing large is downloaded unasked."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo

from tasks.loading.hub import ALLOW_DOWNLOAD, hub_commit, require_permission_to_download
from tasks.priming.errors import SetupError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache after `owner/name` was downloaded once, laid out as huggingface_hub does it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--owner--name"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    return folder


def test_without_network_the_downloaded_commit_is_meant(downloaded: Path) -> None:
    assert hub_commit("owner/name", None, "model") == COMMIT
    assert hub_commit("owner/name", "main", "model") == COMMIT


def test_without_network_a_pinned_commit_that_was_downloaded_is_found(downloaded: Path) -> None:
    """Only branches and tags were once looked for, and a pinned model could not be used offline."""
    shutil.rmtree(downloaded / "refs")
    assert hub_commit("owner/name", COMMIT, "model") == COMMIT


@pytest.mark.parametrize("revision", ["other", "f" * 40, ".", "a\0b", "x" * 300, "../snapshots"])
def test_without_network_another_revision_is_refused(downloaded: Path, revision: str) -> None:
    with pytest.raises(SetupError, match="model owner/name is not on this machine and the hub cannot be reached"):
        hub_commit("owner/name", revision, "model")


@pytest.mark.parametrize("revision", ["../../secret", "/etc/hostname", "refs"])
def test_a_revision_is_no_path_and_what_a_file_says_no_commit(downloaded: Path, revision: str) -> None:
    """A file outside the cache was once read, and what it said was stored as the model's commit."""
    (downloaded.parent / "secret").write_text("f" * 40)
    (downloaded / "refs" / "refs").write_text("not a commit")
    with pytest.raises(SetupError, match="is not on this machine"):
        hub_commit("owner/name", revision, "model")


# --- the hub as it would answer ---


class Hub:
    """Answers in the hub's place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Any]) -> None:
        self.asked = 0

        def respond(*arguments: object, **options: object) -> Any:
            self.asked += 1
            return answer()

        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.delenv(ALLOW_DOWNLOAD, raising=False)
        monkeypatch.setattr(HfApi, "repo_info", respond)
        monkeypatch.setattr(HfApi, "model_info", respond)


def model(**sizes: float) -> Callable[[], Any]:
    """Return an answer that lists files of so many bytes."""
    make: Any = ModelInfo
    siblings = [{"rfilename": f"{name}.safetensors", "size": int(size)} for name, size in sizes.items()]
    return lambda: make(id="owner/name", sha=COMMIT, siblings=siblings)


def test_a_name_that_the_hub_does_not_know_is_refused_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer() -> Any:
        response: Any = httpx.Response(404, request=httpx.Request("GET", "https://hub/api/models/owner/name"))
        raise RepositoryNotFoundError("404 Client Error\nRepository Not Found", response=response)

    Hub(monkeypatch, answer)
    said = (
        r"knows no model 'owner/name' at main: 404 .*Found.* Check the name .*HF_TOKEN in the environment.*local path"
    )
    with pytest.raises(SetupError, match=said) as caught:
        hub_commit("owner/name", None, "model")
    assert "\n" not in str(caught.value)


def test_small_weights_are_downloaded_unasked(downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, model(model=7.2e8))  # SmolLM2-360M in two bytes a weight
    require_permission_to_download("owner/name", COMMIT)


@pytest.mark.parametrize("sizes", [{"model": 1.5e9}, {"model-00001-of-00002": 6e8, "model-00002-of-00002": 9e8}])
def test_large_weights_are_refused_with_their_size_and_how_to_get_them(
    downloaded: Path, monkeypatch: pytest.MonkeyPatch, sizes: dict[str, float]
) -> None:
    Hub(monkeypatch, model(**sizes))
    said = (
        r"1\.5 GB would be downloaded.*--allow-download.*SURROGATE_ALLOW_DOWNLOAD=1.*hf download owner/name --revision"
    )
    with pytest.raises(SetupError, match=said):
        require_permission_to_download("owner/name", COMMIT)
    monkeypatch.setenv(ALLOW_DOWNLOAD, "1")
    require_permission_to_download("owner/name", COMMIT)


def test_other_formats_of_the_weights_do_not_count(downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, model(model=9e8, consolidated=9e9))
    require_permission_to_download("owner/name", COMMIT)


def test_what_is_on_this_machine_does_not_count(downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Hub(monkeypatch, model(model=9e9))
    (downloaded / "snapshots" / COMMIT / "model.safetensors").write_bytes(b"weights")
    require_permission_to_download("owner/name", COMMIT)


def test_without_network_nobody_is_asked(downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub(monkeypatch, model(model=9e9))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    require_permission_to_download("owner/name", COMMIT)
    assert hub.asked == 0


def test_a_hub_that_goes_away_is_no_reason_to_refuse(downloaded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def answer() -> Any:
        raise ConnectionError

    Hub(monkeypatch, answer)
    require_permission_to_download("owner/name", COMMIT)
