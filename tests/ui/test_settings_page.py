"""The Settings tab of a complete installation: a user's own preferences, and what administrators change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page


@pytest.fixture
def settings(open_studio: Page, studio: ServeProcess) -> Iterator[Page]:
    """The tab; what a test has changed is taken back."""
    open_settings(open_studio)
    yield open_studio
    studio.request("PATCH", "/v1/settings", json=dict.fromkeys(("queue_capacity", "policy", "languages")))
    names = ("language", "look", "tile_size", "default_checkpoint", "notify_when_done")
    studio.request("PATCH", "/v1/preferences", json=dict.fromkeys(names))


def open_settings(page: Page) -> None:
    page.locator("#sl-tab-settings-button").click()
    expect(page.locator("[data-setting=queue_capacity]")).to_be_visible()


def row(page: Page, name: str) -> Locator:
    return page.locator(f"[data-setting={name}]")


def value(studio: ServeProcess, name: str) -> Any:
    listed = studio.request("GET", "/v1/settings").json()["settings"]
    return next(each["value"] for each in listed if each["name"] == name)


def test_a_setting_is_changed_undone_and_reset(settings: Page, studio: ServeProcess) -> None:
    capacity = row(settings, "queue_capacity")
    expect(capacity).to_contain_text("Jobs in the queue")
    expect(capacity).to_contain_text("The default.")
    field = capacity.get_by_role("spinbutton", name="Jobs in the queue")
    field.fill("500")
    field.press("Enter")
    expect(capacity.get_by_text("Saved")).to_be_visible()
    expect(capacity).to_contain_text("Changed here, stored in the database; otherwise 10000.")
    assert value(studio, "queue_capacity") == 500
    capacity.get_by_role("button", name="Undo: Jobs in the queue").click()
    expect(field).to_have_value("10000")
    expect(capacity).to_contain_text("The default.")
    assert value(studio, "queue_capacity") == 10_000
    field.fill("0")
    field.press("Enter")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(capacity.locator(".sl-field-problem")).not_to_be_empty()
    assert value(studio, "queue_capacity") == 10_000
    field.fill("700")
    field.press("Enter")
    expect(field).not_to_have_attribute("aria-invalid", "true")
    capacity.get_by_role("button", name="Reset: Jobs in the queue").click()
    expect(field).to_have_value("10000")


def test_search_and_what_needs_a_restart(settings: Page) -> None:
    settings.get_by_role("searchbox", name="Search the settings").fill("policy")
    expect(row(settings, "policy")).to_be_visible()
    expect(row(settings, "queue_capacity")).to_be_hidden()
    settings.get_by_role("searchbox", name="Search the settings").fill("port listens")
    expect(settings.get_by_role("rowheader", name="port The port")).to_be_visible()
    assert settings.locator(".sl-settings-fixed input").count() == 0
    settings.get_by_role("searchbox", name="Search the settings").fill("zebra")
    expect(settings.get_by_text("No setting has these words.")).to_be_visible()


def test_preferences_are_on_the_server(settings: Page, studio: ServeProcess) -> None:
    row(settings, "tile_size").get_by_role("combobox").select_option("240")
    expect(row(settings, "tile_size").get_by_text("Saved")).to_be_visible()
    expect(row(settings, "tile_size")).to_contain_text("On the server, for every browser.")
    assert studio.request("GET", "/v1/preferences").json()["tile_size"] == 240
    row(settings, "tile_size").get_by_role("button", name="Undo").click()
    expect(row(settings, "tile_size").get_by_role("combobox")).to_have_value("")
    row(settings, "language").get_by_role("combobox").select_option("de")
    expect(settings.locator("html")).to_have_attribute("lang", "de")
    settings.evaluate("localStorage.clear()")  # as another browser
    open_page(settings, studio.url)
    expect(settings.get_by_role("tab", name="Einstellungen")).to_be_visible()


def test_the_menu_offers_the_languages_of_the_server(settings: Page, studio: ServeProcess) -> None:
    row(settings, "languages").get_by_role("checkbox", name="English").uncheck()
    expect(row(settings, "languages").get_by_text("Saved")).to_be_visible()
    assert value(studio, "languages") == ["de", "fr"]
    settings.reload()
    expect(settings.locator("html")).to_have_attribute("lang", "de")
    expect(settings.locator(".sl-header option[value=en]")).to_have_count(0)
    expect(settings.locator(".sl-header option[value=fr]")).to_have_count(1)


def test_a_user_sees_only_what_is_theirs(page: Page, static_url: str) -> None:
    html = """<!doctype html><html lang="en"><title>Settings</title><main id="root"></main><script type="module">
      import { loadTexts } from "./core/text.js";
      import { mount } from "./settings.js";
      await loadTexts();
      mount(document.querySelector("#root"), { me: { role: "user", owner: "anna", keys: true } });
    </script></html>"""
    asked: list[str] = []
    preferences = {"language": None, "look": None, "tile_size": None, "default_checkpoint": None}
    preferences |= {"notify_when_done": None, "languages": ["en", "de", "fr"]}
    page.on("request", lambda request: asked.append(request.url))
    page.route(f"{static_url}/part", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.route("**/v1/preferences", lambda route: route.fulfill(json=preferences))
    page.route("**/v1/models*", lambda route: route.fulfill(json={"data": []}))
    page.goto(f"{static_url}/part")
    expect(page.get_by_role("heading", name="For me")).to_be_visible()
    expect(page.locator("[data-setting=look]")).to_contain_text("for anna")
    assert page.get_by_role("heading", name="For everybody").count() == 0
    assert not any("/v1/settings" in url for url in asked)
