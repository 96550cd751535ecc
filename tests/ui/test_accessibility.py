"""axe-core finds nothing serious in any view: light and dark, wide and narrow."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from random import randrange
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from tests.jobs.worker_processes import wait_for
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import GENERATION_TIMEOUT, on_stage, strip_job

PROMPT = "a red apple, flat style"
TABS = ("create", "gallery", "moderate", "models", "system", "settings")
WIDE, NARROW = {"width": 1360, "height": 900}, {"width": 390, "height": 900}
COLOURS = ("color-contrast", "link-in-text-block")
LAYOUT = ("target-size", "scrollable-region-focusable", "aria-hidden-focus")
RUN_AXE = """async (rules) => {
  await new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)));
  const { violations } = await axe.run(
    { exclude: [".sl-system-log > :nth-child(n + 9)"] },
    { ...(rules && { runOnly: rules }), resultTypes: ["violations"] },
  );
  return violations
    .filter(({ impact }) => ["serious", "critical"].includes(impact))
    .map(({ id, nodes }) => [id, nodes.slice(0, 4).map(({ html }) => html.slice(0, 200))]);
}"""
"""Runs all rules that are on by default, or only some; of the log's equal lines, a few."""


@cache
def axe_script() -> str:
    return files("axe_playwright_python").joinpath("axe.min.js").read_text("utf-8")


def check(page: Page, view: str, *, narrow: bool = True) -> None:
    """No rule is broken seriously, in a wide light window; in a dark or narrow one, no rule that can differ there.

    Args:
        page: The page, in a wide window.
        view: What it shows.
        narrow: Whether to look at a narrow window too; a change of size closes a popover.
    """
    if page.evaluate("typeof axe") == "undefined":
        page.evaluate(axe_script())
    found: dict[str, Any] = {"light": page.evaluate(RUN_AXE)}
    page.emulate_media(color_scheme="dark")
    expect(page.locator("body.dark")).to_have_count(1)
    found["dark"] = page.evaluate(RUN_AXE, COLOURS)
    page.emulate_media(color_scheme="light")
    expect(page.locator("body.dark")).to_have_count(0)
    if narrow:
        page.set_viewport_size(NARROW)
        found["narrow"] = page.evaluate(RUN_AXE, LAYOUT)
        page.set_viewport_size(WIDE)
    assert not any(found.values()), (view, found)


@pytest.fixture
def opened(page: Page, studio: ServeProcess) -> Page:
    """The web UI without motion, in a light look."""
    page.emulate_media(reduced_motion="reduce", color_scheme="light")
    return open_page(page, studio.url)


def show_stage(page: Page) -> Page:
    """Let narrow windows show the stage, not the form."""
    page.set_viewport_size(NARROW)
    page.locator('.sl-pane-switch [data-pane="stage"]').click()
    page.set_viewport_size(WIDE)
    return page


@pytest.fixture(scope="module")
def upscaled(studio: ServeProcess) -> tuple[str, str]:
    """A job with two images, and one that upscaled the first of them."""
    generated = studio.submit(randrange(2**32), prompt=PROMPT, count=2)
    wait_for(lambda: studio.have_ended(generated))
    source = studio.job(generated)["result"]["pictures"][0]["id"]
    sent = studio.request("POST", "/v1/jobs", json={"kind": "upscale", "parent": source, "by": 3})
    wait_for(lambda: studio.have_ended(sent.json()["id"]))
    return generated, str(sent.json()["id"])


def test_every_tab(opened: Page) -> None:
    page = opened
    for fold in ("edit", "control", "regions", "hires", "fine"):
        page.locator(f"#sl-fold-{fold} > button").click()
    page.locator("#sl-control-add").click()
    expect(page.locator(".sl-unit-drop")).to_be_visible()
    page.locator("#sl-regions-add").click()
    expect(page.locator(".sl-region-box")).to_be_visible()
    for tab in TABS:
        page.locator(f"#sl-tab-{tab}-button").click()
        page.wait_for_function(
            f"document.querySelector('#sl-{tab if tab != 'create' else 'stage'}').childElementCount"
        )
        check(page, tab)


