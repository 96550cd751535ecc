"""What the page shows before its scripts run."""

from __future__ import annotations

from playwright.sync_api import Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import choose_language, open_page


def test_header_and_tabs_are_painted_before_the_scripts_run(page: Page, studio: ServeProcess) -> None:
    choose_language(page, studio.url, "de")
    page.route(
        "**/*.js?*", lambda route: route.abort() if "main.js" in route.request.url else route.continue_()
    )
    page.route("**/studio/assets/*.js", lambda route: route.abort())
    page.goto(f"{studio.url}/studio/#/gallery")
    skeleton = page.locator("#sl-skeleton")
    for text in ("Gestalten", "Galerie", "Einstellungen"):
        expect(skeleton.locator("[lang=de]", has_text=text)).to_be_in_viewport()
    expect(skeleton.get_by_text("Gallery", exact=True)).to_be_hidden()
    expect(skeleton.locator(".sl-skeleton-form")).to_be_hidden()
    tab = skeleton.locator("[lang=de]", has_text="Galerie").bounding_box()
    page.unroute_all()
    page.goto("about:blank")
    open_page(page, studio.url)
    expect(skeleton).to_have_count(0)
    real = page.get_by_role("tab", name="Galerie").get_by_text("Galerie").bounding_box()
    assert real is not None
    assert tab is not None
    assert abs(real["x"] - tab["x"]) < 24, "the tabs do not jump"
