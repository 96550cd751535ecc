"""Several pictures of the gallery at once, in a real browser: with the mouse, with keys, and with a finger."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect
from tests.server.serve_process import ServeProcess
from tests.ui.large_gallery import MANY, expect_count, open_gallery, run_large_gallery, tile


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[ServeProcess]:
    with run_large_gallery(tmp_path_factory.mktemp("selected")) as running:
        yield running


@pytest.fixture
def gallery(filled: ServeProcess, page: Page) -> Locator:
    return open_gallery(page, filled.url)


def expect_selected(gallery: Locator, number: int) -> None:
    text = f"{number:,} selected" if number else "Select pictures"
    expect(gallery.locator(".sl-selection-count")).to_have_text(text)


def act(gallery: Locator, name: str) -> None:
    gallery.get_by_role("toolbar").get_by_role("button", name=name, exact=True).click()


def found(filled: ServeProcess, **filters: Any) -> list[dict[str, Any]]:
    """Entries that the server finds, at most a page."""
    entries: list[dict[str, Any]] = filled.request(
        "GET", "/v1/gallery", params={"limit": 500, **filters}
    ).json()["entries"]
    return entries


def numbers(entries: list[dict[str, Any]]) -> list[int]:
    return [int(entry["seed"]) for entry in entries]


def test_ten_are_deleted_with_three_clicks(gallery: Locator) -> None:
    page = gallery.page
    tile(gallery, MANY - 4).hover()
    tile(gallery, MANY - 4).get_by_role("button", name="Select").click()
    tile(gallery, MANY - 13).click(modifiers=["Shift"])
    expect_selected(gallery, 10)
    act(gallery, "Delete")
    expect_count(gallery, "1,190 pictures")
    expect(page.locator(".sl-toast")).to_have_count(1)
    expect(page.locator(".sl-toast")).to_contain_text("10 pictures deleted")
    expect(tile(gallery, MANY - 4)).to_have_count(0)
    expect(tile(gallery, MANY - 14)).to_be_focused()
    expect(gallery.get_by_role("toolbar")).to_be_hidden()
    page.get_by_role("button", name="Undo").click()
    expect_count(gallery, "1,200 pictures")
    tile(gallery, MANY - 5).click(modifiers=["ControlOrMeta"])
    tile(gallery, MANY - 9).click(modifiers=["Shift"])
    page.keyboard.press("Delete")
    expect_count(gallery, "1,195 pictures")
    page.keyboard.press("Control+z")
    expect_count(gallery, "1,200 pictures")
    shown = gallery.get_by_role("gridcell").evaluate_all("tiles => tiles.map(({ entry }) => entry.seed)")
    assert shown[:20] == list(range(MANY - 1, MANY - 21, -1))


def test_a_click_opens_and_ctrl_selects(gallery: Locator) -> None:
    page = gallery.page
    tile(gallery, MANY - 4).click()
    expect(page.get_by_role("dialog")).to_contain_text(f"number {MANY - 4} ")
    page.keyboard.press("Escape")
    for number in (MANY - 4, MANY - 6, MANY - 8):
        tile(gallery, number).click(modifiers=["ControlOrMeta"])
    expect_selected(gallery, 3)
    tile(gallery, MANY - 6).click()  # while pictures are selected, a click selects, too
    expect_selected(gallery, 2)
    expect(tile(gallery, MANY - 6)).to_have_attribute("aria-selected", "false")
    expect(tile(gallery, MANY - 8)).to_have_attribute("aria-selected", "true")
    act(gallery, "End selection")
    expect(gallery.get_by_role("toolbar")).to_be_hidden()
    expect(tile(gallery, MANY - 8)).not_to_have_attribute("aria-selected", re.compile(""))


def test_a_range_reaches_tiles_that_are_not_loaded(gallery: Locator, filled: ServeProcess) -> None:
    page = gallery.page
    held: list[Route] = []
    page.route(re.compile(r"/v1/gallery\?.*after="), lambda route: held.append(route))
    page.reload()
    page.wait_for_function("window.safelight?.form.ready")
    expect_count(gallery, "1,200 pictures")
    tile(gallery, MANY - 4).focus()
    page.keyboard.press("Space")
    page.keyboard.press("Control+Shift+End")
    expect_selected(gallery, MANY - 3)
    expect(gallery.get_by_role("gridcell", name="Loading").last).to_have_attribute("aria-selected", "true")
    page.keyboard.press("f")
    page.unroute_all()  # sends what was held
    expect(page.locator(".sl-toast")).to_contain_text("1,197 pictures are favourites")
    assert len(found(filled, favourite=True)) == 500
    assert not [number for number in numbers(found(filled, favourite=False)) if number < MANY - 3]
    page.keyboard.press("f")
    expect(page.locator(".sl-toast").last).to_contain_text("no favourites any more")
    assert not found(filled, favourite=True)


def test_keys_select_and_extend(gallery: Locator) -> None:
    page = gallery.page
    tile(gallery, MANY - 4).focus()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    expect_selected(gallery, 3)
    page.keyboard.press("Shift+ArrowLeft")
    expect_selected(gallery, 2)
    page.keyboard.press("Shift+ArrowDown")
    columns = int(gallery.get_by_role("grid").get_attribute("aria-colcount") or 0)
    expect_selected(gallery, 2 + columns)
    page.keyboard.press("Space")
    expect_selected(gallery, 1 + columns)
    page.keyboard.press("Escape")
    expect(gallery.get_by_role("toolbar")).to_be_hidden()
    gallery.get_by_role("searchbox").fill("lighthouse")
    expect_count(gallery, "12 pictures found")
    page.keyboard.press("Control+a")  # in the search field it selects the text
    expect(gallery.get_by_role("toolbar")).to_be_hidden()
    gallery.get_by_role("gridcell").first.focus()
    page.keyboard.press("Control+a")
    expect_selected(gallery, 12)


def test_a_long_press_starts_to_select(browser: Browser, filled: ServeProcess) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, locale="en-US")
    context.set_default_timeout(60_000)
    page = context.new_page()
    gallery = open_gallery(page, filled.url)
    box = tile(gallery, MANY - 5).bounding_box()
    assert box is not None
    touch = context.new_cdp_session(page)
    point = {"x": box["x"] + 40, "y": box["y"] + 40}
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [point]})
    expect_selected(gallery, 1)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    tile(gallery, MANY - 7).tap()
    expect_selected(gallery, 2)
    tile(gallery, MANY - 5).tap()
    expect_selected(gallery, 1)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = (
        gallery.get_by_role("toolbar")
        .get_by_role("button")
        .evaluate_all(
            "all => all.filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 36)"
        )
    )
    assert not small
    context.close()


def test_two_are_compared(gallery: Locator) -> None:
    page = gallery.page
    gallery.get_by_role("button", name="Select", exact=True).first.click()
    compare = gallery.get_by_role("toolbar").get_by_role("button", name="Compare")
    for number in (MANY - 4, MANY - 7):
        expect(compare).to_be_disabled()
        tile(gallery, number).click()
    compare.click()
    compared = page.get_by_role("dialog", name="Compare")
    expect(compared.get_by_role("row", name="Seed")).to_contain_text(f"{MANY - 4}")
    expect(compared.get_by_role("row", name="Seed")).to_contain_text(f"{MANY - 7}")
    expect(compared.get_by_role("row", name="Steps")).to_have_count(0)  # the same in both
    line = compared.locator(".sl-compare-line")
    before = line.bounding_box()
    compared.get_by_role("slider").fill("20")
    after = line.bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] < before["x"]
    page.keyboard.press("Escape")
    expect(compared).to_be_hidden()
    tile(gallery, MANY - 7).click()
    tile(gallery, MANY - 2).click()
    compare.click()
    expect(page.locator(".sl-toast")).to_contain_text("no file")


def test_selected_pictures_are_downloaded(gallery: Locator) -> None:
    page = gallery.page
    for number in (MANY - 2, MANY - 5, MANY - 6):
        tile(gallery, number).click(modifiers=["ControlOrMeta"])
    with page.expect_download() as download:
        act(gallery, "Download")
    assert download.value.suggested_filename == "safelight-pictures.zip"
    with zipfile.ZipFile(download.value.path()) as archive:
        assert len(archive.namelist()) == 2
    expect(page.locator(".sl-toast").first).to_contain_text("1 picture has no file and is left out.")
    page.keyboard.press("Escape")
    tile(gallery, MANY - 5).focus()
    with page.expect_download() as download:
        page.keyboard.press("d")
    assert download.value.suggested_filename.endswith(".png")


def test_tags_of_a_selection_and_in_the_viewer(gallery: Locator, filled: ServeProcess) -> None:
    page = gallery.page
    tile(gallery, 1190).click(modifiers=["ControlOrMeta"])
    tile(gallery, 1188).click(modifiers=["Shift"])
    page.keyboard.press("t")
    tags = page.get_by_role("dialog", name="Tags of 3 pictures")
    tags.get_by_role("combobox").fill("coast, evening")
    page.keyboard.press("Enter")
    expect(tags.get_by_role("listitem")).to_have_text(["coast", "evening"])
    tags.get_by_role("button", name="Remove the tag evening").click()
    expect(tags.get_by_role("listitem")).to_have_text(["coast"])
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    gallery.get_by_label("Tag", exact=True).select_option("coast")
    expect_count(gallery, "3 pictures found")
    tile(gallery, 1189).click()
    viewer = page.get_by_role("dialog")
    viewer.get_by_role("combobox", name="Add a tag").fill("morning")
    page.keyboard.press("Enter")
    expect(viewer.locator(".sl-tag")).to_have_text(["coast", "morning"])
    viewer.get_by_role("button", name="Remove the tag coast").click()
    expect(viewer.locator(".sl-tag")).to_have_text(["morning"])
    assert numbers(found(filled, tag="coast")) == [1190, 1188]
    assert numbers(found(filled, tag="morning")) == [1189]


def test_collections(gallery: Locator, filled: ServeProcess) -> None:
    page = gallery.page
    menu = gallery.locator(".sl-collections-button")
    tile(gallery, 1185).click(modifiers=["ControlOrMeta"])
    tile(gallery, 1182).click(modifiers=["Shift"])
    act(gallery, "Add to collection")
    page.get_by_role("dialog").get_by_role("textbox", name="New collection").fill("sea")
    page.keyboard.press("Enter")
    expect(page.locator(".sl-toast")).to_contain_text("4 pictures added to sea")
    page.keyboard.press("Escape")
    menu.click()
    page.get_by_role("button", name="sea 4", exact=True).click()
    expect_count(gallery, "4 pictures found")
    expect(menu).to_have_text("sea")
    tile(gallery, 1184).click(modifiers=["ControlOrMeta"])
    act(gallery, "Remove from collection")
    expect_count(gallery, "3 pictures found")
    page.get_by_role("button", name="Undo").click()
    expect_count(gallery, "4 pictures found")
    assert numbers(found(filled, collection=found(filled, query="1184")[0]["collections"][0])) == [
        1185,
        1184,
        1183,
        1182,
    ]
    menu.click()
    page.get_by_role("button", name="Rename sea").click()
    page.get_by_role("dialog", name="Rename collection").get_by_role("textbox", name="Name").fill("ocean")
    page.keyboard.press("Enter")
    expect(menu).to_have_text("ocean")
    menu.click()
    page.get_by_role("button", name="Delete ocean").click()
    page.get_by_role("dialog", name="Delete collection").get_by_role(
        "button", name="Delete collection"
    ).click()
    expect_count(gallery, "1,200 pictures")
    expect(menu).to_have_text("All pictures")
    assert found(filled, query="1184")[0]["collections"] == []


def drag(page: Page, start: Locator, *places: Locator) -> None:
    """Drag from an element over others, resting on each, and drop it on the last."""
    start.hover()
    page.mouse.down()
    for place in places:
        box = place.bounding_box()
        assert box is not None
        x, y = box["x"] + min(40, box["width"] / 2), box["y"] + min(80, box["height"] / 2)
        page.mouse.move(x, y)
        page.mouse.move(x + 2, y + 2)
        page.wait_for_timeout(700)
    page.mouse.up()


def test_a_tile_is_dragged_to_the_form_and_to_the_stage(gallery: Locator) -> None:
    page = gallery.page
    create = page.locator("#sl-tab-create-button")
    drag(page, tile(gallery, MANY - 5), create, page.locator("#sl-form"))
    expect(create).to_have_attribute("aria-selected", "true")
    page.wait_for_function("window.safelight.form.values.prompt === 'a boat'")
    assert page.evaluate("window.safelight.form.editor?.picture ?? null") is None
    page.get_by_role("tab", name="Gallery").click()
    drag(page, tile(gallery, MANY - 5), create, page.locator("#sl-stage"))
    page.wait_for_function("!!window.safelight.form.editor?.picture")


def test_search_operators_order_and_size(gallery: Locator) -> None:
    page = gallery.page
    search = gallery.get_by_role("searchbox")
    for query, count in {
        '"number 100"': "1 picture found",
        "lighthouse -100": "11 pictures found",
        "lighthouse 100 OR 200": "2 pictures found",
    }.items():
        search.fill(query)
        expect_count(gallery, count)
    for query in ('"', "OR", "-", '-"', "OR OR -OR"):
        search.fill(query)
        page.wait_for_timeout(300)
    expect(page.locator(".sl-toast")).to_have_count(0)
    search.fill("lighthouse")
    gallery.get_by_label("Order").select_option("oldest")
    expect(gallery.get_by_role("gridcell").first).to_have_accessible_name(re.compile("^number 0 "))
    gallery.get_by_role("button", name="What a search understands").click()
    expect(page.get_by_text("apple OR pear")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("apple OR pear")).to_be_hidden()
    grid = gallery.get_by_role("grid")
    columns = int(grid.get_attribute("aria-colcount") or 0)
    gallery.get_by_role("button", name="Larger tiles").click()
    gallery.get_by_role("gridcell").first.focus()
    page.keyboard.press("+")
    larger = int(grid.get_attribute("aria-colcount") or 0)
    assert larger < columns - 1
    page.reload()
    page.wait_for_function("window.safelight?.form.ready")
    expect_count(gallery, "12 pictures found")
    expect(grid).to_have_attribute("aria-colcount", str(larger))
    expect(gallery.get_by_role("gridcell").first).to_have_accessible_name(re.compile("^number 0 "))
