"""Measure the web UI: first paint, time until it is usable, and response to clicks while a picture is generated.

Runs a headless Chromium against its own server with the starter model. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2
import psutil
from playwright.sync_api import Browser, Page, sync_playwright

VISITS, CLICKS = 7, 30
CLICK_TIMER = """
(run) => new Promise((resolve) => {
  const began = performance.now();
  run();
  requestAnimationFrame(() => setTimeout(() => resolve(performance.now() - began)));
})
"""
"""Measures from a click until the frame with its effect is rendered."""


@contextmanager
def start_server(home: Path, *, studio: bool) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start a server on a free port, and wait until it is ready."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"SAFELIGHT_HOME": str(home), "SAFELIGHT_WEB_UI": str(studio)}
    command = [sys.executable, "-m", "safelight", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: responds(f"{url}/health/ready"))
        yield url, process
    finally:
        process.terminate()
        process.wait()


def responds(url: str) -> bool:
    """Whether a GET request succeeds with status 200."""
    try:
        return httpx2.get(url, timeout=60).status_code == 200
    except httpx2.TransportError:
        return False


def wait_until(holds: object, seconds: float = 300) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.2)


def api_memory(process: subprocess.Popen[bytes]) -> float:
    """Resident memory of the API process in megabytes."""
    children = psutil.Process(process.pid).children()
    return next(child.memory_info().rss for child in children if "api" in child.cmdline()) / 1e6


def visit(browser: Browser, url: str) -> tuple[dict[str, float], Page]:
    """Open the page in a new browser context, with an empty cache."""
    page = browser.new_context(viewport={"width": 1360, "height": 900}).new_page()
    began = time.perf_counter()
    page.goto(f"{url}/studio/", wait_until="commit")
    page.wait_for_function("window.safelight?.form.ready", polling=20)
    usable = (time.perf_counter() - began) * 1000
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    return {"first_paint_ms": paint, "usable_ms": usable}, page


def measure_clicks(page: Page, url: str) -> list[float]:
    """Milliseconds for clicks of several kinds, while pictures are generated."""
    fields = {"kind": "generate", "prompt": "a red apple, 3d style", "steps": 100, "count": 50}
    job = httpx2.post(f"{url}/v1/jobs", json=fields).json()["id"]
    page.locator(".sl-stage-job[data-state=running] img.sl-preview").wait_for(timeout=60_000)
    kinds = (
        "() => document.querySelector('#sl-tab-gallery-button').click()",
        "() => document.querySelector('#sl-tab-create-button').click()",
        "() => document.querySelector('#sl-fold-fine > button').click()",
        "() => window.safelight.form.fill({steps: 5 + Math.floor(Math.random() * 50)})",
    )
    times = [page.evaluate(f"({CLICK_TIMER})({kinds[turn % len(kinds)]})") for turn in range(CLICKS)]
    httpx2.delete(f"{url}/v1/jobs/{job}")
    return times


def measure() -> dict[str, float]:
    """Run all measurements."""
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    if program is None:
        raise SystemExit("This needs Chromium.")
    with tempfile.TemporaryDirectory() as home:
        with start_server(Path(home), studio=False) as (_, process):
            without = api_memory(process)
        with start_server(Path(home), studio=True) as (url, process), sync_playwright() as playwright:
            wait_until(lambda: responds(f"{url}/studio/"))
            browser = playwright.chromium.launch(
                executable_path=program, args=["--no-sandbox", "--disable-gpu"]
            )
            idle = []
            for _ in range(VISITS):
                times, page = visit(browser, url)
                idle.append(times)
                page.context.close()
            pressed = sorted(measure_clicks(visit(browser, url)[1], url))
            memory = api_memory(process)
    middle = {name: statistics.median(each[name] for each in idle) for name in idle[0]}
    return middle | {
        "press_median_ms": statistics.median(pressed),
        "press_p95_ms": pressed[int(len(pressed) * 0.95)],
        "press_worst_ms": pressed[-1],
        "api_mb_without_studio": without,
        "api_mb_with_studio": memory,
    }


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    print(json.dumps({name: round(value, 1) for name, value in measure().items()}, indent=1))
