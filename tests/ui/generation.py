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
    """Submit a prompt; returns the job's card."""
    fill_prompt(page, prompt, **fields)
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as sent:
        page.locator("#sl-draw-button").click()
    return job_card(page, sent.value.json()["id"])


def job_card(page: Page, job_id: str) -> Locator:
    return page.locator(f'[data-job="{job_id}"]')


def job_of(server: ServeProcess, shown: Locator) -> dict[str, Any]:
    return server.job(shown.get_attribute("data-job") or "")


def wait_for_state(shown: Locator, state: str) -> None:
    expect(shown).to_have_attribute("data-state", state, timeout=GENERATION_TIMEOUT)


def first_image_file(server: ServeProcess, shown: Locator) -> bytes:
    """The first image of a card, as a file."""
    entry = job_of(server, shown)["result"]["pictures"][0]["id"]
    return server.request("GET", f"/v1/gallery/{entry}/file").content
