"""Firefox, driven by WebDriver BiDi: Playwright can start only builds of its own."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.free_port import free_port
from websockets.sync.client import ClientConnection, connect

ENTER, ESCAPE, CONTROL = "\ue007", "\ue00c", "\ue009"
"""Keys, as WebDriver writes them."""
TIMEOUT = 120.0
"""Seconds until the browser answers, or something has happened on a page."""


class Firefox:
    """A Firefox with one page."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._ids = itertools.count(1)
        self.problems: list[str] = []
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded"])
        self._context = self.call("browsingContext.getTree")["contexts"][0]["context"]
        self._call_page("browsingContext.setViewport", viewport={"width": 1360, "height": 880})

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the browser; script errors that are reported meanwhile are kept in ``problems``."""
        number = next(self._ids)
        self._connection.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer: dict[str, Any] = json.loads(self._connection.recv(timeout=TIMEOUT))
            if answer.get("method") == "log.entryAdded" and answer["params"]["level"] == "error":
                self.problems.append(answer["params"]["text"])
            if answer.get("id") == number:
                assert answer["type"] == "success", answer
                result: dict[str, Any] = answer["result"]
                return result

    def _call_page(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self.call(method, context=self._context, **parameters)

    def open(self, url: str) -> None:
        """Open a page."""
        self._call_page("browsingContext.navigate", url=url, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.call(
            "script.evaluate",
            expression=f"JSON.stringify({expression}) ?? 'null'",
            target={"context": self._context},
            awaitPromise=False,
        )
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    def wait(self, expression: str) -> None:
        """Wait until a JavaScript expression is true."""
        deadline = time.monotonic() + TIMEOUT
        while not self.evaluate(f"!!({expression})"):
            assert time.monotonic() < deadline, f"waited in vain: {expression}"
            time.sleep(0.05)

    def drag(self, selector: str, by: tuple[int, int] = (0, 0)) -> None:
        """Press the mouse in the middle of an element, move it, and let it go."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait(element)
        box = f"{element}.getBoundingClientRect()"
        x, y = self.evaluate(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({box})")
        start = {"type": "pointerMove", "x": round(x), "y": round(y)}
        end = {"type": "pointerMove", "x": round(x) + by[0], "y": round(y) + by[1], "duration": 100}
        down, up = ({"type": f"pointer{name}", "button": 0} for name in ("Down", "Up"))
        moves = [start, down, end, up] if any(by) else [start, down, up]
        self._call_page(
            "input.performActions", actions=[{"type": "pointer", "id": "mouse", "actions": moves}]
        )

    def click(self, selector: str) -> None:
        """Click an element."""
        self.drag(selector)

    def type(self, text: str) -> None:
        """Press keys, one after the other."""
        presses = [{"type": kind, "value": key} for key in text for kind in ("keyDown", "keyUp")]
        self._call_page("input.performActions", actions=[{"type": "key", "id": "keys", "actions": presses}])

    def chord(self, *keys: str) -> None:
        """Press keys together."""
        downs = [{"type": "keyDown", "value": key} for key in keys]
        ups = [{"type": "keyUp", "value": key} for key in reversed(keys)]
        self._call_page(
            "input.performActions", actions=[{"type": "key", "id": "keys", "actions": downs + ups}]
        )


@contextmanager
def run_firefox(program: str, profile: Path) -> Iterator[Firefox]:
    """Start Firefox without a window, with a new profile."""
    port = free_port()
    command = [program, "--headless", "--no-remote", "--profile", str(profile)]
    process = subprocess.Popen(
        [*command, "--remote-debugging-port", str(port)],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        with connect_soon(f"ws://127.0.0.1:{port}/session") as connection:
            yield Firefox(connection)
    finally:
        process.kill()
        process.wait()


def connect_soon(url: str) -> ClientConnection:
    """Connect as soon as the browser listens."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            return connect(url, max_size=None)
        except OSError:
            assert time.monotonic() < deadline, "Firefox does not listen"
            time.sleep(0.1)
