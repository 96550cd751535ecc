"""axe-core on every tab, in light and dark and on a narrow screen, without serious findings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import job_of, on_stage, strip_job, wait_for_state

TABS = ("create", "gallery", "moderate", "models", "system", "settings")


OPTIONS = {
    "light": {"resultTypes": ["violations"]},
    "dark": {"resultTypes": ["violations"], "runOnly": ["color-contrast", "link-in-text-block"]},
}
"""What axe-core checks in each look: in the dark one its rules about colours, as nothing else is different there."""


@pytest.fixture(scope="module", params=[1360, 390])
def opened(request: pytest.FixtureRequest, browser: Browser, studio: ServeProcess) -> Iterator[Page]:
    """The web UI in a window of each width, with everything in the form open."""
    context = browser.new_context(
        viewport={"width": request.param, "height": 900}, reduced_motion="reduce", locale="en-US"
    )
    context.set_default_timeout(60_000)
    page = open_page(context.new_page(), studio.url)
    for fold in ("edit", "hires", "fine"):
        page.locator(f"#sl-fold-{fold} > button").click()
    yield page
    context.close()


@pytest.mark.parametrize("look", ["light", "dark"])
def test_no_serious_finding(opened: Page, look: Literal["light", "dark"]) -> None:
    page = opened
    page.emulate_media(color_scheme=look)
    expect(page.locator("body.dark")).to_have_count(int(look == "dark"))
    for tab in TABS:
        page.locator(f"#sl-tab-{tab}-button").click()
        page.wait_for_function(
            f"document.querySelector('#sl-{tab if tab != 'create' else 'stage'}').childElementCount"
        )
        page.wait_for_timeout(500)
        assert not serious_findings(page, look), tab


def serious_findings(page: Page, look: str) -> list[tuple[str, list[str]]]:
    """The rules that the page breaks seriously, with the elements that do."""
    found = Axe().run(page, options=OPTIONS[look]).response["violations"]
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]][:4])
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("look", ["light", "dark"])
def test_actions_on_an_image_have_no_serious_finding(
    opened: Page, studio: ServeProcess, look: Literal["light", "dark"]
) -> None:
    page = opened
    page.emulate_media(color_scheme=look)
    page.locator("#sl-tab-create-button").click()
    first = strip_job(page, studio.submit(9300, count=2))
    wait_for_state(first, "succeeded")
    source = job_of(studio, first)["result"]["pictures"][0]["id"]
    sent = studio.request("POST", "/v1/jobs", json={"kind": "upscale", "parent": source, "by": 3})
    upscaled = strip_job(page, sent.json()["id"])
    wait_for_state(upscaled, "succeeded")
    if page.locator(".sl-pane-switch").is_visible():
        page.locator('.sl-pane-switch [data-pane="stage"]').click()
    on_stage(first).locator(".sl-frame").nth(1).focus()
    assert not serious_findings(page, look), "a grid"
    for keys in ("Shift+F10", "Shift+v", "Shift+x"):
        page.keyboard.press(keys)
        expect(page.locator(".sl-popover")).to_be_visible()
        assert not serious_findings(page, look), keys
        page.keyboard.press("Escape")
    on_stage(upscaled)
    expect(page.locator(".sl-slot").get_by_role("slider")).to_be_visible()
    assert not serious_findings(page, look), "compared in place"
    page.locator(".sl-slot").get_by_role("slider").press("Enter")
    viewer = page.get_by_role("dialog", name="Picture")
    expect(viewer).to_be_visible()
    if not viewer.get_by_role("complementary").is_visible():
        viewer.get_by_role("button", name="Details").click()
    expect(viewer.get_by_role("button", name="Source", exact=True)).to_be_visible()
    assert not serious_findings(page, look), "the viewer"
    page.keyboard.press("Escape")
