"""The images on the cards of the Create tab: large ones are shown, on any screen, and load errors are reported."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import job_card, submit_prompt, wait_for_state


def natural_size(image: Locator) -> tuple[int, int]:
    """The size in pixels of the file that a page shows, once it is loaded."""
    expect(image).to_be_visible()
    image.evaluate("image => image.decode()")
    width, height = image.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    return width, height


@pytest.mark.parametrize("size", [(768, 512), (512, 768), (1024, 1024)])
def test_images_of_any_size_are_shown(open_studio: Page, size: tuple[int, int]) -> None:
    width, height = size
    shown = submit_prompt(open_studio, "a red apple, 3d style", width=width, height=height, steps=1, count=1)
    wait_for_state(shown, "succeeded")
    image = shown.locator(".sl-frame img")
    assert natural_size(image) == size
    expect(shown.locator(".sl-broken-says")).to_have_count(0)
    box = image.bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(width / height, rel=0.02)


@pytest.mark.parametrize(("ratio", "side"), [(1, 512), (2, 640)])
def test_several_images_have_the_resolution_of_the_screen(
    browser: Browser, studio: ServeProcess, ratio: float, side: int
) -> None:
    job = studio.submit(9100, width=640, height=64, count=2, steps=1)
    context = browser.new_context(
        viewport={"width": 1360, "height": 880}, device_scale_factor=ratio, locale="en-US"
    )
    context.set_default_timeout(60_000)
    shown = job_card(open_page(context.new_page(), studio.url), job)
    wait_for_state(shown, "succeeded")
    assert natural_size(shown.locator(".sl-frame img").first)[0] == side
    context.close()


def test_a_load_error_is_shown_and_retried_when_the_server_is_back(
    open_studio: Page, studio: ServeProcess
) -> None:
    page = open_studio
    thumbnails = re.compile("/thumbnail")
    page.route(thumbnails, lambda route: route.abort())
    shown = submit_prompt(page, "a leaf, flat style", steps=1, count=1)
    wait_for_state(shown, "succeeded")
    expect(shown.get_by_text("This picture could not be loaded.")).to_be_visible()
    page.unroute(thumbnails)
    studio.kill("api")
    expect(page.get_by_text("Connection lost")).to_be_visible()
    expect(page.get_by_text("Connection lost")).to_be_hidden(timeout=300_000)
    assert natural_size(shown.locator(".sl-frame img"))[0] == 128
    expect(shown.locator(".sl-broken-says")).to_have_count(0)
