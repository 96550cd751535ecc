"""Take screenshots of the web UI for the docs: all tabs, light, dark and narrow, with pictures of the starter model.

Those of the Create tab show four pictures while another job runs, a picture that is edited, and one of 1024 pixels.

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
TABS = ("gallery", "moderate", "models", "system", "settings")
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
    wait_for_jobs(url, *jobs)


def wait_for_jobs(url: str, *jobs: str) -> None:
    """Wait until jobs have ended."""
    while any(httpx2.get(f"{url}/v1/jobs/{job}").json()["state"] in ("queued", "running") for job in jobs):
        time.sleep(0.5)


def open_tab(page: Page, tab: str, photographs: list[str]) -> None:
    """Open a tab and fill it with content."""
    page.locator(f"#sl-tab-{tab}-button").click()
    if tab == "moderate":
        page.locator("#sl-moderate input[type=file]").first.set_input_files(photographs)
        page.locator("#sl-moderate .sl-badge").nth(len(photographs) - 1).wait_for()
    page.mouse.move(2, 2)
    page.wait_for_timeout(1500)


def show_job(page: Page, job: str) -> None:
    """Show a job on the stage."""
    switch = page.locator('.sl-pane-switch [data-pane="stage"]')
    if switch.is_visible():
        switch.click()
    page.locator(f'.sl-strip-job[data-job="{job}"] .sl-strip-picture').first.click()
    grid = page.get_by_role("button", name="All pictures of this job")
    if grid.is_visible():
        grid.click()
    page.locator(".sl-stage-job .sl-frame img, .sl-stage-job .sl-compare-over img").first.wait_for()
    page.mouse.move(2, 2)
    page.wait_for_timeout(1500)


def take_create(page: Page, url: str, look: str) -> None:
    """Take the screenshots of the Create tab."""
    prompt = "a (red:1.2) apple, 3d style"
    page.evaluate("prompt => window.safelight.form.fill({ prompt })", prompt)
    job = submit_job(url, prompt=prompt, seed=20, count=4, width=128, height=128)
    wait_for_jobs(url, job)
    source = httpx2.get(f"{url}/v1/jobs/{job}").json()["result"]["pictures"][0]["id"]
    if look != "narrow":
        sent = httpx2.post(f"{url}/v1/jobs", json={"kind": "upscale", "parent": source, "by": 8})
        large = str(sent.raise_for_status().json()["id"])
        wait_for_jobs(url, large)
        show_job(page, large)
        page.screenshot(path=FOLDER / f"large-{look}.png")
    running = submit_job(
        url, prompt="a dog face, 3d style", steps=150, count=4, seed=5, width=128, height=128
    )
    preview = page.locator(f'.sl-strip-job[data-job="{running}"] .sl-strip-progress img[src]')
    preview.wait_for(state="attached", timeout=120_000)
    show_job(page, job)
    page.screenshot(path=FOLDER / f"create-{look}.png")
    httpx2.delete(f"{url}/v1/jobs/{running}")
    page.locator(".sl-stage-job .sl-frame").first.click()
    page.keyboard.press("e")
    page.wait_for_function("window.safelight.form.editor?.picture")
    box = page.locator(".sl-editor-stage").bounding_box()
    assert box is not None
    page.wait_for_timeout(1000)
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.6
    page.mouse.move(middle[0] - 60, middle[1] - 40)
    page.mouse.down()
    for x, y in ((40, -50), (-50, 0), (50, 10), (-40, 40), (40, 50)):
        page.mouse.move(middle[0] + x, middle[1] + y, steps=8)
    page.mouse.up()
    page.locator(".sl-toast").get_by_role("button", name="Close").click()
    page.wait_for_timeout(800)
    page.screenshot(path=FOLDER / f"editing-{look}.png")
    page.keyboard.press("Escape")


def take_control(page: Page, look: str) -> None:
    """Take the screenshot of the Control section: a unit with the edges of a photograph."""
    page.locator("#sl-fold-control > button").click()
    page.locator("#sl-control-add").click()
    unit = page.locator(".sl-unit")
    unit.locator("input[type=file]").first.set_input_files(str(sample_photographs()[0]))
    unit.locator(".sl-unit-image").wait_for()
    unit.get_by_label("It shows", exact=True).select_option("")
    unit.get_by_label("Preprocessor", exact=True).select_option("canny")
    unit.get_by_role("button", name="Preview", exact=True).click()
    unit.locator(".sl-unit-map").wait_for()
    page.locator("#sl-fold-control").evaluate("fold => fold.scrollIntoView()")
    page.mouse.move(2, 2)
    page.wait_for_timeout(800)
    page.screenshot(path=FOLDER / f"control-{look}.png")
    unit.get_by_role("button", name="Remove this unit").click()


def take_screenshots(browser: Browser, url: str) -> None:
    """Take all screenshots."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    photographs = [str(path) for path in sample_photographs()]
    for look, options in LOOKS:
        page = browser.new_context(locale="en-US", **options).new_page()
        page.goto(f"{url}/studio/")
        page.wait_for_function("window.safelight?.form.ready")
        take_create(page, url, look)
        if look == "light":
            take_control(page, look)
        for tab in TABS:
            open_tab(page, tab, photographs)
            page.screenshot(path=FOLDER / f"{tab}-{look}.png")
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
