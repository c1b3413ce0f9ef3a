"""Secrets are taken out of texts and exceptions, wherever in them they stand."""

import traceback
from collections.abc import Callable

import pytest

from tasks.loading.redaction import HIDDEN, brief, presentable, printable, redacted, without_secrets
from tasks.priming.errors import SetupError
from tests.robustness.canary import PASSWORD, TOKEN


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that has some."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("SOME_SERVICE_PASSWORD", PASSWORD)
    monkeypatch.setenv("CI_TOKEN", "short")


# --- texts ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"Bearer {TOKEN}", f"Bearer {HIDDEN}"),
        (f"b'Bearer {TOKEN}\\n'", f"b'Bearer {HIDDEN}\\n'"),
        (f"%20{TOKEN}&x", f"%20{HIDDEN}&x"),
        ("hf_" + "Another" * 5, HIDDEN),  # no variable holds it; its form tells
        (f"login failed: {PASSWORD}.", f"login failed: {HIDDEN}."),  # its form tells nothing; a variable holds it
        ("https://me:my-word@proxy:3128/x", f"https://{HIDDEN}@proxy:3128/x"),
        ("https://huggingface.co/owner/name", "https://huggingface.co/owner/name"),
        ("a short word, hf_transfer and half_a_word", "a short word, hf_transfer and half_a_word"),
    ],
)
def test_secrets_are_taken_out_of_a_text(secrets: None, text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_a_value_that_holds_another_is_taken_out_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "correct horse")
    monkeypatch.setenv("B_SECRET", "correct horse battery")
    assert redacted("correct horse battery") == HIDDEN


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("AWS_SECRET_ACCESS_KEY", True),
        ("AWS_SESSION_TOKEN", True),
        ("AZURE_STORAGE_CONNECTION_STRING", True),
        ("AZURE_STORAGE_KEY", True),
        ("CI_SECRETS", True),
        ("CLIENT_SECRET", True),
        ("DB_PASS", True),
        ("GITHUB_PAT", True),
        ("MYSQL_PWD", True),
        ("openai_api_key", True),
        ("openai_apikey", True),
        ("PGPASSWORD", True),
        ("PREFECT_SERVER_API_AUTH_STRING", True),
        ("SSHPASS", True),
        ("HF_TOKEN_PATH", False),
        ("KEYBOARD", False),
        ("OLDPWD", False),
        ("PWD", False),
        ("SSH_AUTH_SOCK", False),
        ("TOKENIZERS_PARALLELISM", False),
    ],
)
def test_a_variables_name_tells_whether_its_value_is_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, is_secret: bool
) -> None:
    monkeypatch.setenv(name, "of-eight-or-more")
    assert redacted("of-eight-or-more") == (HIDDEN if is_secret else "of-eight-or-more")


def test_what_a_terminal_would_obey_is_spelled_out() -> None:
    assert printable("\x1b[2J\x07é\u202e\n") == "\\x1b[2J\\x07é\\u202e\n"


def test_a_librarys_error_is_one_short_line(secrets: None) -> None:
    assert brief(ValueError(f"a\nb {TOKEN}")) == f"a b {HIDDEN}"
    assert len(brief(ValueError("word " * 1000))) <= 400


# --- exceptions ---


class StubbornError(Exception):
    """One whose text cannot be changed."""

    def __str__(self) -> str:
        return f"stubborn {TOKEN}"


def failing(make: Callable[[], Exception], led_by: Callable[[], Exception] | None = None) -> Callable[[], None]:
    """Return a function that raises an exception, led to by another one."""

    @without_secrets()
    def fail() -> None:
        if led_by is None:
            raise make()
        try:
            raise led_by()
        except Exception as error:
            raise make() from error

    return fail


@pytest.mark.parametrize(
    ("make", "led_by", "kind"),
    [
        (lambda: ValueError(f"bad {TOKEN}"), None, ValueError),
        (lambda: SetupError(f"bad {PASSWORD}"), None, SetupError),
        (lambda: KeyError(TOKEN), None, KeyError),
        (StubbornError, None, RuntimeError),
        (lambda: OSError(5, "no", f"/tmp/{TOKEN}"), None, RuntimeError),
        (lambda: ValueError("clean"), lambda: ValueError(f"bad {TOKEN}"), ValueError),
        (lambda: ValueError("clean"), StubbornError, ValueError),
        (lambda: ValueError(b"Bearer " + TOKEN.encode()), None, RuntimeError),
    ],
)
def test_an_exception_leaves_without_its_secrets(
    secrets: None, make: Callable[[], Exception], led_by: Callable[[], Exception] | None, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        failing(make, led_by)()
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert TOKEN not in shown
    assert PASSWORD not in shown
    assert caught.traceback[-1].name == "fail" or kind is RuntimeError  # where it came from is still told


def test_notes_lose_their_secrets(secrets: None) -> None:
    error = ValueError("clean")
    error.add_note(f"note {TOKEN}")
    assert presentable(error) is error
    assert error.__notes__ == [f"note {HIDDEN}"]


def test_an_exception_without_secrets_is_left_as_it_is(secrets: None) -> None:
    error = ValueError("clean", 5, None)
    error.__cause__ = KeyError("why")
    assert presentable(error) is error
    assert error.args == ("clean", 5, None)
    assert isinstance(error.__cause__, KeyError)
