"""A wait ends with what it waited for, or says what that was and what was there instead."""

import subprocess
import sys

import pytest

from tests.waiting import wait_for


def test_what_was_waited_for_is_returned() -> None:
    numbers = iter(range(10))
    assert wait_for("three", lambda: next(numbers), enough=lambda number: number == 3) == 3


def test_a_wait_that_is_given_up_says_for_what_and_what_it_saw() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"Waited 0\.1 s for the end\. Seen last:\nonly the beginning"):
        wait_for("the end", lambda: "only the beginning", enough=lambda text: "end" in text, patience=0.1)


def test_a_process_that_ends_is_not_waited_for_any_longer() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(pytest.fail.Exception, match=r"ended with status 3 before a sign\. Seen last:\n\[1, 2\]"):
        wait_for("a sign", lambda: [1, 2], enough=lambda seen: len(seen) > 2, during=process)
