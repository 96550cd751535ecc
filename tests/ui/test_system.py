"""The System section in a real browser: workers, queue, memory and log."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

HARNESS = """<!doctype html><html lang="en"><title>System</title>
<link rel="stylesheet" href="style.css"><link rel="stylesheet" href="system.css"><main id="root"></main>
<script type="module">
  import { loadTexts } from "./core/text.js";
  import { mount } from "./system.js";
  await loadTexts();
  const job = (id, state, position) => ({ id, owner: "ben", kind: "generate", state, position, eta: 30, created: id,
    progress: state === "running" ? { fraction: 0.5 } : null, request: { prompt: `picture ${id}` } });
  const jobs = [job("c", "succeeded", null), job("b", "queued", 1), job("a", "running", null)];
  const jobStore = { connected: true, newestFirst: () => jobs, subscribe: (listener) => (window.tell = (change) => {
    if (change.job) jobs.splice(0, jobs.length, change.job);
    listener(change);
  }) };
  window.over = () => window.tell({ type: "job", job: { ...jobs[2], state: "succeeded" } });
  mount(document.querySelector("#root"), { me: { role: location.hash.slice(1) || "admin" }, jobStore });
</script></html>"""
DEVICES = [
    {
        "name": "cpu",
        "title": "A processor",
        "precisions": ["fp32", "bf16"],
        "details": "2 threads",
        "used_for": ["denoiser", "vae"],
        "total": 16_000_000_000,
        "free": 12_000_000_000,
    },
    {
        "name": "cuda:0",
        "title": "A card with a name that is as long as those of many graphics cards are, (R) (TM)",
        "precisions": ["fp32"],
        "details": "",
        "used_for": [],
        "total": None,
        "free": None,
    },
]
NOTE = "The device 'xpu' cannot be used. The CPU takes its place, as the setting device_fallback permits."
WORKER = {
    "name": "w",
    "device": "cpu",
    "precision": "fp32",
    "backend": "eager",
    "why": "No accelerator was found.",
    "state": "idle",
    "checkpoints": ["starter"],
    "memory": 1.2e9,
    "shortages": 1,
    "stages": [
        {"family": "sdxl", "stage": "text encoders", "planned": 2_000_000_000, "measured": 1_900_000_000},
        {"family": "sdxl", "stage": "denoise", "planned": None, "measured": 5_000_000_000},
    ],
    "devices": DEVICES,
    "device_notes": [NOTE],
}
STAGE = {
    "name": "denoise",
    "component": "unet",
    "placement": "blocks",
    "weight_bytes": 2_000_000_000,
    "activation_bytes": 900_000_000,
    "peak_bytes": 3_000_000_000,
    "copied_bytes": 80_000_000_000,
    "steps": ["blocks"],
}
PLAN = {
    "checkpoint": "starter",
    "family": "sdxl",
    "width": 1024,
    "height": 1024,
    "worker": "w",
    "device": "cuda",
    "fits": True,
    "precision": "fp16",
    "peak_bytes": 3_000_000_000,
    "usable_bytes": 3_600_000_000,
    "host_bytes": 5_000_000_000,
    "steps_taken": ["phases", "blocks"],
    "stages": [
        STAGE | {"name": "text_encoder_2", "component": "text_encoder_2", "placement": "device"},
        STAGE,
    ],
}
LIMITS = {
    "max_pixels": 64_000_000,
    "max_bytes": 1_000_000,
    "max_frames": 16,
    "queue_capacity": 10,
    "job_retention": 604_800,
}


class Server:
    """A fake server that records requests."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.levels: list[str] = []
        self.samples = 3
        self.planned: list[dict[str, str]] = []
        self.plan_changes: dict[str, Any] = {}
        self.failure: dict[str, str] | None = None

    def answer(self, route: Route) -> None:
        """Answer one request to the API."""
        url = urlsplit(route.request.url)
        self.asked.append(f"{route.request.method} {url.path}")
        if url.path == "/v1/system/log":
            self.levels += parse_qs(url.query)["level"]
            route.fulfill(json={"lines": [line("info", "began"), line("error", "broke")]})
        elif url.path == "/v1/system/memory":
            route.fulfill(json={"every": 10, "samples": [sample(number) for number in range(self.samples)]})
        elif url.path == "/v1/system/plan":
            self.planned.append({name: value for name, (value,) in parse_qs(url.query).items()})
            if self.failure:
                route.fulfill(status=503, json={"error": self.failure})
            else:
                route.fulfill(json=PLAN | self.plan_changes)
        elif url.path == "/v1/models":
            models = [{"id": "flux", "default": False}, {"id": "starter", "default": True}]
            route.fulfill(json={"data": models})
        elif url.path == "/v1/system":
            route.fulfill(json=system())
        else:
            route.fulfill(status=202, json={})


