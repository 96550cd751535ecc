"""The gallery in a real browser: twelve hundred images are found, browsed, marked, deleted."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from tests.server.fake_worker import FakeWorker
from tests.server.serve_process import ServeProcess
from tests.ui.large_gallery import MANY, expect_count, open_gallery, run_large_gallery, tile


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[ServeProcess]:
    with run_large_gallery(tmp_path_factory.mktemp("filled")) as running:
        yield running


@pytest.fixture
def gallery(filled: ServeProcess, page: Page) -> Locator:
    return open_gallery(page, filled.url)


def test_only_images_near_the_viewport_are_in_the_page(gallery: Locator) -> None:
    expect_count(gallery, "1,200 pictures")
    assert gallery.get_by_role("gridcell").count() < 150
    grid = gallery.get_by_role("grid")
    rows, columns = (int(grid.get_attribute(f"aria-{name}count") or 0) for name in ("row", "col"))
    assert (rows - 1) * columns < MANY <= rows * columns
    tile(gallery, MANY - 4).focus()
    gallery.page.keyboard.press("Control+End")
    expect(tile(gallery, 0)).to_be_focused()
    expect(tile(gallery, 0).locator("img")).to_be_visible()
    assert gallery.get_by_role("gridcell").count() < 150
    expect(gallery.locator(".sl-gallery-day")).to_contain_text("November 20")


def test_search_and_filters_together(gallery: Locator) -> None:
    gallery.get_by_role("searchbox").fill("lightho")
    expect_count(gallery, "12 pictures found")
    gallery.get_by_label("Sampler").select_option("Heun")
    expect_count(gallery, "4 pictures found")
    gallery.page.reload()
    gallery.page.wait_for_function("window.safelight?.form.ready")
    gallery.page.get_by_role("tab", name="Gallery").click()
    expect_count(gallery, "4 pictures found")
    gallery.get_by_role("searchbox").fill("nothing of the kind")
    expect(gallery.get_by_text("No picture matches")).to_be_visible()
    gallery.locator(".sl-empty").get_by_role("button", name="Clear filters").click()
    expect_count(gallery, "1,200 pictures")


def test_decisions_are_shown_and_blocked_images_hidden(gallery: Locator) -> None:
    page = gallery.page
    expect(tile(gallery, MANY - 2).locator("img")).to_have_count(0)
    veiled = tile(gallery, MANY - 3).locator(".sl-tile-blurred img")
    assert re.search(r"side=16\b", veiled.get_attribute("src") or "")
    gone = re.compile("Cannot be shown|no longer there")  # the latter once somebody has asked for the file
    expect(tile(gallery, MANY - 1)).to_contain_text(gone)
    tile(gallery, MANY - 3).click()
    viewer = page.get_by_role("dialog")
    reveal = viewer.get_by_role("button", name="Marked for review")
    expect(reveal).to_be_visible()
    reveal.click()
    expect(viewer.locator(".sl-viewer-picture img.sl-loaded")).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(viewer).to_contain_text("The policy blocked this picture")
    for name in ("Use this", "Vary", "Compare with the one before", "Zoom in"):
        expect(viewer.get_by_role("button", name=name, exact=True)).to_have_count(0)
    expect(viewer.get_by_role("link", name="Download")).to_have_count(0)
    expect(viewer.get_by_role("button", name="Delete", exact=True)).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(viewer).to_contain_text("file is gone")
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(tile(gallery, MANY - 1)).to_be_focused()


def test_keys_navigate_mark_and_delete(gallery: Locator, filled: ServeProcess) -> None:
    page = gallery.page
    tile(gallery, MANY - 4).focus()
    page.keyboard.press("ArrowRight")
    expect(tile(gallery, MANY - 5)).to_be_focused()
    page.keyboard.press("f")
    expect(tile(gallery, MANY - 5).get_by_label("Favourite")).to_have_attribute("aria-pressed", "true")
    gallery.get_by_role("button", name="Favourites").click()
    expect_count(gallery, "1 picture found")
    tile(gallery, MANY - 5).focus()
    page.keyboard.press("f")
    gallery.get_by_role("button", name="Favourites").click()
    tile(gallery, MANY - 6).focus()
    page.keyboard.press("Delete")
    expect(tile(gallery, MANY - 6)).to_have_count(0)
    expect(tile(gallery, MANY - 7)).to_be_focused()
    page.get_by_role("button", name="Undo").click()
    expect(tile(gallery, MANY - 6)).to_be_visible()
    found = filled.request("GET", "/v1/gallery?query=boat&limit=10").json()["entries"]
    assert f"number {MANY - 6} boat" in [entry["prompt"] for entry in found]


def test_a_deleted_picture_is_gone_for_good(gallery: Locator, filled: ServeProcess) -> None:
    found = filled.request("GET", "/v1/gallery?query=lighthouse&limit=1").json()["entries"][0]
    gallery.get_by_role("searchbox").fill("lighthouse")
    expect_count(gallery, "12 pictures found")
    tile(gallery, MANY - 100).focus()
    gallery.page.keyboard.press("Delete")
    expect_count(gallery, "11 pictures found")
    gallery.page.evaluate("window.safelight.actions?.finish()")
    gallery.page.reload()  # leaving the page deletes at once
    gallery.page.wait_for_function("window.safelight?.form.ready")
    assert filled.request("GET", f"/v1/gallery/{found['id']}").status_code == 404


def test_zoom_and_pan(gallery: Locator) -> None:
    page = gallery.page
    tile(gallery, MANY - 4).click()
    viewer = page.get_by_role("dialog")
    picture = viewer.locator(".sl-viewer-picture img.sl-loaded")
    expect(picture).to_be_visible()
    before = picture.bounding_box()
    for _ in range(12):
        page.keyboard.press("+")
    zoomed = picture.bounding_box()
    page.keyboard.press("ArrowRight")  # panning at the edge opens no other image
    expect(viewer).to_contain_text(f"number {MANY - 4} ")
    panned = picture.bounding_box()
    page.keyboard.press("0")
    fitted = picture.bounding_box()
    assert before is not None
    assert zoomed is not None
    assert panned is not None
    assert zoomed["width"] > 1.5 * before["width"]
    assert panned["x"] < zoomed["x"]
    assert fitted == before
    page.keyboard.press("ArrowRight")
    expect(viewer).to_contain_text(f"number {MANY - 5} ")


def test_a_failed_download_is_not_called_missing(gallery: Locator) -> None:
    page = gallery.page
    files = re.compile("/file$")
    page.route(files, lambda route: route.abort())
    tile(gallery, MANY - 4).click()
    viewer = page.get_by_role("dialog")
    expect(viewer).to_contain_text("This picture could not be loaded.")
    page.unroute(files)
    viewer.get_by_role("button", name="Try again").click()
    expect(viewer.locator(".sl-viewer-picture img.sl-loaded")).to_be_visible()
    expect(viewer).not_to_contain_text("could not be loaded")
    page.keyboard.press("Escape")
    tile(gallery, MANY - 1).click()
    expect(viewer).to_contain_text("file is gone.")


def test_a_missing_file_stays_missing_when_an_older_record_arrives(gallery: Locator) -> None:
    """The record was requested before anybody had noticed that the file is gone."""
    page = gallery.page
    held: list[Route] = []
    records = re.compile("/v1/gallery/[0-9a-z]+$")
    page.route(records, lambda route: held.append(route))
    with page.expect_request(records):
        tile(gallery, MANY - 1).click()
    viewer = page.get_by_role("dialog")
    expect(viewer).to_contain_text("file is gone.")
    with page.expect_response(records):
        held[0].fulfill(json=held[0].fetch().json() | {"missing": False})
    page.evaluate("new Promise((resolve) => setTimeout(resolve))")  # the response has been rendered
    expect(viewer).to_contain_text("file is gone.", timeout=1)


def test_new_images_appear_without_moving_the_current_one(gallery: Locator, filled: ServeProcess) -> None:
    page = gallery.page
    gallery.get_by_role("grid").evaluate("grid => grid.scrollTop = 3000")
    page.wait_for_timeout(300)
    first = gallery.get_by_role("gridcell").first
    expect(first).to_be_attached()
    worker = FakeWorker(filled.home)
    worker.start()
    filled.submit(77)
    fresh = gallery.get_by_role("button", name="1 new picture")
    expect(fresh).to_be_visible(timeout=300_000)
    assert gallery.get_by_role("grid").evaluate("grid => grid.scrollTop") == 3000
    fresh.click()
    expect(gallery.get_by_role("gridcell", name=re.compile("^a red apple 77"))).to_be_visible()
    worker.stop()
