"""The address says what the page shows: links and Back show it again."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from tests.jobs.worker_processes import wait_for
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import strip_job


@pytest.fixture(scope="module")
def job(studio: ServeProcess) -> str:
    """A job with two pictures."""
    job = studio.submit(9400, steps=1, count=2)
    wait_for(lambda: studio.have_ended(job))
    return job


def open_link(page: Page, studio: ServeProcess, fragment: str) -> Page:
    page.goto("about:blank")
    page.goto(f"{studio.url}/studio/{fragment}")
    page.wait_for_function("window.safelight?.form.ready")
    return page


def test_tabs_and_the_viewer_follow_back_and_forward(page: Page, studio: ServeProcess, job: str) -> None:
    open_page(page, studio.url)
    page.get_by_role("tab", name="Gallery").click()
    expect(page).to_have_url(re.compile(r"#/gallery$"))
    page.locator(".sl-tile img").first.click()
    viewer = page.get_by_role("dialog", name="Picture")
    expect(viewer).to_be_visible()
    shown = page.url
    assert re.search(r"#/gallery/[\w-]+$", shown)
    page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(shown)
    page.go_back()
    expect(viewer).to_be_hidden()
    expect(page).to_have_url(re.compile(r"#/gallery$"))
    page.go_forward()
    expect(viewer).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(shown)
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    page.get_by_role("tab", name="System").click()
    page.go_back()
    expect(page.get_by_role("tab", name="Gallery")).to_have_attribute("aria-selected", "true")
    page.go_back()
    expect(page.get_by_role("tab", name="Create")).to_have_attribute("aria-selected", "true")
    open_link(page, studio, shown.partition("/studio/")[2])
    expect(page.get_by_role("dialog", name="Picture")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("tab", name="Gallery")).to_have_attribute("aria-selected", "true")


def test_a_search_is_linked_and_typing_adds_no_steps(page: Page, studio: ServeProcess, job: str) -> None:
    open_link(page, studio, "#/gallery?q=apple")
    search = page.get_by_role("searchbox")
    expect(search).to_have_value("apple")
    steps = page.evaluate("history.length")
    search.fill("apple 9400")
    expect(page).to_have_url(re.compile(r"#/gallery\?q=apple\+9400$"))
    expect(page.locator(".sl-tile")).to_have_count(2)
    assert page.evaluate("history.length") == steps
    page.get_by_role("button", name="Favourites").click()
    expect(page).to_have_url(re.compile(r"favourite=1"))
    expect(page.locator(".sl-gallery")).to_contain_text("No picture matches")
    page.go_back()
    expect(page.locator(".sl-tile")).to_have_count(2)
    page.get_by_role("tab", name="Models").click()
    page.get_by_role("tab", name="Gallery").click()
    expect(page).to_have_url(re.compile(r"#/gallery\?q=apple\+9400$"))
    page.reload()
    expect(page.get_by_role("searchbox")).to_have_value("apple 9400")


def test_the_stage_is_linked(page: Page, studio: ServeProcess, job: str) -> None:
    open_page(page, studio.url)
    strip_job(page, job).locator(".sl-strip-picture").nth(1).click()
    expect(page).to_have_url(re.compile(rf"#/create/{job}/1$"))
    newer = studio.submit(9401, steps=1)
    wait_for(lambda: studio.have_ended(newer))
    page.reload()
    expect(page.locator(".sl-stage-job")).to_have_attribute("data-job", job)
    expect(page.locator(".sl-stage-job .sl-frame")).to_have_count(1)
    page.locator(".sl-stage-job .sl-frame").click()
    expect(page.get_by_role("dialog", name="Picture")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("dialog", name="Picture")).to_be_hidden()
    expect(page).to_have_url(re.compile(rf"#/create/{job}/1$"))


def test_what_the_viewer_queues_is_on_the_stage_afterwards(
    page: Page, studio: ServeProcess, job: str
) -> None:
    open_link(page, studio, f"#/create/{job}/0")
    page.locator(".sl-stage-job .sl-frame").click()
    with page.expect_response(lambda answer: answer.url.endswith("/v1/jobs")) as sent:
        page.get_by_role("dialog", name="Picture").get_by_role("button", name="Same seed").click()
    again = sent.value.json()["id"]
    expect(page.get_by_role("dialog", name="Picture")).to_be_hidden()
    expect(page.locator(".sl-stage-job")).to_have_attribute("data-job", again)
    expect(page).to_have_url(re.compile(rf"#/create/{again}$"))
    wait_for(lambda: studio.have_ended(again))


@pytest.mark.parametrize(
    ("fragment", "says"),
    [
        ("#/gallery/0000000000-0", "This picture does not exist"),
        ("#/create/" + "0" * 27, "This job is not listed any more"),
        ("#/nowhere", "no tab “nowhere”"),
    ],
)
def test_an_unknown_address_is_reported(page: Page, studio: ServeProcess, fragment: str, says: str) -> None:
    open_link(page, studio, fragment)
    expect(page.get_by_role("alert")).to_contain_text(says)
    expect(page).not_to_have_url(re.compile(re.escape(fragment)))