def system() -> dict[str, Any]:
    machine = {"processor": "A processor", "cores": 2, "memory": 16_000_000_000, "features": ["avx2"]}
    versions = {"torch": "2.8", "timm": None}
    named = {"version": "1", "classifier": "open-nsfw", "policy": "standard"}
    return {
        "machine": machine,
        "versions": versions,
        "workers": [WORKER],
        "jobs": {"running": 1},
        "limits": LIMITS,
        **named,
    }


def sample(number: int) -> dict[str, Any]:
    workers = {"w": 2_000_000_000} if number else {}
    return {
        "time": f"2027-01-01T00:00:{number}0Z",
        "server": 300_000_000,
        "workers": workers,
        "free": 9_000_000_000,
    }


def line(level: str, event: str) -> dict[str, Any]:
    return {
        "time": "2027-01-01T00:00:00Z",
        "level": level,
        "event": event,
        "source": "here",
        "fields": {"x": 1},
    }


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def shown(page: Page, static_url: str, server: Server) -> Page:
    page.route(f"{static_url}/part", lambda route: route.fulfill(body=HARNESS, content_type="text/html"))
    page.route("**/v1/**", server.answer)
    page.goto(f"{static_url}/part")
    expect(page.get_by_text("At work, with 1 worker")).to_be_visible()
    return page


def test_workers_reasons_and_limits(shown: Page) -> None:
    worker = shown.get_by_role("article")
    for text in ("w", "idle", "cpu · fp32 · eager", "No accelerator was found.", "1.2 GB", "starter"):
        expect(worker).to_contain_text(text)
    expect(shown.get_by_text("not installed")).to_be_visible()
    expect(shown.get_by_text("64 megapixels")).to_be_visible()


def test_devices_their_memory_what_runs_on_them_and_a_fallback(shown: Page) -> None:
    worker = shown.get_by_role("article")
    expect(worker).to_contain_text(NOTE)
    cpu, card = worker.get_by_role("list", name="Devices").get_by_role("listitem").all()
    for text in (
        "cpu A processor",
        "4 GB of 16 GB are used, 12 GB are free",
        "Runs the denoiser, the autoencoder",
    ):
        expect(cpu).to_contain_text(text)
    expect(cpu.locator(".sl-plan-bar i")).to_have_css("width", re.compile(r"\d+(\.\d+)?px"))
    bar, filled = (cpu.locator(place).bounding_box() for place in (".sl-plan-bar", ".sl-plan-bar i"))
    assert bar is not None
    assert filled is not None
    assert filled["width"] / bar["width"] == pytest.approx(0.25, abs=0.02)
    expect(card).to_contain_text("Nothing runs on it")
    expect(card).not_to_contain_text("null")


@pytest.mark.parametrize(
    ("language", "note"), [("en", NOTE), ("de", "Der Prozessor nimmt"), ("fr", "Le processeur prend")]
)
def test_devices_fit_a_phone_in_every_language(language: str, note: str, shown: Page) -> None:
    shown.set_viewport_size({"width": 375, "height": 800})
    shown.evaluate("(name) => localStorage.setItem('safelight.language', name)", language)
    shown.reload()
    worker = shown.get_by_role("article")
    expect(worker).to_contain_text(note)
    expect(worker.get_by_role("listitem")).to_have_count(2)
    assert shown.evaluate("document.documentElement.scrollWidth") <= 375
    for text in ("{", "undefined", "system."):
        expect(worker).not_to_contain_text(text)


def test_the_queue_and_cancelling(shown: Page, server: Server) -> None:
    rows = shown.locator(".sl-system-queue li")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("running")
    expect(rows.last).to_contain_text("ben")
    shown.get_by_role("button", name="Cancel “picture b”").click()
    expect(rows.last.get_by_role("button")).to_be_disabled()
    assert "DELETE /v1/jobs/b" in server.asked
    shown.evaluate("window.over()")
    expect(shown.get_by_text("Nothing runs and nothing waits.")).to_be_visible()


def test_the_queue_is_rendered_only_while_it_is_visible(shown: Page) -> None:
    rows = shown.locator(".sl-system-queue li")
    expect(rows).to_have_count(2)
    shown.evaluate("document.querySelector('#root').style.display = 'none'")
    shown.wait_for_timeout(500)
    shown.evaluate("window.over()")
    shown.wait_for_timeout(300)
    expect(rows).to_have_count(2)
    shown.evaluate("document.querySelector('#root').style.display = ''")
    expect(shown.get_by_text("Nothing runs and nothing waits.")).to_be_visible()