def test_actions_on_an_image(opened: Page, upscaled: tuple[str, str]) -> None:
    page = show_stage(opened)
    generated, enlarged = upscaled
    on_stage(strip_job(page, generated)).locator(".sl-frame").nth(1).focus()
    check(page, "several images")
    for keys in ("Shift+F10", "Shift+v", "Shift+x"):
        page.keyboard.press(keys)
        expect(page.locator(".sl-popover")).to_be_visible()
        check(page, keys, narrow=False)
        page.keyboard.press("Escape")
        expect(page.locator(".sl-popover")).to_have_count(0)
    divider = on_stage(strip_job(page, enlarged)).get_by_role("slider")
    expect(divider).to_be_visible()
    check(page, "compared in place")
    divider.press("Enter")
    viewer = page.get_by_role("dialog", name="Picture")
    expect(viewer.get_by_role("button", name="Source", exact=True)).to_be_visible()
    viewer.get_by_role("combobox", name="Add a tag").fill("evening")
    page.keyboard.press("Enter")
    expect(viewer.locator(".sl-tag")).to_have_text(["evening"])
    check(page, "the viewer")
    page.keyboard.press("Escape")
    page.keyboard.press("b")
    expect(page.get_by_role("dialog", name="Compare").get_by_role("row", name="Size")).to_be_visible()
    check(page, "two images compared")


def test_the_gallery_at_work(opened: Page, upscaled: tuple[str, str]) -> None:
    page = opened
    page.locator("#sl-tab-gallery-button").click()
    gallery = page.locator("#sl-gallery")
    tiles = gallery.get_by_role("gridcell")
    for at in (0, 1):
        tiles.nth(at).click(modifiers=["ControlOrMeta"])
    expect(gallery.get_by_role("toolbar")).to_be_visible()
    check(page, "selected images")
    for keys, name in {"t": "Tags of 2 pictures", "a": "Add 2 pictures to a collection"}.items():
        page.keyboard.press(keys)
        expect(page.get_by_role("dialog", name=name)).to_be_visible()
        check(page, name)
        page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    for name in ("What a search understands", "All pictures"):
        gallery.get_by_role("button", name=name).click()
        expect(page.locator(".sl-popover")).to_be_visible()
        check(page, name, narrow=False)
        page.keyboard.press("Escape")


def test_queue_palette_and_shortcuts(opened: Page, studio: ServeProcess) -> None:
    page = opened
    studio.request("POST", "/v1/queue/pause")
    waiting = studio.submit(randrange(2**32))
    try:
        page.locator(".sl-queue-button").click()
        drawer = page.get_by_role("complementary", name="Queue")
        expect(drawer.locator(f'.sl-queue-waiting [data-job="{waiting}"]')).to_be_visible()
        check(page, "the queue")
    finally:
        studio.request("POST", "/v1/jobs/cancel", json={"ids": [waiting]})
        studio.request("POST", "/v1/queue/resume")
    page.keyboard.press("Escape")
    for keys, name in {"Control+k": "Find", "?": "Keyboard shortcuts", "r": "Recall parameters"}.items():
        page.keyboard.press(keys)
        expect(page.get_by_role("dialog", name=name)).to_be_visible()
        check(page, name, narrow=False)
        page.keyboard.press("Escape")


def test_the_editor_and_a_result(opened: Page, upscaled: tuple[str, str]) -> None:
    page = show_stage(opened)
    generated, _ = upscaled
    frame = on_stage(strip_job(page, generated)).locator(".sl-frame").first
    frame.focus()
    page.keyboard.press("e")
    page.wait_for_function("window.safelight.form.editor?.picture")
    expect(page.locator("#sl-prompt textarea")).to_have_value(PROMPT)
    check(page, "the editor")
    page.evaluate("window.safelight.form.fill({width: 64, height: 64, steps: 2})")
    page.locator("#sl-draw-button").click()
    expect(page.locator('[data-edit="keep"]')).to_be_visible(timeout=GENERATION_TIMEOUT)
    check(page, "a result over the edited image")
