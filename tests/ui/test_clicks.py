"""How many presses of the mouse lead from the image just generated to what people do most with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import (
    fill_prompt,
    first_image_file,
    job_of,
    on_stage,
    strip_job,
    submit_prompt,
    wait_for_state,
)

COUNT_PRESSES = """() => {
  window.presses = 0;
  addEventListener("pointerdown", (event) => event.isTrusted && window.presses++, true);
}"""
PROMPT = "a plum, flat style"


@pytest.fixture
def generated(browser: Browser, studio: ServeProcess) -> Iterator[Locator]:
    """The job of an image just generated, on the stage of a page that counts presses from now on."""
    context = browser.new_context(viewport={"width": 1360, "height": 880}, locale="en-US")
    context.set_default_timeout(60_000)
    page = open_page(context.new_page(), studio.url)
    shown = submit_prompt(page, PROMPT, steps=2, count=1)
    wait_for_state(shown, "succeeded")
    expect(on_stage(shown).locator(".sl-frame img")).to_be_visible()
    page.evaluate(COUNT_PRESSES)
    yield shown
    context.close()


def presses(page: Page) -> int:
    return int(page.evaluate("window.presses"))


def submitted_by_clicks(page: Page, *buttons: Locator) -> Locator:
    """Press buttons, the last of which submits a job; returns the job."""
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as sent:
        for button in buttons:
            button.click()
    return strip_job(page, sent.value.json()["id"])


def test_same_seed_takes_one(generated: Locator, studio: ServeProcess) -> None:
    page = generated.page
    again = submitted_by_clicks(page, on_stage(generated).get_by_role("button", name="Same seed"))
    assert presses(page) == 1
    wait_for_state(again, "succeeded")
    assert first_image_file(studio, again) == first_image_file(studio, generated)


def test_upscaling_and_seeing_it_takes_one(generated: Locator, studio: ServeProcess) -> None:
    page = generated.page
    upscaled = submitted_by_clicks(page, on_stage(generated).get_by_role("button", name="Upscale"))
    wait_for_state(upscaled, "succeeded")
    compared = page.locator(".sl-slot .sl-compare-pictures")
    expect(compared).to_be_in_viewport(ratio=1)
    assert presses(page) == 1
    assert (
        compared.locator(".sl-compare-over img").evaluate(
            "image => image.decode().then(() => image.naturalWidth)"
        )
        == 256
    )
    assert (compared.bounding_box() or {})["width"] == pytest.approx(512, abs=1)
    [entry] = job_of(studio, upscaled)["result"]["pictures"]
    assert entry["parent_id"] == job_of(studio, generated)["result"]["pictures"][0]["id"]


def test_ten_variations_take_two(generated: Locator, studio: ServeProcess) -> None:
    page = generated.page
    choose = on_stage(generated).get_by_role("button", name="Variations …")
    ten = page.get_by_role("dialog", name="Variations").get_by_role("button", name="Make 10 variations")
    varied = submitted_by_clicks(page, choose, ten)
    assert presses(page) == 2
    request = job_of(studio, varied)["request"]
    assert request["count"] == 10
    assert request["variation"]["strength"] == 0.2
    assert request["prompt"] == PROMPT
    studio.request("DELETE", f"/v1/jobs/{varied.get_attribute('data-job')}")


def test_the_editor_takes_one(generated: Locator) -> None:
    page = generated.page
    fill_prompt(page, "something else")
    on_stage(generated).get_by_role("button", name="Edit", exact=True).click()
    expect(page.locator(".sl-editor-stage")).to_be_in_viewport(ratio=0.9)
    expect(page.locator("#sl-prompt textarea")).to_have_value(PROMPT)
    assert presses(page) == 1