def test_memory_as_chart_text_and_table(shown: Page) -> None:
    says = "Safelight uses 2.3 GB now, and 9 GB are free."
    expect(shown.get_by_role("img", name=says)).to_be_visible()
    assert shown.locator(".sl-system-chart figure > svg path").count() == 3
    shown.get_by_text("Show as table").click()
    rows = shown.get_by_role("table", name="Memory, the last hour").get_by_role("row")
    expect(rows.nth(1)).to_contain_text("2 GB")  # the newest first
    expect(rows.nth(3).get_by_role("cell")).to_have_text(["9 GB", "300 MB", "\u2013"])


def test_the_plan_of_a_picture(shown: Page, server: Server) -> None:
    section = shown.get_by_role("region", name="Memory of a picture")
    section.scroll_into_view_if_needed()
    expect(section).to_contain_text("1024 \u00d7 1024 takes at most 3 GB of 3.6 GB, on cuda (w) in fp16.")
    expect(section).to_contain_text("Beside it, 5 GB of the host\u2019s memory.")
    steps = section.get_by_role("list", name="What is done to make it fit").get_by_role("listitem")
    expect(steps).to_have_count(2)
    expect(steps.last).to_contain_text("blocks are copied one by one")
    stages = section.locator(".sl-plan-stages li")
    expect(stages.first).to_contain_text("Text encoder 2")
    expect(stages.last).to_contain_text(
        "unet block by block from the host\u2019s memory (80 GB copied a picture)"
    )
    expect(stages.last.get_by_role("img", name="weights 2 GB, activations 900 MB")).to_be_visible()
    assert server.planned[0] == {"checkpoint": "starter"}  # the default one


def test_planned_and_measured(shown: Page) -> None:
    rows = shown.locator(".sl-plan-peaks").get_by_role("row")
    expect(rows.nth(2)).to_contain_text("Text encoders")
    expect(rows.nth(2).get_by_role("cell")).to_have_text(["2 GB", "1.9 GB", "-5%"])
    expect(rows.nth(3).get_by_role("cell")).to_have_text(["\u2013", "5 GB", "\u2013"])
    expect(shown.get_by_text("The memory ran short during 1 picture")).to_be_visible()


def test_another_plan_and_one_that_fails(shown: Page, server: Server) -> None:
    section = shown.get_by_role("region", name="Memory of a picture")
    section.scroll_into_view_if_needed()
    expect(section).to_contain_text("1024")
    section.get_by_label("Checkpoint", exact=True).select_option("flux")
    section.get_by_label("Width in pixels").fill("2048")
    server.plan_changes = {"fits": False, "steps_taken": []}
    with shown.expect_request("**/v1/system/plan?checkpoint=flux&width=2048&height=512"):
        section.get_by_label("Height in pixels").fill("512")
    expect(section).to_contain_text("does not fit")
    assert server.planned[-1] == {"checkpoint": "flux", "width": "2048", "height": "512"}
    section.get_by_label("Width in pixels").fill("7")
    expect(section).to_contain_text("multiples of 8, from 16 to 16384")
    server.failure = {"code": "worker.missing", "message": "There is no worker.", "hint": "Start one."}
    section.get_by_label("Width in pixels").fill("")
    expect(section).to_contain_text("There is no worker. Start one.")


def test_the_log_by_level_and_text(shown: Page, server: Server) -> None:
    log = shown.get_by_role("log")
    log.scroll_into_view_if_needed()
    expect(log.locator("p")).to_have_count(2)
    shown.get_by_label("Lines with these words").fill("BROKE")
    expect(log.locator("p")).to_have_count(1)
    shown.get_by_label("Lines with these words").fill("nothing of the kind")
    expect(log).to_contain_text("No line has these words.")
    with shown.expect_request("**/v1/system/log?*level=error"):
        shown.get_by_label("From which level on").select_option("error")


def test_users_see_no_log(shown: Page, server: Server) -> None:
    shown.goto(shown.url + "#user")
    server.asked.clear()
    shown.reload()
    expect(shown.get_by_text("At work, with 1 worker")).to_be_visible()
    assert shown.get_by_role("log").count() == 0
    assert "GET /v1/system/log" not in server.asked


def test_nothing_is_requested_while_it_is_hidden(shown: Page, server: Server) -> None:
    shown.evaluate("document.querySelector('#root').style.display = 'none'")
    shown.wait_for_timeout(500)
    server.asked.clear()
    shown.wait_for_timeout(3500)
    assert server.asked == []
    shown.evaluate("document.querySelector('#root').style.display = ''")
    with shown.expect_request("**/v1/system"):
        pass
