"""Ctrl+K finds the queue, the gallery's views and settings, in the page's language, in English and by other names."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import choose_language, open_page


def find(page: Page, text: str) -> Locator:
    """Type into the palette; returns what it finds, the best first."""
    if not page.locator(".sl-palette").is_visible():
        page.keyboard.press("Control+k")
    page.locator(".sl-palette input").fill(text)
    return page.locator(".sl-palette [role=option]")


def test_actions_and_settings_are_found_by_many_names(open_studio: Page) -> None:
    page = open_studio
    names = {
        "dark mode": "Appearance: Dark",
        "deutsch": "Language: Deutsch",
        "notification": "Notify me when a job is done",
        "pause queue": "Pause the queue",
        "favourites": "Show favourites",
        "go to models": "Go to the models",
        "txt2img": "Draw",
    }
    for typed, label in names.items():
        expect(find(page, typed).first).to_contain_text(label)
    expect(find(page, "settings").first).to_contain_text("Settings")
    find(page, "largest picture file")
    page.keyboard.press("Enter")
    expect(page.locator('[data-setting="max_bytes"] input')).to_be_focused()
    page.get_by_role("searchbox", name="Search the settings").fill("policy")
    expect(page.locator('[data-setting="max_bytes"]')).to_be_hidden()
    find(page, "max bytes")
    page.keyboard.press("Enter")
    expect(page.locator('[data-setting="max_bytes"] input')).to_be_focused()
    find(page, "tiles of the gallery")
    page.keyboard.press("Enter")
    expect(page.locator('[data-setting="tile_size"] select')).to_be_focused()
    expect(find(page, "jobs").first).to_contain_text("Show the queue")
    expect(page.locator(".sl-palette [role=option]").first).to_contain_text("Q")
    page.keyboard.press("Enter")
    expect(page.get_by_role("complementary", name="Queue")).to_be_visible()
    page.keyboard.press("Escape")
    find(page, "favourites")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"#/gallery\?favourite=1$"))
    expect(page.get_by_role("button", name="Favourites")).to_have_attribute("aria-pressed", "true")


@pytest.mark.parametrize(
    ("typed", "label"),
    [("steps", "Schritte"), ("batch count", "Bilder"), ("pause the", "Warteschlange anhalten")],
)
def test_another_language_is_searched_in_english_too(
    page: Page, studio: ServeProcess, typed: str, label: str
) -> None:
    choose_language(page, studio.url, "de")
    open_page(page, studio.url)
    expect(find(page, typed).first).to_contain_text(label)
