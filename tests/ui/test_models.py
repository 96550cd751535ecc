"""The Models section in a real browser: what is in memory, loading, and loading errors."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

HARNESS = """<!doctype html><html lang="en"><title>Models</title>
<link rel="stylesheet" href="style.css"><link rel="stylesheet" href="models.css"><main id="root"></main>
<script type="module">
  import { loadTexts } from "./core/text.js";
  import { mount } from "./models.js";
  await loadTexts();
  addEventListener("sl:checkpoint", (event) => (window.checkpoint = event.detail));
  mount(document.querySelector("#root"), {
    me: { role: location.hash.slice(1) || "admin" }, show: (tab) => (window.shown = tab) });
</script></html>"""


class Server:
    """A fake server with one worker that loads as slowly as the test wants."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.worker: dict[str, Any] = {"name": "w", "state": "idle", "loading": None, "last_error": None}
        self.dead = False
        self.broken = False

    def answer(self, route: Route) -> None:
        """Answer one request to the API."""
        path = urlsplit(route.request.url).path
        if self.broken:
            route.fulfill(
                status=503, json={"error": {"code": "database", "message": "No database.", "hint": ""}}
            )
        elif path == "/v1/models":
            route.fulfill(json={"data": [self.model("starter", default=True), self.model("large")]})
        elif path == "/v1/system":
            route.fulfill(json={"workers": [] if self.dead else [self.worker]})
        elif path == "/v1/models/hub":
            files = [{"name": "a.safetensors", "size": 2_000_000, "present": False}]
            found = {
                "id": "o/n",
                "present": False,
                "network": True,
                "files": files,
                "size": 2_000_000,
                "hint": "Pull.",
            }
            route.fulfill(json=found)
        else:
            route.fulfill(status=202, json={"checkpoint": None, "workers": ["w"]})

    def model(self, name: str, *, default: bool = False) -> dict[str, Any]:
        facts = {"family": "sd1", "modes": ["text-to-image"], "size": 60_000_000, "precision": "fp16"}
        place = {"digest": "0123456789abcdef" * 4, "loaded_by": ["w"] if name in self.loaded else []}
        return {"id": name, "kind": "checkpoint", "default": default, **facts, **place}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def models(page: Page, static_url: str, server: Server) -> Page:
    return open_models(page, static_url, server)


def open_models(page: Page, static_url: str, server: Server) -> Page:
    page.route(f"{static_url}/part", lambda route: route.fulfill(body=HARNESS, content_type="text/html"))
    page.route("**/v1/**", server.answer)
    page.goto(f"{static_url}/part")
    expect(page.get_by_role("heading", name="Checkpoints 2")).to_be_visible()
    return page


def test_loading_is_shown_until_the_checkpoint_is_in_memory(models: Page, server: Server) -> None:
    row = models.get_by_role("listitem").filter(has=models.get_by_role("heading", name="large"))
    expect(row).to_contain_text("Not in memory")
    row.get_by_role("button", name="Load: large").click()
    expect(row).to_contain_text("Being loaded")
    server.loaded.append("large")
    expect(row).to_contain_text("In memory: w")
    row.get_by_role("button", name="Unload: large").click()
    server.loaded.clear()
    expect(row).to_contain_text("Not in memory")


def test_a_loading_error_is_shown_beside_the_checkpoint(models: Page, server: Server) -> None:
    row = models.get_by_role("listitem").filter(has=models.get_by_role("heading", name="large"))
    row.get_by_role("button", name="Load: large").click()
    failure = {"code": "memory", "message": "It does not fit.", "hint": "Unload another."}
    server.worker["last_error"] = failure | {"checkpoint": "large", "time": "2027-01-01T00:00:00Z"}
    expect(row.get_by_role("alert")).to_contain_text("It does not fit.")
    expect(row).to_contain_text("Unload another.")
    expect(row).to_contain_text("Not in memory")


def test_a_worker_that_dies_while_it_loads_is_not_waited_for(models: Page, server: Server) -> None:
    row = models.get_by_role("listitem").filter(has=models.get_by_role("heading", name="large"))
    row.get_by_role("button", name="Load: large").click()
    expect(row).to_contain_text("Being loaded")
    server.dead = True
    expect(row.get_by_role("alert")).to_have_text("large could not be loaded.")
    expect(row).to_contain_text("Not in memory")


def test_a_restarted_worker_without_the_load_is_not_waited_for_either(
    browser: Browser, static_url: str, server: Server
) -> None:
    context = browser.new_context(locale="en-US")  # the clock is that of all pages of a context
    models = open_models(context.new_page(), static_url, server)
    models.clock.install()
    row = models.get_by_role("listitem").filter(has=models.get_by_role("heading", name="large"))
    server.worker["loading"] = "large"
    row.get_by_role("button", name="Load: large").click()
    pass_seconds(models, 12)
    expect(row).to_contain_text("Being loaded")
    server.worker |= {"loading": None, "state": "starting"}
    pass_seconds(models, 12)
    expect(row).to_contain_text("Being loaded")
    server.worker["state"] = "idle"
    pass_seconds(models, 11)
    expect(row.get_by_role("alert")).to_have_text("large could not be loaded.")
    context.close()


def pass_seconds(page: Page, times: int) -> None:
    """Let so many seconds pass, after each of which the page polls again."""
    for _ in range(times):
        with page.expect_response("**/v1/system"):
            page.clock.run_for(1000)


def test_copying_without_the_clipboard_api(models: Page) -> None:
    models.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    models.get_by_role("button", name="Copy the whole digest").first.click()
    expect(models.get_by_text("Copied.")).to_be_visible()
    models.get_by_label("Requirements of a checkpoint").focus()
    models.keyboard.press("Control+v")
    assert models.get_by_label("Requirements of a checkpoint").input_value() == "0123456789abcdef" * 4


def test_a_checkpoint_is_used_in_create(models: Page) -> None:
    models.get_by_role("button", name="Use in Create: large").click()
    assert models.evaluate("[window.checkpoint, window.shown]") == ["large", "create"]


def test_requirements_of_a_hub_checkpoint(models: Page) -> None:
    models.get_by_label("Requirements of a checkpoint").fill("o/n")
    models.keyboard.press("Enter")
    expect(models.get_by_text("1 file is missing: 2 MB")).to_be_visible()
    expect(models.get_by_text("Pull.")).to_be_visible()


def test_only_administrators_load(models: Page) -> None:
    models.goto(models.url + "#user")
    models.reload()
    expect(models.get_by_role("button", name="Use in Create: large")).to_be_visible()
    assert models.get_by_role("button", name="Load: large").count() == 0


def test_an_unreachable_server_is_reported_and_can_be_retried(models: Page, server: Server) -> None:
    server.broken = True
    models.reload()
    expect(models.get_by_role("alert")).to_contain_text("No database.")
    server.broken = False
    models.get_by_role("button", name="Try again").click()
    expect(models.get_by_role("heading", name="Checkpoints 2")).to_be_visible()
