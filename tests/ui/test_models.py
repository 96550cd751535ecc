"""The Models section in a real browser: what is in memory, loading, and loading errors."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, urlsplit

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
        self.asked: list[Any] = []
        file = {"name": "ink.safetensors", "size": 200_000_000, "sha256": "0" * 64}
        self.offer = {
            "reference": "civitai:7@21",
            "title": "Ink, v2",
            "name": "ink",
            "kind": "LoRA",
            "gated": False,
        }
        self.offer |= {
            "licence": "credit needed",
            "size": 200_000_000,
            "trigger_words": "ink wash",
            "files": [file],
        }
        self.pull: dict[str, Any] = {"id": "p", "reference": "civitai:7@21", "file": None, "title": "Ink, v2"}
        self.pull |= {"state": "", "size": 200_000_000, "done": 0, "name": None, "kind": None, "remarks": []}
        self.folders = ["/srv/webui"]

    def page_of_files(self, asked: dict[str, list[str]]) -> dict[str, Any]:
        """A page of a million files, of which one in 1,000 is a checkpoint; it reads 10,000 headers in its time."""
        start, limit = int(asked.get("start", ["0"])[0]), int(asked["limit"][0])
        step = 1000 if asked.get("kind") else 1
        numbers = range(-(-start // step) * step, min(start + 10_000, 1_000_000), step)[:limit]
        shared = {"folder": "webui", "family": "sd1", "precision": "fp16", "size": 2_000_000, "usable": False}
        shared["reason"] = "No."
        files = [
            shared | {"name": f"{number}.safetensors", "kind": "LoRA" if number % 1000 else "checkpoint"}
            for number in numbers
        ]
        end = numbers[-1] + 1 if len(numbers) == limit else start + 10_000
        return {"files": files, "total": 1_000_000, "next": end if end < 1_000_000 else None}

    def change_folders(self, route: Route) -> None:
        if route.request.method == "POST":
            self.folders.append(route.request.post_data_json["path"])
        elif route.request.method == "DELETE":
            self.folders.remove(parse_qs(urlsplit(route.request.url).query)["path"][0])
        folders = [{"path": path, "present": path != "/mnt/away"} for path in self.folders]
        route.fulfill(json={"folders": folders, "can_change": True})

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
        elif path == "/v1/models/pulls/preview":
            self.asked.append(route.request.post_data_json)
            route.fulfill(json=self.offer)
        elif path == "/v1/models/pulls" and route.request.method == "POST":
            self.asked.append(route.request.post_data_json)
            self.pull |= {"state": "running", "done": 50_000_000, "error": None}
            route.fulfill(status=202, json=self.pull)
        elif path == "/v1/models/pulls":
            route.fulfill(json={"pulls": [self.pull] if self.pull["state"] else []})
        elif path.startswith("/v1/models/pulls/"):
            self.pull["state"] = "stopped"
            route.fulfill(json=self.pull)
        elif path == "/v1/models/files":
            asked = parse_qs(urlsplit(route.request.url).query)
            route.fulfill(json=self.page_of_files(asked))
        elif path == "/v1/models/folders":
            self.change_folders(route)
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
    models.get_by_label("Model", exact=True).focus()
    models.keyboard.press("Control+v")
    assert models.get_by_label("Model", exact=True).input_value() == "0123456789abcdef" * 4


def test_a_checkpoint_is_used_in_create(models: Page) -> None:
    models.get_by_role("button", name="Use in Create: large").click()
    assert models.evaluate("[window.checkpoint, window.shown]") == ["large", "create"]


def test_size_and_licence_are_shown_before_a_download(models: Page, server: Server) -> None:
    section = models.get_by_role("region", name="Download a model")
    section.get_by_label("Model", exact=True).fill("civitai:7")
    models.keyboard.press("Enter")
    expect(section.get_by_text("credit needed")).to_be_visible()
    expect(section.get_by_text("ink wash")).to_be_visible()
    assert server.asked == [{"reference": "civitai:7", "file": None}]
    section.get_by_role("button", name="Download 200 MB").click()
    expect(section.get_by_role("progressbar", name="Ink, v2")).to_be_visible()
    expect(section.get_by_text("50 MB of 200 MB · 25%")).to_be_visible()
    assert server.asked[1] == {"reference": "civitai:7@21", "file": None}
    server.pull["done"] = 100_000_000
    expect(section.get_by_text("100 MB of 200 MB · 50%")).to_be_visible()
    section.get_by_role("button", name="Stop: Ink, v2").click()
    expect(section.get_by_text("Stopped at 100 MB of 200 MB")).to_be_visible()
    section.get_by_role("button", name="Continue: Ink, v2").click()
    expect(section.get_by_role("button", name="Stop: Ink, v2")).to_be_visible()
    error = {"code": "model.digest", "message": "It is another file.", "hint": "Try again."}
    server.pull |= {"state": "failed", "error": error}
    expect(section.get_by_role("alert")).to_contain_text("It is another file.")
    section.get_by_role("button", name="Continue: Ink, v2").click()
    with models.expect_response("**/v1/system"):  # the list of models is read anew
        server.pull |= {"state": "done", "done": 200_000_000, "name": "ink", "kind": "LoRA", "error": None}
    expect(section.get_by_text("Downloaded and checked: ink, LoRA · 200 MB")).to_be_visible()


def test_a_million_files_come_in_pages(models: Page) -> None:
    section = models.get_by_role("region", name="All files 1,000,000")
    rows = section.locator("tbody tr")
    expect(rows).to_have_count(50)
    section.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(100)
    expect(rows.nth(99)).to_contain_text("99.safetensors")
    section.get_by_label("Kind").select_option("checkpoint")
    expect(rows).to_have_count(50)
    expect(rows.nth(1)).to_contain_text("1000.safetensors")
    section.get_by_role("button", name="Show more").click()
    expect(rows).to_have_count(100)
    expect(rows.nth(99)).to_contain_text("99000.safetensors")


def test_folders_are_added_and_removed(models: Page, server: Server) -> None:
    section = models.get_by_role("region", name="Folders of other programs")
    expect(section.get_by_text("/srv/webui")).to_be_visible()
    section.get_by_label("Folders of other programs").last.fill("/mnt/away")
    models.keyboard.press("Enter")
    expect(section.get_by_role("listitem").filter(has_text="/mnt/away")).to_contain_text("not there")
    section.get_by_role("button", name="No longer use: /srv/webui").click()
    expect(section.get_by_role("listitem")).to_have_count(1)
    assert server.folders == ["/mnt/away"]


def test_only_administrators_load(models: Page) -> None:
    models.goto(models.url + "#user")
    models.reload()
    expect(models.get_by_role("button", name="Use in Create: large")).to_be_visible()
    assert models.get_by_role("button", name="Load: large").count() == 0
    expect(models.get_by_role("heading", name="All files")).to_be_visible()
    assert models.get_by_role("heading", name="Download a model").count() == 0
    assert models.get_by_role("heading", name="Folders of other programs").count() == 0


def test_an_unreachable_server_is_reported_and_can_be_retried(models: Page, server: Server) -> None:
    server.broken = True
    models.reload()
    expect(models.get_by_role("alert")).to_contain_text("No database.")
    server.broken = False
    models.get_by_role("button", name="Try again").click()
    expect(models.get_by_role("heading", name="Checkpoints 2")).to_be_visible()
