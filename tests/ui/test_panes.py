"""The panes of the Create tab: both scroll on their own, and what the user asks for is in view, also on a telephone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.jobs.worker_processes import wait_for
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import fill_prompt, on_stage, strip_job, submit_prompt, wait_for_state


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


def test_a_telephone_shows_the_image_after_draw_and_goes_back(phone: Page) -> None:
    page = phone
    shown = submit_prompt(page, "a bee, flat style", steps=2, count=1)
    expect(page.locator("#sl-form")).to_be_hidden()
    wait_for_state(shown, "succeeded")
    expect(on_stage(shown).locator(".sl-frame img")).to_be_in_viewport(ratio=1)
    expect(shown).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Form").tap()
    expect(page.locator("#sl-prompt")).to_be_in_viewport(ratio=1)
    expect(page.locator("#sl-draw-button")).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Pictures").tap()
    expect(on_stage(shown).locator(".sl-frame img")).to_be_in_viewport(ratio=1)


def overlap(one: Locator, other: Locator) -> bool:
    """Whether two elements cover each other."""
    first, second = one.bounding_box(), other.bounding_box()
    assert first is not None
    assert second is not None
    return all(
        first[at] < second[at] + second[size] and second[at] < first[at] + first[size]
        for at, size in (("x", "width"), ("y", "height"))
    )


def test_a_message_covers_neither_strip_nor_buttons(phone: Page, desktop: Page, drawn: str) -> None:
    for page, panes in ((desktop, ("",)), (phone, ("stage", "form"))):
        expect(strip_job(page, drawn)).to_have_count(1)
        page.locator("#sl-recall").click()
        page.locator(".sl-dialog textarea").fill("nothing")
        page.keyboard.press("Control+Enter")
        message = page.locator(".sl-toast")
        for pane in panes:
            if pane:
                page.locator(f'.sl-pane-switch [data-pane="{pane}"]').tap()
            expect(message).to_be_in_viewport(ratio=1)
            page.evaluate(
                "() => new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))"
            )
            for name in (".sl-strip", "#sl-draw", ".sl-pane-switch"):
                if page.locator(name).is_visible():
                    assert not overlap(message, page.locator(name)), (pane, name)


def test_a_narrow_stage_leaves_the_title_its_place(phone: Page, studio: ServeProcess, drawn: str) -> None:
    page = phone
    strip_job(page, drawn).locator(".sl-strip-picture").first.evaluate("button => button.click()")
    page.locator('.sl-pane-switch [data-pane="stage"]').tap()
    head, title = (
        page.locator(".sl-stage-head").bounding_box(),
        page.locator(".sl-stage-title").bounding_box(),
    )
    assert head is not None
    assert title is not None
    assert title["width"] > 0.95 * head["width"]
    expect(page.locator(".sl-stage-status")).to_be_visible()


def test_a_telephone_goes_to_the_form_and_to_the_editor(phone: Page, drawn: str) -> None:
    page = phone
    for action, place in (("Use this", "#sl-prompt"), ("Edit", "#sl-editor .sl-editor-stage")):
        page.get_by_role("button", name="Pictures").tap()
        on_stage(strip_job(page, drawn)).get_by_role("button", name=action).tap()
        expect(page.locator(place)).to_be_in_viewport(ratio=0.9)


@pytest.mark.parametrize("press", ["button", "keys"])
def test_a_scrolled_form_does_not_move_the_stage(desktop: Page, press: str) -> None:
    page = desktop
    page.set_viewport_size({"width": 1360, "height": 560})
    page.locator("#sl-fold-hires > button").click()
    fill_prompt(page, "a wasp, flat style", steps=2, count=1)
    field = page.locator("#sl-hires-strength input[type=number]")
    field.scroll_into_view_if_needed()
    field.focus()
    scrolled = page.locator("#sl-form").evaluate("form => form.scrollTop")
    assert scrolled > 100
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight"), (
        "the window itself does not scroll"
    )
    with page.expect_response(
        lambda answer: answer.url.endswith("/v1/jobs") and answer.status == 202
    ) as sent:
        if press == "button":
            page.locator("#sl-draw-button").click()
        else:
            page.keyboard.press("Control+Enter")
    shown = strip_job(page, sent.value.json()["id"])
    wait_for_state(shown, "succeeded")
    expect(page.locator(".sl-stage-job")).to_have_attribute("data-job", sent.value.json()["id"])
    expect(on_stage(shown).locator(".sl-frame img")).to_be_in_viewport(ratio=1)
    expect(shown).to_be_in_viewport(ratio=1)
    assert page.locator("#sl-form").evaluate("form => form.scrollTop") >= scrolled
    if press == "keys":
        expect(field).to_be_focused()


def test_the_target_of_an_action_is_in_view_and_focused(desktop: Page, drawn: str) -> None:
    page = desktop
    for tab in ("Create", "Gallery"):
        page.get_by_role("tab", name=tab).click()
        picture = (
            on_stage(strip_job(page, drawn)).locator(".sl-frame")
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
    expect(page.locator(".sl-stage-job")).to_have_attribute("data-job", sent.value.json()["id"])
    expect(page.locator(".sl-stage-job")).to_be_visible()
