"""How many presses of the mouse lead from the image just generated to what people do most with it."""

from __future__ import annotations

from random import randrange

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.generation import (
    fill_prompt,
    first_image_file,
    job_of,
    on_stage,
    strip_job,
    wait_for_state,
)

COUNT_PRESSES = """() => {
  window.presses = 0;
  addEventListener("pointerdown", (event) => event.isTrusted && window.presses++, true);
}"""
PROMPT = "a plum, flat style"


@pytest.fixture
def generated(open_studio: Page, studio: ServeProcess) -> Locator:
    """The job of an image just generated, on the stage of a page that counts presses from now on."""
    page = open_studio
    page.set_viewport_size({"width": 1360, "height": 880})
    job = studio.submit(randrange(2**32), prompt=PROMPT, width=128, height=128)
    shown = strip_job(page, job)
    wait_for_state(shown, "succeeded")
    expect(on_stage(shown).locator(".sl-frame img")).to_be_visible()
    page.evaluate(COUNT_PRESSES)
    return shown


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


def test_sampler_and_steps_take_three_or_two_and_typing(generated: Locator) -> None:
    page = generated.page
    values = "['sampler', 'steps'].map((name) => window.safelight.form.values[name])"
    page.get_by_role("combobox", name="Sampler").click()
    page.get_by_role("option", name="Euler", exact=True).click()
    page.locator("#sl-steps input[type=range]").click(position={"x": 40, "y": 5})
    sampler, steps = page.evaluate(values)
    assert sampler == "Euler"
    assert steps != 20
    assert presses(page) == 3
    page.get_by_role("combobox", name="Sampler").click()
    page.keyboard.type("unip")
    page.keyboard.press("Enter")
    page.locator("#sl-steps input[type=number]").click()
    page.keyboard.type("7")
    page.keyboard.press("Tab")
    assert page.evaluate(values) == ["UniPC", 7]
    assert presses(page) == 5


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


def test_the_editor_takes_one(generated: Locator) -> None:
    page = generated.page
    fill_prompt(page, "something else")
    on_stage(generated).get_by_role("button", name="Edit", exact=True).click()
    expect(page.locator(".sl-editor-stage")).to_be_in_viewport(ratio=0.9)
    expect(page.locator("#sl-prompt textarea")).to_have_value(PROMPT)
    assert presses(page) == 1


def test_ten_variations_take_two_and_to_delete_them_three(generated: Locator, studio: ServeProcess) -> None:
    page = generated.page
    choose = on_stage(generated).get_by_role("button", name="Variations …")
    ten = page.get_by_role("dialog", name="Variations").get_by_role("button", name="Make 10 variations")
    varied = submitted_by_clicks(page, choose, ten)
    assert presses(page) == 2
    request = job_of(studio, varied)["request"]
    assert (request["count"], request["prompt"], request["variation"]["strength"]) == (10, PROMPT, 0.2)
    wait_for_state(varied, "succeeded")

    page.evaluate("window.presses = 0")
    page.locator("#sl-tab-gallery-button").click()
    tiles = page.get_by_role("gridcell", name=PROMPT)
    ids = [picture["id"] for picture in job_of(studio, varied)["result"]["pictures"]]
    expect(tiles.nth(10)).to_be_visible()
    tiles.nth(0).click(modifiers=["ControlOrMeta"])
    tiles.nth(9).click(modifiers=["Shift"])
    page.keyboard.press("Delete")
    expect(page.locator(".sl-toast")).to_contain_text("10 pictures deleted")
    assert presses(page) == 3
    shown = page.get_by_role("gridcell").evaluate_all("tiles => tiles.map(({ entry }) => entry?.id)")
    assert not set(ids) & set(shown)
    page.keyboard.press("Control+z")
