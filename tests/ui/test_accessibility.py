"""axe-core on every tab, in light and dark and on a narrow screen, without serious findings."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page

TABS = ("create", "gallery", "moderate", "models", "system")


@pytest.mark.parametrize("look", ["light", "dark"])
@pytest.mark.parametrize("width", [1360, 390])
def test_no_serious_finding(browser: Browser, studio: ServeProcess, look: str, width: int) -> None:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=look, reduced_motion="reduce", locale="en-US"
    )
    context.set_default_timeout(60_000)
    page = open_page(context.new_page(), studio.url)
    for tab in TABS:
        page.locator(f"#sl-tab-{tab}-button").click()
        page.wait_for_function(
            f"document.querySelector('#sl-{tab if tab != 'create' else 'jobs'}').childElementCount"
        )
        if tab == "create":
            for fold in ("edit", "hires", "fine"):
                page.locator(f"#sl-fold-{fold} > button").click()
        page.wait_for_timeout(500)
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        serious = [
            (each["id"], [node["html"][:200] for node in each["nodes"]][:4])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        assert not serious, f"{tab}: {serious}"
    context.close()
