"""The stage of the Create tab: images of any size, on any screen, and load errors are reported."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import CDPSession, Locator, Page, expect
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import WINDOW, open_page
from tests.ui.generation import GENERATION_TIMEOUT, job_of, on_stage, strip_job, submit_prompt, wait_for_state


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


@pytest.fixture
def toy(studio: ServeProcess, tiny: Callable[[str], Path]) -> Iterator[str]:
    """A checkpoint that generates large pictures in a moment; other tests count checkpoints, so it goes again."""
    folder = studio.home / "checkpoints" / "toy"
    shutil.copytree(tiny("sd1"), folder)
    yield folder.name
    shutil.rmtree(folder)


SIZES = ((768, 512), (512, 768), (1024, 1024))
WIDEST = (2048, 1024)
WINDOWS = ((1360, 880), (1920, 1080), (768, 1024), (390, 844))


def test_images_of_any_size_are_shown_as_large_as_they_fit(
    open_studio: Page, studio: ServeProcess, toy: str
) -> None:
    page = open_studio
    jobs = {size: studio.submit(1, checkpoint=toy, width=size[0], height=size[1]) for size in SIZES}
    jobs[WIDEST] = submit_upscaling(studio, *WIDEST)
    for size, job in jobs.items():
        shown = strip_job(page, job)
        wait_for_state(shown, "succeeded")
        stage = on_stage(shown)
        for width, height in WINDOWS:
            page.set_viewport_size({"width": width, "height": height})
            if width <= 900:
                page.locator('.sl-pane-switch [data-pane="stage"]').click()
            image = stage.locator(".sl-frame img")
            page.evaluate(
                "() => new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))"
            )  # the layout follows the window's size
            natural = natural_size(image)
            expect(stage.locator(".sl-broken-says")).to_have_count(0)
            box, area = image.bounding_box(), stage.locator(".sl-stage-area").bounding_box()
            assert box is not None
            assert area is not None
            assert box["width"] / box["height"] == pytest.approx(size[0] / size[1], rel=0.02)
            fits = min(area["width"] / size[0], area["height"] / size[1], 2)
            assert box["width"] == pytest.approx(size[0] * fits, abs=1), (size, width, area)
            assert min(natural[0], size[0]) >= min(box["width"], size[0]) - 1, (
                "the file has the screen's resolution"
            )
            expect(image).to_be_in_viewport(ratio=1)
        page.set_viewport_size(WINDOW)


def test_several_images_are_a_grid_of_which_one_is_chosen_by_mouse_and_keys(open_studio: Page) -> None:
    page = open_studio
    shown = submit_prompt(page, "a bus, flat style", steps=2, count=4, seed="40", width=128, height=128)
    stage = on_stage(shown)
    wait_for_state(shown, "succeeded")
    frames = stage.locator(".sl-frame")
    expect(frames).to_have_count(4)
    boxes = [frame.bounding_box() or {} for frame in frames.all()]
    assert len({box["x"] for box in boxes}) == len({box["y"] for box in boxes}) == 2, "two by two"
    frames.nth(2).click()
    expect(frames).to_have_count(1)
    expect(shown.locator("[aria-current]")).to_have_attribute("aria-label", "a bus, flat style, picture 3")
    page.keyboard.press("ArrowRight")
    expect(shown.locator("[aria-current]")).to_have_attribute("aria-label", "a bus, flat style, picture 4")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Picture")).to_contain_text("4 of 4")
    page.keyboard.press("Escape")
    stage.get_by_role("button", name="All pictures of this job").click()
    expect(frames).to_have_count(4)


def test_small_images_are_enlarged_twice_at_most_unless_the_user_fills_the_stage(open_studio: Page) -> None:
    page = open_studio
    shown = submit_prompt(page, "a cup, flat style", steps=1, count=1, width=128, height=128)
    wait_for_state(shown, "succeeded")
    stage = on_stage(shown)
    image = stage.locator(".sl-frame img")
    expect(image).to_be_visible()
    scale = stage.locator(".sl-stage-scale")
    expect(scale).to_contain_text("200%")
    assert (image.bounding_box() or {})["width"] == pytest.approx(256, abs=1)
    scale.click()
    expect(scale).not_to_contain_text("200%")
    assert (image.bounding_box() or {})["width"] > 400


def test_jobs_that_run_at_once_are_said(open_studio: Page, studio: ServeProcess) -> None:
    jobs = [studio.submit(seed, steps=150) for seed in (70, 71)]
    stage = on_stage(strip_job(open_studio, jobs[0]))
    expect(stage.locator(".sl-stage-status")).to_contain_text("2 at once", timeout=GENERATION_TIMEOUT)
    for job in jobs:
        studio.request("DELETE", f"/v1/jobs/{job}")


def test_an_arrow_key_on_a_slider_does_not_change_what_the_stage_shows(
    open_studio: Page, studio: ServeProcess
) -> None:
    page = open_studio
    shown = submit_prompt(page, "a key, flat style", steps=1, count=1)
    wait_for_state(shown, "succeeded")
    page.locator("#sl-steps input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".sl-stage-job")).to_have_attribute("data-job", job_of(studio, shown)["id"])


def test_places_of_images_to_come_have_the_checkpoints_size(open_studio: Page, studio: ServeProcess) -> None:
    assert studio.request("POST", "/v1/queue/pause", json={}).status_code == 200
    try:
        request = {"kind": "generate", "prompt": "a fan, flat style"}
        job = studio.request("POST", "/v1/jobs", json=request).json()["id"]
        strip_job(open_studio, job).locator(".sl-strip-picture").click()
        expect(open_studio.locator(".sl-stage-scale")).to_contain_text("128 \N{MULTIPLICATION SIGN} 128")
        box = open_studio.locator(".sl-slot").bounding_box()
        assert box is not None
        assert box["width"] == pytest.approx(256, abs=1)
        strip_job(open_studio, job).locator(".sl-strip-picture").focus()
        open_studio.keyboard.press("Shift+F10")
        open_studio.get_by_role("menuitem", name="Cancel").click()
        wait_for_state(strip_job(open_studio, job), "cancelled")
        strip_job(open_studio, job).locator(".sl-strip-picture").click(button="right")
        open_studio.get_by_role("menuitem", name="Remove from the film strip").click()
        expect(strip_job(open_studio, job)).to_have_count(0)
    finally:
        studio.request("POST", "/v1/queue/resume", json={})


def test_the_empty_stage_offers_prompts(page: Page, studio: ServeProcess) -> None:
    page = page.context.new_page()  # the route stays for as long as its page
    page.route_web_socket(re.compile("/v1/live"), lambda socket: socket.send('{"type": "hello", "jobs": []}'))
    open_page(page, studio.url)
    page.get_by_role("button", name="a red apple, 3d style").click()
    expect(page.locator("#sl-prompt textarea")).to_have_value("a red apple, 3d style")
    expect(page.locator("#sl-draw-button")).to_be_focused()


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
    shown = strip_job(open_studio, job)
    wait_for_state(shown, "succeeded")
    assert natural_size(on_stage(shown).locator(".sl-frame img").first)[0] == {1: 640, 2: 640}[ratio]


def test_a_killed_server_comes_back_and_load_errors_are_retried(
    open_studio: Page, studio: ServeProcess
) -> None:
    page = open_studio
    files = re.compile("/file$")
    page.route(files, lambda route: route.abort())
    shown = submit_prompt(page, "a leaf, flat style", steps=1, count=1)
    wait_for_state(shown, "succeeded")
    stage = on_stage(shown)
    expect(stage.get_by_text("This picture could not be loaded.")).to_be_visible()
    page.unroute(files)
    studio.kill("api")
    expect(page.get_by_text("Connection lost")).to_be_visible()
    expect(page.get_by_text("Connection lost")).to_be_hidden(timeout=300_000)
    assert natural_size(stage.locator(".sl-frame img"))[0] == 128
    expect(stage.locator(".sl-broken-says")).to_have_count(0)
    wait_for_state(submit_prompt(page, "a house, 3d style", steps=2, count=1), "succeeded")
