"""axe-core on every tab, in light and dark and on a narrow screen, without serious findings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page

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
        found = Axe().run(page, options=OPTIONS[look]).response["violations"]
        serious = [
            (each["id"], [node["html"][:200] for node in each["nodes"]][:4])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert not serious, f"{tab}: {serious}"
