"""New elements are scrolled into view: a job's card, the editor, the form; visible elements stay where they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.jobs.worker_processes import wait_for
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import fill_prompt, job_card, submit_prompt, wait_for_state


@pytest.fixture(scope="module")
def drawn(studio: ServeProcess) -> str:
    """The job of a generated image."""
    job = studio.submit(9200, steps=1)
    wait_for(lambda: studio.have_ended(job))
    return job


@pytest.fixture(scope="module")
def phone_page(browser: Browser) -> Iterator[Page]:
    """A page on a telephone."""
    context = browser.new_context(
        viewport={"width": 390, "height": 844}, locale="en-US", has_touch=True, is_mobile=True
    )
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


@pytest.fixture
def phone(phone_page: Page, studio: ServeProcess, drawn: str) -> Page:
    """The web UI on a telephone."""
    return open_page(phone_page, studio.url)


@pytest.fixture
def desktop(page: Page, studio: ServeProcess, drawn: str) -> Page:
    """The web UI on a desktop with reduced motion."""
    page.emulate_media(reduced_motion="reduce")
    return open_page(page, studio.url)


def scroll_position(page: Page) -> float:
    """The page's scroll position."""
    return float(page.evaluate("scrollY"))


def expect_at_top(element: Locator) -> None:
    """Wait until an element starts in the upper half of the window, and stays there."""
    element.page.wait_for_function(
        """(element) => {
            const { top } = element.getBoundingClientRect();
            return top >= 0 && top <= innerHeight / 2;
        }""",
        arg=element.element_handle(),
    )


def test_a_telephone_scrolls_to_the_new_card_and_back(phone: Page) -> None:
    page = phone
    back = page.get_by_role("button", name="Back to the form")
    shown = submit_prompt(page, "a bee, flat style", steps=2, count=1)
    expect_at_top(shown)
    wait_for_state(shown, "succeeded")
    picture = shown.locator(".sl-frame img")
    expect(picture).to_be_in_viewport(ratio=1)
    expect(back).to_be_in_viewport(ratio=1)
    back.tap()
    expect(page.locator("#sl-prompt")).to_be_in_viewport(ratio=1)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#sl-form') !== null")


def test_a_telephone_scrolls_to_the_form_and_to_the_editor(phone: Page, drawn: str) -> None:
    page = phone
    shown = job_card(page, drawn)
    for deed, place in (("Use this", "#sl-prompt"), ("Edit", "#sl-editor .sl-editor-stage")):
        shown.locator(".sl-frame").tap()
        viewer = page.get_by_role("dialog")
        if not viewer.get_by_role("button", name=deed).is_visible():
            viewer.get_by_role("button", name="Details").tap()
        viewer.get_by_role("button", name=deed).tap()
        expect(viewer).to_have_count(0)
        expect(page.locator(place)).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize("press", ["button", "keys"])
def test_a_scrolled_desktop_scrolls_to_the_new_card(desktop: Page, press: str) -> None:
    page = desktop
    page.locator("#sl-fold-hires > button").click()
    page.locator("#sl-hires-strength input[type=range]").scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    fill_prompt(page, "a wasp, flat style", steps=2, count=1)
    field = page.locator("#sl-hires-strength input[type=number]")
    field.focus()
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    assert scroll_position(page) > 200
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as sent:
        if press == "button":
            page.locator("#sl-draw-button").click()
        else:
            page.keyboard.press("Control+Enter")
    shown = job_card(page, sent.value.json()["id"])
    expect_at_top(shown)
    wait_for_state(shown, "succeeded")
    expect(shown.locator(".sl-frame img")).to_be_in_viewport(ratio=1)
    if press == "keys":
        expect(field).to_be_focused()


def test_a_desktop_does_not_scroll_where_the_new_card_is_visible(desktop: Page) -> None:
    page = desktop
    page.evaluate("scrollTo(0, 40)")
    shown = submit_prompt(page, "an ant, flat style", steps=2, count=1)
    wait_for_state(shown, "succeeded")
    assert scroll_position(page) == 40


def test_the_target_of_a_viewer_link_is_in_view_and_focused(desktop: Page, drawn: str) -> None:
    page = desktop
    for tab in ("Create", "Gallery"):
        page.get_by_role("tab", name=tab).click()
        picture = (
            job_card(page, drawn).locator(".sl-frame")
            if tab == "Create"
            else page.locator(".sl-tile img").first
        )
        picture.click()
        page.get_by_role("dialog").get_by_role("button", name="Edit").click()
        stage = page.locator("#sl-editor .sl-editor-stage")
        expect(stage).to_be_in_viewport(ratio=0.9)
        expect(stage).to_be_focused()
    page.get_by_role("tab", name="Gallery").click()
    page.locator(".sl-tile img").first.click()
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as sent:
        page.get_by_role("dialog").get_by_role("button", name="Same seed").click()
    shown = job_card(page, sent.value.json()["id"])
    expect_at_top(shown)
    expect(shown).to_be_focused()
