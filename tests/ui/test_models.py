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
        self.planned: list[str] = []
        self.usual = "starter"
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
        route.fulfill(json={"folders": folders, "can_change": True, "own": "/home/me/safelight/checkpoints"})

    def answer(self, route: Route) -> None:
        """Answer one request to the API."""
        path = urlsplit(route.request.url).path
        if self.broken:
            route.fulfill(
                status=503, json={"error": {"code": "database", "message": "No database.", "hint": ""}}
            )
        elif path == "/v1/models":
            route.fulfill(json={"data": [self.model("starter"), self.model("large")]})
        elif path == "/v1/system":
            route.fulfill(json={"workers": [] if self.dead else [self.worker]})
        elif path == "/v1/system/plan":
            self.planned.append(urlsplit(route.request.url).query)
            size = {"width": 512, "height": 512, "fits": True}
            route.fulfill(json=size | {"peak_bytes": 1_900_000_000, "usable_bytes": 8_000_000_000})
        elif path == "/v1/settings":
            self.asked.append(route.request.post_data_json)
            self.usual = route.request.post_data_json["checkpoint"]
            route.fulfill(json={"settings": []})
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

    def model(self, name: str) -> dict[str, Any]:
        facts = {"family": "sd1", "modes": ["text-to-image"], "size": 60_000_000, "precision": "fp16"}
        place = {"digest": "0123456789abcdef" * 4, "loaded_by": ["w"] if name in self.loaded else []}
        draws = {"kind": "diffusion", "width": 512, "height": 512, "size_multiple": 8, "steps": 28}
        draws |= {"guidance_scale": 7.0, "sampler": "dpm++ 2m", "schedule": None, "negative": True}
        default = {"default": name == self.usual, "draws": draws}
        return {"id": name, "kind": "checkpoint", **default, **facts, **place}


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
    models.get_by_label("Or a name or link").focus()
    models.keyboard.press("Control+v")
    assert models.get_by_label("Or a name or link").input_value() == "0123456789abcdef" * 4


def test_a_checkpoint_is_used_in_create(models: Page) -> None:
    models.get_by_role("button", name="Use in Create: large").click()
    assert models.evaluate("[window.checkpoint, window.shown]") == ["large", "create"]


def test_each_checkpoint_says_what_it_is_and_takes(models: Page, server: Server) -> None:
    row = models.get_by_role("listitem").filter(has=models.get_by_role("heading", name="large"))
    expect(row).to_contain_text("Stable Diffusion 1: small and quick")
    expect(row).to_contain_text("60 MB on disk")
    expect(row).to_contain_text("1.9 GB in memory")
    expect(row).to_contain_text("28 steps · guidance 7 · dpm++ 2m")
    with models.expect_response("**/v1/system"):
        row.get_by_role("button", name="Load: large").click()
    expect(row).to_contain_text("1.9 GB in memory")
    assert server.planned.count("checkpoint=large&width=512&height=512") == 1


def test_a_default_is_made_and_taken_back(models: Page, server: Server) -> None:
    row = models.get_by_role("listitem").filter(has=models.get_by_role("heading", name="large"))
    row.get_by_role("button", name="Make default: large").click()
    expect(row.get_by_text("default", exact=True)).to_be_visible()
    models.get_by_role("button", name="Undo").click()
    expect(row.get_by_text("default", exact=True)).to_be_hidden()
    assert server.asked == [{"checkpoint": "large"}, {"checkpoint": "starter"}]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("owner/name", "A repository of the Hugging Face hub."),
        ("https://huggingface.co/owner/name/tree/main", "A repository of the Hugging Face hub."),
        ("101055", "A model of CivitAI."),
        ("civitai.com/models/101055/ink", "A model of CivitAI."),
        ("https://example.org/ink.safetensors", "only"),
        ("sd xl", "“sd xl” names no model."),
    ],
)
def test_what_is_typed_is_recognized(models: Page, server: Server, text: str, says: str) -> None:
    field = models.get_by_label("Or a name or link")
    field.fill(text)
    expect(models.locator("#sl-models-recognized")).to_contain_text(says)
    models.keyboard.press("Enter")
    if says.startswith("A "):
        expect(models.get_by_role("button", name="Download 200 MB")).to_be_visible()
    else:
        expect(field).to_have_attribute("aria-invalid", "true")
        assert server.asked == []


def test_a_link_from_another_tab_is_looked_up(models: Page, server: Server) -> None:
    drop(models, {"text/uri-list": "# a comment\nhttps://civitai.com/models/7?modelVersionId=21"})
    expect(models.get_by_role("button", name="Download 200 MB")).to_be_visible()
    address = "https://civitai.com/models/7?modelVersionId=21"
    assert server.asked == [{"reference": address, "file": None}]


@pytest.mark.parametrize(
    ("name", "reason"), [("old.ckpt", "safelight models convert old.ckpt"), ("cat.png", "no model file")]
)
def test_a_refused_file_is_listed_with_its_reason(models: Page, name: str, reason: str) -> None:
    drop(models, {}, name)
    row = models.get_by_role("listitem").filter(has=models.get_by_role("heading", name=name))
    expect(row).to_contain_text(reason)
    expect(row).to_contain_text("Refused; nothing was kept")
    row.get_by_role("button", name=f"Remove from the list: {name}").click()
    expect(row).to_have_count(0)


def drop(page: Page, texts: dict[str, str], file: str = "") -> None:
    """Drop texts by their types, or a file, on the tab."""
    page.evaluate(
        """([texts, file]) => {
          const dataTransfer = new DataTransfer();
          for (const [type, text] of Object.entries(texts)) dataTransfer.setData(type, text);
          if (file) dataTransfer.items.add(new File(["x"], file));
          const init = { dataTransfer, bubbles: true, cancelable: true };
          document.querySelector(".sl-models-list").dispatchEvent(new DragEvent("drop", init));
        }""",
        [texts, file],
    )


def test_the_folder_of_models_is_copied(models: Page) -> None:
    models.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    expect(models.get_by_text("/home/me/safelight/checkpoints")).to_be_visible()
    models.get_by_role("button", name="Copy the path").click()
    expect(models.get_by_text("Copied.")).to_be_visible()


def test_size_and_licence_are_shown_before_a_download(models: Page, server: Server) -> None:
    section = models.get_by_role("region", name="Add a model")
    section.get_by_label("Or a name or link").fill("civitai:7")
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
    assert models.get_by_role("heading", name="Add a model").count() == 0
    assert models.get_by_role("heading", name="Folders of other programs").count() == 0


def test_an_unreachable_server_is_reported_and_can_be_retried(models: Page, server: Server) -> None:
    server.broken = True
    models.reload()
    expect(models.get_by_role("alert")).to_contain_text("No database.")
    server.broken = False
    models.get_by_role("button", name="Try again").click()
    expect(models.get_by_role("heading", name="Checkpoints 2")).to_be_visible()
