"""A headless Chromium that is told what to do over a pipe: no port, no driver, no further library."""

import base64
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE, wait_for

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
"""Debian's package, where it is installed."""


class Browser:
    """One page of a browser."""

    def __init__(self, commands: int, answers: FileIO) -> None:
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self.call(f"{domain}.enable")
        # Tall: what is out of sight may not be drawn.
        self.call("Emulation.setDeviceMetricsOverride", width=1400, height=2600, deviceScaleFactor=1, mobile=False)

    def call(self, method: str, **parameters: Any) -> Any:
        """Call a method of the DevTools protocol and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = self._answers.read(1 << 16)
            assert part, "the browser has ended"
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        return message

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def open(self, url: str, *texts: str) -> str:
        """Open an address, wait until all texts are on the page, and return what the page says."""
        self.call("Page.navigate", url=url)
        return self.wait_for(*texts)

    def wait_for(self, *texts: str) -> str:
        """Wait until all texts are on the page, whatever their case, and return what it says."""
        return wait_for(
            f"{texts} on the page",
            self.text,
            enough=lambda page: all(text.lower() in page.lower() for text in texts),
        )

    def text(self) -> str:
        """Return what the page says at the moment."""
        # Prefect's tables scroll within elements of their own: innerText has these too.
        return str(self.evaluate("document.body ? document.body.innerText : ''"))

    def click(self, text: str) -> None:
        """Click the first link, button or tab that says exactly this."""
        clicked = self.evaluate(
            "(() => { const found = [...document.querySelectorAll('a, button, [role=tab], [role=button], label, li')]"
            f".find(e => e.innerText && e.innerText.trim() === {json.dumps(text)});"
            "if (found) found.click(); return Boolean(found); })()"
        )
        assert clicked, f"nothing on the page says {text!r}"

    def screenshot(self, path: Path, height: int = 1000, width: int = 1400) -> bytes:
        """Save what the page looks like, and return the PNG."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        time.sleep(0.5)  # layout, and transitions of tabs
        png = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        path.write_bytes(png)
        return png


@contextmanager
def opened_browser(profile: Path) -> Iterator[Browser]:
    """Run a browser with a profile of its own, and end it."""
    assert CHROMIUM is not None
    command_out, command_in = os.pipe()
    answer_out, answer_in = os.pipe()
    arguments = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--window-size=1400,1000",
        f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank",
    ]  # fmt: skip
    # The browser reads commands from its file 3 and writes answers to its file 4.
    launch = [
        sys.executable,
        "-c",
        "import fcntl, os, sys\n"
        "pipes = [fcntl.fcntl(int(text), fcntl.F_DUPFD, 10) for text in sys.argv[1:3]]\n"
        "os.dup2(pipes[0], 3), os.dup2(pipes[1], 4)\n"
        "os.execv(sys.argv[3], sys.argv[3:])",
        str(command_out),
        str(answer_in),
        *arguments,
    ]
    process = subprocess.Popen(
        launch,
        pass_fds=(command_out, answer_in),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(command_out)
    os.close(answer_in)
    try:
        with os.fdopen(answer_out, "rb", buffering=0) as answers:
            yield Browser(command_in, answers)
    finally:
        os.close(command_in)  # at which it ends
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
