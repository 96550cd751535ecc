"""The queue's drawer, its button in the header, and what the page says where it is not seen."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.jobs.worker_processes import wait_for
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page

PROMPTS = ("a red apple", "a green pear", "a blue plum")


@pytest.fixture
def paused(studio: ServeProcess) -> Iterator[list[str]]:
    """Three jobs that wait in a paused queue."""
    studio.request("POST", "/v1/queue/pause")
    jobs = [
        studio.request(
            "POST",
            "/v1/jobs",
            json={"kind": "generate", "prompt": prompt, "steps": 1, "width": 64, "height": 64},
        ).json()["id"]
        for prompt in PROMPTS
    ]
    yield jobs
    studio.request("POST", "/v1/jobs/cancel", json={"ids": jobs})
    studio.request("POST", "/v1/queue/resume")


@pytest.fixture(scope="module")
def phone(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, locale="en-US", has_touch=True, is_mobile=True
    )
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def open_queue(page: Page) -> Locator:
    """The drawer, opened by its button."""
    page.locator(".sl-queue-button").click()
    drawer = page.get_by_role("complementary", name="Queue")
    expect(drawer).to_be_visible()
    return drawer


def waiting(drawer: Locator) -> Locator:
    return drawer.locator(".sl-queue-waiting .sl-queue-row")


def queued_jobs(studio: ServeProcess) -> list[str]:
    """Ids of the waiting jobs, in the server's order."""
    places = studio.request("GET", "/v1/queue").json()["jobs"]
    return [each["id"] for each in places if each["state"] == "queued"]


def expect_order(drawer: Locator, studio: ServeProcess, jobs: list[str]) -> None:
    """The jobs are in this order on the page and on the server."""
    for at, job in enumerate(jobs):
        expect(waiting(drawer).nth(at)).to_have_attribute("data-job", job)
    wait_for(lambda: queued_jobs(studio) == jobs)


def test_jobs_are_moved_with_the_mouse_and_with_keys(
    open_studio: Page, studio: ServeProcess, paused: list[str]
) -> None:
    page = open_studio
    first, second, third = paused
    drawer = open_queue(page)
    expect(waiting(drawer)).to_have_count(3)
    expect_order(drawer, studio, paused)

    handle = waiting(drawer).nth(2).get_by_role("button", name="Move “a blue plum” up or down")
    box, target = handle.bounding_box(), waiting(drawer).first.bounding_box()
    assert box
    assert target
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + 10, target["y"] + 30, steps=4)
    page.mouse.move(box["x"] + 10, target["y"] - 4)
    page.mouse.up()
    expect_order(drawer, studio, [third, first, second])

    waiting(drawer).nth(0).get_by_role("link").focus()
    page.keyboard.press("Alt+ArrowDown")
    expect_order(drawer, studio, [first, third, second])
    expect(waiting(drawer).nth(1).get_by_role("link")).to_be_focused()
    waiting(drawer).nth(2).get_by_role("button", name="Sooner: “a green pear”").click()
    expect_order(drawer, studio, [first, second, third])
    expect(drawer.get_by_text("“a green pear” is now at place 2.")).to_be_attached()


