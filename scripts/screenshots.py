"""Take screenshots of all tabs of the web UI for the docs: light, dark and narrow, with pictures of the starter model.

Needs Chromium. Generates some pictures first, in a temporary data directory.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import Browser, Page, sync_playwright

from safelight.samples import sample_photographs

FOLDER = Path(__file__).parent.parent / "docs/images/studio"
TABS = ("create", "gallery", "moderate", "models", "system", "settings")
PROMPTS = (
    "a red apple, 3d style",
    "a cat face, cartoon style",
    "a fire engine, flat style",
    "a (blue:1.3) butterfly on a yellow background, sticker style",
    "a house with a garden, cartoon style",
    "a sunflower, 3d style",
    "a rocket, flat style",
    "a wrapped gift, 3d style",
)
LOOKS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("light", {"viewport": {"width": 1360, "height": 880}, "color_scheme": "light"}),
    ("dark", {"viewport": {"width": 1360, "height": 880}, "color_scheme": "dark"}),
    ("narrow", {"viewport": {"width": 390, "height": 844}, "color_scheme": "light", "has_touch": True}),
)


@contextmanager
def start_server(home: str) -> Iterator[str]:
    """Start a server on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "safelight", "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | {"SAFELIGHT_HOME": home}, stderr=subprocess.DEVNULL)  # noqa: S603
    url = f"http://127.0.0.1:{port}"
    try:
        while not is_ready(url):
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    """Whether the server is ready and its page is loaded."""
    try:
        return (
            httpx2.get(f"{url}/health/ready").is_success
            and httpx2.get(f"{url}/studio/", timeout=60).is_success
        )
    except httpx2.TransportError:
        return False


def submit_job(url: str, **fields: Any) -> str:
    """Submit a job that generates pictures."""
    return str(
        httpx2.post(f"{url}/v1/jobs", json={"kind": "generate", **fields}).raise_for_status().json()["id"]
    )


def fill_gallery(url: str) -> None:
    """Generate pictures for the gallery, and wait for them."""
    jobs = [submit_job(url, prompt=prompt, seed=seed, count=4) for seed, prompt in enumerate(PROMPTS)]
    while any(httpx2.get(f"{url}/v1/jobs/{job}").json()["state"] in ("queued", "running") for job in jobs):
        time.sleep(1)


def open_tab(page: Page, tab: str, photographs: list[str]) -> None:
    """Open a tab and fill it with content."""
    page.locator(f"#sl-tab-{tab}-button").click()
    if tab == "create":
        page.evaluate("window.safelight.form.fill({prompt: 'a (red:1.2) apple, 3d style'})")
    if tab == "moderate":
        page.locator("#sl-moderate input[type=file]").first.set_input_files(photographs)
        page.locator("#sl-moderate .sl-badge").nth(len(photographs) - 1).wait_for()
    page.mouse.move(2, 2)
    page.wait_for_timeout(1500)


def take_screenshots(browser: Browser, url: str) -> None:
    """Take all screenshots."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    photographs = [str(path) for path in sample_photographs()]
    for look, options in LOOKS:
        page = browser.new_context(locale="en-US", **options).new_page()
        page.goto(f"{url}/studio/")
        page.wait_for_function("window.safelight?.form.ready")
        for tab in TABS:
            job = (
                submit_job(url, prompt="a dog face, 3d style", steps=150, count=4, seed=5)
                if tab == "create"
                else None
            )
            if job:
                if look == "narrow":
                    page.locator('.sl-pane-switch [data-pane="stage"]').click()
                page.locator(f'.sl-strip-job[data-job="{job}"] .sl-strip-picture').first.click()
                page.locator(".sl-stage-job img.sl-preview").first.wait_for(timeout=120_000)
            open_tab(page, tab, photographs)
            page.screenshot(path=FOLDER / f"{tab}-{look}.png")
            if job:
                httpx2.delete(f"{url}/v1/jobs/{job}")
        page.context.close()


if __name__ == "__main__":
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("This needs Chromium.")
    with tempfile.TemporaryDirectory() as home, start_server(home) as address:
        fill_gallery(address)
        with sync_playwright() as playwright:
            take_screenshots(
                playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"]),
                address,
            )
