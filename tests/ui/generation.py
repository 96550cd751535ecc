"""Generating images in the web UI as a person does it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Locator, Page, expect
from tests.server.serve_process import ServeProcess

GENERATION_TIMEOUT = 300_000
"""Milliseconds that a generation may take on a loaded machine."""


def fill_prompt(page: Page, prompt: str, **fields: Any) -> None:
    """Fill in the prompt, and other fields by their names in our API."""
    page.locator("#sl-prompt textarea").fill(prompt)
    if fields:
        page.evaluate("fields => window.safelight.form.fill(fields)", fields)
    page.wait_for_function("prompt => window.safelight.form.values.prompt === prompt", arg=prompt)


def submit_prompt(page: Page, prompt: str, **fields: Any) -> Locator:
    """Submit a prompt; returns its job in the film strip, which the stage then shows."""
    fill_prompt(page, prompt, **fields)
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as sent:
        page.locator("#sl-draw-button").click()
    return strip_job(page, sent.value.json()["id"])


def strip_job(page: Page, job_id: str) -> Locator:
    """A job in the film strip."""
    return page.locator(f'.sl-strip-job[data-job="{job_id}"]')


def on_stage(shown: Locator) -> Locator:
    """The stage with all images of a job of the film strip; selects it if the stage shows another."""
    expect(shown).to_have_count(1)
    stage = shown.page.locator(".sl-stage-job")
    if stage.get_attribute("data-job") != shown.get_attribute("data-job"):
        shown.locator(".sl-strip-picture").first.click()
    grid = stage.get_by_role("button", name="All pictures of this job")
    if grid.is_visible():
        grid.click()
    return shown.page.locator(f'.sl-stage-job[data-job="{shown.get_attribute("data-job")}"]')


def job_of(server: ServeProcess, shown: Locator) -> dict[str, Any]:
    return server.job(shown.get_attribute("data-job") or "")


def wait_for_state(shown: Locator, state: str) -> None:
    expect(shown).to_have_attribute("data-state", state, timeout=GENERATION_TIMEOUT)


def first_image_file(server: ServeProcess, shown: Locator) -> bytes:
    """The first image of a job, as a file."""
    entry = job_of(server, shown)["result"]["pictures"][0]["id"]
    return server.request("GET", f"/v1/gallery/{entry}/file").content