def test_jobs_are_moved_with_a_finger(phone: Page, studio: ServeProcess, paused: list[str]) -> None:
    page = open_page(phone, studio.url)
    first, second, third = paused
    page.locator(".sl-queue-button").tap()
    drawer = page.get_by_role("complementary", name="Queue")
    expect(waiting(drawer)).to_have_count(3)
    handle = waiting(drawer).first.locator(".sl-queue-handle").bounding_box()
    below = waiting(drawer).nth(1).bounding_box()
    assert handle
    assert below
    assert min(handle["width"], handle["height"]) >= 44
    session = page.context.new_cdp_session(page)

    def touch(kind: str, y: float | None) -> None:
        points = [] if y is None else [{"x": handle["x"] + 20, "y": y}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", handle["y"] + 20)
    for y in (handle["y"] + 40, below["y"] + 20, below["y"] + 40):
        touch("touchMove", y)
    touch("touchEnd", None)
    session.detach()
    expect_order(drawer, studio, [second, first, third])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_a_paused_queue_is_resumed_and_jobs_are_cancelled_and_cleared(
    open_studio: Page, studio: ServeProcess, paused: list[str]
) -> None:
    page = open_studio
    expect(page.locator(".sl-queue-button")).to_have_attribute("aria-label", "Queue, paused, 3 waiting")
    expect(page.locator(".sl-draw-says")).to_have_text("The queue is paused · 3 jobs on their way")
    drawer = open_queue(page)
    expect(drawer).to_contain_text("nothing starts until the queue is resumed")
    drawer.get_by_role("button", name="Cancel “a green pear”").click()
    expect(waiting(drawer)).to_have_count(2)
    assert studio.job(paused[1])["state"] == "cancelled"

    drawer.get_by_role("button", name="Cancel all").click()
    assert len(queued_jobs(studio)) == 2, "the first press asks"
    drawer.get_by_role("button", name="Really cancel 2 jobs?").click()
    expect(waiting(drawer)).to_have_count(0)
    assert {studio.job(job)["state"] for job in paused} == {"cancelled"}

    expect(drawer.locator(".sl-queue-finished .sl-queue-row")).not_to_have_count(0)
    drawer.get_by_role("button", name="Clear").click()
    expect(drawer.locator(".sl-queue-finished .sl-queue-row")).to_have_count(0)
    drawer.get_by_role("button", name="Resume").click()
    expect(drawer.get_by_role("button", name="Pause")).to_be_visible()
    assert studio.request("GET", "/v1/queue").json()["paused"] is False


def test_keys_open_and_close_the_drawer(open_studio: Page) -> None:
    page = open_studio
    drawer = page.locator("#sl-queue")
    page.locator("#sl-form").focus()
    page.keyboard.press("q")
    expect(drawer).to_be_focused()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()
    expect(page.locator(".sl-queue-button")).to_be_focused()
    page.keyboard.press("Enter")
    expect(drawer).to_be_visible()
    page.locator("#sl-form").focus()
    page.keyboard.press("Escape")
    expect(drawer).to_be_hidden()


HIDDEN = """() => {
  Object.defineProperty(document, "hidden", { get: () => window.isHidden, configurable: true });
  window.isHidden = true;
  window.notices = [];
  window.Notification = class {
    static permission = "granted";
    static requestPermission = async () => "granted";
    constructor(title, options) { window.notices.push([title, options.body]); }
  };
}"""
"""Pretends that the page is hidden, as the browser's window cannot be, and records its notices."""


def test_the_title_and_the_icon_show_the_progress(
    page: Page, studio: ServeProcess, paused: list[str]
) -> None:
    page = page.context.new_page()  # a script for every document stays with its page
    page.add_init_script(f"({HIDDEN})()")
    open_page(page, studio.url)
    expect(page).to_have_title("Paused · Safelight")
    page.evaluate("document.title = 'Safelight'")  # as Gradio does once it has loaded
    expect(page).to_have_title("Paused · Safelight")
    drawer = open_queue(page)
    drawer.get_by_role("switch", name="Notify me when a job is done").check()
    expect(drawer.get_by_role("switch")).to_be_checked()
    wait_for(lambda: studio.request("GET", "/v1/preferences").json()["notify_when_done"] is True)

    studio.request("POST", "/v1/jobs/cancel", json={"state": "queued"})
    expect(page).to_have_title("Safelight")
    slow = studio.request(
        "POST", "/v1/jobs", json={"kind": "generate", "prompt": "a slow snail", "steps": 150}
    ).json()["id"]
    studio.request("POST", "/v1/queue/resume")
    expect(page).to_have_title(re.compile(r"^\d+% · Safelight$"))
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", re.compile("^data:image/png"))
    expect(drawer.locator(f'.sl-queue-running [data-job="{slow}"]')).to_be_visible()
    studio.request("POST", f"/v1/jobs/{slow}/finish")
    expect(page).to_have_title("✓ Done · Safelight")
    expect(page.locator("link[rel=icon]")).to_have_attribute("href", "/favicon.svg")
    assert page.evaluate("notices") == [["A job is done", "a slow snail"]]
    page.evaluate("window.isHidden = false; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page).to_have_title("Safelight")
    studio.request("PATCH", "/v1/preferences", json={"notify_when_done": None})
