"""Actions on the images of the stage, by mouse, keys and touch; where an image comes from; deleting with an undo."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import job_of, on_stage, strip_job, submit_prompt, wait_for_state


def images_of(studio: ServeProcess, shown: Locator) -> list[dict[str, Any]]:
    return list(job_of(studio, shown)["result"]["pictures"])


def press_and_get_job(page: Page, key: str) -> Locator:
    """Press a key that submits a job; returns the job."""
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as sent:
        page.keyboard.press(key)
    return strip_job(page, sent.value.json()["id"])


@pytest.fixture
def four(open_studio: Page) -> Locator:
    """A job with four images, all of them on the stage."""
    shown = submit_prompt(open_studio, "a drum, flat style", steps=1, count=4, width=128, height=128)
    wait_for_state(shown, "succeeded")
    expect(on_stage(shown).locator(".sl-frame img")).to_have_count(4)
    return shown


def test_the_image_under_the_pointer_has_actions(four: Locator, studio: ServeProcess) -> None:
    page, stage = four.page, on_stage(four)
    images = images_of(studio, four)
    cells = stage.locator(".sl-slot")
    cells.nth(2).hover()
    buttons = cells.nth(2).get_by_role("toolbar", name="Actions")
    buttons.get_by_role("button", name="Favourite").click()
    expect(buttons.get_by_role("button", name="Favourite")).to_have_attribute("aria-pressed", "true")
    cells.nth(1).hover()
    expect(stage.locator(".sl-cell-actions")).to_have_count(1)
    favourite = cells.nth(1).get_by_role("toolbar", name="Actions").get_by_role("button", name="Favourite")
    expect(favourite).to_have_attribute("aria-pressed", "false")
    again = press_and_get_job(page, "s")
    assert job_of(studio, again)["parent"] == images[1]["id"]
    favourites = [studio.request("GET", f"/v1/gallery/{image['id']}").json()["favourite"] for image in images]
    assert favourites == [False, False, True, False]


def test_the_focused_image_has_actions_and_a_menu(four: Locator, studio: ServeProcess) -> None:
    page, stage = four.page, on_stage(four)
    frames = stage.locator(".sl-frame")
    frames.nth(1).focus()
    page.keyboard.press("Tab")
    expect(stage.locator(".sl-slot").nth(1).get_by_role("button", name="Favourite")).to_be_focused()
    frames.nth(1).focus()
    page.keyboard.press("Shift+F10")
    menu = page.get_by_role("menu", name="Actions")
    expect(menu.get_by_role("menuitem", name="Favourite")).to_be_focused()
    page.keyboard.press("End")
    expect(menu.get_by_role("menuitem", name="Delete")).to_be_focused()
    page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(frames.nth(1)).to_be_focused()
    page.keyboard.press("Shift+v")
    variations = page.get_by_role("dialog", name="Variations")
    expect(variations.get_by_role("radio", name="Medium · 20%")).to_be_focused()
    page.keyboard.press("ArrowRight")
    with page.expect_response(lambda answer: answer.url.endswith("/v1/jobs")) as sent:
        variations.get_by_role("button", name="Make 1 variation").click()
    job = sent.value.json()
    assert job["parent"] == images_of(studio, four)[1]["id"]
    assert (job["request"]["count"], job["request"]["variation"]["strength"]) == (1, 0.4)
    varied = strip_job(page, job["id"])
    wait_for_state(varied, "succeeded")
    assert images_of(studio, varied)[0]["relation"] == "variation"
    kept = job_of(studio, press_and_get_job(page, "v"))["request"]
    assert (kept["count"], kept["variation"]["strength"]) == (1, 0.4), "the last choice"


@pytest.fixture
def phone(browser: Browser, studio: ServeProcess) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, locale="en-US")
    context.set_default_timeout(60_000)
    yield open_page(context.new_page(), studio.url)
    context.close()


def test_a_finger_that_stays_opens_the_menu(phone: Page, studio: ServeProcess) -> None:
    shown = submit_prompt(phone, "a bell, flat style", steps=1, count=2, width=128, height=128)
    wait_for_state(shown, "succeeded")
    frames = on_stage(shown).locator(".sl-frame")
    expect(frames).to_have_count(2)
    box = frames.nth(1).bounding_box()
    assert box is not None
    point = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
    session = phone.context.new_cdp_session(phone)
    session.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    menu = phone.get_by_role("menu", name="Actions")
    expect(menu).to_be_visible()
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    expect(menu).to_be_in_viewport(ratio=1)
    expect(frames).to_have_count(2)
    menu.get_by_role("menuitem", name="Delete").tap()
    expect(frames).to_have_count(1)
    phone.get_by_role("button", name="Undo").tap()
    expect(frames).to_have_count(2)


def test_the_bar_fits_a_phone_in_one_line(phone: Page, studio: ServeProcess) -> None:
    shown = strip_job(phone, studio.submit(9200, count=1))
    wait_for_state(shown, "succeeded")
    phone.locator('.sl-pane-switch [data-pane="stage"]').tap()
    bar = on_stage(shown).get_by_role("toolbar", name="Actions")
    for width in (390, 320):
        phone.set_viewport_size({"width": width, "height": 844})
        boxes = [
            button.bounding_box() or {} for button in bar.get_by_role("button").all() if button.is_visible()
        ]
        assert len(boxes) == 6
        assert len({box["y"] for box in boxes}) == 1
        assert all(box["width"] >= 44 and box["height"] >= 44 for box in boxes)
        assert boxes[-1]["x"] + boxes[-1]["width"] <= width
    bar.get_by_role("button", name="More").tap()
    with phone.expect_download() as saved:
        phone.get_by_role("menuitem", name="Download").tap()
    assert saved.value.suggested_filename.startswith(studio_id(studio, shown))


def studio_id(studio: ServeProcess, shown: Locator) -> str:
    return str(images_of(studio, shown)[0]["id"])


def test_an_upscaled_image_is_compared_with_its_source_in_place(
    open_studio: Page, studio: ServeProcess
) -> None:
    page = open_studio
    shown = submit_prompt(page, "a harp, flat style", seed="31", steps=2, count=1, width=128, height=128)
    wait_for_state(shown, "succeeded")
    stage = on_stage(shown)
    stage.get_by_role("button", name="Upscaling …").click()
    chooser = page.get_by_role("dialog", name="Upscale")
    chooser.get_by_role("radio", name=re.compile("3$")).check()
    chooser.get_by_role("combobox").select_option("nearest")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    with page.expect_response(lambda answer: answer.url.endswith("/v1/jobs")) as sent:
        chooser.get_by_role("button", name="Upscale").click()
    assert not [url for url in asked if url.endswith("/file")], "the server has the file"
    upscaled = strip_job(page, sent.value.json()["id"])
    wait_for_state(upscaled, "succeeded")
    stage = on_stage(upscaled)
    expect(stage.get_by_role("heading", name="a harp, flat style · upscaled")).to_be_visible()
    [image] = images_of(studio, upscaled)
    assert (image["width"], image["seed"], image["relation"]) == (384, 31, "upscale")
    slider = stage.get_by_role("slider")
    line = stage.locator(".sl-compare-line")
    middle = (line.bounding_box() or {})["x"]
    slider.focus()
    page.keyboard.press("Home")
    assert (line.bounding_box() or {})["x"] < middle - 100
    expect(stage).to_have_attribute("data-job", upscaled.get_attribute("data-job") or "")
    page.keyboard.press("b")
    expect(slider).to_have_count(0)
    expect(stage.locator(".sl-frame img")).to_be_visible()
    page.keyboard.press("b")
    expect(slider).to_be_visible()
    page.keyboard.press("e")  # the last one of this part: another tab's editor
    expect(page.locator(".sl-editor-stage")).to_be_visible()


def test_the_viewer_shows_where_an_image_comes_from(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    shown = submit_prompt(page, "a lute, flat style", seed="77", steps=2, count=1, width=128, height=128)
    wait_for_state(shown, "succeeded")
    source = studio_id(studio, shown)
    sent = studio.request("POST", "/v1/jobs", json={"kind": "upscale", "parent": source, "by": 2})
    upscaled = strip_job(page, sent.json()["id"])
    wait_for_state(upscaled, "succeeded")
    on_stage(upscaled).get_by_role("slider").press("Enter")
    viewer = page.get_by_role("dialog", name="Picture")
    panel = viewer.get_by_role("complementary", name="Details")
    small, large = re.compile("128 . 128"), re.compile("256 . 256")
    for text in ("a lute, flat style", "77", large, re.compile("2 . lanczos")):
        expect(panel).to_contain_text(text)
    panel.get_by_role("button", name="Source").click()
    expect(panel).to_contain_text(small)
    panel.get_by_role("button", name="Upscaled").click()
    expect(panel).to_contain_text(large)
    page.keyboard.press("b")
    compared = page.get_by_role("dialog", name="Compare")
    expect(compared.get_by_role("row", name="Size")).to_contain_text(small)
    page.keyboard.press("b")
    expect(compared).to_have_count(0)
    viewer.get_by_role("button", name="Use this").click()
    expect(page.locator("#sl-prompt textarea")).to_have_value("a lute, flat style")
    page.wait_for_function("window.safelight.form.values.seed === '77'")
    expect(page.locator(".sl-toast").last).to_contain_text("Every field was filled in.")


def test_several_deletions_are_one_message_and_are_undone_by_keys(
    four: Locator, studio: ServeProcess
) -> None:
    page, stage = four.page, on_stage(four)
    ids = [image["id"] for image in images_of(studio, four)]
    frames = stage.locator(".sl-frame")
    frames.first.focus()
    for left in (3, 2, 1):
        page.keyboard.press("Delete")
        if left > 1:
            expect(frames).to_have_count(left)
            expect(frames.first).to_be_focused()
    note = page.locator(".sl-toast")
    expect(note).to_have_count(1)
    expect(note).to_contain_text("3 pictures deleted.")
    prompt = page.locator("#sl-prompt textarea")
    prompt.click()
    page.keyboard.type("!")
    page.keyboard.press("Control+z")
    expect(prompt).to_have_value("a drum, flat style")
    expect(note).to_contain_text("3 pictures deleted.")
    page.locator(".sl-stage-title").click()
    page.keyboard.press("Control+z")
    expect(note).to_contain_text("2 pictures deleted.")
    expect(prompt).to_have_value("a drum, flat style")
    page.keyboard.press("Control+z")
    expect(note).to_contain_text("1 picture deleted.")
    note.get_by_role("button", name="Close").click()
    expect(note).to_have_count(0)
    with page.expect_response(re.compile("/v1/gallery/delete$")):
        page.evaluate("dispatchEvent(new Event('pagehide'))")
    states = [studio.request("GET", f"/v1/gallery/{entry}").status_code for entry in ids]
    assert sorted(states) == [200, 200, 200, 404]


def test_an_image_is_copied(open_studio: Page, studio: ServeProcess) -> None:
    page = open_studio
    shown = submit_prompt(page, "a gong, flat style", steps=1, count=1, width=128, height=128)
    wait_for_state(shown, "succeeded")
    on_stage(shown)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.keyboard.press("Shift+c")
    expect(page.locator(".sl-toast").last).to_contain_text("Picture copied.")
    size = page.evaluate(
        """async () => {
          const [item] = await navigator.clipboard.read();
          const image = await createImageBitmap(await item.getType("image/png"));
          return [image.width, image.height];
        }"""
    )
    assert size == [128, 128]
    page.keyboard.press("c")
    expect(page.locator(".sl-toast").last).to_contain_text("Parameters copied.")
    assert "a gong, flat style" in page.evaluate("navigator.clipboard.readText()")
