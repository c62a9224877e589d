"""A page in headless Chromium, driven over its DevTools protocol: scripts, keys, requests, screenshots."""

from __future__ import annotations

import base64
import itertools
import json
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import websocket

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
DRIVEN = ("--remote-debugging-port=0", "--remote-allow-origins=*")


class Page:
    """One page. `requests` has the address of everything it asked for, the page itself first."""

    def __init__(self, profile: Path, width: int = 1280, height: int = 900) -> None:
        profile.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [
                CHROMIUM,
                *QUIET,
                *DRIVEN,
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port = _wait_for(lambda: (profile / "DevToolsActivePort").read_text().splitlines()[0])
        targets = _wait_for(lambda: _pages(port))
        self._socket = websocket.create_connection(targets[0]["webSocketDebuggerUrl"], timeout=60)
        self._numbers = itertools.count(1)
        self.requests: list[str] = []
        self.errors: list[str] = []
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command and its answer; events that come in between are noted."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        parameters = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(parameters["exceptionDetails"]["text"])
        elif message.get("method") == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.errors.append(parameters["entry"]["text"])

    def open(self, address: str) -> None:
        """Loads a page and waits until its script has run."""
        self.ask("Page.navigate", url=address)
        _wait_for(lambda: self.run("document.documentElement?.dataset.ready"))

    def run(self, script: str) -> Any:
        """The value of an expression; a script's own error is this test's."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def key(self, key: str, text: str = "") -> None:
        """A key pressed and let go, as from a keyboard."""
        codes = {
            "Enter": 13,
            "ArrowDown": 40,
            "ArrowUp": 38,
            "ArrowLeft": 37,
            "ArrowRight": 39,
            " ": 32,
            "Tab": 9,
        }
        for kind in ("keyDown", "keyUp"):
            event = {"type": kind, "key": key, "windowsVirtualKeyCode": codes.get(key, 0)}
            self.ask(
                "Input.dispatchKeyEvent", **event, **({"text": text} if text and kind == "keyDown" else {})
            )

    def type(self, text: str) -> None:
        """Text into whatever has the focus."""
        self.ask("Input.insertText", text=text)

    def picture(self, path: Path) -> None:
        """A screenshot."""
        path.write_bytes(base64.b64decode(self.ask("Page.captureScreenshot")["data"]))

    def close(self) -> None:
        """Ends the browser."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _pages(port: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=10) as answer:
        return [target for target in json.load(answer) if target["type"] == "page"]


def _wait_for(find: Any, seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while True:
        try:
            found = find()
            if found:
                return found
        except (OSError, IndexError):
            pass
        assert time.monotonic() < end, "the browser did not answer"
        time.sleep(0.05)
