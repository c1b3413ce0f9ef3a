"""The address of a server that `make ui` left behind leads nowhere, and nobody else's file is touched."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings

from tasks.priming.errors import UsageError
from tasks.server import address
from tasks.server.address import (
    claimed_address,
    is_answering,
    remove_address,
    without_unwanted_server,
    write_address,
)
from tasks.server.standalone import require_server
from tasks.store.artifacts import ROOT

GONE = "http://127.0.0.1:9/api"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of its own, and an environment that is put back."""
    monkeypatch.setattr(address, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", "")
    return tmp_path


@pytest.fixture
def living() -> Iterator[str]:
    """The address of something that answers as a server does."""

    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/api"
        server.shutdown()
        thread.join()


def test_a_server_answers_or_does_not(living: str) -> None:
    assert is_answering(living)
    assert not is_answering(living + "/other")
    assert not is_answering(GONE)


def test_an_address_is_written_claimed_and_removed(folder: Path, living: str) -> None:
    with claimed_address():
        write_address(living)
    with pytest.raises(UsageError, match="running here already"), claimed_address():
        pass
    remove_address(GONE)  # somebody else's
    assert (folder / "prefect.toml").exists()
    remove_address(living)
    assert not (folder / "prefect.toml").exists()


@pytest.mark.parametrize("content", [None, "cut"])
def test_a_stale_or_damaged_file_of_ours_may_be_replaced(folder: Path, content: str | None) -> None:
    write_address(GONE)
    if content:
        path = folder / "prefect.toml"
        path.write_text(path.read_text()[:-20])
    with claimed_address():
        pass


@pytest.mark.slow
def test_of_two_that_start_at_once_the_second_is_refused_and_takes_nothing_from_the_first(folder: Path) -> None:
    """Before the first one's server answers, or its address is written, nothing else tells that it is there."""
    program = "import sys; from flows.__main__ import main; sys.exit(main(['ui']))"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    there = f"from tasks.server import address; from pathlib import Path; address.ROOT = Path({str(folder)!r}); "
    command = [sys.executable, "-c", there + program]
    with claimed_address():
        for said in ("is being started in this folder already", f"is running here already: {GONE[:-4]}"):
            refused = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
            assert refused.returncode == 2
            assert said in refused.stderr
            write_address(GONE)
    assert (folder / "prefect.toml").exists()


def test_a_foreign_file_is_refused(folder: Path) -> None:
    (folder / "prefect.toml").write_text(f'[api]\nurl = "{GONE}"\n')
    with pytest.raises(UsageError, match="is not from `make ui`"), claimed_address():
        pass


def test_a_server_elsewhere_that_only_the_users_profile_names_is_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL")
    cloud, here = "https://api.prefect.example/api/accounts/1/workspaces/2", "http://127.0.0.1:4200/api"
    with temporary_settings({PREFECT_API_URL: cloud}):
        with without_unwanted_server() as message:
            assert f"your Prefect profile, {cloud}, is not used" in message
            assert get_current_settings().api.url is None
            assert os.environ["PREFECT_API_URL"] == ""  # for the temporary server, which would read the profile too
        monkeypatch.delenv("PREFECT_API_URL")
        (folder / "prefect.toml").write_text(f'[api]\nurl = "{cloud}"\n')
        with without_unwanted_server() as message:
            assert not message  # named for this project
        (folder / "prefect.toml").unlink()
        monkeypatch.setenv("PREFECT_API_URL", cloud)
        with without_unwanted_server() as message:
            assert not message  # asked for
    monkeypatch.delenv("PREFECT_API_URL")
    with temporary_settings({PREFECT_API_URL: here}), without_unwanted_server() as message:
        assert not message


@pytest.mark.slow
def test_a_temporary_server_takes_the_place_of_one_of_the_users_profile(folder: Path) -> None:
    """Only Prefect's own profiles allow one: the run ended with "No Prefect API URL provided"."""
    (folder / ".prefect").mkdir()
    profile = 'active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "https://api.prefect.example/api"\n'
    (folder / ".prefect" / "profiles.toml").write_text(profile)
    program = (
        "from tasks.server.standalone import standalone; from prefect.settings import get_current_settings\n"
        "with standalone():\n"
        "    settings = get_current_settings()\n"
        "    print(settings.api.url, settings.server.ephemeral.enabled)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT")}
    environment |= {"PYTHONPATH": str(ROOT), "HOME": str(folder)}
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "None True\n"
    assert "your Prefect profile, https://api.prefect.example/api, is not used" in ran.stderr


def test_a_server_that_never_answers_is_refused_and_one_that_refuses_is_not(
    living: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(address, "_PATIENCE_SECONDS", 0.5)
    with temporary_settings({PREFECT_API_URL: living + "/other"}):  # 404, as a service that knows other addresses
        require_server()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)  # takes connections, and says nothing
        for url in (GONE, f"http://127.0.0.1:{silent.getsockname()[1]}/api"):
            message = rf"The Prefect server {url} does not answer\. Start it.*export PREFECT_API_URL="
            with temporary_settings({PREFECT_API_URL: url}), pytest.raises(UsageError, match=message):
                require_server()


def test_a_stale_address_is_passed_over_and_a_living_or_foreign_one_is_not(folder: Path, living: str) -> None:
    write_address(GONE)
    with temporary_settings({PREFECT_API_URL: GONE}), without_unwanted_server() as message:
        assert f"prefect.toml, {GONE}, does not answer" in message
        assert get_current_settings().api.url is None
        assert os.environ["PREFECT_API_URL"] == ""  # for the temporary server, which would read the file too
    write_address(living)
    with temporary_settings({PREFECT_API_URL: living}), without_unwanted_server() as message:
        assert not message
        assert get_current_settings().api.url == living
    with temporary_settings({PREFECT_API_URL: GONE}), without_unwanted_server() as message:
        assert not message  # given in the environment: the user's own business
    (folder / "prefect.toml").unlink()
    with without_unwanted_server() as message:
        assert not message
