"""The images on the cards of the Create tab: large ones are shown, on any screen, and load errors are reported."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import CDPSession, Locator, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import WINDOW
from tests.ui.generation import job_card, submit_prompt, wait_for_state


def natural_size(image: Locator) -> tuple[int, int]:
    """The size in pixels of the file that a page shows, once it is loaded."""
    expect(image).to_be_visible()
    image.evaluate("image => image.decode()")
    width, height = image.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    return width, height


def submit_upscaling(studio: ServeProcess, width: int, height: int) -> str:
    """Queue a job whose picture has this size; it takes less time than to generate one."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((width // 2, height // 2)).save(buffer, "PNG")
    request = {"request": '{"kind": "upscale", "by": 2, "upscaler": "lanczos"}'}
    sent = studio.request("POST", "/v1/jobs", data=request, files={"image": buffer.getvalue()})
    assert sent.status_code == 202, sent.text
    return str(sent.json()["id"])


def test_images_of_any_size_are_shown(open_studio: Page, studio: ServeProcess) -> None:
    jobs = {size: submit_upscaling(studio, *size) for size in ((768, 512), (512, 768), (1024, 1024))}
    for size, job in jobs.items():
        shown = job_card(open_studio, job)
        wait_for_state(shown, "succeeded")
        image = shown.locator(".sl-frame img")
        assert natural_size(image) == size
        expect(shown.locator(".sl-broken-says")).to_have_count(0)
        box = image.bounding_box()
        assert box is not None
        assert box["width"] / box["height"] == pytest.approx(size[0] / size[1], rel=0.02)


@pytest.fixture(params=[1, 2])
def ratio(request: pytest.FixtureRequest, shared_session: CDPSession) -> Iterator[float]:
    """The number of the screen's pixels in one of the page's, in each direction."""
    metrics = {**WINDOW, "deviceScaleFactor": request.param, "mobile": False}
    shared_session.send("Emulation.setDeviceMetricsOverride", metrics)
    yield request.param
    shared_session.send("Emulation.setDeviceMetricsOverride", metrics | {"deviceScaleFactor": 1})


def test_several_images_have_the_resolution_of_the_screen(
    ratio: float, open_studio: Page, studio: ServeProcess
) -> None:
    job = studio.submit(9100, width=640, height=64, count=2, steps=1)
    shown = job_card(open_studio, job)
    wait_for_state(shown, "succeeded")
    assert natural_size(shown.locator(".sl-frame img").first)[0] == {1: 512, 2: 640}[ratio]


def test_a_killed_server_comes_back_and_load_errors_are_retried(
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
    wait_for_state(submit_prompt(page, "a house, 3d style", steps=2, count=1), "succeeded")
