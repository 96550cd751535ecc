"""Reference pictures: chips below the prompt, where the checkpoint looks at pictures."""

from __future__ import annotations

import io
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect
from tests.jobs.worker_processes import wait_for
from tests.server.serve_process import ServeProcess
from tests.ui.conftest import open_page
from tests.ui.generation import on_stage, strip_job
from tests.ui.pictures import draw_picture
from tests.ui.real_events import drop_files, paste_picture
from tests.ui.test_accessibility import check

COLOURS = ("lightblue", "khaki", "plum")
STORED = """async () => {
    const finish = (request) => new Promise((then) => (request.onsuccess = () => then(request.result)));
    const database = await finish(indexedDB.open("safelight.control", 1));
    const found = await finish(database.transaction("units").objectStore("units").get("references"));
    database.close();
    return found?.list.length ?? 0;
}"""
"""How many references the browser has stored."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("references")
    return [draw_picture(folder / f"{colour}.png", colour) for colour in COLOURS]


def look_at_pictures(route: Route) -> None:
    """The server's models, of which the starter looks at up to three pictures."""
    listed = route.fetch().json()
    for model in listed["data"]:
        if model["kind"] == "checkpoint":
            model["references"] = {"required": False, "maximum": 3, "modes": ["text-to-image"]}
    route.fulfill(json=listed)


@pytest.fixture
def looking(page: Page, studio: ServeProcess) -> Page:
    """The web UI with a checkpoint that looks at pictures."""
    page.route("**/v1/models", look_at_pictures)
    open_page(page, studio.url)
    expect(page.locator("#sl-references")).to_be_visible()
    return page


def chips(page: Page) -> Locator:
    return page.locator(".sl-reference")


def sent_colours(page: Page) -> list[tuple[int, ...]]:
    """The colours of the references' grounds, in the order in which the form would send them."""
    sent: list[dict[str, str]] = page.evaluate(
        "async () => (await window.safelight.form.request()).references"
    )
    opened = [Image.open(io.BytesIO(b64decode(each["image"]))) for each in sent]
    return [image.convert("RGB").getpixel((2, 2)) for image in opened]  # type: ignore[misc]


def test_pictures_are_added_ordered_named_and_removed(looking: Page, pictures: list[Path]) -> None:
    page = looking
    page.get_by_label("Add pictures").first.set_input_files(pictures[:2])
    expect(chips(page)).to_have_count(2)
    drop_files(page.locator("#sl-references"), pictures[2])
    expect(chips(page)).to_have_count(3)
    expect(page.locator("#sl-references")).to_contain_text("3 of 3")
    expect(page.locator(".sl-references-add")).to_be_hidden()
    blue, yellow, violet = sent_colours(page)

    third = page.get_by_role("button", name="Image 3, 1,024 × 1,024")  # noqa: RUF001
    third.press("ArrowLeft")
    assert sent_colours(page) == [blue, violet, yellow]
    expect(page.get_by_role("button", name="Image 2, 1,024")).to_be_focused()
    first, last = chips(page).first.bounding_box(), chips(page).last.bounding_box()
    assert first is not None
    assert last is not None
    page.mouse.move(first["x"] + 30, first["y"] + 30)
    page.mouse.down()
    page.mouse.move(last["x"] + 30, last["y"] + 30, steps=5)
    page.mouse.up()
    assert sent_colours(page) == [violet, yellow, blue]
    expect(page.get_by_role("menu")).to_have_count(0)

    page.locator("#sl-prompt textarea").fill("the house of ")
    chips(page).nth(1).get_by_role("button", name="Image 2").first.click()
    page.get_by_role("menuitem", name="Write “image 2” into the prompt").click()
    expect(page.locator("#sl-prompt textarea")).to_have_value("the house of image 2")
    page.get_by_role("button", name="Remove image 1").click()
    assert sent_colours(page) == [yellow, blue]
    page.locator(".sl-toast").last.get_by_role("button", name="Undo").click()
    assert sent_colours(page) == [violet, yellow, blue]

    refused = {"code": "unsupported", "message": "Three are too many.", "field": "references"}
    page.route("**/v1/jobs", lambda route: route.fulfill(status=400, json={"error": refused}))
    page.locator("#sl-draw-button").click()
    expect(page.locator("#sl-references .sl-form-refusal")).to_contain_text("Three are too many.")


def test_they_are_pasted_and_kept_and_work_on_a_phone(
    looking: Page, studio: ServeProcess, pictures: list[Path]
) -> None:
    page = looking
    page.locator("#sl-references").hover()
    paste_picture(page, pictures[0].read_bytes())
    expect(chips(page)).to_have_count(1)
    page.get_by_label("Add pictures").first.set_input_files(pictures[1:])
    expect(chips(page)).to_have_count(3)
    wait_for(lambda: page.evaluate(STORED) == 3)
    page.set_viewport_size({"width": 390, "height": 844})
    open_page(page, studio.url)
    expect(chips(page)).to_have_count(3)
    form = page.locator("#sl-form-fields")
    assert form.evaluate("form => form.scrollWidth <= form.clientWidth")
    box = chips(page).last.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 390
    page.set_viewport_size({"width": 1360, "height": 900})
    check(page, "references")


def test_pictures_of_the_gallery_become_references(looking: Page, studio: ServeProcess) -> None:
    page = looking
    made = studio.submit(71, prompt="a red apple, flat style", count=2)
    wait_for(lambda: studio.have_ended(made))
    stage = on_stage(strip_job(page, made))
    expect(stage.locator(".sl-frame img")).to_have_count(2)
    stage.locator(".sl-frame").first.focus()
    expect(page.locator(".sl-cell-actions")).to_be_visible()
    page.keyboard.press("Shift+R")
    expect(chips(page)).to_have_count(1)
    strip_job(page, made).locator(".sl-strip-picture").last.click(button="right")
    page.get_by_role("menuitem", name="Use as reference").click()
    expect(chips(page)).to_have_count(2)
    page.locator("#sl-tab-gallery-button").click()
    tile = page.locator("#sl-gallery").get_by_role("gridcell").first
    tile.click(modifiers=["ControlOrMeta"])
    page.get_by_role("button", name="Use as references").click()
    page.locator("#sl-tab-create-button").click()
    expect(chips(page)).to_have_count(3)
    ids = [each["id"] for each in studio.job(made)["result"]["pictures"]]
    sent = page.evaluate("async () => (await window.safelight.form.request()).references")
    assert [each["image"] for each in sent[:2]] == [f"gallery:{each}" for each in ids]


def test_recalled_references_keep_their_places(looking: Page, pictures: list[Path]) -> None:
    page = looking
    unfilled = [
        {"name": f"references[{at}].image", "value": "sha256", "reason": "not in the file"} for at in (0, 1)
    ]
    recalled: dict[str, Any] = {"source": "safelight", "fields": {"prompt": "a house"}, "unfilled": unfilled}
    page.evaluate("recalled => window.safelight.form.recall(recalled)", recalled)
    expect(page.locator(".sl-reference.sl-lacking")).to_have_count(2)
    page.locator("#sl-draw-button").click()
    refusal = page.locator("#sl-references .sl-form-refusal")
    expect(refusal).to_contain_text("Image 1 has to be added again.")
    page.get_by_label("Add pictures").first.set_input_files(pictures[:2])
    expect(page.locator(".sl-reference.sl-lacking")).to_have_count(1)
    drop_files(page.locator("#sl-references"), pictures[1])
    expect(page.locator(".sl-reference:not(.sl-lacking)")).to_have_count(3)
    expect(refusal).to_be_hidden()
