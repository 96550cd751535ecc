"""From the prompt to the gallery and back, in four windows: by mouse, by touch, and with the keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import GENERATION_TIMEOUT, job_of, strip_job, wait_for_state

By = Literal["mouse", "touch", "keys"]


@pytest.fixture(scope="module")
def touch_page(browser: Browser) -> Iterator[Page]:
    """A page of a device with a touch screen."""
    context = browser.new_context(has_touch=True, locale="en-US")
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


class Person:
    """Somebody who uses a page by mouse, by touch, or with the keyboard alone."""

    def __init__(self, page: Page, by: By) -> None:
        self.page = page
        self.by = by

    def press(self, target: Locator, keys: str) -> None:
        """Press a button; with the keyboard, keys that do the same."""
        if self.by == "keys":
            self.page.keyboard.press(keys)
        elif self.by == "touch":
            target.tap()
        else:
            target.click()

    def show_pane(self, name: Literal["form", "stage"]) -> None:
        """Show a pane of a narrow window."""
        switch = self.page.locator(f'.sl-pane-switch [data-pane="{name}"]')
        if switch.is_visible():
            self.press(switch, "")

    def tab_to(self, target: Locator, key: str = "Tab") -> None:
        """Move the focus with the Tab key."""
        for _ in range(40):
            if target.evaluate("element => element === document.activeElement"):
                return
            self.page.keyboard.press(key)
        pytest.fail("the focus does not come here")

    def draw(self) -> Locator:
        """Draw; returns the job."""
        with self.page.expect_response(
            lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
        ) as sent:
            self.press(self.page.locator("#sl-draw-button"), "Control+Enter")
        return strip_job(self.page, sent.value.json()["id"])

    def select_two(self, tiles: Locator) -> None:
        """Select the first two pictures of the gallery."""
        if self.by == "mouse":
            for at in (0, 1):
                tiles.nth(at).click(modifiers=["ControlOrMeta"])
        elif self.by == "keys":
            self.tab_to(tiles.nth(0))
            self.page.keyboard.press("Shift+ArrowRight")
        else:
            box = tiles.nth(0).bounding_box() or {}
            touch = self.page.context.new_cdp_session(self.page)
            point = {"x": box["x"] + 30, "y": box["y"] + 30}
            touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
            expect(tiles.nth(0)).to_have_attribute("aria-selected", "true")
            touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
            tiles.nth(1).tap()


def expect_shown(image: Locator) -> None:
    """An image is loaded, and all of it is in the window, which does not scroll sideways."""
    expect(image).to_be_in_viewport(ratio=1)
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert image.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    ("width", "height", "by"),
    [(1360, 880, "mouse"), (1920, 1080, "keys"), (768, 1024, "touch"), (390, 844, "touch")],
)
def test_from_the_prompt_to_the_gallery_and_back(
    page: Page, touch_page: Page, studio: ServeProcess, width: int, height: int, by: By
) -> None:
    if by == "touch":
        page = touch_page
    page.set_viewport_size({"width": width, "height": height})
    open_page(page, studio.url)
    page.wait_for_function("!!window.safelight.form.editor")
    prompt = f"a pail {uuid4().hex[:6]}, flat style"  # this run's alone
    person = Person(page, by)

    person.press(page.locator("#sl-prompt textarea"), "p")
    page.keyboard.type(prompt)
    page.evaluate("window.safelight.form.fill({width: 128, height: 128, steps: 2, seed: '5'})")
    drawn = person.draw()
    wait_for_state(drawn, "succeeded")
    frame = page.locator(".sl-stage-job .sl-frame")
    expect_shown(frame.locator("img"))
    expect(drawn).to_be_in_viewport(ratio=1)

    person.press(drawn.locator(".sl-strip-picture"), "Escape")
    person.press(frame, "Enter")
    viewer = page.get_by_role("dialog", name="Picture")
    expect_shown(viewer.locator(".sl-viewer-picture img.sl-loaded"))
    person.press(viewer.get_by_role("button", name="Close"), "Escape")
    expect(viewer).to_have_count(0)

    person.press(page.locator('.sl-stage-actions [data-action="edit"]'), "e")
    canvas = page.locator(".sl-editor-stage")
    expect(canvas).to_be_in_viewport(ratio=0.9)
    person.show_pane("form")
    expect(page.locator("#sl-prompt textarea")).to_have_value(prompt)
    edited = person.draw()
    keep = page.locator('[data-edit="keep"]')
    expect(keep).to_be_in_viewport(ratio=1, timeout=GENERATION_TIMEOUT)
    expect(canvas).to_be_in_viewport(ratio=0.9)
    if by == "keys":
        person.tab_to(keep, "Shift+Tab")
    person.press(keep, "Enter")
    [result] = job_of(studio, edited)["result"]["pictures"]
    page.wait_for_function("id => window.safelight.form.editor.parent === id", arg=result["id"])
    person.press(page.get_by_role("button", name="Done"), "Escape")
    expect(page.locator(".sl-stage-job")).to_be_visible()

    person.press(page.get_by_role("tab", name="Gallery"), "2")
    tiles = page.get_by_role("gridcell", name=prompt)
    expect(tiles).to_have_count(2)
    person.select_two(tiles)
    expect(page.locator(".sl-selection-count")).to_have_text("2 selected")
    person.press(page.get_by_role("toolbar").get_by_role("button", name="Delete"), "Delete")
    expect(tiles).to_have_count(0)
    undo = page.locator(".sl-toast", has_text="2 pictures deleted").get_by_role("button", name="Undo")
    person.press(undo, "Control+z")
    expect(tiles).to_have_count(2)
    expect_shown(tiles.first.locator("img"))
    page.evaluate("window.safelight.form.reset()")
